// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/cross_validation.hpp"
#include "solvers/dlsr/state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace xrdct::dlsr {
namespace {

TEST(Phases, HaveTheNamesOfTheCheckpoints) {
    for (const auto phase : {Phase::rough_steps, Phase::first_steps, Phase::amounts,
                             Phase::geometry, Phase::validation, Phase::last_steps, Phase::esd})
        EXPECT_EQ(parse_phase(to_string(phase)), phase);
    EXPECT_EQ(to_string(Phase::first_steps), "fit");
    EXPECT_EQ(to_string(Phase::validation), "held-out");
    EXPECT_EQ(to_string(Phase::last_steps), "final");
    EXPECT_EQ(to_string(Phase::esd), "errors");
    EXPECT_FALSE(parse_phase("validation"));
    EXPECT_FALSE(parse_phase(""));
}

TEST(RegularisationWeight, IsTheLargestWithinAStandardErrorOfTheBest) {
    // Differences from the best: 0.2 +- 0.01, 0.01 +- 0.05 and the best itself.
    const std::vector<Result::Validation> tried{{8, 1.2, 0, {1.19, 1.2, 1.21, 1.2}},
                                                {2, 1.01, 0, {1.11, 0.91, 1.11, 0.91}},
                                                {1, 1.0, 0, {1, 1, 1, 1}}};
    const auto choice = choose_weight(tried);
    EXPECT_EQ(choice.best, 1);
    EXPECT_EQ(choice.chosen, 2);
    EXPECT_FALSE(choice.best_is_clear);
    EXPECT_NEAR(choice.error_of(tried[1]), 0.1 / std::sqrt(3.0), 1e-12);
    EXPECT_EQ(choice.error_of(tried[2]), 0);
    const auto clear = choose_weight({tried[0], tried[2]});
    EXPECT_EQ(clear.chosen, 1);
    EXPECT_TRUE(clear.best_is_clear);
}

} // namespace
} // namespace xrdct::dlsr
