// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/picture.hpp"
#include "jobs/report/products.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

namespace xrdct::report {
namespace {

const double nan = std::nan("");

TEST(ReportRange, SpansTheBulk) {
    std::vector<double> values(101);
    std::iota(values.begin(), values.end(), 0.0);
    std::shuffle(values.begin(), values.end(), std::mt19937(1));
    const report::ColourRange range = robust_range(values);
    EXPECT_DOUBLE_EQ(range.low, 1.0);
    EXPECT_DOUBLE_EQ(range.high, 99.0);
    EXPECT_DOUBLE_EQ(robust_range(values, true).low, 0.0);
}

TEST(ReportRange, OfAPropertyIsThatOfMostOfThePhase) {
    // A tenth of the voxels, at the rim, hold little of the phase and are noise.
    std::vector<double> values, weights;
    for (int i = 0; i < 1000; ++i) {
        const bool rim = i % 10 == 0;
        values.push_back(rim ? 14.3 + 0.01 * (i - 500) : 14.3 + 1e-5 * i);
        weights.push_back(rim ? 1e-4 : 1);
    }
    weights[5] = nan;
    values[6] = nan;
    const auto range = weighted_range(values, weights);
    EXPECT_NEAR(range.low, 14.3, 2e-4);
    EXPECT_NEAR(range.high, 14.31, 2e-4);
    EXPECT_LT(robust_range(values).low, 14);
    const auto unweighted = weighted_range(values, {});
    EXPECT_EQ(unweighted.low, robust_range(values).low);
}

TEST(ReportRange, IgnoresMissingValuesAndFailures) {
    std::mt19937 engine(2);
    std::normal_distribution<double> noise(14.3, 0.004);
    std::vector<double> values(10000);
    for (double& v : values)
        v = noise(engine);
    values[17] = 1e6;
    values[18] = -1e6;
    for (std::size_t i = 100; i < 5000; ++i)
        values[i] = nan;
    const report::ColourRange range = robust_range(values);
    EXPECT_NEAR(range.low, 14.3 - 2.326 * 0.004, 0.001);
    EXPECT_NEAR(range.high, 14.3 + 2.326 * 0.004, 0.001);
}

TEST(ReportRange, RoundingNoiseIsNoStructure) {
    std::vector<double> values(1000, 2.8665);
    for (std::size_t i = 0; i < values.size(); i += 2)
        values[i] += 1e-12;
    const report::ColourRange range = robust_range(values);
    EXPECT_GT(range.high - range.low, 1e-4);
    EXPECT_NEAR(0.5 * (range.low + range.high), 2.8665, 1e-9);
    const report::ColourRange wider = robust_range(values, false, 0.01);
    EXPECT_NEAR(wider.high - wider.low, 0.01, 1e-12);
}

TEST(ReportRange, FromZeroShowsPhasesInFewVoxels) {
    std::vector<double> values(10000, 0.0);
    for (std::size_t i = 0; i < 50; ++i) // half a per cent
        values[i * 100] = 0.4;
    const report::ColourRange range = robust_range(values, true);
    EXPECT_DOUBLE_EQ(range.low, 0.0);
    EXPECT_DOUBLE_EQ(range.high, 0.4);
}

TEST(ReportRange, FromZeroIsNotSpoiltByOneFailure) {
    std::vector<double> values(10000, 0.3);
    values[5] = 1e9;
    const report::ColourRange range = robust_range(values, true);
    EXPECT_DOUBLE_EQ(range.low, 0.0);
    EXPECT_LE(range.high, 6.0);
    EXPECT_GE(range.high, 0.3);
}

TEST(ReportRange, DegenerateMapsHaveAUsableRange) {
    for (const auto& values : {std::vector<double>{}, std::vector<double>{nan, nan},
                               std::vector<double>{0.0, 0.0}, std::vector<double>{5.0},
                               std::vector<double>{-1e-300}, std::vector<double>{1e300, 1e300}})
        for (const bool from_zero : {false, true}) {
            const report::ColourRange range = robust_range(values, from_zero);
            EXPECT_TRUE(std::isfinite(range.low) && std::isfinite(range.high));
            EXPECT_LT(range.low, range.high);
        }
}

TEST(ReportMeanings, AreParsed) {
    using Meanings = std::map<int, std::string>;
    EXPECT_EQ(parse_meanings("0 converged, 1 masked, 2 no signal"),
              (Meanings{{0, "converged"}, {1, "masked"}, {2, "no signal"}}));
    EXPECT_EQ(parse_meanings("-1: none; 0 = fine\n1 at bound, not trusted"),
              (Meanings{{-1, "none"}, {0, "fine"}, {1, "at bound, not trusted"}}));
    EXPECT_EQ(parse_meanings("3"), (Meanings{{3, "3"}}));
    EXPECT_TRUE(parse_meanings("").empty());
    EXPECT_TRUE(parse_meanings("no codes").empty());
    EXPECT_TRUE(parse_meanings("99999999999 overflow").empty());
}

} // namespace
} // namespace xrdct::report
