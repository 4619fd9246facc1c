// SPDX-License-Identifier: BSD-3-Clause
#undef XRDCT_ASSERTIONS
#include "base/assertions.hpp"

#include <gtest/gtest.h>

namespace xrdct {
namespace {

TEST(AssertionThatIsOff, IsNotEvaluated) {
    int calls = 0;
    const auto count = [&calls] { return ++calls > 1; };
    EXPECT_NO_THROW(XRDCT_ASSERT(count(), "counts"));
    EXPECT_EQ(calls, 0);
    EXPECT_FALSE(count());
}

} // namespace
} // namespace xrdct
