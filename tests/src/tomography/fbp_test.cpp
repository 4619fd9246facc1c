// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/fbp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/units.hpp"
#include "support/discs.hpp"

namespace xrdct {
namespace {

using test::Disc;

const std::vector<Disc> discs{
    {0, 0, 4.2, 1}, {1.7, -2.1, 1.1, 2}, {-2.4, 1.2, 0.8, -0.6}, {0.4, 2.9, 0.5, 1.5}};

std::vector<float> to_float(const std::vector<double>& values) {
    return {values.begin(), values.end()};
}

struct Accuracy {
    double mean, rmse; // relative
};

/// Mean over the discs' inside and RMSE over the field of view, both after smoothing, relative to
/// the truth.
Accuracy accuracy(const tomography::ScanGeometry& g, const tomography::ImageGrid& grid,
                  const std::vector<float>& image) {
    const auto truth = test::smooth(test::image_of_discs(grid, discs), grid.n, 1.5);
    const auto found = test::smooth(std::vector<double>(image.begin(), image.end()), grid.n, 1.5);
    double difference = 0, squares = 0, sum = 0, expected = 0;
    for (std::size_t p = 0; p < grid.size(); ++p) {
        const double r = std::hypot(grid.coordinate(p % grid.n), grid.coordinate(p / grid.n));
        if (r > g.field_of_view_radius() - 4 * grid.pixel)
            continue;
        difference += std::pow(found[p] - truth[p], 2);
        squares += truth[p] * truth[p];
        if (std::hypot(grid.coordinate(p % grid.n) - 1.7, grid.coordinate(p / grid.n) + 2.1) <
            0.9) {
            sum += found[p];
            expected += truth[p];
        }
    }
    return {sum / expected - 1, std::sqrt(difference / squares)};
}

void expect_accurate(const tomography::ScanGeometry& g, const tomography::ImageGrid& grid,
                     const std::vector<float>& image, double rmse = 0.02) {
    const Accuracy a = accuracy(g, grid, image);
    EXPECT_LT(std::abs(a.mean), 0.005);
    EXPECT_LT(a.rmse, rmse);
}

std::vector<float> reconstruct(const tomography::ScanGeometry& g, const tomography::ImageGrid& grid,
                               const std::vector<float>& sinogram,
                               tomography::FbpOptions options = {}) {
    std::vector<float> image(grid.size(), -1);
    tomography::FilteredBackProjection(g, grid, options).reconstruct(sinogram, 1, image);
    return image;
}

TEST(AngularWeights, EvenHalfTurn) {
    const auto w = tomography::angular_weights(test::scan(10, 180, 3, 1).rotation);
    for (const double x : w)
        EXPECT_NEAR(x, pi / 10, 1e-12);
}

TEST(AngularWeights, RepeatedEndPointSharesItsWeight) {
    const auto w = tomography::angular_weights(test::scan(11, 180, 3, 1, true).rotation);
    EXPECT_NEAR(w[0], pi / 20, 1e-12);
    EXPECT_NEAR(w[10], pi / 20, 1e-12);
    for (std::size_t i = 1; i < 10; ++i)
        EXPECT_NEAR(w[i], pi / 10, 1e-12);
}

TEST(AngularWeights, FullTurns) {
    for (const double x : tomography::angular_weights(
             test::scan(20, 360, 3, 1).rotation)) // opposite rotations coincide
        EXPECT_NEAR(x, pi / 20, 1e-12);
    for (const double x :
         tomography::angular_weights(test::scan(21, 360, 3, 1).rotation)) // interleaved
        EXPECT_NEAR(x, pi / 21, 1e-12);
    const auto closed = tomography::angular_weights(
        test::scan(21, 360, 3, 1, true).rotation); // 0, 180 and 360 coincide
    EXPECT_NEAR(closed[0], pi / 30, 1e-12);
    EXPECT_NEAR(closed[10], pi / 30, 1e-12);
    EXPECT_NEAR(closed[20], pi / 30, 1e-12);
    EXPECT_NEAR(closed[5], pi / 20, 1e-12);
}

TEST(AngularWeights, UnevenUnsortedNegativeAndMissing) {
    const std::vector<double> rotation{170, -60, 10, 45, 90};
    const auto w = tomography::angular_weights(rotation); // modulo 180: 170 120 10 45 90
    EXPECT_NEAR(w[0], radians(0.5 * (20 + 50)), 1e-12);
    EXPECT_NEAR(w[1], radians(0.5 * (50 + 30)), 1e-12);
    EXPECT_NEAR(w[2], radians(0.5 * (35 + 20)), 1e-12);
    EXPECT_NEAR(w[3], radians(0.5 * (45 + 35)), 1e-12);
    EXPECT_NEAR(w[4], radians(0.5 * (30 + 45)), 1e-12);
    const std::vector<unsigned char> use{1, 0, 1, 1, 1};
    const auto without = tomography::angular_weights(rotation, use);
    EXPECT_EQ(without[1], 0);
    EXPECT_NEAR(without[0], radians(0.5 * (20 + 80)), 1e-12);
    EXPECT_THROW(tomography::angular_weights(rotation, std::vector<unsigned char>(5, 0)), Error);
}

TEST(AngularWeights, WideGapsAreCapped) {
    const auto w = tomography::angular_weights(test::scan(121, 120, 3, 1, true).rotation, {}, 5);
    EXPECT_NEAR(std::accumulate(w.begin(), w.end(), 0.0), pi, 1e-12);
    EXPECT_NEAR(w[0] / w[60], 3, 1e-9); // half of one step and of five
}

TEST(Fbp, DiscsOnHalfAndFullTurns) {
    const tomography::ImageGrid grid{240, 0.05};
    struct Range {
        std::size_t rotations;
        double range;
        bool closed;
    };
    for (const auto& [rotations, range, closed] : {Range{240, 180, false}, Range{241, 180, true},
                                                   Range{400, 360, false}, Range{401, 360, true}}) {
        SCOPED_TRACE(rotations);
        const tomography::ScanGeometry g = test::scan(rotations, range, 240, 0.05, closed);
        expect_accurate(g, grid, reconstruct(g, grid, to_float(test::project_discs(g, discs))));
    }
}

TEST(Fbp, DiscsWithOffsetSensesUnevenAndMissingRotations) {
    const tomography::ImageGrid grid{240, 0.05};
    tomography::ScanGeometry g = test::scan(300, 180, 260, 0.05);
    g.axis_offset = 0.317;
    for (const int rotation_sense : {1, -1})
        for (const int translation_sense : {1, -1}) {
            tomography::ScanGeometry sensed = g;
            sensed.rotation_sense = rotation_sense;
            sensed.translation_sense = translation_sense;
            if (translation_sense < 0)
                std::ranges::reverse(sensed.translation); // falling axis
            expect_accurate(
                sensed, grid,
                reconstruct(sensed, grid, to_float(test::project_discs(sensed, discs))));
        }
    tomography::ScanGeometry uneven = g;
    std::mt19937 random(4);
    for (double& angle : uneven.rotation)
        angle += std::uniform_real_distribution<double>(-0.3, 0.3)(random);
    uneven.rotation.erase(uneven.rotation.begin() + 50);
    uneven.rotation.erase(uneven.rotation.begin() + 120, uneven.rotation.begin() + 122);
    expect_accurate(uneven, grid,
                    reconstruct(uneven, grid, to_float(test::project_discs(uneven, discs))), 0.025);
}

TEST(Fbp, FullResolution) {
    const tomography::ScanGeometry g = test::scan(400, 180, 570, 0.02);
    const tomography::ImageGrid grid = default_grid(g);
    expect_accurate(g, grid, reconstruct(g, grid, to_float(test::project_discs(g, discs))));
}

TEST(Fbp, GroupingRotationsChangesLittle) {
    // Odd counts, an offset, a full turn and a hole in the rotations; small features off the axis.
    tomography::ScanGeometry g = test::scan(611, 360, 333, 0.035);
    g.rotation.erase(g.rotation.begin() + 100, g.rotation.begin() + 104);
    g.axis_offset = -0.21;
    const tomography::ImageGrid grid{301, 0.035};
    auto some = discs;
    some.push_back({-3.1, -2.2, 0.12, 3});
    const auto sinogram = to_float(test::project_discs(g, some));
    const auto grouped = reconstruct(g, grid, sinogram);
    const auto direct = reconstruct(g, grid, sinogram, {{}, 5, true});
    double difference = 0, squares = 0;
    double mass[2] = {}, x[2] = {}, y[2] = {};
    for (std::size_t p = 0; p < grid.size(); ++p) {
        difference += std::pow(grouped[p] - direct[p], 2);
        squares += std::pow(direct[p], 2);
        const double u = grid.coordinate(p % grid.n) + 3.1, v = grid.coordinate(p / grid.n) + 2.2;
        if (std::hypot(u, v) < 0.3)
            for (int k = 0; k < 2; ++k) {
                const double value = (k ? direct : grouped)[p] - 1; // on the large disc
                mass[k] += value;
                x[k] += value * u;
                y[k] += value * v;
            }
    }
    EXPECT_LT(std::sqrt(difference / squares), 0.015);
    EXPECT_GT(difference, 0); // the grouped way was taken
    EXPECT_NEAR(mass[0] / mass[1], 1, 0.01);
    EXPECT_NEAR(x[0] / mass[0], x[1] / mass[1], 0.03 * grid.pixel);
    EXPECT_NEAR(y[0] / mass[0], y[1] / mass[1], 0.03 * grid.pixel);
}

TEST(Fbp, PixelsNeedNotEqualTheStep) {
    const tomography::ScanGeometry g = test::scan(300, 180, 240, 0.05);
    for (const tomography::ImageGrid grid :
         {tomography::ImageGrid{120, 0.1}, tomography::ImageGrid{401, 0.03}})
        expect_accurate(g, grid, reconstruct(g, grid, to_float(test::project_discs(g, discs))),
                        0.025);
}

TEST(Fbp, ManyChannelsAndOutsideIsZero) {
    const tomography::ScanGeometry g = test::scan(60, 180, 80, 0.15);
    const tomography::ImageGrid grid{77, 0.16};
    const auto one = to_float(test::project_discs(g, discs));
    const auto reference = reconstruct(g, grid, one);
    const auto mask = field_of_view_mask(g, grid);
    double largest = 0;
    for (const float x : reference)
        largest = std::max(largest, static_cast<double>(std::abs(x)));
    for (const std::size_t channels : {2U, 32U, 71U}) {
        std::vector<float> many(one.size() * channels), image(grid.size() * channels, -5);
        for (std::size_t i = 0; i < one.size(); ++i)
            for (std::size_t c = 0; c < channels; ++c)
                many[i * channels + c] = one[i] * static_cast<float>(c + 1);
        tomography::FilteredBackProjection fbp(g, grid);
        fbp.reconstruct(many, channels, image);
        for (std::size_t p = 0; p < grid.size(); ++p)
            for (std::size_t c = 0; c < channels; ++c) {
                const double scaled = image[p * channels + c] / static_cast<double>(c + 1);
                ASSERT_NEAR(scaled, reference[p], 3e-6 * largest);
                if (!mask[p]) {
                    ASSERT_EQ(image[p * channels + c], 0);
                }
            }
    }
}

TEST(Fbp, MissingSamplesAndProjections) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const tomography::ScanGeometry g = test::scan(300, 180, 240, 0.05);
    const tomography::ImageGrid grid{240, 0.05};
    const auto one = to_float(test::project_discs(g, discs));
    const std::size_t n = 240, channels = 4;
    std::vector<float> sinogram(one.size() * channels);
    for (std::size_t i = 0; i < one.size(); ++i)
        for (std::size_t c = 0; c < channels; ++c)
            sinogram[i * channels + c] = one[i];
    std::mt19937 random(11);
    for (std::size_t k = 0; k < 300;
         ++k) // channel 1: single samples, also infinite ones, also at the ends
        sinogram[(random() % one.size()) * channels + 1] =
            k % 2 ? nan : std::numeric_limits<float>::infinity();
    sinogram[(7 * n) * channels + 1] = nan;
    sinogram[(7 * n + n - 1) * channels + 1] = nan;
    for (const std::size_t r : {20U, 21U, 150U, 299U}) // channel 2: whole projections
        for (std::size_t t = 0; t < n; ++t)
            sinogram[(r * n + t) * channels + 2] = nan;
    for (std::size_t i = 0; i < one.size(); ++i) // channel 3: everything
        sinogram[i * channels + 3] = nan;
    std::vector<float> image(grid.size() * channels);
    tomography::FilteredBackProjection(g, grid, {{}, 5, true})
        .reconstruct(sinogram, channels, image);
    for (std::size_t c = 0; c < 3; ++c) {
        SCOPED_TRACE(c);
        std::vector<float> map(grid.size());
        for (std::size_t p = 0; p < grid.size(); ++p)
            map[p] = image[p * channels + c];
        expect_accurate(g, grid, map, 0.025);
    }
    for (std::size_t p = 0; p < grid.size(); ++p)
        ASSERT_TRUE(std::isnan(image[p * channels + 3]));

    // Leaving out a projection by NaN is leaving it out of the scan.
    tomography::ScanGeometry shorter = g;
    std::vector<float> rest;
    for (std::size_t r = 0, kept = 0; r < 300; ++r) {
        if (r == 20 || r == 21 || r == 150 || r == 299) {
            shorter.rotation.erase(shorter.rotation.begin() + static_cast<std::ptrdiff_t>(kept));
            continue;
        }
        ++kept;
        rest.insert(rest.end(), one.begin() + static_cast<std::ptrdiff_t>(r * n),
                    one.begin() + static_cast<std::ptrdiff_t>((r + 1) * n));
    }
    const auto expected = reconstruct(shorter, grid, rest, {{}, 5, true});
    for (std::size_t p = 0; p < grid.size(); ++p)
        ASSERT_NEAR(image[p * channels + 2], expected[p], 1e-4);
}

TEST(Fbp, VarianceAgreesWithNoiseTrials) {
    tomography::ScanGeometry g = test::scan(240, 180, 96, 0.1);
    g.rotation.erase(g.rotation.begin() + 30, g.rotation.begin() + 33);
    g.axis_offset = 0.04;
    // Pixels incommensurate with the step: the prediction averages over their places between
    // samples.
    const tomography::ImageGrid grid{104, 0.0873}, coarse{13, 8 * 0.0873};
    const std::size_t rotations = g.rotation.size(), n = 96, trials = 1024;
    std::vector<double> sigma(rotations * n);
    std::vector<float> variance(rotations * n);
    for (std::size_t i = 0; i < sigma.size(); ++i) {
        const double r = static_cast<double>(i / n), t = static_cast<double>(i % n) - 47.5;
        sigma[i] = 1 + 2 * std::exp(-t * t / 2000) + 0.3 * std::sin(0.04 * r);
        variance[i] = static_cast<float>(sigma[i] * sigma[i]);
    }
    std::vector<double> centre;
    for (const auto& options :
         {tomography::FbpOptions{}, tomography::FbpOptions{{}, 5, true},
          tomography::FbpOptions{{tomography::FilterWindow::hann, 1}, 5, false}}) {
        SCOPED_TRACE(testing::Message() << filter_window_name(options.filter.window)
                                        << (options.direct ? " direct" : " grouped"));
        tomography::FilteredBackProjection fbp(g, grid, options);
        std::vector<float> predicted(coarse.size());
        fbp.propagate_variance(variance, 1, coarse, predicted);
        centre.push_back(predicted[6 * 13 + 6]);

        std::mt19937 random(21);
        std::normal_distribution<double> normal;
        std::vector<float> noise(sigma.size() * trials), image(grid.size() * trials);
        for (std::size_t i = 0; i < sigma.size(); ++i)
            for (std::size_t k = 0; k < trials; ++k)
                noise[i * trials + k] = static_cast<float>(sigma[i] * normal(random));
        fbp.reconstruct(noise, trials, image);
        double ratio = 0;
        int points = 0;
        for (std::size_t p = 0; p < coarse.size(); ++p) {
            const double x = coarse.coordinate(p % 13), y = coarse.coordinate(p / 13);
            if (std::hypot(x, y) > g.field_of_view_radius() - 0.6) {
                continue;
            }
            double sum = 0;
            for (std::size_t a = 0; a < 8; ++a) // the 8 × 8 pixels of the coarse one
                for (std::size_t b = 0; b < 8; ++b) {
                    const float* values =
                        image.data() + ((p / 13 * 8 + a) * 104 + p % 13 * 8 + b) * trials;
                    for (std::size_t k = 0; k < trials; ++k)
                        sum += static_cast<double>(values[k]) * values[k];
                }
            const double found = sum / (64.0 * trials);
            EXPECT_NEAR(predicted[p] / found, 1, 0.05) << x << ' ' << y;
            ratio += predicted[p] / found;
            ++points;
        }
        EXPECT_NEAR(ratio / points, 1, 0.015);
    }
    EXPECT_LT(centre[0],
              0.999 * centre[1]); // adding rotations in groups takes a little of the noise
    EXPECT_GT(centre[0], 0.8 * centre[1]);
}

TEST(Fbp, RefusesSizesThatDoNotMatch) {
    const tomography::ScanGeometry g = test::scan(10, 180, 20, 1);
    tomography::FilteredBackProjection fbp(g, {20, 1});
    std::vector<float> sinogram(200), image(400), wrong(3);
    EXPECT_THROW(fbp.reconstruct(sinogram, 2, image), Error);
    EXPECT_THROW(fbp.reconstruct(sinogram, 1, wrong), Error);
    EXPECT_THROW(fbp.propagate_variance(sinogram, 1, {4, 4}, wrong), Error);
    EXPECT_THROW(fbp.propagate_variance(sinogram, 1, {0, 4}, wrong), Error);
    EXPECT_THROW(tomography::FilteredBackProjection(g, {20, 1}, {{}, 0.5}), Error);
}

} // namespace
} // namespace xrdct
