// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/scan_geometry.hpp"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "support/discs.hpp"

namespace xrdct {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(ScanGeometry, StepAndOrigin) {
    tomography::ScanGeometry g = test::scan(4, 180, 5, 0.5);
    EXPECT_DOUBLE_EQ(g.step(), 0.5);
    EXPECT_DOUBLE_EQ(g.origin_index(), 2);
    g.axis_offset = 0.25;
    EXPECT_DOUBLE_EQ(g.origin_index(), 2.5);
    g.translation_sense = -1;
    EXPECT_DOUBLE_EQ(g.step(), -0.5);
    EXPECT_DOUBLE_EQ(g.origin_index(), 1.5);
}

TEST(ScanGeometry, FieldOfViewReachesTheNearerEnd) {
    tomography::ScanGeometry g = test::scan(4, 180, 5, 0.5);
    EXPECT_DOUBLE_EQ(g.field_of_view_radius(), 1.25);
    g.axis_offset = 0.25;
    EXPECT_DOUBLE_EQ(g.field_of_view_radius(), 1.0);
    g.translation_sense = -1;
    EXPECT_DOUBLE_EQ(g.field_of_view_radius(), 1.0);
    g.axis_offset = 7;
    EXPECT_EQ(g.field_of_view_radius(), 0);
    const tomography::ImageGrid grid = default_grid(test::scan(4, 180, 5, 0.5));
    const auto mask = field_of_view_mask(test::scan(4, 180, 5, 0.5), grid);
    EXPECT_EQ(mask[0], 0);
    EXPECT_EQ(mask[2], 1);
    EXPECT_EQ(mask[12], 1);
}

TEST(ScanGeometry, RefusesWhatIsNoScan) {
    const tomography::ScanGeometry good = test::scan(4, 180, 5, 0.5);
    good.validate();
    const auto expect = [&](auto change, const char* text) {
        tomography::ScanGeometry g = good;
        change(g);
        EXPECT_THAT([&] { g.validate(); }, ThrowsMessage<Error>(HasSubstr(text)));
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    expect([](auto& g) { g.rotation.clear(); }, "no rotation");
    expect([](auto& g) { g.translation.resize(1); }, "at least 2");
    expect([&](auto& g) { g.rotation[2] = nan; }, "rotation[2]");
    expect([&](auto& g) { g.translation[1] = nan; }, "translation[1]");
    expect([](auto& g) { g.translation[1] += 0.02; }, "not uniform");
    expect([](auto& g) { g.translation.assign(5, 1.0); }, "step of 0");
    expect([](auto& g) { g.rotation_sense = 0; }, "rotation_sense");
    expect([](auto& g) { g.translation_sense = 2; }, "translation_sense");
    expect([](auto& g) { g.distance = -1; }, "distance");
    expect([](auto& g) { g.beam_width = -0.1; }, "beam_width");
    expect([&](auto& g) { g.axis_offset = nan; }, "axis_offset");
    tomography::ScanGeometry slightly = good;
    slightly.translation[1] += 0.004;
    EXPECT_NO_THROW(slightly.validate());
    EXPECT_THROW((tomography::ImageGrid{0, 1}.validate()), Error);
    EXPECT_THROW((tomography::ImageGrid{4, -1}.validate()), Error);
}

} // namespace
} // namespace xrdct
