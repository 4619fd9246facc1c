// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/exit_ray.hpp"

#include "base/error.hpp"
#include "support/discs.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;

constexpr double degree = std::numbers::pi / 180;
constexpr std::size_t layer_count = 9;

tomography::ScanGeometry small_scan(std::size_t n, double width) {
    tomography::ScanGeometry geometry = scan(5, 150, n, width / static_cast<double>(n));
    geometry.rotation[2] += 3;
    return geometry;
}

/// A sample whose integrals along half lines are known.
struct Object {
    std::vector<Disc> discs;
    struct Blob {
        double x, y, sigma, peak; ///< Gaussian; mm
    };
    std::vector<Blob> blobs;

    std::vector<float> map(const tomography::ImageGrid& grid) const {
        const auto image = image_of_discs(grid, discs);
        std::vector<float> mu(image.begin(), image.end());
        for (std::size_t i = 0; i < mu.size(); ++i)
            for (const auto& blob : blobs)
                mu[i] += static_cast<float>(
                    blob.peak * std::exp(-0.5 *
                                         (std::pow(grid.coordinate(i % grid.n) - blob.x, 2) +
                                          std::pow(grid.coordinate(i / grid.n) - blob.y, 2)) /
                                         (blob.sigma * blob.sigma)));
        return mu;
    }
    /// From (x, y) in the direction (dx, dy) of length 1.
    double path(double x, double y, double dx, double dy) const {
        double sum = 0;
        for (const auto& disc : discs) {
            const double px = x - disc.x, py = y - disc.y;
            const double along = -(px * dx + py * dy),
                         square = disc.radius * disc.radius - (px * px + py * py) + along * along;
            if (square <= 0)
                continue;
            const double half = std::sqrt(square);
            sum += disc.density * std::max(0.0, along + half - std::max(0.0, along - half));
        }
        for (const auto& blob : blobs) {
            const double px = x - blob.x, py = y - blob.y, along = px * dx + py * dy,
                         square = px * px + py * py - along * along;
            sum += blob.peak * blob.sigma * std::sqrt(std::numbers::pi / 2) *
                   std::exp(-0.5 * square / (blob.sigma * blob.sigma)) *
                   std::erfc(along / (blob.sigma * std::numbers::sqrt2));
        }
        return sum;
    }
};

/// From the definition: chords of circles towards points of the ring, in the frame of the scan. The
/// beam runs along rising depth, seen from the sample along (−sin ω, cos ω).
double expected_factor(const tomography::ScanGeometry& geometry, const Object& object,
                       std::size_t i, std::size_t j, double z, double two_theta, int side = 1) {
    const double w = geometry.rotation_sense * geometry.rotation[i] * degree;
    const double s = geometry.translation_sense * geometry.translation[j] - geometry.axis_offset;
    const double x = s * std::cos(w) - z * std::sin(w), y = s * std::sin(w) + z * std::cos(w);
    const double bx = -side * std::sin(w), by = side * std::cos(w);
    const double straight = object.path(x, y, bx, by);
    constexpr int azimuths = 720;
    double sum = 0;
    for (int k = 0; k < azimuths; ++k) {
        // Out of the slice nothing changes: what counts is the path's projection, stretched.
        const double lateral =
            std::sin(two_theta * degree) * std::cos(2 * std::numbers::pi * (k + 0.5) / azimuths);
        const double forward = std::cos(two_theta * degree), flat = std::hypot(lateral, forward);
        const double dx = (forward * bx + lateral * std::cos(w)) / flat,
                     dy = (forward * by + lateral * std::sin(w)) / flat;
        sum += std::exp(straight - object.path(x, y, dx, dy) / flat);
    }
    return sum / azimuths;
}

struct Deviation {
    double mean = 0, median = 0, worst = 0; ///< rms, median and largest error
    double largest = 0;                     ///< |A − 1|
};
Deviation compare(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                  const Object& object, const absorption::ExitRayOptions& options, int side = 1) {
    const auto layers = tomography::DepthLayers::across(6, layer_count);
    const auto found = exit_ray_factors(geometry, grid, object.map(grid), layers, options);
    const std::size_t rotations = geometry.rotation.size(),
                      translations = geometry.translation.size();
    EXPECT_EQ(found.size(), rotations * translations * layer_count);
    Deviation error;
    std::vector<double> all;
    for (std::size_t i = 0; i < rotations; ++i)
        for (std::size_t j = 0; j < translations; ++j)
            for (std::size_t l = 0; l < layer_count; ++l) {
                const double expected = expected_factor(geometry, object, i, j, layers.depth(l),
                                                        options.two_theta, side);
                const double difference =
                    found[(i * translations + j) * layer_count + l] / expected - 1;
                all.push_back(std::abs(difference));
                error.mean += difference * difference / static_cast<double>(found.size());
                error.worst = std::max(error.worst, std::abs(difference));
                error.largest = std::max(error.largest, std::abs(expected - 1));
            }
    error.mean = std::sqrt(error.mean);
    std::sort(all.begin(), all.end());
    error.median = all[all.size() / 2];
    return error;
}

const Object one_disc{{{0.7, -0.4, 4.2, 0.3}}, {}};
const Object two_discs{{{0, 0, 4.6, 0.1}, {1.6, 1.1, 1.9, 0.4}}, {}};
const Object blobs{{}, {{0.2, -0.3, 1.4, 0.5}, {1.6, 1.1, 0.5, 0.8}, {-1.5, 0.4, 0.7, 0.5}}};

TEST(ExitRay, SmoothSampleOnTwoGrids) {
    Deviation last;
    for (const std::size_t n : {48, 96}) {
        const auto geometry = small_scan(n, 12);
        const auto error = compare(geometry, default_grid(geometry), blobs, {.two_theta = 12});
        EXPECT_GT(error.largest, 0.1);
        EXPECT_LT(error.worst, n == 48 ? 0.035 : 0.012);
        EXPECT_LT(error.mean, n == 48 ? 4e-3 : 1.3e-3);
        if (n == 96) {
            EXPECT_LT(error.mean, 0.4 * last.mean);
        }
        last = error;
    }
}

// What is left is due to rays that touch a sharp edge within a pixel.
TEST(ExitRay, DiscsOnTwoGrids) {
    for (const auto* object : {&one_disc, &two_discs}) {
        Deviation last;
        for (const std::size_t n : {48, 96}) {
            const auto geometry = small_scan(n, 12);
            const auto error =
                compare(geometry, default_grid(geometry), *object, {.two_theta = 12});
            EXPECT_GT(error.largest, 0.2);
            EXPECT_LT(error.mean, n == 48 ? 0.03 : 0.015);
            EXPECT_LT(error.median, n == 48 ? 2e-3 : 1e-3);
            if (n == 96) {
                EXPECT_LT(error.mean, 0.7 * last.mean);
            }
            last = error;
        }
    }
}

TEST(ExitRay, SensesAxisAndSide) {
    auto geometry = small_scan(64, 12);
    geometry.rotation_sense = -1;
    EXPECT_LT(compare(geometry, default_grid(geometry), blobs, {.two_theta = 12}).mean, 3.5e-3);
    geometry.axis_offset = 0.4;
    EXPECT_LT(compare(geometry, default_grid(geometry), blobs, {.two_theta = 12}).mean, 3.5e-3);
    geometry.translation_sense = -1;
    EXPECT_LT(compare(geometry, default_grid(geometry), blobs, {.two_theta = 12}).mean, 3.5e-3);
    const absorption::ExitRayOptions behind{.two_theta = 12, .detector_side = -1};
    EXPECT_LT(compare(geometry, default_grid(geometry), blobs, behind, -1).mean, 3.5e-3);
    EXPECT_GT(compare(geometry, default_grid(geometry), blobs, behind, 1).mean, 1e-2);
}

TEST(ExitRay, AnotherGridThanTheScans) {
    const auto geometry = small_scan(40, 12);
    EXPECT_LT(compare(geometry, {101, 0.11}, blobs, {.two_theta = 12}).mean, 3.5e-3);
}

// The nodes of the mean: eight are as good as many.
TEST(ExitRay, Azimuths) {
    const auto geometry = small_scan(64, 12);
    const auto grid = default_grid(geometry);
    const auto mu = blobs.map(grid);
    const auto layers = tomography::DepthLayers::across(6, layer_count);
    const auto with = [&](std::size_t azimuths) {
        return absorption::exit_ray_factors(geometry, grid, mu, layers, {12, azimuths, 1});
    };
    const auto many = with(64);
    const auto error = [&](std::size_t azimuths) {
        const auto few = with(azimuths);
        double square = 0;
        for (std::size_t i = 0; i < few.size(); ++i)
            square += std::pow(few[i] / many[i] - 1.0, 2) / static_cast<double>(few.size());
        return std::sqrt(square);
    };
    EXPECT_GT(error(1), 1e-2);
    EXPECT_GT(error(2), error(8));
    EXPECT_LT(error(8), 1e-3);
}

// Where light leaves there is nothing in its way, whichever way it goes.
TEST(ExitRay, DetectorIsAtLargeDepths) {
    const auto geometry = small_scan(60, 12);
    const auto grid = default_grid(geometry);
    const Object disc{{{0, 0, 5, 0.3}}, {}};
    const auto layers = tomography::DepthLayers::across(5, 3);
    for (const int side : {1, -1}) {
        const auto found = absorption::exit_ray_factors(geometry, grid, disc.map(grid), layers,
                                                        {.two_theta = 20, .detector_side = side});
        const float* ray = found.data() + 50 * 3; // 1 mm from the edge
        EXPECT_NEAR(ray[1 + side], 1, 1e-3);
        EXPECT_GT(std::abs(ray[1 - side] - 1), 0.02);
    }
}

TEST(ExitRay, NothingToSee) {
    const auto geometry = small_scan(24, 12);
    const auto grid = default_grid(geometry);
    const auto layers = tomography::DepthLayers::across(6, layer_count);
    const std::vector<float> empty(grid.size(), 0.0F);
    for (const float a :
         absorption::exit_ray_factors(geometry, grid, empty, layers, {.two_theta = 12}))
        EXPECT_EQ(a, 1);
    const auto mu = blobs.map(grid);
    for (const float a : absorption::exit_ray_factors(geometry, grid, mu, layers, {.two_theta = 0}))
        EXPECT_EQ(a, 1);
    for (const float a :
         absorption::exit_ray_factors(geometry, grid, mu, layers, {.two_theta = 1e-3}))
        EXPECT_NEAR(a, 1, 1e-4);
}

TEST(ExitRay, DistanceOfTheDetectorHasNoSay) {
    auto geometry = small_scan(24, 12);
    const auto grid = default_grid(geometry);
    const auto mu = blobs.map(grid);
    const auto layers = tomography::DepthLayers::across(6, layer_count);
    const auto far = absorption::exit_ray_factors(geometry, grid, mu, layers, {.two_theta = 12});
    geometry.distance = 300;
    EXPECT_EQ(absorption::exit_ray_factors(geometry, grid, mu, layers, {.two_theta = 12}), far);
}

// A rank has its own rotations only.
TEST(ExitRay, RotationsAreIndependent) {
    const auto geometry = small_scan(24, 12);
    const auto grid = default_grid(geometry);
    const auto mu = blobs.map(grid);
    const auto layers = tomography::DepthLayers::across(6, layer_count);
    const auto all = absorption::exit_ray_factors(geometry, grid, mu, layers, {.two_theta = 12});
    auto own = geometry;
    own.rotation = {geometry.rotation[3], geometry.rotation[4]};
    const auto some = absorption::exit_ray_factors(own, grid, mu, layers, {.two_theta = 12});
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.end() - static_cast<long>(some.size()),
                           all.end()));
}

TEST(ExitRay, BadInput) {
    struct Input {
        tomography::ScanGeometry geometry = small_scan(8, 12);
        tomography::ImageGrid grid = default_grid(geometry);
        std::vector<float> mu = std::vector<float>(64, 0.1F);
        tomography::DepthLayers layers = tomography::DepthLayers::across(6, 3);
        absorption::ExitRayOptions options{.two_theta = 5};
    };
    const auto message = [](const std::function<void(Input&)>& spoil) -> std::string {
        Input input;
        spoil(input);
        try {
            exit_ray_factors(input.geometry, input.grid, input.mu, input.layers, input.options);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_EQ(message([](Input&) {}), "no error");
    EXPECT_THAT(message([](Input& i) { i.mu.pop_back(); }), HasSubstr("63 attenuation"));
    EXPECT_THAT(message([](Input& i) { i.mu[5] = std::numeric_limits<float>::quiet_NaN(); }),
                HasSubstr("not finite"));
    EXPECT_THAT(message([](Input& i) { i.options.two_theta = -1; }), HasSubstr("2theta is -1"));
    EXPECT_THAT(
        message([](Input& i) { i.options.two_theta = std::numeric_limits<double>::quiet_NaN(); }),
        HasSubstr("2theta"));
    EXPECT_THAT(message([](Input& i) { i.options.two_theta = 85; }), HasSubstr("0 to 80"));
    EXPECT_THAT(message([](Input& i) { i.options.azimuths = 0; }), HasSubstr("one azimuth"));
    EXPECT_THAT(message([](Input& i) { i.layers.count = 0; }), HasSubstr("one layer"));
    EXPECT_THAT(message([](Input& i) { i.options.detector_side = 0; }), HasSubstr("side"));
    EXPECT_NE(message([](Input& i) { i.geometry.rotation.clear(); }), "no error");
    EXPECT_NE(message([](Input& i) { i.grid.pixel = -1; }), "no error");
}

} // namespace
