// SPDX-License-Identifier: BSD-3-Clause
#include "registration/image_registration.hpp"

#include "base/error.hpp"
#include "phantom/scan_simulator.hpp"

#include "base/numbers.hpp"
#include <array>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <random>

namespace xrdct {
namespace {

registration::PixelGrid centred(std::size_t nx, std::size_t ny, double pixel) {
    return {nx, ny, -0.5 * (static_cast<double>(nx) - 1) * pixel,
            -0.5 * (static_cast<double>(ny) - 1) * pixel, pixel};
}

/// Blobs without symmetry within 4 mm of the origin.
double blobs(double x, double y) {
    const auto blob = [&](double bx, double by, double width, double height) {
        return height * std::exp(-((x - bx) * (x - bx) + (y - by) * (y - by)) / (width * width));
    };
    return blob(1.5, 0.4, 0.5, 1) + blob(-1, 1.7, 0.8, 0.7) + blob(-0.6, -1.9, 0.35, 1.2) +
           blob(2, -1.6, 0.6, 0.5) + blob(0, 0, 2.5, 0.4);
}

/// The object of `shape`, seen in the frame of a scan where it is moved by `transform`.
template <typename Shape>
std::vector<double> image_of(Shape shape, const registration::PixelGrid& grid,
                             const registration::RigidTransform& transform, double noise = 0,
                             unsigned seed = 1) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal(0, noise);
    std::vector<double> out(grid.size());
    for (std::size_t y = 0; y < grid.ny; ++y)
        for (std::size_t x = 0; x < grid.nx; ++x) {
            const auto p =
                transform.inverse(grid.x(static_cast<double>(x)), grid.y(static_cast<double>(y)));
            out[y * grid.nx + x] = shape(p.x, p.y) + (noise > 0 ? normal(random) : 0.0);
        }
    return out;
}

void expect_near(const registration::RigidTransform& found,
                 const registration::RigidTransform& truth, double mm, double degrees) {
    EXPECT_EQ(found.mirrored, truth.mirrored);
    EXPECT_NEAR(std::remainder(found.angle - truth.angle, 360.0), 0, degrees);
    EXPECT_NEAR(found.shift_x, truth.shift_x, mm);
    EXPECT_NEAR(found.shift_y, truth.shift_y, mm);
}

TEST(Registration, FindsAnyAngleAndShift) {
    const registration::PixelGrid grid = centred(60, 60, 0.15);
    const auto reference = image_of(blobs, grid, {}, 0.05, 1);
    for (const registration::RigidTransform truth : {registration::RigidTransform{0, 0, 0, false},
                                                     {17, 0.9, -0.7, false},
                                                     {-123.4, -1.1, 0.33, false},
                                                     {180, 0.07, 0.07, false}}) {
        const auto moving = image_of(blobs, grid, truth, 0.05, 2);
        const auto result = register_images(grid, grid, {{{reference, moving}}});
        expect_near(result.transform, truth, 0.03, 0.5);
        EXPECT_TRUE(result.certain);
        EXPECT_GT(result.correlation, 0.95);
        // The stated uncertainty is of the order of the error.
        EXPECT_LT(result.uncertainty[0], 0.5);
        EXPECT_GT(result.uncertainty[0], 0.005);
        EXPECT_LT(std::abs(result.transform.shift_x - truth.shift_x),
                  6 * result.uncertainty[1] + 1e-3);
    }
}

TEST(Registration, ImagesMayDifferInSizePixelAndScale) {
    const registration::PixelGrid grid = centred(70, 52, 0.15), other = {90, 100, -4.0, -5.0, 0.1};
    const registration::RigidTransform truth{71, 0.4, -0.25, false};
    const auto reference = image_of(blobs, grid, {});
    auto moving = image_of(blobs, other, truth, 0.05);
    for (double& v : moving)
        v = 40 + 300 * v;
    const auto result = register_images(grid, other, {{{reference, moving}}});
    expect_near(result.transform, truth, 0.02, 0.3);
    EXPECT_TRUE(result.certain);
}

TEST(Registration, MissingVoxelsDoNotPull) {
    const registration::PixelGrid grid = centred(60, 60, 0.15);
    const registration::RigidTransform truth{-40, 0.5, 0.5, false};
    auto reference = image_of(blobs, grid, {}), moving = image_of(blobs, grid, truth);
    // Masks of the scan's frame, which are not turned with the object.
    for (std::size_t y = 0; y < 60; ++y)
        for (std::size_t x = 0; x < 60; ++x) {
            if (x < 12)
                reference[y * 60 + x] = nan_value;
            if (y > 44 || (x * 7 + y * 13) % 11 == 0)
                moving[y * 60 + x] = nan_value;
        }
    const auto result = register_images(grid, grid, {{{reference, moving}}});
    expect_near(result.transform, truth, 0.02, 0.3);
}

TEST(Registration, MirrorsOnlyOnRequest) {
    const registration::PixelGrid grid = centred(60, 60, 0.15);
    const registration::RigidTransform truth{25, 0.2, 0.4, true};
    const auto reference = image_of(blobs, grid, {}), moving = image_of(blobs, grid, truth);
    EXPECT_FALSE(register_images(grid, grid, {{{reference, moving}}}).transform.mirrored);
    registration::RegistrationOptions options;
    options.try_mirrored = true;
    expect_near(register_images(grid, grid, {{{reference, moving}}}, options).transform, truth,
                0.02, 0.3);
}

TEST(Registration, KeepsWhatIsGiven) {
    const registration::PixelGrid grid = centred(60, 60, 0.15);
    const registration::RigidTransform truth{25, 0.2, 0.4, false};
    const auto reference = image_of(blobs, grid, {}), moving = image_of(blobs, grid, truth);
    registration::RegistrationOptions angle;
    angle.angle = 25;
    const auto by_angle = register_images(grid, grid, {{{reference, moving}}}, angle);
    EXPECT_EQ(by_angle.transform.angle, 25);
    EXPECT_EQ(by_angle.uncertainty[0], 0);
    expect_near(by_angle.transform, truth, 0.01, 0);
    registration::RegistrationOptions shift;
    shift.shift = {0.2, 0.4};
    const auto by_shift = register_images(grid, grid, {{{reference, moving}}}, shift);
    EXPECT_EQ(by_shift.transform.shift_x, 0.2);
    expect_near(by_shift.transform, truth, 0, 0.1);
    registration::RegistrationOptions both = shift;
    both.angle = 80;
    const auto given = register_images(grid, grid, {{{reference, moving}}}, both);
    expect_near(given.transform, {80, 0.2, 0.4, false}, 0, 0);
    EXPECT_TRUE(given.certain);
    EXPECT_LT(given.correlation, by_shift.correlation);
}

TEST(Registration, SaysThatARingHasNoAngle) {
    const registration::PixelGrid grid = centred(60, 60, 0.15);
    const auto ring = [](double x, double y) {
        const double r = std::hypot(x, y);
        return std::exp(-(r - 2.5) * (r - 2.5) * 8) + 0.3 * std::exp(-r * r);
    };
    const auto reference = image_of(ring, grid, {}, 0.03, 1),
               moving = image_of(ring, grid, {17, 0.3, 0.2, false}, 0.03, 2);
    const auto result = register_images(grid, grid, {{{reference, moving}}});
    EXPECT_NEAR(result.transform.shift_x, 0.3, 0.03);
    EXPECT_NEAR(result.transform.shift_y, 0.2, 0.03);
    EXPECT_FALSE(result.certain);
    EXPECT_LT(result.margin, 0.01);
}

TEST(Registration, RefusesWhatCannotBeAligned) {
    const registration::PixelGrid grid = centred(20, 20, 0.15);
    const std::vector<double> some = image_of(blobs, grid, {}), empty(grid.size(), nan_value),
                              flat(grid.size(), 3.0), short_one(5);
    EXPECT_THROW(register_images(grid, grid, {}), Error);
    EXPECT_THROW(register_images(grid, grid, {{{some, short_one}}}), Error);
    EXPECT_THROW(register_images(grid, grid, {{{some, some, -1}}}), Error);
    EXPECT_THROW(register_images(grid, grid, {{{some, empty}}}), Error);
    EXPECT_THROW(register_images(grid, grid, {{{some, flat}}}), Error);
}

/// Two states of one wound cell: other anode phases, other lithium distribution, other hot spots,
/// turned and shifted. Spiral, tab and core are what they share.
TEST(Registration, TwoStatesOfAJellyRoll) {
    using namespace phantom;
    constexpr std::size_t n = 140;
    constexpr double pixel = 0.085;
    ScanDesign scan;
    scan.translations = 2 * n;
    scan.step = 0.5 * pixel;
    scan.channels = 20;
    CellDesign charged, discharged;
    charged.preset = Preset::charged;
    discharged.preset = Preset::discharged;
    discharged.seed = 7;
    discharged.rotation = 17;
    discharged.centre_x = 7 * pixel;
    discharged.centre_y = -5.66 * pixel;
    // A beam as wide as the step blurs with a triangle two pixels wide.
    const auto blurred = [&](const std::vector<double>& fine, unsigned seed) {
        std::mt19937 random(seed);
        std::normal_distribution<double> normal(0, 0.005);
        std::vector<double> out(n * n, 0.0);
        const std::array<double, 4> w{0.125, 0.375, 0.375, 0.125};
        for (std::size_t y = 1; y + 1 < n; ++y)
            for (std::size_t x = 1; x + 1 < n; ++x) {
                for (std::size_t j = 0; j < 4; ++j)
                    for (std::size_t i = 0; i < 4; ++i)
                        out[y * n + x] +=
                            w[j] * w[i] * fine[(2 * y + j - 1) * 2 * n + 2 * x + i - 1];
                out[y * n + x] += normal(random);
            }
        return out;
    };
    const auto maps_of = [&](const CellDesign& cell, unsigned seed) {
        std::map<std::string, std::vector<double>> maps;
        for (const auto& map : ScanSimulator(cell, scan).truth_rows(0, scan.translations, 1))
            if (map.quantity == "volume_fraction" || map.quantity == "mu")
                maps[map.phase] = blurred(map.values, seed++);
        return maps;
    };
    const auto a = maps_of(charged, 1), b = maps_of(discharged, 20);
    std::vector<registration::RegistrationChannel> channels;
    for (const auto& [name, values] : a)
        if (b.count(name))
            channels.push_back({values, b.at(name)});
    ASSERT_EQ(channels.size(), 6U); // μ, Fe, Cu, Al and the two cathode phases
    const registration::PixelGrid grid = centred(n, n, pixel);
    const auto result = register_images(grid, grid, channels);
    expect_near(result.transform, {17, discharged.centre_x, discharged.centre_y, false},
                0.1 * pixel, 0.5);
    EXPECT_TRUE(result.certain) << result.transform.angle << " ± " << result.uncertainty[0]
                                << ", margin " << result.margin << " to " << result.second->angle
                                << " " << result.second->shift_x;
}

} // namespace
} // namespace xrdct
