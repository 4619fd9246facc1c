// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/strip_projector.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "support/discs.hpp"

namespace xrdct {
namespace {

std::vector<float> random_data(std::size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<float> data(size);
    for (float& x : data)
        x = uniform(random);
    return data;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
        sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

struct Case {
    const char* name;
    std::size_t rotations, translations, n;
    double range, step, pixel, beam, offset;
    int rotation_sense, translation_sense;
    bool disc;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.name;
}

tomography::ScanGeometry geometry_of(const Case& c) {
    tomography::ScanGeometry g = test::scan(c.rotations, c.range, c.translations, c.step);
    for (std::size_t i = 0; i < g.rotation.size(); ++i) // uneven
        g.rotation[i] += 0.1 * std::sin(3.0 * static_cast<double>(i)) + 0.05;
    g.rotation[0] = 0;
    g.beam_width = c.beam;
    g.axis_offset = c.offset;
    g.rotation_sense = c.rotation_sense;
    g.translation_sense = c.translation_sense;
    return g;
}

class StripProjectorCases : public testing::TestWithParam<Case> {};

// The weight by brute force: sub-pixels of the square, then the boxes of step and beam by their
// overlap.
double brute_force_weight(const tomography::ScanGeometry& g, const tomography::ImageGrid& grid,
                          std::size_t i, std::size_t j, std::size_t iy, std::size_t ix,
                          int samples) {
    const double c = std::cos(g.omega(i)), s = std::sin(g.omega(i)), step = std::abs(g.step());
    const double t = g.translation_sense * g.translation[j] - g.axis_offset;
    const double beam = g.beam_width;
    double sum = 0;
    for (int a = 0; a < samples; ++a)
        for (int b = 0; b < samples; ++b) {
            const double x = grid.coordinate(ix) + ((a + 0.5) / samples - 0.5) * grid.pixel;
            const double y = grid.coordinate(iy) + ((b + 0.5) / samples - 0.5) * grid.pixel;
            const double u = std::abs(t - x * c - y * s);
            if (beam > 0) { // box ⊗ box: overlap of the two, at distance u
                const double overlap =
                    std::min(0.5 * step, u + 0.5 * beam) - std::max(-0.5 * step, u - 0.5 * beam);
                sum += std::max(0.0, overlap) / (step * beam);
            } else {
                sum += u < 0.5 * step ? 1 / step : 0;
            }
        }
    return sum * grid.pixel * grid.pixel / (samples * samples);
}

TEST_P(StripProjectorCases, WeightsAreTheDefinition) {
    const Case& c = GetParam();
    const tomography::ScanGeometry g = geometry_of(c);
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector projector(g, grid, {c.disc});
    std::mt19937 random(3);
    double worst = 0;
    int tried = 0;
    while (tried < 40) {
        const std::size_t i = random() % c.rotations, iy = random() % c.n, ix = random() % c.n;
        if (!projector.active(iy, ix))
            continue;
        const double s =
            grid.coordinate(ix) * std::cos(g.omega(i)) + grid.coordinate(iy) * std::sin(g.omega(i));
        const auto j = static_cast<std::ptrdiff_t>(std::lround(g.origin_index() + s / g.step())) +
                       static_cast<std::ptrdiff_t>(random() % 3) - 1;
        if (j < 0 || j >= static_cast<std::ptrdiff_t>(c.translations))
            continue;
        ++tried;
        const auto at = static_cast<std::size_t>(j);
        worst = std::max(worst, std::abs(projector.weight(i, at, iy, ix) -
                                         brute_force_weight(g, grid, i, at, iy, ix, 400)));
    }
    // The sub-pixels resolve a step no finer than this.
    EXPECT_LT(worst, 3e-3 * c.pixel * std::max(1.0, c.pixel / c.step));
}

TEST_P(StripProjectorCases, ForwardAndAdjointHaveTheseWeights) {
    const Case& c = GetParam();
    const tomography::ScanGeometry g = geometry_of(c);
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector projector(g, grid, {c.disc});
    const std::size_t channels = 3;
    const auto image = random_data(grid.size() * channels, 1);
    const auto sinogram = random_data(projector.rays() * channels, 2);
    std::vector<float> forward(sinogram.size(), 77), adjoint(image.size(), 77);
    projector.forward(image, channels, forward);
    projector.adjoint(sinogram, channels, adjoint);

    std::vector<double> expected_forward(sinogram.size()), expected_adjoint(image.size());
    for (std::size_t i = 0; i < c.rotations; ++i)
        for (std::size_t j = 0; j < c.translations; ++j)
            for (std::size_t p = 0; p < grid.size(); ++p) {
                const double w = projector.weight(i, j, p / c.n, p % c.n);
                if (w == 0)
                    continue;
                const std::size_t ray = i * c.translations + j;
                for (std::size_t k = 0; k < channels; ++k) {
                    expected_forward[ray * channels + k] += w * image[p * channels + k];
                    expected_adjoint[p * channels + k] += w * sinogram[ray * channels + k];
                }
            }
    const double unit = c.pixel * std::min(1.0, c.pixel / c.step);
    for (std::size_t i = 0; i < forward.size(); ++i)
        ASSERT_NEAR(forward[i], expected_forward[i],
                    2e-5 * unit * std::sqrt(static_cast<double>(c.n) * (1 + c.step / c.pixel)))
            << i;
    for (std::size_t i = 0; i < adjoint.size(); ++i)
        ASSERT_NEAR(adjoint[i], expected_adjoint[i],
                    2e-5 * unit *
                        std::sqrt(static_cast<double>(c.rotations) * (1 + c.pixel / c.step)))
            << i;
}

TEST_P(StripProjectorCases, AdjointIsTheAdjoint) {
    const Case& c = GetParam();
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector projector(geometry_of(c), grid, {c.disc});
    for (const std::size_t channels : {1U, 8U, 20U, 32U, 64U, 83U}) {
        const auto image = random_data(grid.size() * channels, 5);
        const auto sinogram = random_data(projector.rays() * channels, 6);
        std::vector<float> forward(sinogram.size()), adjoint(image.size());
        projector.forward(image, channels, forward);
        projector.adjoint(sinogram, channels, adjoint);
        const double a = dot(forward, sinogram), b = dot(image, adjoint);
        // Relative to the size of the terms: the sum itself may be close to 0.
        const double scale = std::sqrt(dot(forward, forward) * dot(sinogram, sinogram));
        EXPECT_LT(std::abs(a - b), 1e-6 * scale) << channels;
    }
}

TEST_P(StripProjectorCases, ChannelsDoNotMix) {
    const Case& c = GetParam();
    const tomography::ImageGrid grid{c.n, c.pixel};
    const tomography::StripProjector projector(geometry_of(c), grid, {c.disc});
    const std::size_t channels = 41;
    const auto one = random_data(grid.size(), 9);
    std::vector<float> many(grid.size() * channels), single(projector.rays()),
        all(projector.rays() * channels);
    for (std::size_t p = 0; p < grid.size(); ++p)
        for (std::size_t k = 0; k < channels; ++k)
            many[p * channels + k] = one[p] * static_cast<float>(k);
    projector.forward(one, 1, single);
    projector.forward(many, channels, all);
    double largest = 0;
    for (const float x : single)
        largest = std::max(largest, static_cast<double>(std::abs(x)));
    for (std::size_t ray = 0; ray < single.size(); ++ray)
        for (std::size_t k = 0; k < channels; k += 5)
            ASSERT_NEAR(all[ray * channels + k], static_cast<double>(k) * single[ray],
                        2e-6 * largest * static_cast<double>(k + 1));
}

INSTANTIATE_TEST_SUITE_P(
    All, StripProjectorCases,
    testing::Values(Case{"plain", 24, 40, 40, 180, 0.5, 0.5, 0, 0, 1, 1, true},
                    Case{"beam", 24, 40, 40, 180, 0.5, 0.5, 0.5, 0.13, 1, 1, true},
                    Case{"all_pixels", 23, 40, 37, 360, 0.5, 0.5, 0, 0.31, 1, 1, false},
                    Case{"senses", 17, 33, 33, 180, 0.5, 0.5, 0.2, -0.7, -1, -1, true},
                    Case{"coarse_pixels", 16, 90, 20, 180, 0.1, 0.5, 0.1, 0.02, 1, -1, false},
                    Case{"fine_pixels", 16, 21, 101, 180, 0.5, 0.1, 0.05, 0.02, -1, 1, false},
                    Case{"wide_beam", 13, 50, 50, 360, 0.2, 0.2, 0.7, 0, 1, 1, true},
                    Case{"larger_than_a_tile", 9, 150, 150, 180, 0.02, 0.02, 0, 0.003, 1, 1, true},
                    Case{"axis_near_the_edge", 20, 60, 60, 180, 0.1, 0.1, 0, 2.4, 1, 1, false}),
    [](const auto& info) { return info.param.name; });

TEST(StripProjector, UnitDiscsProjectToTheirStripAverages) {
    for (const double beam : {0.0, 0.05}) {
        tomography::ScanGeometry g = test::scan(31, 360, 200, 0.05);
        g.axis_offset = 0.112;
        g.beam_width = beam;
        const std::vector<test::Disc> discs{
            {0, 0, 3, 1}, {1.3, -2.1, 0.9, 2}, {-2.5, 1, 0.6, -0.5}};
        const auto exact = test::project_discs(g, discs);
        // A fine grid, so that what is left is the pixelation of the discs' edges.
        const tomography::ImageGrid grid{800, 0.0125};
        const auto image = test::image_of_discs(grid, discs, 16);
        const tomography::StripProjector projector(g, grid, {false});
        std::vector<float> sinogram(projector.rays());
        projector.forward(std::vector<float>(image.begin(), image.end()), 1, sinogram);
        double worst = 0, squares = 0;
        for (std::size_t i = 0; i < exact.size(); ++i) {
            worst = std::max(worst, std::abs(exact[i] - sinogram[i]));
            squares += std::pow(exact[i] - sinogram[i], 2);
        }
        EXPECT_LT(std::sqrt(squares / static_cast<double>(exact.size())), 2e-3);
        EXPECT_LT(worst, 0.03);
    }
}

TEST(StripProjector, WeightsAddUpToPixelAreaOverStep) {
    tomography::ScanGeometry g = test::scan(20, 180, 60, 0.1);
    g.beam_width = 0.17;
    const tomography::ImageGrid grid{20, 0.13};
    const tomography::StripProjector projector(g, grid, {false});
    for (std::size_t i = 0; i < 20; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < 60; ++j)
            sum += projector.weight(i, j, 4, 13);
        EXPECT_NEAR(sum, 0.13 * 0.13 / 0.1, 1e-12);
    }
}

TEST(StripProjector, SensesMirrorTheImage) {
    // With a reversed rotation the point (x, y) looks like (x, −y); with both reversed like (−x,
    // y).
    const tomography::ScanGeometry g = test::scan(24, 360, 41, 0.5);
    const tomography::ImageGrid grid{41, 0.5};
    std::vector<float> image(grid.size());
    image[8 * 41 + 27] = 1;
    std::vector<float> mirrored(grid.size()), turned(grid.size());
    mirrored[(40 - 8) * 41 + 27] = 1;
    turned[8 * 41 + (40 - 27)] = 1;
    std::vector<float> a(24 * 41), b(24 * 41);
    tomography::ScanGeometry reversed = g;
    reversed.rotation_sense = -1;
    tomography::StripProjector(g, grid).forward(image, 1, a);
    tomography::StripProjector(reversed, grid).forward(mirrored, 1, b);
    for (std::size_t i = 0; i < a.size(); ++i)
        ASSERT_NEAR(a[i], b[i], 1e-6);
    reversed.translation_sense = -1;
    tomography::StripProjector(reversed, grid).forward(turned, 1, b);
    for (std::size_t i = 0; i < a.size(); ++i)
        ASSERT_NEAR(a[i], b[i], 1e-6);
}

TEST(StripProjector, OrderOfTheRotationsDoesNotMatter) {
    // Golden-ratio steps with a gap, and the same rotations sorted; channels in several blocks, the
    // last of them incomplete.
    tomography::ScanGeometry scattered = test::scan(37, 180, 70, 0.5);
    for (std::size_t i = 0; i < scattered.rotation.size(); ++i)
        scattered.rotation[i] = std::fmod(111.246117975 * static_cast<double>(i), 150.0);
    tomography::ScanGeometry sorted = scattered;
    std::sort(sorted.rotation.begin(), sorted.rotation.end());
    const tomography::ImageGrid grid{70, 0.5};
    const tomography::StripProjector a(scattered, grid), b(sorted, grid);
    for (const std::size_t channels : {1U, 129U, 300U}) {
        const auto image = random_data(grid.size() * channels, 11);
        std::vector<float> sinogram_a(a.rays() * channels), sinogram_b(sinogram_a.size());
        a.forward(image, channels, sinogram_a);
        b.forward(image, channels, sinogram_b);
        const std::size_t row = 70 * channels;
        for (std::size_t i = 0; i < 37; ++i) {
            const auto at = static_cast<std::size_t>(
                std::find(sorted.rotation.begin(), sorted.rotation.end(), scattered.rotation[i]) -
                sorted.rotation.begin());
            for (std::size_t k = 0; k < row; ++k)
                ASSERT_NEAR(sinogram_a[i * row + k], sinogram_b[at * row + k], 2e-5);
        }
        std::vector<float> image_a(image.size()), image_b(image.size());
        a.adjoint(sinogram_a, channels, image_a);
        b.adjoint(sinogram_b, channels, image_b);
        const double scale = std::sqrt(dot(image_a, image_a) / static_cast<double>(image.size()));
        for (std::size_t k = 0; k < image.size(); ++k)
            ASSERT_NEAR(image_a[k], image_b[k], 2e-5 * scale);
        EXPECT_LT(std::abs(dot(sinogram_a, sinogram_a) - dot(image, image_a)),
                  1e-6 * dot(sinogram_a, sinogram_a));
    }
}

TEST(StripProjector, MissingPointsStayWhereTheyAre) {
    const tomography::ScanGeometry g = test::scan(12, 180, 40, 0.5);
    const tomography::ImageGrid grid{40, 0.5};
    const tomography::StripProjector projector(g, grid);
    std::vector<float> sinogram(projector.rays() * 2, 1);
    sinogram[(5 * 40 + 20) * 2] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> image(grid.size() * 2);
    projector.adjoint(sinogram, 2, image);
    std::size_t touched = 0;
    for (std::size_t p = 0; p < grid.size(); ++p) {
        touched += std::isnan(image[2 * p]);
        ASSERT_FALSE(std::isnan(image[2 * p + 1]));
        if (projector.weight(5, 20, p / 40, p % 40) > 0) {
            ASSERT_TRUE(std::isnan(image[2 * p]));
        }
    }
    EXPECT_LT(touched, grid.size() / 5);
    // Pixels outside the field of view are not read.
    std::vector<float> outside(grid.size(), 1), result(projector.rays());
    for (std::size_t p = 0; p < grid.size(); ++p)
        if (!projector.active(p / 40, p % 40))
            outside[p] = std::numeric_limits<float>::quiet_NaN();
    projector.forward(outside, 1, result);
    for (const float x : result)
        ASSERT_FALSE(std::isnan(x));
}

TEST(StripProjector, RefusesSizesThatDoNotMatch) {
    const tomography::StripProjector projector(test::scan(4, 180, 10, 1), {10, 1});
    std::vector<float> image(100), sinogram(40), wrong(39);
    EXPECT_THROW(projector.forward(image, 1, wrong), Error);
    EXPECT_THROW(projector.forward(wrong, 1, sinogram), Error);
    EXPECT_THROW(projector.adjoint(sinogram, 2, image), Error);
    EXPECT_THROW(projector.adjoint({}, 0, {}), Error);
    EXPECT_THROW(tomography::StripProjector(test::scan(4, 180, 10, 1), {10, 100}), Error);
    EXPECT_THROW(tomography::StripProjector(test::scan(4, 180, 10, 1), {10, 0.001}), Error);
}

} // namespace
} // namespace xrdct
