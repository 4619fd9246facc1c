// SPDX-License-Identifier: BSD-3-Clause
#include "base/units.hpp"
#include "inspection/contents.hpp"
#include "inspection/order.hpp"
#include "inspection/steadiness.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::inspection {
namespace {

constexpr std::size_t n_translation = 80;

struct Scan {
    std::vector<double> rotation;
    std::vector<float> sinogram;

    std::vector<std::size_t> rows() const {
        std::vector<std::size_t> list(rotation.size());
        std::iota(list.begin(), list.end(), std::size_t{0});
        return list;
    }
    std::span<float> row(std::size_t i) {
        return std::span<float>(sinogram).subspan(i * n_translation, n_translation);
    }
};

/// A disc with three small ones in it, counted; `range` [deg] without its end.
Scan scan(std::size_t n, double range, double counts = 1000) {
    Scan result;
    std::mt19937 generator(5);
    const std::vector<std::array<double, 4>> discs{
        {0, 0, 30, 1}, {12, 5, 4, 1.5}, {-8, 10, 3, 2}, {3, -16, 5, 1}};
    for (std::size_t i = 0; i < n; ++i) {
        const double angle = range * static_cast<double>(i) / static_cast<double>(n);
        result.rotation.push_back(angle);
        for (std::size_t t = 0; t < n_translation; ++t) {
            double path = 0;
            for (const auto& [x, y, radius, density] : discs) {
                const double centre =
                    x * std::cos(radians(angle)) + y * std::sin(radians(angle)) + 39.5;
                const double off = static_cast<double>(t) - centre;
                path += density * 2 * std::sqrt(std::max(0.0, radius * radius - off * off));
            }
            std::poisson_distribution<int> noise(1 + counts * path / 60);
            result.sinogram.push_back(static_cast<float>(noise(generator)));
        }
    }
    return result;
}

void shuffle(Scan& s) {
    std::mt19937 generator(9);
    auto order = s.rows();
    std::ranges::shuffle(order, generator);
    const Scan before = s;
    for (std::size_t i = 0; i < order.size(); ++i)
        std::ranges::copy(
            std::span(before.sinogram).subspan(order[i] * n_translation, n_translation),
            s.row(i).begin());
}

std::vector<Finding> order_of(const Scan& s) {
    const auto rows = s.rows();
    return judge(compare_projections(rows, s.sinogram, n_translation));
}

TEST(Order, ProjectionsInAnotherOrderThanTheirAnglesAreSeen) {
    for (const double counts : {30.0, 1000.0})
        for (const double range : {180.0, 360.0}) {
            auto s = scan(90, range, counts);
            EXPECT_TRUE(order_of(s).empty()) << counts << " " << range;
            shuffle(s);
            const auto findings = order_of(s);
            ASSERT_EQ(findings.size(), 1U) << counts << " " << range;
            EXPECT_EQ(findings[0].kind, Kind::order);
        }
}

TEST(Order, NoiseAloneHasNone) {
    Scan s = scan(90, 180);
    std::mt19937 generator(3);
    std::poisson_distribution<int> noise(50);
    for (float& value : s.sinogram)
        value = static_cast<float>(noise(generator));
    EXPECT_TRUE(order_of(s).empty());
}

TEST(Order, TwoProjectionsThatChangedPlacesAreNamed) {
    auto s = scan(90, 180);
    EXPECT_TRUE(check_places(s.rotation, s.sinogram, n_translation).empty());
    std::swap_ranges(s.row(20).begin(), s.row(20).end(), s.row(60).begin());
    const auto findings = check_places(s.rotation, s.sinogram, n_translation);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].index, 20U);
    EXPECT_NEAR(findings[0].position, 120, 4);
}

TEST(AngleScale, GradiansAndTwiceTheAnglesAreNamed) {
    for (const double range : {180.0, 360.0}) {
        const auto good = scan(90, range);
        EXPECT_TRUE(check_angle_scale(good.rotation, good.sinogram, n_translation).empty());
        auto gradians = good;
        for (double& angle : gradians.rotation)
            angle /= 0.9;
        const auto findings =
            check_angle_scale(gradians.rotation, gradians.sinogram, n_translation);
        ASSERT_EQ(findings.size(), 1U) << range;
        EXPECT_DOUBLE_EQ(findings[0].factor, 0.9);
    }
    auto twice = scan(90, 180);
    for (double& angle : twice.rotation)
        angle *= 2;
    const auto findings = check_angle_scale(twice.rotation, twice.sinogram, n_translation);
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_DOUBLE_EQ(findings[0].factor, 0.5);
}

TEST(AngleScale, AScanOverTwoHundredDegreesIsOne) {
    const auto s = scan(100, 200);
    EXPECT_TRUE(check_angle_scale(s.rotation, s.sinogram, n_translation).empty());
}

TEST(Steadiness, DriftAndSlipsAreSeen) {
    const auto good = scan(90, 180);
    EXPECT_TRUE(check_steadiness(good.rotation, good.sinogram, n_translation).empty());
    auto drift = good;
    for (std::size_t i = 0; i < 90; ++i)
        for (float& value : drift.row(i))
            value *= 1 - 0.005F * static_cast<float>(i);
    auto findings = check_steadiness(drift.rotation, drift.sinogram, n_translation);
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].kind, Kind::drift);
    auto slip = good;
    for (std::size_t i = 45; i < 90; ++i)
        std::ranges::rotate(slip.row(i), slip.row(i).begin() + 3);
    findings = check_steadiness(slip.rotation, slip.sinogram, n_translation);
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].kind, Kind::moved);
    EXPECT_EQ(findings[0].index, 45U);
    EXPECT_NEAR(findings[0].value, -3, 0.5);
}

TEST(Contents, BlanksAreCounted) {
    auto s = scan(90, 180);
    const std::vector<double> two_theta{1, 2, 3, 4}, pattern{1, 2, 3, 4};
    const auto blanks = [&](const std::vector<double>& y) {
        return check_blanks(s.rotation, s.sinogram, n_translation, two_theta, y);
    };
    EXPECT_TRUE(blanks(pattern).empty());
    EXPECT_EQ(blanks({1, 2, 0, 0}).at(0).kind, Kind::empty_channels);
    std::ranges::fill(s.row(7), 0.0F);
    EXPECT_EQ(blanks(pattern).at(0).kind, Kind::empty_projections);
    EXPECT_EQ(blanks(pattern).at(0).index, 7U);
    for (std::size_t i = 0; i < 90; ++i)
        s.row(i)[40] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(blanks(pattern).at(1).kind, Kind::empty_rays);
    EXPECT_EQ(blanks(pattern).at(1).index, 40U);
}

TEST(Contents, ClippedConstantAndNegativeValuesAreSeen) {
    std::mt19937 generator(2);
    std::exponential_distribution<float> tail(0.01F);
    ValueCounts counts, clipped, constant;
    for (int i = 0; i < 100000; ++i) {
        const float value = std::floor(tail(generator)) + 1;
        counts.add(value);
        clipped.add(std::min(value, 255.0F));
        constant.add(7);
    }
    const std::vector<double> pattern(50, 100.0);
    EXPECT_TRUE(check_values(counts, pattern).empty());
    EXPECT_EQ(check_values(clipped, pattern).at(0).kind, Kind::saturated);
    EXPECT_EQ(check_values(constant, pattern).at(0).kind, Kind::no_signal);
    std::vector<double> below(50, -30.0);
    below[25] = 100;
    EXPECT_EQ(check_values(counts, below).at(0).kind, Kind::negative);
}

TEST(Contents, ATransmissionIsAFraction) {
    std::vector<float> good, percent, logarithm, inverse;
    for (std::size_t i = 0; i < 20 * n_translation; ++i) {
        const double off = (static_cast<double>(i % n_translation) - 39.5) / 35;
        const double path = off * off < 1 ? 1.5 * std::sqrt(1 - off * off) : 0;
        good.push_back(static_cast<float>(std::exp(-path)));
        percent.push_back(100 * good.back());
        logarithm.push_back(static_cast<float>(path));
        inverse.push_back(1 / good.back());
    }
    EXPECT_TRUE(check_transmission(good, n_translation).empty());
    EXPECT_DOUBLE_EQ(check_transmission(percent, n_translation).at(0).factor, 0.01);
    EXPECT_DOUBLE_EQ(check_transmission(logarithm, n_translation).at(0).factor, 0);
    EXPECT_DOUBLE_EQ(check_transmission(inverse, n_translation).at(0).factor, -1);
}

} // namespace
} // namespace xrdct::inspection
