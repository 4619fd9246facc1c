// SPDX-License-Identifier: BSD-3-Clause
#include "maps/radial_profile.hpp"

#include "base/error.hpp"

#include "base/numbers.hpp"
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace xrdct;
using namespace xrdct::maps;

namespace {

/// A map f(x, y) on n × n voxels of 0.1 about (0.3, −0.2).
struct Field {
    std::vector<double> x, y, values;
    template <typename F>
    Field(std::size_t n, F&& f) {
        for (std::size_t i = 0; i < n; ++i) {
            const double at = 0.1 * (static_cast<double>(i) - 0.5 * static_cast<double>(n - 1));
            x.push_back(0.3 + at);
            y.push_back(-0.2 + at);
        }
        for (const double v : y)
            for (const double u : x)
                values.push_back(f(u - 0.3, v + 0.2));
    }
};

TEST(RadialProfileOf, KnownFunctions) {
    const Field square(81, [](double u, double v) { return u * u + v * v; });
    const auto profile = radial_profile(square.values, {}, square.x, square.y, 0.3, -0.2, 0.15);
    ASSERT_GT(profile.radius.size(), 20U);
    for (std::size_t b = 2; b < 26; ++b) {
        const double low = 0.15 * static_cast<double>(b), high = low + 0.15;
        EXPECT_NEAR(profile.radius[b], 0.5 * (low + high), 1e-12);
        // Over a full ring <r²> = (low² + high²) / 2; voxels sample it.
        EXPECT_NEAR(profile.mean[b], 0.5 * (low * low + high * high), 0.12 * low) << b;
    }
    const Field slope(81, [](double u, double) { return u; });
    const auto flat = radial_profile(slope.values, {}, slope.x, slope.y, 0.3, -0.2, 0.15);
    for (std::size_t b = 2; b < 26; ++b) {
        EXPECT_NEAR(flat.mean[b], 0, 1e-9) << b;
        EXPECT_NEAR(flat.spread[b], flat.radius[b] / std::sqrt(2.0), 0.1) << b;
    }
}

TEST(RadialProfileOf, WeightsGapsAndCounts) {
    Field field(41, [](double u, double) { return u > 0 ? 3.0 : 1.0; });
    std::vector<double> weights;
    for (std::size_t i = 0; i < field.values.size(); ++i)
        weights.push_back(field.values[i] > 2 ? 3.0 : 1.0);
    for (std::size_t j = 0; j < 41; ++j) // the column in the middle has no partner
        field.values[j * 41 + 20] = nan_value;
    // No voxel on the edge of a bin, where rounding would decide.
    const auto profile = radial_profile(field.values, weights, field.x, field.y, 0.3, -0.2, 0.1937);
    std::size_t total = 0;
    for (std::size_t b = 1; b < 9; ++b)
        EXPECT_NEAR(profile.mean[b], 2.5, 1e-9) << b;
    for (const auto count : profile.count)
        total += count;
    EXPECT_EQ(total, 41U * 40U);
    // An annulus alone: bins inside it stay empty.
    const Field ring(41,
                     [](double u, double v) { return std::hypot(u, v) > 1.5 ? 1.0 : nan_value; });
    const auto outer = radial_profile(ring.values, {}, ring.x, ring.y, 0.3, -0.2, 0.2);
    EXPECT_TRUE(std::isnan(outer.mean[3]));
    EXPECT_EQ(outer.count[3], 0U);
    EXPECT_EQ(outer.mean[9], 1.0);
    EXPECT_LT(outer.filled(), outer.mean.size());
}

TEST(RadialProfileOf, BadInput) {
    const std::vector<double> values(6, 1.0), x{0, 1, 2}, y{0, 1};
    EXPECT_EQ(radial_profile(values, {}, x, y, 0, 0, 1.5).count[0], 4U);
    EXPECT_THROW(radial_profile(values, {}, x, x, 0, 0, 1), Error);
    EXPECT_THROW(radial_profile(values, std::vector<double>(5, 1.0), x, y, 0, 0, 1), Error);
    EXPECT_THROW(radial_profile(values, {}, x, y, 0, 0, 0), Error);
    EXPECT_THROW(radial_profile(values, {}, x, y, nan_value, 0, 1), Error);
}

TEST(CentreOfMass, OfAMask) {
    const std::vector<double> x{0, 1, 2}, y{5, 7}, mask{0, 1, 1, 0, 0, 2};
    const auto centre = centre_of_mass(mask, x, y);
    EXPECT_DOUBLE_EQ(centre.x, (1 + 2 + 2 * 2) / 4.0);
    EXPECT_DOUBLE_EQ(centre.y, (5 + 5 + 2 * 7) / 4.0);
    EXPECT_TRUE(std::isnan(centre_of_mass(std::vector<double>(6, 0.0), x, y).x));
    EXPECT_THROW(centre_of_mass(mask, x, x), Error);
}

TEST(FilledOutline, GapsDoNotMoveTheCentre) {
    // A disc with an empty core and a loose winding on one side; a pixel outside stays outside.
    Field disc(61, [](double u, double v) {
        const double r = std::hypot(u, v);
        return r > 2.5 || r < 0.7 || (u < 0 && r > 1.8 && r < 2.1) ? 0.0 : 1.0;
    });
    EXPECT_GT(centre_of_mass(disc.values, disc.x, disc.y).x, 0.35);
    const auto filled = filled_outline(disc.values, 61);
    const auto centre = centre_of_mass(filled, disc.x, disc.y);
    EXPECT_NEAR(centre.x, 0.3, 1e-9);
    EXPECT_NEAR(centre.y, -0.2, 1e-9);
    EXPECT_EQ(filled[0], 0);
    EXPECT_EQ(filled[30 * 61 + 30], 1);
    EXPECT_THROW(filled_outline(disc.values, 60), Error);
    EXPECT_THROW(filled_outline(disc.values, 0), Error);
}

} // namespace
