// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/statistics.hpp"

#include <cmath>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

const std::vector<double> four{4, 1, 3, 2}, five{5, 1, 4, 2, 3};

TEST(StatisticsTest, TheMedianOfAnEvenNumberIsTheUpperOfTheTwoInTheMiddle) {
    EXPECT_EQ(median(four), 3);
    EXPECT_EQ(median(five), 3);
    EXPECT_EQ(quantile(four, 0.5), 3);
    EXPECT_EQ(lower_quantile(four, 0.5), 2);
    EXPECT_EQ(midpoint_median(four), 2.5);
    EXPECT_EQ(midpoint_median(five), 3);
}

TEST(StatisticsTest, QuantilesFollowTheirRuleBetweenRanks) {
    EXPECT_EQ(quantile(five, 0.2), 2);       // rank 0.8 is nearest to 1
    EXPECT_EQ(lower_quantile(five, 0.2), 1); // and its integer part is 0
    const std::vector<double> sorted{1, 2, 3, 4, 5};
    EXPECT_DOUBLE_EQ(interpolated_quantile(std::span<const double>(sorted), 0.2), 1.8);
    for (const double fraction : {0.0, 1.0}) {
        EXPECT_EQ(quantile(five, fraction), fraction == 0 ? 1 : 5);
        EXPECT_EQ(lower_quantile(five, fraction), fraction == 0 ? 1 : 5);
        EXPECT_EQ(interpolated_quantile(std::span<const double>(sorted), fraction),
                  fraction == 0 ? 1 : 5);
    }
    EXPECT_EQ(order_statistic(five, 3), 4);
    EXPECT_THROW(order_statistic(five, 5), Error);
}

TEST(StatisticsTest, NothingHasNoMedian) {
    const std::vector<float> nothing;
    EXPECT_TRUE(std::isnan(median(nothing)));
    EXPECT_TRUE(std::isnan(midpoint_median(nothing)));
    EXPECT_TRUE(std::isnan(quantile(nothing, 0.3)));
    EXPECT_TRUE(std::isnan(lower_quantile(nothing, 0.3)));
    EXPECT_TRUE(std::isnan(interpolated_quantile(std::span<const float>(nothing), 0.3)));
}

TEST(StatisticsTest, OnlyFiniteValuesAreKept) {
    const std::vector<float> values{1, NAN, 2, INFINITY};
    EXPECT_EQ(finite_values(std::span<const float>(values)), (std::vector<float>{1, 2}));
}

} // namespace
} // namespace xrdct
