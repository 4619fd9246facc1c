// SPDX-License-Identifier: BSD-3-Clause
#include "maps/statistics.hpp"

#include "base/error.hpp"

#include "base/numbers.hpp"
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace xrdct;
using namespace xrdct::maps;

namespace {

TEST(Summary, WeightsCoverageAndMedian) {
    // Weights 1, 3 on 10, 20; a value without weight, a weight without value, weights that are
    // none.
    const std::vector<double> values{10, 20, 5, nan_value, 7, 8},
        weights{1, 3, 0, 4, -1, nan_value}, errors{1, 3, 9, 9, 9, 9};
    const auto s = summarise(values, weights, errors);
    EXPECT_EQ(s.count, 2U);
    EXPECT_EQ(s.present, 3U);
    EXPECT_DOUBLE_EQ(s.share_of_voxels(), 2.0 / 3.0);
    EXPECT_DOUBLE_EQ(s.share_of_amount, 0.5);
    EXPECT_DOUBLE_EQ(s.mean, 17.5);
    EXPECT_DOUBLE_EQ(s.spread, std::sqrt(0.25 * 7.5 * 7.5 + 0.75 * 2.5 * 2.5));
    EXPECT_DOUBLE_EQ(s.median, 20);
    EXPECT_DOUBLE_EQ(s.median_error, 2);
    EXPECT_FALSE(s.uniform);
}

TEST(Summary, GaussianTruth) {
    std::mt19937 random(7);
    std::normal_distribution<double> gauss(14.35, 0.02);
    std::uniform_real_distribution<double> uniform(0.1, 1.0);
    std::vector<double> values, weights;
    for (int i = 0; i < 40000; ++i) {
        values.push_back(gauss(random));
        weights.push_back(uniform(random));
    }
    const auto s = summarise(values, weights);
    EXPECT_NEAR(s.mean, 14.35, 5e-4);
    EXPECT_NEAR(s.median, 14.35, 7e-4);
    EXPECT_NEAR(s.spread, 0.02, 3e-4);
    // A weight that grows with the value shifts the mean by σ² dln w/dv.
    for (std::size_t i = 0; i < values.size(); ++i)
        weights[i] = std::exp(20.0 * (values[i] - 14.35));
    EXPECT_NEAR(summarise(values, weights).mean, 14.35 + 20.0 * 0.02 * 0.02, 1e-3);
}

TEST(Summary, NothingAndOneValue) {
    const auto none =
        summarise(std::vector<double>{nan_value, nan_value}, std::vector<double>{1, 1});
    EXPECT_EQ(none.count, 0U);
    EXPECT_EQ(none.present, 2U);
    EXPECT_TRUE(std::isnan(none.mean) && std::isnan(none.spread) && std::isnan(none.median));
    EXPECT_DOUBLE_EQ(none.share_of_amount, 0);
    const auto one = summarise(std::vector<double>{3.5});
    EXPECT_DOUBLE_EQ(one.mean, 3.5);
    EXPECT_DOUBLE_EQ(one.spread, 0);
    EXPECT_TRUE(one.uniform);
    EXPECT_TRUE(std::isnan(one.median_error));
    EXPECT_TRUE(std::isnan(summarise({}).share_of_voxels()));
    EXPECT_THROW(summarise(std::vector<double>{1, 2}, std::vector<double>{1}), Error);
    EXPECT_THROW(summarise(std::vector<double>{1}, {}, std::vector<double>{1, 2}), Error);
}

TEST(WeightedMedian, HalvesTheWeight) {
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{3, 1, 2}), 2);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{4, 1, 2, 3}), 2.5);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{1, 2, 3}, std::vector<double>{10, 1, 1}),
                     1);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{1, 2, 3}, std::vector<double>{1, 1, 2}),
                     2.5);
    EXPECT_TRUE(std::isnan(weighted_median(std::vector<double>{nan_value})));
}

TEST(MapStatisticsOf, AreWeighted) {
    const std::vector<double> values{1.0, 2.0, 4.0, nan_value, 100.0, 7.0};
    const std::vector<double> weights{1.0, 2.0, 1.0, 5.0, 0.0, nan_value};
    const std::vector<double> errors{0.1, 0.3, 0.2, 9.0, 9.0, 9.0};
    const MapStatistics s = map_statistics(values, weights, errors);
    EXPECT_EQ(s.count, 3U);
    EXPECT_DOUBLE_EQ(s.mean, 2.25);
    // Σ w (x − mean)² / Σ w = (1.5625 + 2·0.0625 + 3.0625) / 4
    EXPECT_DOUBLE_EQ(s.spread, std::sqrt(4.75 / 4.0));
    EXPECT_DOUBLE_EQ(s.median_error, 0.2);
    EXPECT_FALSE(s.uniform);
}

TEST(MapStatisticsOf, RecogniseUniformAndEmptyMaps) {
    EXPECT_TRUE(map_statistics(std::vector<double>{3.6, nan_value, 3.6 + 1e-12}).uniform);
    EXPECT_FALSE(map_statistics(std::vector<double>{3.6, 3.6001}).uniform);
    const MapStatistics empty = map_statistics(std::vector<double>{nan_value, nan_value});
    EXPECT_EQ(empty.count, 0U);
    EXPECT_TRUE(std::isnan(empty.mean));
    EXPECT_FALSE(empty.uniform);
    EXPECT_THROW(map_statistics(std::vector<double>{1.0}, std::vector<double>{1.0, 2.0}), Error);
}

} // namespace
