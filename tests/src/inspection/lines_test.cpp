// SPDX-License-Identifier: BSD-3-Clause
#include "base/units.hpp"
#include "inspection/lines.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::inspection {
namespace {

constexpr double wavelength = 0.155; // Å
constexpr std::size_t n_channel = 700;

std::vector<double> axis() {
    std::vector<double> result;
    for (std::size_t k = 0; k < n_channel; ++k)
        result.push_back(2 + 0.012 * static_cast<double>(k));
    return result;
}

/// Lines of a face-centred and a body-centred cubic metal.
std::vector<ExpectedPhase> metals() {
    ExpectedPhase copper, iron;
    for (const int n : {3, 4, 8, 11, 12, 16, 19, 20}) {
        copper.spacing.push_back(3.615 / std::sqrt(n));
        copper.intensity.push_back(3.0 / n);
    }
    for (const int n : {2, 4, 6, 8, 10, 12}) {
        iron.spacing.push_back(2.867 / std::sqrt(n));
        iron.intensity.push_back(2.0 / n);
    }
    return {copper, iron};
}

double angle(double spacing) {
    return 2 * degrees(std::asin(wavelength / (2 * spacing)));
}

void add_line(std::vector<double>& pattern, double position, double height, double sigma = 0.025) {
    const auto x = axis();
    for (std::size_t k = 0; k < n_channel; ++k)
        pattern[k] += height * std::exp(-0.5 * std::pow((x[k] - position) / sigma, 2));
}

/// The metals' lines on a background with a broad halo.
std::vector<double> pattern() {
    std::vector<double> result(n_channel, 20.0);
    add_line(result, 4, 30, 0.8);
    for (const auto& phase : metals())
        for (std::size_t i = 0; i < phase.spacing.size(); ++i)
            add_line(result, angle(phase.spacing[i]), 100 * phase.intensity[i]);
    return result;
}

std::vector<Finding> checked(const std::vector<double>& y, double stated) {
    const auto x = axis();
    return check_lines(find_lines(x, y, 0.02), {stated, metals(), {}, 0.005}, x.front(), x.back());
}

TEST(Lines, TheyAreFoundWhereTheyAreWithHeightAndWidth) {
    std::vector<double> y(n_channel, 20.0);
    add_line(y, 4, 30, 0.8);
    add_line(y, 5.003, 100);
    add_line(y, 7.5, 10);
    add_line(y, 8, 1);
    const auto lines = find_lines(axis(), y, 0.02);
    ASSERT_EQ(lines.size(), 2U); // neither the halo nor the line below two percent
    EXPECT_NEAR(lines[0].position, 5.003, 0.002);
    EXPECT_NEAR(lines[0].height, 100, 15);
    EXPECT_NEAR(lines[0].width, 2.355 * 0.025, 0.01);
    EXPECT_NEAR(lines[1].position, 7.5, 0.002);
}

TEST(Lines, ThoseOfTheJobsPhasesPassInSilence) {
    EXPECT_TRUE(checked(pattern(), wavelength).empty());
    EXPECT_TRUE(checked(pattern(), 1.002 * wavelength).empty());
}

TEST(Lines, AWavelengthThatExplainsThemAllIsNamed) {
    for (const double wrong : {0.8, 0.92, 1.08, 1.25}) {
        const auto findings = checked(pattern(), wrong * wavelength);
        ASSERT_EQ(findings.size(), 1U) << wrong;
        EXPECT_EQ(findings[0].kind, Kind::lines_unexplained);
        EXPECT_NEAR(findings[0].factor * wrong, 1, 0.006) << wrong;
        EXPECT_GT(findings[0].limit, 0.95);
    }
}

TEST(Lines, ScatteringVectorsTakenForAnglesAreFound) {
    const auto x = axis();
    std::vector<double> q;
    for (const double a : x)
        q.push_back(4 * pi / wavelength * std::sin(0.5 * radians(a)));
    const auto findings = check_lines(find_lines(q, pattern(), 0.02), {wavelength, metals(), {}, 0},
                                      q.front(), q.back());
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].kind, Kind::radial_axis);
    EXPECT_EQ(findings[0].meaning, RadialMeaning::q_per_angstrom);
}

TEST(Lines, OneThatNothingExplainsIsNamedUnlessThePeaksDo) {
    auto y = pattern();
    const double place = 5.6;
    add_line(y, place, 25);
    const auto findings = checked(y, wavelength);
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].kind, Kind::strange_line);
    EXPECT_NEAR(findings[0].position, place, 0.01);
    EXPECT_NEAR(findings[0].value, 0.25, 0.08);
    const auto x = axis();
    EXPECT_TRUE(check_lines(find_lines(x, y, 0.02),
                            {wavelength, metals(), {{place + 0.05, 0.1}}, 0.005}, x.front(),
                            x.back())
                    .empty());
}

std::vector<ExpectedPhase> known_metals() {
    auto phases = metals();
    for (auto& phase : phases)
        phase.known = true;
    return phases;
}

std::vector<Finding> stretched(const std::vector<double>& x, const std::vector<double>& y,
                               double stated, double parallax = 0) {
    return check_stretch(find_lines(x, without_shoulders(x, y, parallax), 0.01),
                         {stated, known_metals(), {}, parallax}, x.front(), x.back());
}

TEST(Stretch, AWavelengthAPercentOffIsNamedWithTheRightOne) {
    EXPECT_TRUE(stretched(axis(), pattern(), wavelength).empty());
    EXPECT_TRUE(stretched(axis(), pattern(), 1.001 * wavelength).empty());
    for (const double wrong : {0.97, 0.985, 1.01, 1.03, 1.08}) {
        const auto findings = stretched(axis(), pattern(), wrong * wavelength);
        ASSERT_EQ(findings.size(), 1U) << wrong;
        EXPECT_EQ(findings[0].kind, Kind::stretch);
        EXPECT_NEAR(findings[0].factor * wrong, 1, 0.001) << wrong;
        EXPECT_EQ(findings[0].index, 2U);
    }
}

TEST(Stretch, AShiftOfTheAxisIsOne) {
    auto x = axis();
    for (double& angle : x)
        angle += 0.02;
    const auto findings = stretched(x, pattern(), wavelength);
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_NEAR(findings[0].position, 0.02, 0.004);
}

TEST(Stretch, ShouldersOfParallaxAreNone) {
    const double parallax = 0.006;
    std::vector<double> y(n_channel, 20.0);
    for (const auto& phase : metals())
        for (std::size_t i = 0; i < phase.spacing.size(); ++i) {
            const double place = angle(phase.spacing[i]);
            const double off =
                degrees(parallax * std::sin(radians(place)) * std::cos(radians(place)));
            for (const double side : {-1.0, 1.0})
                add_line(y, place + side * off, 50 * phase.intensity[i], 0.015);
        }
    EXPECT_TRUE(stretched(axis(), y, wavelength, parallax).empty());
    EXPECT_EQ(stretched(axis(), y, 1.02 * wavelength, parallax).size(), 1U);
}

TEST(Stretch, CellsThatAreNotKnownDoNotTell) {
    const auto x = axis();
    EXPECT_TRUE(check_stretch(find_lines(x, pattern(), 0.01), {1.02 * wavelength, metals(), {}, 0},
                              x.front(), x.back())
                    .empty());
}

TEST(Presence, APhaseWithoutALineIsNamed) {
    auto phases = known_metals();
    phases.push_back({{4.157, 2.939, 2.4}, {0.6, 1, 0.5}, true, "stranger"});
    const auto x = axis();
    const auto lines = find_lines(x, pattern(), 0.001);
    const auto findings = check_presence(lines, {wavelength, phases, {}, 0}, x.front(), x.back());
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].index, 2U);
}

TEST(Lines, OneThatIsTooStrongForThePhaseThereIsNamed) {
    auto y = pattern();
    add_line(y, angle(3.615 / std::sqrt(11.0)), 200);
    const auto x = axis();
    const auto findings = check_lines(find_lines(x, y, 0.02), {wavelength, known_metals(), {}, 0},
                                      x.front(), x.back());
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_EQ(findings[0].kind, Kind::strange_line);
    EXPECT_LT(findings[0].limit, 0.34);
}

} // namespace
} // namespace xrdct::inspection
