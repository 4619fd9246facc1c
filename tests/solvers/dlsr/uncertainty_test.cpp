// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/uncertainty.hpp"

#include "base/error.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>
#include <random>

namespace {

using namespace xrdct;

constexpr std::size_t n_samples = 40;

std::vector<std::size_t> all_pixels() {
    std::vector<std::size_t> pixels(n_samples * n_samples);
    std::iota(pixels.begin(), pixels.end(), 0);
    return pixels;
}

// Stripes of rich and poor voxels with different noise: each kind keeps its own.
TEST(DlsrUncertainty, KindsOfVoxelsKeepTheirOwnVariance) {
    const auto pixels = all_pixels();
    std::vector<double> squares, information;
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (const std::size_t pixel : pixels) {
        const bool rich = pixel % n_samples % 4 < 2;
        information.push_back(rich ? 1.0 : 0.2);
        squares.push_back(0);
        for (int k = 0; k < 3; ++k)
            squares.back() += std::pow((rich ? 3 : 1) * normal(random), 2) / 3;
    }
    const auto variance = dlsr::smoothed_variance(squares, information, pixels, n_samples, 3);
    double worst = 0, mean_rich = 0;
    for (std::size_t v = 0; v < variance.size(); ++v) {
        const bool rich = v % n_samples % 4 < 2;
        worst = std::max(worst, std::abs(std::log(variance[v] / (rich ? 9 : 1))));
        mean_rich += rich ? variance[v] / (0.5 * n_samples * n_samples) : 0;
    }
    EXPECT_LT(worst, std::log(2.0));
    EXPECT_NEAR(mean_rich, 9, 0.5);
}

TEST(DlsrUncertainty, VoxelsThatAreHeldHaveNone) {
    const auto pixels = all_pixels();
    std::vector<double> squares(n_samples * n_samples, 4.0);
    const std::vector<double> information(n_samples * n_samples, 1.0);
    squares[5] = 0;
    const auto variance = dlsr::smoothed_variance(squares, information, pixels, n_samples, 3);
    EXPECT_EQ(variance[5], 0);
    EXPECT_NEAR(variance[6], 4, 1e-5);
    EXPECT_NEAR(variance[n_samples * n_samples - 1], 4, 1e-5);
}

TEST(DlsrUncertainty, BadInput) {
    const std::vector<double> three(3, 1.0), two(2, 1.0);
    const std::vector<std::size_t> pixels = {0, 1, 2};
    EXPECT_THROW(dlsr::smoothed_variance(two, three, pixels, n_samples, 3), Error);
    EXPECT_THROW(dlsr::smoothed_variance(three, two, pixels, n_samples, 3), Error);
    EXPECT_TRUE(dlsr::smoothed_variance({}, {}, {}, n_samples, 3).empty());
}

} // namespace
