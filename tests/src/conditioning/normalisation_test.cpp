// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "conditioning/normalisation.hpp"
#include "conditioning/stripes.hpp"

#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

using namespace xrdct;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

TEST(Flux, FactorsTakeTheDecayOut) {
    std::vector<double> monitor;
    for (int i = 0; i < 1000; ++i)
        monitor.push_back(5e5 * std::exp(-0.001 * i));
    monitor[10] = 0;
    monitor[20] = missing;
    monitor[30] = 100; // a beam dump
    const auto flux = conditioning::flux_factors(monitor, 0.1);
    EXPECT_EQ(flux.masked, 3U);
    for (const std::size_t i : {10UL, 20UL, 30UL})
        EXPECT_TRUE(std::isnan(flux.factor[i]));
    EXPECT_NEAR(flux.first_to_last, std::exp(-0.9), 0.01);
    for (std::size_t i = 40; i < 1000; ++i)
        ASSERT_NEAR(flux.factor[i] * monitor[i] / flux.mean, 1, 1e-6);
    const std::vector<double> none{0, -1, missing};
    EXPECT_THROW(conditioning::flux_factors(none, 0.1), Error);
}

TEST(DeadTime, BothModelsReturnTheTrueCounts) {
    const double exposure = 0.01, tau = 1e-6;
    for (const double truth : {0.0, 1.0, 100.0, 3000.0, 8000.0}) {
        const double loss = truth * tau / exposure;
        const auto a = correct_dead_time(truth / (1 + loss), exposure, tau,
                                         conditioning::DeadTimeModel::non_paralysable);
        EXPECT_NEAR(a.value, truth, 1e-9 * (1 + truth));
        const auto b = correct_dead_time(truth * std::exp(-loss), exposure, tau,
                                         conditioning::DeadTimeModel::paralysable);
        EXPECT_NEAR(b.value, truth, 1e-6 * (1 + truth));
        // Derivatives against differences.
        for (const auto model : {conditioning::DeadTimeModel::non_paralysable,
                                 conditioning::DeadTimeModel::paralysable}) {
            const double m = truth * 0.3 + 1;
            const auto at = [&](double x) { return correct_dead_time(x, exposure, tau, model); };
            EXPECT_NEAR(at(m).derivative, (at(m + 0.5).value - at(m - 0.5).value), 1e-4);
        }
    }
    EXPECT_TRUE(std::isnan(
        correct_dead_time(2e4, exposure, tau, conditioning::DeadTimeModel::non_paralysable).value));
    EXPECT_TRUE(std::isnan(
        correct_dead_time(4000, exposure, tau, conditioning::DeadTimeModel::paralysable).value));
}

TEST(Transmission, IsOneInAir) {
    std::vector<double> counts;
    for (int r = 0; r < 10; ++r)
        for (int t = 0; t < 20; ++t)
            counts.push_back((1000.0 - 30 * r) * (t >= 5 && t < 15 ? 0.6 : 1.0));
    const auto result = conditioning::relative_transmission(counts, 10, 20, 3);
    EXPECT_NEAR(result[7 * 20 + 10], 0.6, 1e-12);
    EXPECT_NEAR(result[9 * 20], 1, 1e-12);
    EXPECT_THROW(conditioning::relative_transmission(std::vector<double>(200, 0.0), 10, 20, 3),
                 Error);
}

TEST(Scaling, BringsProjectionsToOneTotalWithGaps) {
    std::vector<float> map;
    for (int r = 0; r < 20; ++r)
        for (int t = 0; t < 40; ++t)
            map.push_back(
                (1 + 0.02F * static_cast<float>(r % 5)) *
                std::sqrt(std::max(0.0F, 225.0F - static_cast<float>((t - 20) * (t - 20)))));
    map[3 * 40 + 18] = std::numeric_limits<float>::quiet_NaN();
    for (int t = 10; t < 20; ++t)
        map[7 * 40 + static_cast<std::size_t>(t)] = std::numeric_limits<float>::quiet_NaN();
    const auto factors = conditioning::projection_factors(map, 20, 40);
    EXPECT_EQ(factors.undetermined, 1U);
    EXPECT_EQ(factors.factor[7], 1);
    EXPECT_NEAR(factors.factor[3] / factors.factor[8], 1, 2e-3); // interpolated over its gap
    EXPECT_NEAR(factors.factor[0] / factors.factor[4], 1.08, 1e-4);
    EXPECT_THROW(conditioning::projection_factors(std::vector<float>(800, 0.0F), 20, 40), Error);
}

TEST(Channels, ConstantAndMissingOnesAreDead) {
    conditioning::ChannelStatistics statistics(4);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    statistics.add(std::vector<float>{1, 0, nan, 5, 2, 0, nan, 5});
    statistics.add(std::vector<float>{3, 0, nan, nan, 2, 0, nan, 5});
    EXPECT_EQ(statistics.dead(), (std::vector<unsigned char>{0, 1, 1, 1}));
    EXPECT_EQ(statistics.mean()[0], 2);
    EXPECT_TRUE(std::isnan(statistics.mean()[2]));
}

/// A can with a wall, an inclusion and counting noise; gains on two translations.
std::vector<float> walled(double noise, std::size_t n_r, std::size_t n_t) {
    std::mt19937 random(5);
    std::normal_distribution<double> normal(0, noise);
    std::vector<float> map;
    const double middle = 0.5 * (static_cast<double>(n_t) - 1),
                 outer = 0.42 * static_cast<double>(n_t);
    for (std::size_t r = 0; r < n_r; ++r)
        for (std::size_t t = 0; t < n_t; ++t) {
            const double s = static_cast<double>(t) - middle;
            const double omega = 3.14159265 * static_cast<double>(r) / static_cast<double>(n_r);
            const double bar = s - 10 * std::cos(omega);
            const double chord = std::sqrt(std::max(0.0, outer * outer - s * s));
            const double wall = chord - std::sqrt(std::max(0.0, (outer - 2) * (outer - 2) - s * s));
            const double value = chord + 6 * wall + 5 * std::exp(-bar * bar / 8);
            map.push_back(static_cast<float>(value * (1 + normal(random))));
        }
    return map;
}

TEST(Stripes, AreToldFromTheWallOfACan) {
    constexpr std::size_t n_r = 90, n_t = 81;
    auto map = walled(0.01, n_r, n_t);
    EXPECT_TRUE(conditioning::find_stripes(map, {}, n_t, 40).translations.empty());
    for (std::size_t r = 0; r < n_r; ++r) {
        map[r * n_t + 25] *= 1.1F;
        map[r * n_t + 58] *= 0.93F;
    }
    const auto stripes = conditioning::find_stripes(map, {}, n_t, 40);
    EXPECT_EQ(stripes.translations, (std::vector<std::size_t>{25, 58}));
    EXPECT_NEAR(stripes.factor[25], 1 / 1.1, 0.01);
    EXPECT_NEAR(stripes.factor[58], 1 / 0.93, 0.012);
    EXPECT_EQ(stripes.factor[40], 1);
}

TEST(Stripes, ASampleThatDiffersFromSideToSideHasNone) {
    constexpr std::size_t n_r = 90, n_t = 81;
    auto map = walled(0.01, n_r, n_t);
    for (std::size_t r = 0; r < n_r; ++r)
        for (std::size_t t = 14; t < 19; ++t)
            map[r * n_t + t] *= 0.93F; // five translations beside the wall, as a layer that ends
    for (const double centre : {40.0, 40.03})
        EXPECT_EQ(conditioning::find_stripes(map, {}, n_t, centre).translations,
                  std::vector<std::size_t>{});
}

/// A spiral of layers in a can, three steps of the translation thick, projected by adding up
/// samples along the beam; no noise.
std::vector<float> wound(std::size_t n_r, std::size_t n_t, double centre, double range) {
    const double outer = 0.44 * static_cast<double>(n_t), core = 0.15 * outer, pitch = 3.1;
    const auto density = [&](double x, double y) {
        const double radius = std::hypot(x, y);
        if (radius > outer)
            return 0.0;
        if (radius > outer - 2)
            return 3.0;
        if (radius < core)
            return 0.1;
        const double layer = radius / pitch - std::atan2(y, x) / (2 * 3.14159265358979);
        // coated on one side only for part of the cell, as where a tab is
        const bool bare = x > 0.2 * outer && y > 0 && radius < 0.6 * outer;
        return (layer - std::floor(layer) < 0.5 ? 2.0 : 0.4) * (bare ? 0.7 : 1.0);
    };
    std::vector<float> map;
    for (std::size_t r = 0; r < n_r; ++r) {
        const double omega =
            range * 3.14159265358979 / 180 * static_cast<double>(r) / static_cast<double>(n_r);
        const double c = std::cos(omega), s = std::sin(omega);
        for (std::size_t t = 0; t < n_t; ++t) {
            double sum = 0;
            for (const double part : {-0.375, -0.125, 0.125, 0.375}) {
                const double u = static_cast<double>(t) + part - centre;
                for (double v = -outer; v <= outer; v += 0.25)
                    sum += density(u * c - v * s, u * s + v * c);
            }
            map.push_back(static_cast<float>(sum));
        }
    }
    return map;
}

TEST(Stripes, AreFoundAmongResolvedLayersWhereTheScanMeetsItsBeginning) {
    constexpr std::size_t n_r = 90, n_t = 120;
    for (const auto& [centre, range] :
         {std::pair{59.5, 180.0}, {59.5, 360.0}, {59.3, 180.0}, {60.0, 180.0}}) {
        SCOPED_TRACE(testing::Message() << "centre " << centre << ", range " << range);
        std::vector<double> rotation;
        for (std::size_t r = 0; r < n_r; ++r)
            rotation.push_back(range * static_cast<double>(r) / n_r);
        const auto exact = wound(n_r, n_t, centre, range);
        for (const unsigned seed : {1U, 2U}) {
            std::mt19937 random(seed);
            std::normal_distribution<float> normal(1, 0.003F);
            auto map = exact;
            for (float& value : map)
                value *= normal(random);
            const auto clean = conditioning::find_stripes(map, rotation, n_t, centre);
            EXPECT_TRUE(clean.translations.empty()) << testing::PrintToString(clean.translations);
            EXPECT_TRUE(clean.undecided.empty());
            EXPECT_GE(clean.pairs, 2U);
            const std::pair<std::size_t, float> planted[] = {{30, 1.15F}, {47, 0.88F}, {82, 0.87F}};
            for (std::size_t r = 0; r < n_r; ++r)
                for (const auto& [t, gain] : planted)
                    map[r * n_t + t] *= gain;
            const auto stripes = conditioning::find_stripes(map, rotation, n_t, centre);
            EXPECT_EQ(stripes.translations, (std::vector<std::size_t>{30, 47, 82}));
            for (const auto& [t, gain] : planted)
                EXPECT_NEAR(stripes.factor[t] * gain, 1, 0.025) << t;
        }
    }
    // Without two projections half a turn apart nothing of the kind is claimed.
    const auto map = wound(n_r, n_t, 59.5, 150);
    std::vector<double> rotation;
    for (std::size_t r = 0; r < n_r; ++r)
        rotation.push_back(150.0 * static_cast<double>(r) / n_r);
    EXPECT_EQ(conditioning::find_stripes(map, rotation, n_t, 59.5).pairs, 0U);
    EXPECT_TRUE(conditioning::find_stripes(map, rotation, n_t, 59.5).translations.empty());
}

} // namespace
