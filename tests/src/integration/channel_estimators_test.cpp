// SPDX-License-Identifier: BSD-3-Clause
#include "integration/channel_estimators.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

using namespace xrdct;

namespace {

std::vector<float> random_values(std::size_t n, std::uint64_t seed, bool whole) {
    std::mt19937_64 random(seed);
    std::vector<float> values;
    for (std::size_t i = 0; i < n; ++i) {
        double value = std::normal_distribution<double>(100, 10)(random);
        if (i % 50 == 0)
            value *= 30; // single crystals
        values.push_back(static_cast<float>(whole ? std::round(value / 10) : value));
    }
    return values;
}

/// By sorting everything in double precision.
integration::ChannelEstimate sorted_trimmed_mean(const std::vector<float>& values,
                                                 double fraction) {
    std::vector<double> v(values.begin(), values.end());
    std::sort(v.begin(), v.end());
    const std::size_t n = v.size(),
                      cut = static_cast<std::size_t>(fraction * static_cast<double>(n));
    double sum = 0;
    for (std::size_t i = cut; i < n - cut; ++i)
        sum += v[i];
    for (std::size_t i = 0; i < cut; ++i) {
        v[i] = v[cut];
        v[n - 1 - i] = v[n - 1 - cut];
    }
    const double mean = std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(n);
    double squares = 0;
    for (const double x : v)
        squares += (x - mean) * (x - mean);
    const double kept = static_cast<double>(n - 2 * cut), count = static_cast<double>(n);
    return {sum / kept, std::sqrt(squares / (count - 1) / count) / (kept / count), kept};
}

void expect_same(const integration::ChannelEstimate& a, const integration::ChannelEstimate& b) {
    EXPECT_NEAR(a.value, b.value, 1e-9 * std::abs(b.value));
    EXPECT_NEAR(a.error, b.error, 1e-7 * std::abs(b.error) + 1e-12);
    EXPECT_EQ(a.kept, b.kept);
}

} // namespace

TEST(ChannelEstimators, TrimmedMeanIsThatOfSortedValues) {
    std::uint64_t seed = 1;
    for (const std::size_t n :
         {2U, 3U, 10U, 63U, 64U, 255U, 256U, 257U, 999U, 1024U, 2500U, 5000U, 9001U})
        for (const double fraction : {0.0, 0.001, 0.05, 0.1, 0.25, 0.4, 0.49})
            for (const bool whole : {false, true}) {
                SCOPED_TRACE(testing::Message() << n << " values, " << fraction << ", " << whole);
                auto values = random_values(n, ++seed, whole);
                const auto expected = sorted_trimmed_mean(values, fraction);
                expect_same(integration::trimmed_mean(values, fraction), expected);
            }
}

TEST(ChannelEstimators, TrimmedMeanOfSortedTiedAndConstantValues) {
    std::vector<float> rising(3000);
    std::iota(rising.begin(), rising.end(), 0.0F);
    auto falling = rising;
    std::reverse(falling.begin(), falling.end());
    std::vector<float> same(2000, 7.0F), mostly_zero(2000, 0.0F), waves(2048);
    for (std::size_t i = 0; i < 300; ++i)
        mostly_zero[7 * i % 2000] = 1.0F;
    // The sample sees every 16th value only, and these are not like the others.
    for (std::size_t i = 0; i < waves.size(); ++i)
        waves[i] = i % 16 == 0 ? 1000.0F + static_cast<float>(i) : static_cast<float>(i % 37);
    for (auto* values : {&rising, &falling, &same, &mostly_zero, &waves}) {
        const auto expected = sorted_trimmed_mean(*values, 0.1);
        expect_same(integration::trimmed_mean(*values, 0.1), expected);
    }
}

TEST(ChannelEstimators, TrimmedMeanForgetsSingleCrystals) {
    auto values = random_values(2000, 3, false); // 2 % are thirty times too large
    const auto result = integration::trimmed_mean(values, 0.1);
    EXPECT_NEAR(result.value, 100, 1);
    EXPECT_NEAR(result.error, 10 / std::sqrt(2000.0), 0.05);
}

/// The errors are those seen when the estimate is repeated.
TEST(ChannelEstimators, ErrorsAreHonest) {
    std::mt19937_64 random(11);
    std::normal_distribution<double> normal(50, 6);
    std::vector<std::vector<double>> value(4), error(4);
    for (int repetition = 0; repetition < 4000; ++repetition) {
        std::vector<float> v(301);
        for (float& x : v)
            x = static_cast<float>(normal(random));
        std::vector<float> weights(v.size(), 1.0F);
        auto copy = v;
        const integration::ChannelEstimate results[] = {
            integration::weighted_mean(v, weights), integration::trimmed_mean(copy, 0.1),
            integration::median(copy), integration::sigma_clipped_mean(v, weights, 3, 5)};
        for (std::size_t k = 0; k < 4; ++k) {
            value[k].push_back(results[k].value);
            error[k].push_back(results[k].error);
        }
    }
    for (std::size_t k = 0; k < 4; ++k) {
        const double n = static_cast<double>(value[k].size());
        const double mean = std::accumulate(value[k].begin(), value[k].end(), 0.0) / n;
        double squares = 0, stated = 0;
        for (const double x : value[k])
            squares += (x - mean) * (x - mean);
        for (const double x : error[k])
            stated += x * x;
        EXPECT_NEAR(mean, 50, 0.1) << k;
        EXPECT_NEAR(std::sqrt(stated / squares), 1, 0.06) << k;
    }
}

TEST(ChannelEstimators, MedianOfEvenOddAndFew) {
    std::vector<float> odd{5, 1, 9}, even{4, 1, 9, 2}, one{3}, none;
    EXPECT_EQ(integration::median(odd).value, 5);
    EXPECT_EQ(integration::median(even).value, 3);
    EXPECT_EQ(integration::median(one).value, 3);
    EXPECT_TRUE(std::isnan(integration::median(one).error));
    EXPECT_TRUE(std::isnan(integration::median(none).value));
    EXPECT_TRUE(std::isnan(integration::trimmed_mean(none, 0.1).value));
    EXPECT_TRUE(std::isnan(integration::weighted_mean(none, none).value));
    EXPECT_TRUE(std::isnan(integration::sigma_clipped_mean(none, none, 3, 3).value));
}

TEST(ChannelEstimators, SigmaClipTakesOutliersOffWithTheirWeights) {
    std::vector<float> values(100, 10.0F), weights(100, 1.0F);
    for (std::size_t i = 0; i < 100; ++i)
        values[i] += i % 2 == 0 ? 1.0F : -1.0F;
    values[17] = 1000;
    values[18] = 500;
    weights[3] = 2; // a value of 9
    const auto result = integration::sigma_clipped_mean(values, weights, 3, 10);
    EXPECT_EQ(result.kept, 98);
    EXPECT_NEAR(result.value, (49 * 11 + 48 * 9 + 2 * 9) / 99.0, 1e-6);
}
