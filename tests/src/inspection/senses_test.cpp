// SPDX-License-Identifier: BSD-3-Clause
#include "base/units.hpp"
#include "inspection/sense.hpp"

#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::inspection {
namespace {

/// A line of a grain [deg 2θ] at a depth [mm], with parallax.
double shifted(double two_theta, double depth, double distance) {
    return degrees(std::atan((1 - depth / distance) * std::tan(radians(two_theta))));
}

std::vector<double> gaussian(const std::vector<double>& two_theta, double centre, double width) {
    std::vector<double> y;
    for (const double x : two_theta)
        y.push_back(std::exp(-4 * std::log(2.0) * std::pow((x - centre) / width, 2)));
    return y;
}

double weighted(const std::vector<double>& weights, const std::vector<double>& pattern) {
    return std::inner_product(weights.begin(), weights.end(), pattern.begin(), 0.0);
}

TEST(Senses, MomentsOfALineAreItsIntensityAndDepth) {
    std::vector<double> two_theta;
    for (int k = 0; k < 400; ++k)
        two_theta.push_back(1 + 0.005 * k);
    const double distance = 700, width = 0.05;
    const auto mean = gaussian(two_theta, 2, width);
    const std::vector<ObservedLine> lines{{2.0, 1.0, width, 200}};
    const auto weights = moment_weights(lines, two_theta, mean, distance);
    const double area = weighted(weights.intensity, mean);
    // What lies within 0.7 widths, above the line's own tails.
    EXPECT_NEAR(area, width / 0.005 * std::sqrt(pi / (4 * std::log(2.0))), 0.3 * area);
    EXPECT_NEAR(weighted(weights.depth, mean), 0, 1e-9 * area);
    for (const double depth : {-2.0, 1.0}) {
        const auto there = gaussian(two_theta, shifted(2, depth, distance), width);
        EXPECT_NEAR(weighted(weights.depth, there) / area / depth, 0.6, 0.05);
    }
    // A level and a slope are no line.
    const std::vector<double> level(two_theta.size(), 3.0);
    EXPECT_NEAR(weighted(weights.intensity, level), 0, 1e-9);
    EXPECT_NEAR(weighted(weights.depth, level), 0, 1e-9);
}

/// Moments of a body of grains [mm, amount], thin or thick, seen by rays 0.1 mm apart.
struct GrainScan {
    static constexpr std::size_t n = 60;
    std::vector<std::size_t> index;
    std::vector<double> omega;
    std::vector<float> intensity, depth;

    GrainScan(const std::vector<std::array<double, 3>>& grains, std::size_t rotations, double noise,
              int sense = 1) {
        std::mt19937_64 random(7);
        std::normal_distribution<double> normal(0, noise);
        for (std::size_t i = 0; i < rotations; ++i) {
            const double angle = pi * static_cast<double>(i) / static_cast<double>(rotations);
            index.push_back(i);
            omega.push_back(angle);
            for (std::size_t j = 0; j < n; ++j) {
                const double t = 0.1 * (static_cast<double>(j) - 0.5 * (n - 1));
                double sum = 0, moment = 0;
                for (const auto& [x, y, amount] : grains) {
                    const double turned = sense * angle,
                                 s = x * std::cos(turned) + y * std::sin(turned),
                                 z = -x * std::sin(turned) + y * std::cos(turned);
                    const double share = amount * std::exp(-0.5 * std::pow((s - t) / 0.2, 2));
                    sum += share;
                    moment += share * z;
                }
                intensity.push_back(static_cast<float>(sum + normal(random)));
                depth.push_back(static_cast<float>(moment + 3 * normal(random)));
            }
        }
    }
    double agreement(double step = 0.1) const {
        return agreement_of_senses(index, omega, intensity, depth, n, step);
    }
};

std::vector<std::array<double, 3>> scattered(std::size_t count) {
    std::mt19937_64 random(3);
    std::uniform_real_distribution<double> place(-2, 2), amount(0.5, 1.5);
    std::vector<std::array<double, 3>> grains;
    while (grains.size() < count)
        grains.push_back({place(random), place(random), amount(random)});
    return grains;
}

TEST(Senses, AReversedSenseIsSeen) {
    const auto grains = scattered(40);
    const double right = GrainScan(grains, 60, 0.3).agreement();
    EXPECT_GT(right, 5);
    EXPECT_TRUE(check_senses(right).empty());
    const double reversed = GrainScan(grains, 60, 0.3, -1).agreement();
    EXPECT_LT(reversed, -5);
    ASSERT_EQ(check_senses(reversed).size(), 1U);
    EXPECT_EQ(check_senses(reversed).front().kind, Kind::senses);
    EXPECT_LT(GrainScan(grains, 60, 0.3).agreement(-0.1), -5);
    EXPECT_GT(GrainScan(grains, 60, 0.3, -1).agreement(-0.1), 5);
}

TEST(Senses, NothingIsSaidWhereNothingTells) {
    // A ring is the same from all sides; noise has no sense.
    std::vector<std::array<double, 3>> ring;
    for (int i = 0; i < 720; ++i)
        ring.push_back({2 * std::cos(i * pi / 360), 2 * std::sin(i * pi / 360), 0.05});
    EXPECT_LT(std::abs(GrainScan(ring, 60, 0.3).agreement()), 4);
    EXPECT_TRUE(check_senses(GrainScan(scattered(40), 60, 300).agreement()).empty());
    EXPECT_TRUE(check_senses(GrainScan(scattered(40), 60, 300, -1).agreement()).empty());
    EXPECT_TRUE(std::isnan(GrainScan(scattered(40), 8, 0.3).agreement()));
    EXPECT_TRUE(check_senses(Finding::none).empty());
}

} // namespace
} // namespace xrdct::inspection
