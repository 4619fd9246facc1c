// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/outliers.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

using namespace xrdct;

namespace {

constexpr std::size_t n_translations = 40, n_channels = 50;

/// Five lines of Poisson counts of a peak whose place in the sample moves with the rotation.
struct Lines {
    std::vector<std::vector<float>> values, variances;
    explicit Lines(double level, std::size_t count = 5) {
        std::mt19937 random(11);
        for (std::size_t r = 0; r < count; ++r) {
            std::vector<float> line;
            for (std::size_t t = 0; t < n_translations; ++t)
                for (std::size_t k = 0; k < n_channels; ++k) {
                    const double s =
                        (static_cast<double>(t) - 15 - 0.8 * static_cast<double>(r)) / 2;
                    const double x = (static_cast<double>(k) - 25) / 2;
                    const double mean =
                        level * (0.2 + std::exp(-0.5 * (s * s + x * x)) + (t == 30 ? 2 : 0));
                    line.push_back(
                        static_cast<float>(std::poisson_distribution<long>(mean)(random)));
                }
            values.push_back(line);
            variances.push_back(line);
        }
    }
    std::vector<conditioning::Outlier> find(std::size_t own = 2,
                                            conditioning::OutlierOptions options = {}) const {
        std::vector<const float*> a, b;
        for (std::size_t i = 0; i < values.size(); ++i) {
            a.push_back(values[i].data());
            b.push_back(variances[i].data());
        }
        return find_outliers(a, b, own, n_translations, n_channels, options);
    }
    void plant(std::size_t line, std::size_t t, std::size_t k, float value) {
        values[line][t * n_channels + k] = value;
        variances[line][t * n_channels + k] = value;
    }
};

TEST(Outliers, NoneInCleanCountsAtAnyLevel) {
    for (const double level : {0.5, 5.0, 100.0, 1e4, 1e6})
        for (const std::size_t own : {0UL, 1UL, 2UL, 4UL})
            EXPECT_TRUE(Lines(level).find(own).empty()) << level << " " << own;
}

TEST(Outliers, ASpotWithItsFlanks) {
    Lines lines(100);
    lines.plant(2, 20, 29, 400);
    lines.plant(2, 20, 30, 5000);
    lines.plant(2, 20, 31, 400);
    const auto found = lines.find();
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[1].translation, 20U);
    EXPECT_EQ(found[1].channel, 30U);
    EXPECT_EQ(found[1].observed, 5000);
    EXPECT_NEAR(found[1].expected, 35, 20);
    // Weighted down, it comes near the neighbours, and its error says how little is known.
    const auto weighted = down_weight(found[1]);
    EXPECT_LT(found[1].weight, 0.1);
    EXPECT_LT(std::abs(weighted.value - found[1].expected), 5000 * 0.05);
    EXPECT_GT(std::sqrt(weighted.variance), 3 * found[1].noise);
}

TEST(Outliers, AReflectionThatLastsTwoRotations) {
    Lines lines(100);
    for (const std::size_t r : {2UL, 3UL})
        lines.plant(r, 10, 12, 3000);
    EXPECT_EQ(lines.find(2).size(), 1U);
    EXPECT_EQ(lines.find(3).size(), 1U);
}

TEST(Outliers, Dropouts) {
    Lines lines(1e4);
    lines.plant(2, 15, 25, 10);
    EXPECT_EQ(lines.find().size(), 1U);
    conditioning::OutlierOptions options;
    options.low = false;
    EXPECT_TRUE(lines.find(2, options).empty());
}

TEST(Outliers, ConcentricEdgesBesideAMissingLine) {
    Lines lines(1e5);
    for (auto& value : lines.values[1])
        value = std::numeric_limits<float>::quiet_NaN();
    EXPECT_TRUE(lines.find(2).empty());
    EXPECT_TRUE(lines.find(0).empty());
    EXPECT_TRUE(lines.find(1).empty()); // nothing to be found in the missing line itself
}

} // namespace
