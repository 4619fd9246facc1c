// SPDX-License-Identifier: BSD-3-Clause
// A can with a disc of a second phase in it, written down without the library's chords.

#include "absorption/self_absorption.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using namespace xrdct;
using testing::HasSubstr;

constexpr double outer = 3.0, inner = 2.8, disc = 2.3, disc_x = 0.2, disc_y = -0.1;
constexpr double mu_can = 0.27, mu_disc = 0.09, mu_filling = 0.02;
constexpr double constant = 617.0; ///< path [mm] per amount

double chord(double radius, double s) {
    return 2 * std::sqrt(std::max(0.0, radius * radius - s * s));
}

struct Scan {
    tomography::ScanGeometry geometry;
    tomography::ImageGrid grid;
    std::vector<std::vector<float>> amounts; ///< as seen through the sample
    std::vector<float> transmission, total;

    explicit Scan(std::size_t translations, std::size_t rotations, double centre = 0) {
        const double step = 6.6 / static_cast<double>(translations);
        for (std::size_t i = 0; i < rotations; ++i)
            geometry.rotation.push_back(180.0 * static_cast<double>(i) /
                                        static_cast<double>(rotations));
        for (std::size_t j = 0; j < translations; ++j)
            geometry.translation.push_back(
                (static_cast<double>(j) - 0.5 * static_cast<double>(translations - 1)) * step);
        geometry.beam_width = step;
        grid = default_grid(geometry);
        amounts.resize(2);
        for (std::size_t i = 0; i < rotations; ++i) {
            const double omega = geometry.omega(i), shift = centre * std::cos(omega);
            for (std::size_t j = 0; j < translations; ++j) {
                double through = 0, can = 0, inside = 0;
                constexpr int fine = 200;
                for (int k = 0; k < fine; ++k) {
                    // Triangle of step ⊗ beam by its quantiles.
                    const double q = (k + 0.5) / fine;
                    const double u = q < 0.5 ? std::sqrt(2 * q) - 1 : 1 - std::sqrt(2 * (1 - q));
                    const double s = geometry.translation[j] + u * step - shift;
                    const double wall = chord(outer, s) - chord(inner, s);
                    const double core =
                        chord(disc, s - disc_x * std::cos(omega) - disc_y * std::sin(omega));
                    const double t = std::exp(-mu_can * wall - mu_disc * 0.6 * core -
                                              mu_filling * (chord(inner, s) - 0.6 * core));
                    through += t / fine;
                    can += wall * t / fine;
                    inside += 0.6 * core * t / fine;
                }
                transmission.push_back(static_cast<float>(through));
                amounts[0].push_back(static_cast<float>(can / constant));
                amounts[1].push_back(static_cast<float>(inside / constant));
                // What fills the sample scatters a little, too.
                total.push_back(static_cast<float>(
                    can + inside + 0.1 * through * chord(inner, geometry.translation[j] - shift)));
            }
        }
    }
    absorption::SelfAbsorptionInput input() const {
        return {amounts, {mu_can, mu_disc}, total, {}};
    }
};

absorption::SelfAbsorptionOptions options() {
    absorption::SelfAbsorptionOptions o;
    o.filling = mu_filling;
    o.fbp.filter.window = tomography::FilterWindow::hann;
    return o;
}

struct Difference {
    double rms = 0, largest = 0;
};
Difference compare(const std::vector<float>& found, const std::vector<float>& truth) {
    Difference d;
    for (std::size_t i = 0; i < truth.size(); ++i) {
        const double e = found[i] / truth[i] - 1;
        d.rms += e * e;
        d.largest = std::max(d.largest, std::abs(e));
    }
    d.rms = std::sqrt(d.rms / static_cast<double>(truth.size()));
    return d;
}

class Sizes : public testing::TestWithParam<std::size_t> {};

TEST_P(Sizes, TransmissionAndConstantFollowFromTheRing) {
    const Scan scan(GetParam(), 2 * GetParam());
    const auto result = correct_self_absorption(scan.geometry, scan.grid, scan.input(), options());
    EXPECT_TRUE(result.converged);
    const auto difference = compare(result.transmission, scan.transmission);
    EXPECT_LE(difference.rms, 0.006);
    EXPECT_LE(difference.largest, 0.025);
    EXPECT_NEAR(result.constant, constant, 0.01 * constant);
    ASSERT_TRUE(result.wall);
    EXPECT_NEAR(result.wall->outer_radius, outer, 0.1 * scan.geometry.step());
    EXPECT_NEAR(result.wall->inner_radius, inner, 0.1 * scan.geometry.step());
    // The second phase's volume fraction inside its disc.
    double mean = 0;
    std::size_t count = 0;
    for (std::size_t y = 0; y < scan.grid.n; ++y)
        for (std::size_t x = 0; x < scan.grid.n; ++x)
            if (std::hypot(scan.grid.coordinate(x) - disc_x, scan.grid.coordinate(y) - disc_y) <
                disc - 0.4) {
                mean += result.volume_fractions[1][y * scan.grid.n + x];
                ++count;
            }
    EXPECT_NEAR(mean / static_cast<double>(count), 0.6, 0.012);
}
INSTANTIATE_TEST_SUITE_P(SelfAbsorption, Sizes, testing::Values(64, 110));

// A jelly roll: crystals between two radii only, inside them a layer of filling that scatters so
// little that a wrong hollow makes a total image that agrees with it, and a hollow off the middle.
class Hollows : public testing::TestWithParam<double> {};

TEST_P(Hollows, DrawnByTheLightOfTheRing) {
    const double hollow = GetParam(), hollow_x = 0.08, hollow_y = -0.05, layer = hollow + 0.2;
    Scan scan(100, 160);
    const double step = scan.geometry.step();
    scan.transmission.clear();
    scan.total.clear();
    scan.amounts = {{}, {}};
    double around = 0; // a fixed sequence as noise of 1 %
    const auto noise = [&] {
        around = std::fmod(around + 0.6180339887498949, 1.0);
        return 0.035 * (around - 0.5);
    };
    for (std::size_t i = 0; i < scan.geometry.rotation.size(); ++i) {
        const double omega = scan.geometry.omega(i);
        for (const double place : scan.geometry.translation) {
            double through = 0, can = 0, inside = 0, filled = 0;
            constexpr int fine = 60;
            for (int k = 0; k < fine; ++k) {
                const double q = (k + 0.5) / fine;
                const double u = q < 0.5 ? std::sqrt(2 * q) - 1 : 1 - std::sqrt(2 * (1 - q));
                const double s = place + u * step;
                const double off = s - hollow_x * std::cos(omega) - hollow_y * std::sin(omega);
                const double wall = chord(outer, s) - chord(inner, s);
                const double crystals = 0.6 * (chord(2.6, s) - chord(layer, off));
                const double filling = chord(inner, s) - chord(hollow, off) - crystals;
                const double t =
                    std::exp(-mu_can * wall - mu_disc * crystals - mu_filling * filling);
                through += t / fine;
                can += wall * t / fine;
                inside += crystals * t / fine;
                filled += filling * t / fine;
            }
            scan.transmission.push_back(static_cast<float>(through));
            scan.amounts[0].push_back(static_cast<float>(can * (1 + noise()) / constant));
            scan.amounts[1].push_back(static_cast<float>(inside * (1 + noise()) / constant));
            scan.total.push_back(static_cast<float>(can + inside + 0.05 * filled));
        }
    }
    const auto result = correct_self_absorption(scan.geometry, scan.grid, scan.input(), options());
    EXPECT_TRUE(result.converged);
    EXPECT_NEAR(result.hollow_diameter, 2 * hollow, 0.06);
    const auto difference = compare(result.transmission, scan.transmission);
    EXPECT_LE(difference.rms, 0.006);
    EXPECT_LE(difference.largest, 0.02);
}
INSTANTIATE_TEST_SUITE_P(SelfAbsorption, Hollows, testing::Values(0.5, 0.9));

TEST(SelfAbsorption, OffTheAxis) {
    const Scan scan(80, 150, 0.11);
    const auto result = correct_self_absorption(scan.geometry, scan.grid, scan.input(), options());
    ASSERT_TRUE(result.wall);
    EXPECT_NEAR(result.wall->centre_x, 0.11, 0.005);
    EXPECT_NEAR(result.wall->centre_y, 0, 0.005);
    EXPECT_LE(compare(result.transmission, scan.transmission).rms, 0.008);
}

TEST(SelfAbsorption, GivenConstantAndMeasuredTransmission) {
    const Scan scan(80, 150);
    auto o = options();
    o.calibration = absorption::AmountCalibration::given;
    o.constant = constant;
    const auto given = correct_self_absorption(scan.geometry, scan.grid, scan.input(), o);
    EXPECT_TRUE(given.converged);
    EXPECT_LE(compare(given.transmission, scan.transmission).rms, 0.02);

    auto input = scan.input();
    input.transmission = scan.transmission;
    o.calibration = absorption::AmountCalibration::transmission;
    const auto measured = correct_self_absorption(scan.geometry, scan.grid, input, o);
    EXPECT_EQ(measured.transmission, scan.transmission);
    // Edges, where a strip mixes paths, leave a few per cent.
    EXPECT_NEAR(measured.constant, constant, 0.03 * constant);
    o.calibration = absorption::AmountCalibration::can_wall;
    EXPECT_NEAR(correct_self_absorption(scan.geometry, scan.grid, input, o).constant, constant,
                0.01 * constant);
}

TEST(SelfAbsorption, PlateauOfAThickRegion) {
    const Scan scan(80, 150);
    auto o = options();
    o.calibration = absorption::AmountCalibration::plateau;
    o.reference = 1;
    o.reference_fraction = 0.6;
    const auto result = correct_self_absorption(scan.geometry, scan.grid, scan.input(), o);
    EXPECT_TRUE(result.converged);
    EXPECT_NEAR(result.constant, constant, 0.04 * constant);
}

TEST(SelfAbsorption, MissingRaysStayMissingAndHarmLittle) {
    Scan scan(80, 150);
    for (std::size_t i = 0; i < scan.total.size(); i += 97)
        scan.total[i] = scan.amounts[0][i] = scan.amounts[1][i] =
            std::numeric_limits<float>::quiet_NaN();
    const auto result = correct_self_absorption(scan.geometry, scan.grid, scan.input(), options());
    EXPECT_TRUE(result.converged);
    EXPECT_NEAR(result.constant, constant, 0.015 * constant);
}

TEST(SelfAbsorption, SaysWhatIsWrong) {
    const Scan scan(64, 60);
    const auto message = [&](const absorption::SelfAbsorptionInput& input,
                             const absorption::SelfAbsorptionOptions& o) {
        try {
            correct_self_absorption(scan.geometry, scan.grid, input, o);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    auto o = options();
    // Two rods are no ring.
    auto rods = scan.input();
    for (std::size_t i = 0; i < rods.amounts[1].size(); ++i) {
        const double omega = scan.geometry.omega(i / scan.geometry.translation.size());
        const double t = scan.geometry.translation[i % scan.geometry.translation.size()];
        rods.amounts[1][i] = static_cast<float>(
            (chord(0.3, t - 1.5 * std::cos(omega)) + chord(0.3, t + 1.5 * std::cos(omega))) /
            constant);
    }
    o.reference = 1;
    EXPECT_THAT(message(rods, o), HasSubstr("can wall"));
    o.reference = 2;
    EXPECT_THAT(message(scan.input(), o), HasSubstr("reference"));
    auto input = scan.input();
    input.mu.pop_back();
    EXPECT_THAT(message(input, options()), HasSubstr("attenuation"));
    input = scan.input();
    input.amounts[1].pop_back();
    EXPECT_THAT(message(input, options()), HasSubstr("rays"));
    o = options();
    o.calibration = absorption::AmountCalibration::given;
    EXPECT_THAT(message(scan.input(), o), HasSubstr("constant"));
    o.calibration = absorption::AmountCalibration::transmission;
    EXPECT_THAT(message(scan.input(), o), HasSubstr("transmission"));
    input = scan.input();
    std::fill(input.amounts[0].begin(), input.amounts[0].end(), 0.0F);
    EXPECT_THAT(message(input, options()), HasSubstr("few rays"));
}

} // namespace
