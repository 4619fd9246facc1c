// SPDX-License-Identifier: BSD-3-Clause
// Bodies of discs whose chords and transmissions are written down, without a can.

#include "absorption/body_absorption.hpp"
#include "absorption/body_image.hpp"
#include "absorption/consistency.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace xrdct;
using testing::HasSubstr;

struct PhaseDisc {
    double x, y, radius;
    std::size_t phase;
    double fraction; ///< volume fraction of the phase in it
};

constexpr double path_per_amount = 617.0; ///< path [mm] per amount

double chord_of(double radius, double s) {
    return 2 * std::sqrt(std::max(0.0, radius * radius - s * s));
}

/// A tube about a body of discs.
struct Tube {
    double x = 0, y = 0, outer = 0, inner = 0, mu = 0, light = 0;
};

struct BodyScan {
    tomography::ScanGeometry geometry;
    tomography::ImageGrid grid;
    absorption::BodyAbsorptionInput input;
    std::vector<float> transmission, total;
    double mass = 0; ///< mg/mm

    /// `mu` and `density` of the solid phases; `counts`: relative noise is 1/√counts of the
    /// brightest ray; 0: none.
    BodyScan(const std::vector<PhaseDisc>& discs, const std::vector<double>& mu,
             const std::vector<double>& density, double counts = 0, const Tube& tube = {}) {
        constexpr std::size_t translations = 61, rotations = 70;
        constexpr double step = 4.4 / translations;
        for (std::size_t i = 0; i < rotations; ++i)
            geometry.rotation.push_back(180.0 * static_cast<double>(i) / rotations);
        for (std::size_t j = 0; j < translations; ++j)
            geometry.translation.push_back((static_cast<double>(j) - 30) * step);
        grid = default_grid(geometry);
        input.seen.mu = mu;
        input.density = density;
        input.seen.amounts.resize(mu.size());
        for (const auto& disc : discs)
            mass += disc.fraction * density[disc.phase] * pi * disc.radius * disc.radius;
        for (std::size_t i = 0; i < rotations; ++i)
            for (std::size_t j = 0; j < translations; ++j)
                add_ray(discs, tube, geometry.omega(i), geometry.translation[j], step);
        if (counts > 0)
            add_noise(counts);
        input.seen.total = total;
    }
    BodyScan(const BodyScan&) = delete;

  private:
    void add_ray(const std::vector<PhaseDisc>& discs, const Tube& tube, double omega, double t,
                 double step) {
        constexpr int fine = 21;
        std::vector<double> seen(input.seen.mu.size(), 0.0);
        double through = 0, light = 0;
        for (int k = 0; k < fine; ++k) {
            const double s = t + ((k + 0.5) / fine - 0.5) * step;
            std::vector<double> path(seen.size(), 0.0);
            for (const auto& disc : discs)
                path[disc.phase] +=
                    disc.fraction *
                    chord_of(disc.radius, s - disc.x * std::cos(omega) - disc.y * std::sin(omega));
            const double at = s - tube.x * std::cos(omega) - tube.y * std::sin(omega);
            const double wall = chord_of(tube.outer, at) - chord_of(tube.inner, at);
            double depth = tube.mu * wall;
            for (std::size_t p = 0; p < path.size(); ++p)
                depth += input.seen.mu[p] * path[p];
            const double t_fine = std::exp(-depth) / fine;
            through += t_fine;
            light += tube.light * wall * t_fine;
            for (std::size_t p = 0; p < path.size(); ++p)
                seen[p] += path[p] * t_fine;
        }
        for (std::size_t p = 0; p < seen.size(); ++p) {
            input.seen.amounts[p].push_back(static_cast<float>(seen[p] / path_per_amount));
            light += seen[p];
        }
        transmission.push_back(static_cast<float>(through));
        total.push_back(static_cast<float>(light));
    }
    void add_noise(double counts) {
        std::mt19937 generator(5);
        std::normal_distribution<double> normal;
        const double highest = *std::max_element(total.begin(), total.end());
        for (auto& amounts : input.seen.amounts)
            for (std::size_t i = 0; i < amounts.size(); ++i)
                amounts[i] += static_cast<float>(normal(generator) *
                                                 std::sqrt((total[i] / highest + 0.02) / counts) *
                                                 highest / path_per_amount);
    }
};

/// Three grains of one phase, two of another: off the axis, alike from no two sides.
std::vector<PhaseDisc> grains() {
    return {{0.5, 0.9, 0.6, 0, 0.9},
            {-0.8, 0.2, 0.5, 0, 0.9},
            {0.3, -1.0, 0.45, 0, 0.9},
            {1.0, -0.2, 0.5, 1, 0.8},
            {-0.6, -0.9, 0.35, 1, 0.8}};
}

double beyond_five_per_cent(const std::vector<float>& found, const std::vector<float>& truth) {
    std::size_t count = 0;
    for (std::size_t i = 0; i < truth.size(); ++i)
        count += std::abs(found[i] / truth[i] - 1) > 0.05;
    return static_cast<double>(count) / static_cast<double>(truth.size());
}

std::string message_of(const BodyScan& scan, const absorption::BodyAbsorptionOptions& options) {
    try {
        correct_body_absorption(scan.geometry, scan.grid, scan.input, options);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(Consistency, HoldsForAllThatOnlyTurns) {
    const BodyScan clear(grains(), {0, 0}, {5, 3}), absorbing(grains(), {0.5, 0.1}, {5, 3});
    const absorption::ConsistencyConditions conditions(clear.geometry);
    const std::vector<double> variance(clear.total.size(), 1.0);
    const auto rms = [&](const std::vector<float>& amounts) {
        double squares = 0;
        const auto left =
            conditions.residuals(std::vector<double>(amounts.begin(), amounts.end()), variance);
        for (const double r : left)
            squares += r * r;
        return std::sqrt(squares / static_cast<double>(left.size()));
    };
    for (const std::size_t p : {0U, 1U}) {
        const double exact = rms(clear.input.seen.amounts[p]);
        EXPECT_GT(rms(absorbing.input.seen.amounts[p]), 10 * exact);
        // Amounts over their transmission are those of the clear body, but for edges in strips.
        auto corrected = absorbing.input.seen.amounts[p];
        for (std::size_t i = 0; i < corrected.size(); ++i)
            corrected[i] /= absorbing.transmission[i];
        EXPECT_LT(rms(corrected), 0.2 * rms(absorbing.input.seen.amounts[p]));
    }
}

// Beyond an optical depth of 1 a ray alone has two answers.
TEST(BodyImage, FindsRaysBeyondAnOpticalDepthOfOne) {
    const BodyScan scan(grains(), {0.95, 0.1}, {5, 3});
    EXPECT_LT(*std::min_element(scan.transmission.begin(), scan.transmission.end()), 0.26);
    std::vector<float> seen(scan.total.size());
    for (std::size_t i = 0; i < seen.size(); ++i)
        seen[i] = 0.95F * scan.input.seen.amounts[0][i] + 0.1F * scan.input.seen.amounts[1][i];
    const std::vector<double> variance(seen.size(), 1.0);
    const absorption::BodyImageSolver solver(scan.geometry, scan.grid, seen, variance);
    const auto image = solver.solve(path_per_amount, {}, {}, {150, 12, 2e-4});
    EXPECT_TRUE(image.converged);
    auto found = image.depth;
    for (float& depth : found)
        depth = std::exp(-depth);
    EXPECT_LE(beyond_five_per_cent(found, scan.transmission), 0.05);
}

TEST(BodyAbsorption, TheScanItselfTellsTheConstantWithinItsError) {
    const BodyScan scan(grains(), {0.5, 0.1}, {5, 3}, 4e3);
    const auto result = correct_body_absorption(scan.geometry, scan.grid, scan.input, {});
    EXPECT_TRUE(result.correction.converged);
    EXPECT_GT(result.body.constant_error, 0);
    EXPECT_LT(result.body.constant_error, 0.1);
    EXPECT_LT(std::abs(std::log(result.correction.constant / path_per_amount)),
              3 * result.body.constant_error + 0.01);
    EXPECT_LE(beyond_five_per_cent(result.correction.transmission, scan.transmission), 0.05);
    EXPECT_LT(result.body.inconsistency, 0.5 * result.body.inconsistency_seen);
    EXPECT_NEAR(result.body.mass_per_length, scan.mass, 0.05 * scan.mass);
}

TEST(BodyAbsorption, WhatTheScanCannotTellIsRefused) {
    // Too little absorption for the noise.
    const BodyScan weak(grains(), {0.004, 0.001}, {5, 3}, 400);
    EXPECT_THAT(message_of(weak, {}), HasSubstr("cannot tell how much the body absorbs"));
    // Alike from all sides: whatever the constant, it only turns.
    const BodyScan round({{0, 0, 1.5, 0, 0.5}}, {0.5}, {5}, 1e4);
    EXPECT_THAT(message_of(round, {}), HasSubstr("cannot tell how much the body absorbs"));
}

TEST(BodyAbsorption, ConstantByMassDensityPlateauOrAsGiven) {
    const BodyScan scan(grains(), {0.5, 0.1}, {5, 3});
    absorption::BodyAbsorptionOptions options;
    options.scale = absorption::BodyScale::mass_per_length;
    options.mass_per_length = scan.mass;
    const auto by_mass = correct_body_absorption(scan.geometry, scan.grid, scan.input, options);
    EXPECT_NEAR(by_mass.correction.constant, path_per_amount, 0.01 * path_per_amount);
    EXPECT_NEAR(by_mass.body.mass_per_length, scan.mass, 0.005 * scan.mass);
    options.scale = absorption::BodyScale::given;
    options.constant = path_per_amount;
    const auto given = correct_body_absorption(scan.geometry, scan.grid, scan.input, options);
    EXPECT_LE(beyond_five_per_cent(given.correction.transmission, scan.transmission), 0.01);
    options.scale = absorption::BodyScale::plateau;
    options.reference_fraction = 0.9;
    EXPECT_NEAR(
        correct_body_absorption(scan.geometry, scan.grid, scan.input, options).correction.constant,
        path_per_amount, 0.06 * path_per_amount);
    const BodyScan disc({{0.4, 0.2, 1.2, 0, 0.4}}, {0.5}, {5});
    options.scale = absorption::BodyScale::mean_density;
    options.mean_density = 2;
    EXPECT_NEAR(
        correct_body_absorption(disc.geometry, disc.grid, disc.input, options).correction.constant,
        path_per_amount, 0.06 * path_per_amount);
}

// Two discs of a phase in a filling: uncorrected light lifts what lies between them.
TEST(BodyAbsorption, WhatFillsCountsInsideTheOutline) {
    constexpr double mu_filling = 0.08, fraction = 0.2;
    const std::vector<PhaseDisc> lobes{{0.75, 0.1, 0.8, 0, fraction},
                                       {-0.85, -0.1, 0.8, 0, fraction},
                                       {0.75, 0.1, 0.8, 1, 1 - fraction},
                                       {-0.85, -0.1, 0.8, 1, 1 - fraction}};
    BodyScan scan(lobes, {1.4, mu_filling}, {5, 1});
    // The filling gives no lines, but a little light.
    scan.input.seen.amounts.pop_back();
    scan.input.seen.mu.pop_back();
    scan.input.density.pop_back();
    absorption::BodyAbsorptionOptions options;
    options.filling = mu_filling;
    options.filling_density = 1;
    const auto result = correct_body_absorption(scan.geometry, scan.grid, scan.input, options);
    EXPECT_NEAR(result.correction.constant, path_per_amount, 0.03 * path_per_amount);
    EXPECT_NEAR(result.body.mass_per_length, scan.mass, 0.05 * scan.mass);
    EXPECT_LE(beyond_five_per_cent(result.correction.transmission, scan.transmission), 0.05);
}

TEST(BodyAbsorption, AMassThatContradictsTheScanIsRefused) {
    const BodyScan scan(grains(), {0.8, 0.1}, {5, 3});
    absorption::BodyAbsorptionOptions options;
    options.scale = absorption::BodyScale::mass_per_length;
    options.mass_per_length = 0.6 * scan.mass;
    EXPECT_THAT(message_of(scan, options), HasSubstr("does not fit"));
    options.mass_per_length = 4 * scan.mass;
    EXPECT_THAT(message_of(scan, options), HasSubstr("absorption: "));
}

TEST(BodyAbsorption, AContainerIsFoundAndCounted) {
    const Tube tube{0.06, -0.05, 1.9, 1.7, 0.15, 0.2};
    const BodyScan scan(grains(), {0.5, 0.1}, {5, 3}, 1e5, tube);
    absorption::BodyAbsorptionOptions options;
    options.scale = absorption::BodyScale::mass_per_length;
    options.mass_per_length = scan.mass;
    options.container.emplace();
    options.container->mu = tube.mu;
    options.container->outer_radius = tube.outer;
    options.container->inner_radius = tube.inner;
    const auto result = correct_body_absorption(scan.geometry, scan.grid, scan.input, options);
    ASSERT_TRUE(result.body.container);
    EXPECT_TRUE(result.body.container->seen);
    EXPECT_NEAR(result.body.container->container.centre_x, tube.x, 0.03);
    EXPECT_NEAR(result.body.container->container.centre_y, tube.y, 0.03);
    EXPECT_LE(beyond_five_per_cent(result.correction.transmission, scan.transmission), 0.05);
    // Too narrow for the sample, or not where it is seen.
    options.container->outer_radius = 1.4;
    options.container->inner_radius = 1.2;
    EXPECT_THAT(message_of(scan, options), HasSubstr("does not fit into an inner diameter"));
    options.container->outer_radius = 2.4;
    options.container->inner_radius = 2.2;
    EXPECT_THAT(message_of(scan, options), HasSubstr("its wall is seen at a diameter"));
}

TEST(BodyAbsorption, MissingRaysHarmLittle) {
    BodyScan scan(grains(), {0.5, 0.1}, {5, 3}, 1e4);
    for (std::size_t i = 0; i < scan.total.size(); i += 53)
        scan.total[i] = scan.input.seen.amounts[0][i] = scan.input.seen.amounts[1][i] =
            std::numeric_limits<float>::quiet_NaN();
    const auto result = correct_body_absorption(scan.geometry, scan.grid, scan.input, {});
    EXPECT_LT(std::abs(std::log(result.correction.constant / path_per_amount)), 0.06);
    for (const float value : result.correction.transmission)
        EXPECT_TRUE(value > 0 && value <= 1);
}

} // namespace
