// SPDX-License-Identifier: BSD-3-Clause
#ifndef XRDCT_ASSERTIONS
#define XRDCT_ASSERTIONS
#endif
#include "base/assertions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(Assertion, ThatHoldsDoesNothing) {
    EXPECT_NO_THROW(XRDCT_ASSERT(1 + 1 == 2, "sums"));
}

TEST(Assertion, ThatFailsNamesItsPlace) {
    const std::string line = std::to_string(__LINE__ + 2);
    try {
        XRDCT_ASSERT(1 + 1 == 3, std::string("sums of ") + "two");
        FAIL() << "no exception";
    } catch (const std::logic_error& error) {
        EXPECT_THAT(error.what(), HasSubstr("assertions_test.cpp:" + line));
        EXPECT_THAT(error.what(), EndsWith(": sums of two"));
    }
}

} // namespace
} // namespace xrdct
