// SPDX-License-Identifier: BSD-3-Clause
#include "registration/resampling.hpp"

#include "base/error.hpp"

#include "base/numbers.hpp"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace xrdct {
namespace {

registration::PixelGrid centred(std::size_t n, double pixel) {
    const double first = -0.5 * (static_cast<double>(n) - 1) * pixel;
    return {n, n, first, first, pixel};
}

TEST(Resampling, IdentityChangesNothing) {
    const registration::PixelGrid grid = centred(5, 0.07);
    std::vector<double> values(25), errors(25);
    for (std::size_t i = 0; i < 25; ++i) {
        values[i] = 0.1 * static_cast<double>(i * i);
        errors[i] = 1.0 + static_cast<double>(i);
    }
    values[7] = nan_value;
    const auto out = resample_map(values, errors, grid, {}, grid);
    for (std::size_t i = 0; i < 25; ++i) {
        if (i == 7) {
            EXPECT_TRUE(std::isnan(out.values[i]));
            EXPECT_TRUE(std::isnan(out.errors[i]));
        } else {
            EXPECT_EQ(out.values[i], values[i]);
            EXPECT_DOUBLE_EQ(out.errors[i], errors[i]);
        }
    }
}

TEST(Resampling, ALinearMapStaysLinear) {
    const registration::PixelGrid source = centred(40, 0.1), target = centred(12, 0.13);
    const registration::RigidTransform transform{31, 0.2, -0.1, false};
    std::vector<double> values(source.size());
    for (std::size_t y = 0; y < 40; ++y)
        for (std::size_t x = 0; x < 40; ++x)
            values[y * 40 + x] =
                3 + 2 * source.x(static_cast<double>(x)) - source.y(static_cast<double>(y));
    const auto out = resample_map(values, {}, source, transform, target);
    for (std::size_t y = 0; y < 12; ++y)
        for (std::size_t x = 0; x < 12; ++x) {
            const auto q =
                transform(target.x(static_cast<double>(x)), target.y(static_cast<double>(y)));
            EXPECT_NEAR(out.values[y * 12 + x], 3 + 2 * q.x - q.y, 1e-9);
        }
}

TEST(Resampling, MissingNeighboursAreLeftOut) {
    const registration::PixelGrid source{2, 1, 0, 0, 1};
    const std::vector<double> values{nan_value, 5};
    const auto at = [&](double x) {
        return resample_map(values, {}, source, {}, registration::PixelGrid{1, 1, x, 0, 1})
            .values[0];
    };
    EXPECT_EQ(at(0.75), 5);
    EXPECT_TRUE(std::isnan(at(0.25)));
    EXPECT_TRUE(std::isnan(at(1.6))); // outside
}

TEST(Resampling, ErrorsFollowTheWeights) {
    const registration::PixelGrid source{2, 1, 0, 0, 1};
    const std::vector<double> values{1, 2}, errors{0.3, 0.4};
    const auto half =
        resample_map(values, errors, source, {}, registration::PixelGrid{1, 1, 0.5, 0, 1});
    EXPECT_NEAR(half.values[0], 1.5, 1e-12);
    EXPECT_NEAR(half.errors[0], 0.25, 1e-12);
    const std::vector<double> unknown{0.3, nan_value};
    EXPECT_TRUE(std::isnan(
        resample_map(values, unknown, source, {}, registration::PixelGrid{1, 1, 0.5, 0, 1})
            .errors[0]));
}

TEST(Resampling, LargerPixelsAverage) {
    // 4 × 4 onto 2 × 2: sums are kept but for what bilinear interpolation takes from next door.
    const registration::PixelGrid source = centred(60, 0.1), target = centred(20, 0.3);
    std::vector<double> values(source.size()), errors(source.size(), 1.0);
    for (std::size_t y = 0; y < 60; ++y)
        for (std::size_t x = 0; x < 60; ++x)
            values[y * 60 + x] = (x + y) % 2 == 0 ? 1 : -1;
    const auto out = resample_map(values, errors, source, {}, target);
    EXPECT_NEAR(out.values[10 * 20 + 10], 0, 0.15);
    EXPECT_LT(out.errors[10 * 20 + 10], 0.45);
    EXPECT_GT(out.errors[10 * 20 + 10], 0.25);
}

TEST(Resampling, CodesAreNotMixed) {
    const registration::PixelGrid source{3, 1, 0, 0, 1};
    const auto out = resample_codes(std::vector<double>{1, 5, 9}, source, {},
                                    registration::PixelGrid{4, 1, -0.6, 0, 0.9});
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_EQ(out[1], 1);
    EXPECT_EQ(out[2], 5);
    EXPECT_EQ(out[3], 9);
}

TEST(Resampling, RefusesWrongLengths) {
    const registration::PixelGrid grid = centred(3, 1);
    const std::vector<double> nine(9), eight(8);
    EXPECT_THROW(resample_map(eight, {}, grid, {}, grid), Error);
    EXPECT_THROW(resample_map(nine, eight, grid, {}, grid), Error);
    EXPECT_THROW(resample_codes(eight, grid, {}, grid), Error);
}

TEST(RigidTransform, InverseUndoesIt) {
    for (const bool mirrored : {false, true}) {
        const registration::RigidTransform t{113, 0.7, -0.2, mirrored};
        const auto q = t(1.5, -2.25);
        const auto p = t.inverse(q.x, q.y);
        EXPECT_NEAR(p.x, 1.5, 1e-12);
        EXPECT_NEAR(p.y, -2.25, 1e-12);
    }
    const auto quarter = registration::RigidTransform{90, 0, 0, false}(1, 0);
    EXPECT_NEAR(quarter.x, 0, 1e-12);
    EXPECT_NEAR(quarter.y, 1, 1e-12);
}

} // namespace
} // namespace xrdct
