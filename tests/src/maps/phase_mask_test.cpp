// SPDX-License-Identifier: BSD-3-Clause
#include "maps/phase_mask.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace xrdct;

constexpr std::size_t n = 60;

struct Maps {
    std::vector<double> scale, esd;
    std::vector<unsigned char> sample, truth;

    /// A disc of the phase with the given scale in noise of unit e.s.d.
    Maps(double height, double radius, unsigned seed)
        : scale(n * n), esd(n * n, 1.0), sample(n * n, 1), truth(n * n, 0) {
        std::mt19937_64 random(seed);
        std::normal_distribution<double> normal;
        for (std::size_t y = 0; y < n; ++y)
            for (std::size_t x = 0; x < n; ++x) {
                const std::size_t i = y * n + x;
                truth[i] =
                    std::hypot(static_cast<double>(x) - 29.5, static_cast<double>(y) - 20) < radius;
                // As a fit with scales ≥ 0 gives it.
                scale[i] = std::max(0.0, (truth[i] ? height : 0) + normal(random));
            }
    }
};

TEST(PhaseMask, FindsARegionAndNoNoise) {
    const Maps maps(20, 9, 1);
    const auto mask = maps::phase_mask(maps.scale, maps.esd, n, n, maps.sample);
    std::size_t missed = 0, extra = 0, inside = 0;
    for (std::size_t i = 0; i < n * n; ++i) {
        inside += maps.truth[i];
        missed += maps.truth[i] && !mask[i];
        extra += mask[i] && !maps.truth[i];
    }
    EXPECT_EQ(missed, 0U);
    EXPECT_LT(extra, 4 * 2 * 9 * 4U); // a border of a few voxels
}

// Voxels of two e.s.d. each make a phase that nobody doubts.
TEST(PhaseMask, WeakButEverywhere) {
    const Maps maps(2.5, 15, 2);
    const auto mask = maps::phase_mask(maps.scale, maps.esd, n, n, maps.sample);
    std::size_t missed = 0, inside = 0;
    for (std::size_t i = 0; i < n * n; ++i) {
        inside += maps.truth[i];
        missed += maps.truth[i] && !mask[i];
    }
    EXPECT_LT(static_cast<double>(missed), 0.03 * static_cast<double>(inside));
}

TEST(PhaseMask, RespectsTheSampleAndMissingVoxels) {
    Maps maps(20, 9, 3);
    for (std::size_t i = 0; i < n * n; ++i)
        if (i % n < 30) {
            maps.sample[i] = 0;
            maps.scale[i] = maps.esd[i] = std::numeric_limits<double>::quiet_NaN();
        }
    const auto mask = maps::phase_mask(maps.scale, maps.esd, n, n, maps.sample);
    for (std::size_t i = 0; i < n * n; ++i)
        EXPECT_FALSE(mask[i] && !maps.sample[i]);
}

TEST(PhaseMask, NothingThere) {
    std::vector<double> zero(n * n, 0.0), esd(n * n, 1.0);
    const std::vector<unsigned char> sample(n * n, 1);
    for (const auto value : maps::phase_mask(zero, esd, n, n, sample))
        EXPECT_EQ(value, 0);
    EXPECT_THROW(maps::phase_mask(zero, esd, n, n + 1, sample), Error);
}

} // namespace
