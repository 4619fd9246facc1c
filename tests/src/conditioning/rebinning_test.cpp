// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "conditioning/rebinning.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

using namespace xrdct;

namespace {

TEST(CoarseBins, WholeAndBrokenFactors) {
    EXPECT_EQ(conditioning::coarse_bins(7, 1).size(), 7U);
    const auto two = conditioning::coarse_bins(7, 2);
    ASSERT_EQ(two.size(), 3U);
    EXPECT_EQ(two[2].first, 4U);
    EXPECT_EQ(two[2].share, (std::vector<double>{1, 1}));
    const auto half = conditioning::coarse_bins(7, 1.5);
    ASSERT_EQ(half.size(), 4U);
    EXPECT_EQ(half[1].first, 1U);
    EXPECT_NEAR(half[1].share[0], 0.5, 1e-12);
    EXPECT_NEAR(half[1].share[1], 1, 1e-12);
    double total = 0;
    for (const auto& bin : conditioning::coarse_bins(100, 100.0 / 7))
        for (const double share : bin.share)
            total += share;
    EXPECT_NEAR(total, 100, 1e-9);
    EXPECT_THROW(conditioning::coarse_bins(5, 0.5), Error);
    EXPECT_THROW(conditioning::coarse_bins(5, 6), Error);
    EXPECT_THROW(conditioning::coarse_bins(5, std::nan("")), Error);
}

TEST(CoarseBins, AxesStayEven) {
    std::vector<double> axis;
    for (int i = 0; i < 20; ++i)
        axis.push_back(3 + 0.1 * i);
    const auto coarse = conditioning::rebin_axis(axis, conditioning::coarse_bins(20, 3));
    ASSERT_EQ(coarse.size(), 6U);
    EXPECT_NEAR(coarse[0], 3.1, 1e-12);
    EXPECT_NEAR(coarse[5] - coarse[4], 0.3, 1e-12);
}

TEST(Rebinning, MeansAndVariancesAgainstManyDraws) {
    // Poisson counts of pixels: the variance carried must be the one that is seen.
    const std::vector<double> pixels{4, 9, 1, 16, 25, 2};
    const double factor = 1.5;
    std::mt19937 random(9);
    conditioning::Rebinning rebinning(conditioning::coarse_bins(4, 2),
                                      conditioning::coarse_bins(6, factor), pixels);
    const std::size_t n = rebinning.n_translation() * rebinning.n_channel();
    std::vector<double> sum(n, 0), squares(n, 0), carried(n, 0);
    constexpr int draws = 4000;
    std::vector<float> values(24), variances(24), out(n), out_variances(n);
    for (int draw = 0; draw < draws; ++draw) {
        rebinning.clear();
        for (const double share : {1.0, 0.4}) {
            for (std::size_t i = 0; i < 24; ++i) {
                const double p = pixels[i % 6];
                const auto counts = std::poisson_distribution<long>(50 * p)(random);
                values[i] = static_cast<float>(static_cast<double>(counts) / p);
                variances[i] = static_cast<float>(50 / p);
            }
            rebinning.add(values, variances, 6, share);
        }
        rebinning.finish(out, out_variances);
        for (std::size_t i = 0; i < n; ++i) {
            sum[i] += out[i];
            squares[i] += out[i] * out[i];
            carried[i] = out_variances[i];
        }
    }
    for (std::size_t i = 0; i < n; ++i) {
        const double mean = sum[i] / draws, seen = squares[i] / draws - mean * mean;
        EXPECT_NEAR(mean, 50, 5 * std::sqrt(seen / draws));
        EXPECT_NEAR(seen / carried[i], 1, 0.12) << i;
    }
    EXPECT_NEAR(conditioning::rebin_sum(pixels, conditioning::coarse_bins(6, 2))[1], 17, 1e-12);
}

TEST(Rebinning, MissingValuesAreLeftOutUntilHalfIsMissing) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    conditioning::Rebinning rebinning(conditioning::coarse_bins(4, 4),
                                      conditioning::coarse_bins(2, 1), {});
    std::vector<float> out(2);
    rebinning.add(std::vector<float>{1, 1, 3, nan, nan, nan, nan, nan}, {}, 2, 1);
    rebinning.finish(out, {});
    EXPECT_EQ(out[0], 2);
    EXPECT_TRUE(std::isnan(out[1]));
}

} // namespace
