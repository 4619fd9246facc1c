// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/resolution.hpp"

#include "base/error.hpp"

#include <cmath>
#include <functional>
#include <gmock/gmock.h>

namespace {

using namespace xrdct;

constexpr std::size_t n = 60, spacing = 12;

std::vector<std::size_t> pixels_where(const std::function<bool(std::size_t, std::size_t)>& inside) {
    std::vector<std::size_t> pixels;
    for (std::size_t i = 0; i < n * n; ++i)
        if (inside(i % n, i / n))
            pixels.push_back(i);
    return pixels;
}

/// Width found for Gaussian responses of a FWHM (voxels) to impulses chosen in `pixels`.
double width_of(const std::vector<std::size_t>& pixels, double fwhm) {
    const auto impulses =
        dlsr::choose_impulses(pixels, std::vector<double>(pixels.size(), 1.0), n, spacing, 1);
    const double sigma = fwhm / (2 * std::sqrt(2 * std::log(2.0)));
    std::vector<double> response(pixels.size(), 0.0);
    for (std::size_t i = 0; i < impulses.voxel.size(); ++i)
        for (std::size_t v = 0; v < pixels.size(); ++v) {
            const std::size_t a = pixels[v], b = pixels[impulses.voxel[i]];
            const double x = static_cast<double>(a % n) - static_cast<double>(b % n),
                         y = static_cast<double>(a / n) - static_cast<double>(b / n);
            response[v] +=
                0.3 * impulses.sign[i] * std::exp(-0.5 * (x * x + y * y) / (sigma * sigma));
        }
    return dlsr::response_width(response, impulses, pixels, n, spacing);
}

TEST(DlsrResolution, ImpulsesAreApartAndOfBothSigns) {
    const auto pixels =
        pixels_where([](auto x, auto y) { return std::hypot(x - 29.5, y - 29.5) < 28; });
    const auto impulses =
        dlsr::choose_impulses(pixels, std::vector<double>(pixels.size(), 1.0), n, spacing, 3);
    ASSERT_GE(impulses.voxel.size(), 12U);
    double sum = 0;
    for (std::size_t i = 0; i < impulses.voxel.size(); ++i) {
        EXPECT_EQ(std::abs(impulses.sign[i]), 1);
        sum += impulses.sign[i];
        for (std::size_t j = 0; j < i; ++j) {
            const std::size_t a = pixels[impulses.voxel[i]], b = pixels[impulses.voxel[j]];
            EXPECT_GE(std::hypot(static_cast<double>(a % n) - static_cast<double>(b % n),
                                 static_cast<double>(a / n) - static_cast<double>(b / n)),
                      spacing / 2);
        }
    }
    EXPECT_LT(std::abs(sum), static_cast<double>(impulses.voxel.size()));
    EXPECT_NE(impulses.voxel,
              dlsr::choose_impulses(pixels, std::vector<double>(pixels.size(), 1.0), n, spacing, 4)
                  .voxel);
}

TEST(DlsrResolution, ImpulsesWhereThereIsInformation) {
    const auto pixels = pixels_where([](auto, auto) { return true; });
    std::vector<double> information(pixels.size(), 0.0);
    EXPECT_TRUE(dlsr::choose_impulses(pixels, information, n, spacing, 0).voxel.empty());
    for (std::size_t v = 0; v < pixels.size(); ++v)
        information[v] = pixels[v] % 7 == 3 ? 2 : 1;
    const auto impulses = dlsr::choose_impulses(pixels, information, n, spacing, 0);
    std::size_t rich = 0;
    for (const std::size_t v : impulses.voxel)
        rich += pixels[v] % 7 == 3;
    EXPECT_GE(rich, 16U); // all whose cell of the grid is not cut off by the map's edge
    EXPECT_TRUE(dlsr::choose_impulses({}, {}, n, spacing, 0).voxel.empty());
}

TEST(DlsrResolution, WidthOfGaussians) {
    const auto everywhere = pixels_where([](auto, auto) { return true; });
    EXPECT_NEAR(width_of(everywhere, 3), 3, 0.3);
    EXPECT_NEAR(width_of(everywhere, 5), 5, 0.4);
    EXPECT_NEAR(width_of(everywhere, 0.1), 1, 1e-6);
}

// Layers: what is not of the part is not counted.
TEST(DlsrResolution, WidthInThinLayers) {
    const auto layers = pixels_where([](auto x, auto) { return x % 4 == 0; });
    EXPECT_NEAR(width_of(layers, 5), 5, 0.5);
    EXPECT_NEAR(width_of(layers, 0.1), 1, 1e-6);
}

TEST(DlsrResolution, WiderThanCanBeFollowed) {
    const auto everywhere = pixels_where([](auto, auto) { return true; });
    const auto impulses =
        dlsr::choose_impulses(everywhere, std::vector<double>(n * n, 1.0), n, spacing, 1);
    EXPECT_EQ(
        dlsr::response_width(std::vector<double>(n * n, 0.0), impulses, everywhere, n, spacing),
        spacing);
    const std::vector<std::size_t> one{n * 8 + 8};
    EXPECT_EQ(dlsr::response_width(std::vector<double>{1}, {{0}, {1}}, one, n, spacing), 1);
    EXPECT_EQ(dlsr::response_width(std::vector<double>{1}, {}, one, n, spacing), 0);
}

TEST(DlsrResolution, BadInput) {
    const std::vector<std::size_t> one{0};
    EXPECT_THROW(dlsr::choose_impulses(one, {}, n, spacing, 0), Error);
    EXPECT_THROW(dlsr::choose_impulses(one, std::vector<double>{1}, n, 1, 0), Error);
    EXPECT_THROW(dlsr::response_width({}, {}, one, n, spacing), Error);
}

} // namespace
