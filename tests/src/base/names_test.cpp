// SPDX-License-Identifier: BSD-3-Clause
#include "base/names.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using ::testing::ElementsAre;

TEST(NearestName, FindsMisspellingsAndNothingElse) {
    EXPECT_EQ(nearest_name("windwo", {"window", "cutoff"}), "window");
    EXPECT_FALSE(nearest_name("zzzzzz", {"window", "cutoff"}).has_value());
}

TEST(NearestNames, OrdersByEditDistance) {
    EXPECT_THAT(nearest_names("intensty", {"q", "monitor", "intensity", "density"}, 2),
                ElementsAre("intensity", "density"));
    EXPECT_THAT(nearest_names("ab", {"b", "a", "abc"}), ElementsAre("b", "a", "abc"));
    EXPECT_TRUE(nearest_names("a", {}, 3).empty());
}

TEST(NearestHint, NamesTheNearestOrNothing) {
    EXPECT_EQ(nearest_hint("windwo", {"window", "cutoff"}), "; nearest is 'window'");
    EXPECT_EQ(nearest_hint("zzzzzz", {"window", "cutoff"}), "");
    EXPECT_EQ(nearest_hint("windwo", {}), "");
    EXPECT_EQ(did_you_mean("windwo", {"window", "cutoff"}), "; did you mean 'window'?");
    EXPECT_EQ(did_you_mean("zzzzzz", {"window"}), "");
}

TEST(NearestHint, CanIgnoreTheCaseOfLetters) {
    EXPECT_EQ(nearest_hint("lab", {"CeO2", "LaB6"}), "");
    EXPECT_EQ(nearest_hint("lab", {"CeO2", "LaB6"}, LetterCase::ignored), "; nearest is 'LaB6'");
}

} // namespace
} // namespace xrdct
