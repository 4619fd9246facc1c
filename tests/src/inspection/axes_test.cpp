// SPDX-License-Identifier: BSD-3-Clause
#include "base/units.hpp"
#include "inspection/half_turn.hpp"
#include "inspection/magnitudes.hpp"
#include "inspection/sample_extent.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::inspection {
namespace {

Magnitudes usual() {
    return {.energy = 80,
            .distance = 1000,
            .translation_range = 18,
            .translation_step = 0.1,
            .beam_width = 0.1,
            .two_theta_max = 8};
}

/// The only finding, or a test failure.
Finding only(const std::vector<Finding>& findings) {
    EXPECT_EQ(findings.size(), 1U);
    return findings.empty() ? Finding{} : findings.front();
}

TEST(Magnitudes, ThoseOfAnExperimentPassInSilence) {
    EXPECT_TRUE(check_magnitudes(usual()).empty());
    auto magnitudes = usual();
    magnitudes.distance = 1e9; // no parallax
    magnitudes.beam_width = 0;
    EXPECT_TRUE(check_magnitudes(magnitudes).empty());
    magnitudes.energy = magnitudes.distance = magnitudes.two_theta_max = Finding::none;
    EXPECT_TRUE(check_magnitudes(magnitudes).empty());
}

TEST(Magnitudes, AnEnergyInElectronvoltIsAnErrorWithItsFactor) {
    auto magnitudes = usual();
    magnitudes.energy = 80000;
    const auto finding = only(check_magnitudes(magnitudes));
    EXPECT_EQ(finding.kind, Kind::energy);
    EXPECT_EQ(finding.severity, Severity::error);
    EXPECT_DOUBLE_EQ(finding.factor, 1e-3);
}

TEST(Magnitudes, LengthsInOtherUnitsAreFoundWithTheirFactors) {
    auto magnitudes = usual();
    magnitudes.distance = 1; // m
    auto finding = only(check_magnitudes(magnitudes));
    EXPECT_EQ(finding.kind, Kind::distance);
    EXPECT_EQ(finding.severity, Severity::error);
    EXPECT_DOUBLE_EQ(finding.factor, 1e3);
    magnitudes.distance = 1e6; // um
    EXPECT_EQ(only(check_magnitudes(magnitudes)).severity, Severity::warning);

    magnitudes = usual();
    magnitudes.translation_range *= 1e-3;
    magnitudes.translation_step *= 1e-3;
    magnitudes.beam_width *= 1e-3;
    finding = only(check_magnitudes(magnitudes));
    EXPECT_EQ(finding.kind, Kind::translation_range);
    EXPECT_DOUBLE_EQ(finding.factor, 1e3);

    magnitudes = usual();
    magnitudes.beam_width = 100; // um
    EXPECT_EQ(only(check_magnitudes(magnitudes)).kind, Kind::beam_width);
    magnitudes = usual();
    magnitudes.two_theta_max = radians(8);
    finding = only(check_magnitudes(magnitudes));
    EXPECT_EQ(finding.kind, Kind::two_theta_range);
    EXPECT_NEAR(finding.factor, degrees(1), 1e-9);
}

std::vector<double> angles(double range, std::size_t n) {
    std::vector<double> result;
    for (std::size_t i = 0; i < n; ++i)
        result.push_back(range * static_cast<double>(i) / static_cast<double>(n));
    return result;
}

TEST(Rotations, HalfAndFullTurnsWithSomeMissingPass) {
    for (const double range : {180.0, 360.0, -180.0, 190.0}) {
        auto rotation = angles(range, 60);
        EXPECT_TRUE(check_rotations(rotation).empty()) << range;
        rotation.erase(rotation.begin() + 20, rotation.begin() + 30);
        EXPECT_TRUE(check_rotations(rotation).empty()) << range;
    }
}

TEST(Rotations, RadiansTurnsGapsAndRepeatsAreFound) {
    for (const double turn : {pi, 2 * pi}) {
        const auto finding = only(check_rotations(angles(turn, 90)));
        EXPECT_EQ(finding.kind, Kind::rotation_range);
        EXPECT_EQ(finding.severity, Severity::error);
        EXPECT_NEAR(finding.factor, degrees(1), 1e-9);
    }
    EXPECT_DOUBLE_EQ(only(check_rotations(angles(1, 90))).factor, 360);
    EXPECT_EQ(only(check_rotations(angles(90, 45))).kind, Kind::rotation_gap);
    auto rotation = angles(180, 90);
    rotation.insert(rotation.begin() + 11, rotation[10] + 1e-4);
    const auto finding = only(check_rotations(rotation));
    EXPECT_EQ(finding.kind, Kind::rotation_spacing);
    EXPECT_EQ(finding.index, 11U);
}

constexpr std::size_t n_translation = 61;

/// Projections of three Gaussian grains in a disc, the axis 1.5 steps off the middle, with noise;
/// [rotation][translation].
std::vector<float> sinogram(const std::vector<double>& rotation) {
    std::mt19937 engine(1);
    std::normal_distribution<double> noise(0, 0.01);
    std::vector<float> result;
    for (const double angle : rotation)
        for (std::size_t t = 0; t < n_translation; ++t) {
            const double s = static_cast<double>(t) - 31.5;
            double value = 0.5 + 0.1 * std::sqrt(std::max(0.0, 24 * 24 - s * s));
            for (const auto& [x, y, height] :
                 {std::array{12.0, 0.0, 2.0}, std::array{-5.0, 9.0, 1.5},
                  std::array{2.0, -14.0, 3.0}}) {
                const double d = s - x * std::cos(radians(angle)) - y * std::sin(radians(angle));
                value += height * std::exp(-0.5 * d * d / 6.25);
            }
            result.push_back(static_cast<float>(value + noise(engine)));
        }
    return result;
}

std::vector<Finding> judged(const std::vector<double>& stated, const std::vector<float>& data) {
    const double step = std::abs(stated[1] - stated[0]);
    return judge(compare_half_turn(stated, data, n_translation, step));
}

TEST(HalfTurn, ProjectionsOfAGoodScanMirrorEachOther) {
    for (const double range : {180.0, 360.0, -180.0}) {
        const auto rotation = angles(range, 90);
        const auto data = sinogram(rotation);
        EXPECT_TRUE(judged(rotation, data).empty()) << range;
        EXPECT_TRUE(check_axes(data, n_translation).empty());
        EXPECT_TRUE(check_ends(data, n_translation).empty());
    }
}

TEST(HalfTurn, WrongAnglesAreFound) {
    EXPECT_EQ(only(judged(angles(360, 90), sinogram(angles(180, 90)))).kind, Kind::not_mirrored);
    EXPECT_EQ(only(judged(angles(200, 100), sinogram(angles(180, 100)))).kind, Kind::not_mirrored);
    EXPECT_EQ(only(judged(angles(180, 90), sinogram(angles(360, 90)))).kind, Kind::turn_mistaken);
}

TEST(HalfTurn, EverySecondProjectionBackwardsIsFound) {
    const auto rotation = angles(180, 90);
    auto data = sinogram(rotation);
    for (std::size_t i = 1; i < rotation.size(); i += 2)
        std::reverse(data.begin() + static_cast<std::ptrdiff_t>(i * n_translation),
                     data.begin() + static_cast<std::ptrdiff_t>((i + 1) * n_translation));
    EXPECT_EQ(only(judged(rotation, data)).kind, Kind::zigzag);
}

TEST(Axes, ExchangedOnesAreAnError) {
    const auto rotation = angles(180, 90);
    const auto data = sinogram(rotation);
    std::vector<float> turned(data.size());
    for (std::size_t i = 0; i < 90; ++i)
        for (std::size_t t = 0; t < n_translation; ++t)
            turned[t * 90 + i] = data[i * n_translation + t];
    const auto finding = only(check_axes(turned, 90));
    EXPECT_EQ(finding.kind, Kind::axes_swapped);
    EXPECT_EQ(finding.severity, Severity::error);
}

TEST(Ends, ABodyThatIsCutOffIsFoundAtItsSide) {
    const auto data = sinogram(angles(180, 90));
    std::vector<float> cut;
    for (std::size_t i = 0; i < 90; ++i)
        for (std::size_t t = 20; t < n_translation; ++t)
            cut.push_back(data[i * n_translation + t] - 0.5F);
    const auto finding = only(check_ends(cut, n_translation - 20));
    EXPECT_EQ(finding.kind, Kind::no_air);
    EXPECT_EQ(finding.index, 0U);
}

TEST(Ends, ARayThatGrazesTheRimIsNone) {
    std::vector<float> data;
    for (int i = 0; i < 20; ++i)
        for (int t = 0; t < 24; ++t)
            data.push_back(t == 0 || t == 23 ? 0.3F : t == 1 || t == 22 ? 1.4F : 1.0F);
    EXPECT_TRUE(check_ends(data, 24).empty());
}

} // namespace
} // namespace xrdct::inspection
