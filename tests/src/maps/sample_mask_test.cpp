// SPDX-License-Identifier: BSD-3-Clause
#include "maps/sample_mask.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace {

using namespace xrdct;

constexpr std::size_t side = 80;

/// A strong disc and one that scatters `weak` of it beside it, in noise.
struct TwoDiscs {
    std::vector<double> total = std::vector<double>(side * side, 0.0);
    std::vector<unsigned char> strong = std::vector<unsigned char>(side * side, 0), light = strong;

    TwoDiscs(double weak, double noise) {
        std::mt19937_64 random(7);
        std::normal_distribution<double> normal(0, noise);
        for (std::size_t i = 0; i < total.size(); ++i) {
            const auto x = static_cast<double>(i % side), y = static_cast<double>(i / side);
            strong[i] = std::hypot(x - 25, y - 40) < 9;
            light[i] = std::hypot(x - 55, y - 40) < 9;
            total[i] = (strong[i] ? 1 : 0) + (light[i] ? weak : 0) + normal(random);
        }
    }
    static double part_of(const std::vector<unsigned char>& mask,
                          const std::vector<unsigned char>& region) {
        double in = 0, all = 0;
        for (std::size_t i = 0; i < mask.size(); ++i) {
            in += mask[i] && region[i];
            all += region[i];
        }
        return in / all;
    }
};

TEST(SampleMask, HoldsLightPhasesBesideHeavyOnes) {
    const TwoDiscs discs(0.015, 0.002);
    const auto mask = maps::sample_mask(discs.total, side);
    EXPECT_EQ(discs.part_of(mask, discs.strong), 1);
    EXPECT_GT(discs.part_of(mask, discs.light), 0.99);
    // What touches a disc is a border; nothing else is there but for one in a thousand.
    const auto set = std::accumulate(mask.begin(), mask.end(), 0.0);
    const double discs_area = 2 * M_PI * 81, borders = 2 * 2 * M_PI * 10.5;
    EXPECT_LT(set, discs_area + borders + 1e-3 * static_cast<double>(side * side));
}

TEST(SampleMask, DoesNotHoldNoise) {
    const TwoDiscs discs(0, 0.01);
    const auto mask = maps::sample_mask(discs.total, side);
    EXPECT_EQ(discs.part_of(mask, discs.strong), 1);
    EXPECT_LT(discs.part_of(mask, discs.light), 0.02);
}

TEST(SampleMask, IsEmptyWithoutIntensity) {
    std::vector<double> nothing(side * side, std::numeric_limits<double>::quiet_NaN());
    const auto is_set = [](unsigned char m) { return m != 0; };
    EXPECT_TRUE(std::ranges::none_of(maps::sample_mask(nothing, side), is_set));
    std::ranges::fill(nothing, -1.0);
    EXPECT_TRUE(std::ranges::none_of(maps::sample_mask(nothing, side), is_set));
    EXPECT_THROW(maps::sample_mask(nothing, side - 1), Error);
}

} // namespace
