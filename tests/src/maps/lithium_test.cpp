// SPDX-License-Identifier: BSD-3-Clause
#include "maps/lithium.hpp"

#include "base/error.hpp"

#include "base/numbers.hpp"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace xrdct;
using namespace xrdct::maps;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

namespace {

LithiumCalibration falling_c() {
    LithiumCalibration calibration;
    calibration.phase = "NMC";
    calibration.table = {{14.50, 0.45}, {14.40, 0.65}, {14.20, 0.95}};
    return calibration;
}

LithiumCalibration fixed(const std::string& phase, double content, double host_mass) {
    LithiumCalibration calibration;
    calibration.phase = phase;
    calibration.content = content;
    calibration.host_mass = host_mass;
    return calibration;
}

TEST(Interpolation, IsLinearBetweenThePairs) {
    const auto calibration = falling_c();
    EXPECT_NEAR(interpolate_lithium(calibration, {14.45, 0.01}).value, 0.55, 1e-12);
    EXPECT_NEAR(interpolate_lithium(calibration, {14.45, 0.01}).error, 2.0 * 0.01, 1e-12);
    EXPECT_NEAR(interpolate_lithium(calibration, {14.25, 0.01}).value, 0.875, 1e-12);
    EXPECT_NEAR(interpolate_lithium(calibration, {14.25, 0.01}).error, 1.5 * 0.01, 1e-12);
    for (const auto& [value, content] : calibration.table)
        EXPECT_NEAR(interpolate_lithium(calibration, {value, 0.0}).value, content, 1e-12);
    auto rising = calibration;
    std::reverse(rising.table.begin(), rising.table.end());
    EXPECT_EQ(interpolate_lithium(rising, {14.33, 0.02}).value,
              interpolate_lithium(calibration, {14.33, 0.02}).value);
    EXPECT_TRUE(std::isnan(interpolate_lithium(calibration, {14.45, nan_value}).error));
}

TEST(Interpolation, BeyondTheTableIsNothingUnlessClamped) {
    auto calibration = falling_c();
    for (const double c : {14.51, 14.19, nan_value})
        EXPECT_TRUE(std::isnan(interpolate_lithium(calibration, {c, 0.01}).value)) << c;
    calibration.clamp = true;
    EXPECT_EQ(interpolate_lithium(calibration, {15.0, 0.01}).value, 0.45);
    EXPECT_EQ(interpolate_lithium(calibration, {14.0, 0.01}).value, 0.95);
    EXPECT_TRUE(std::isnan(interpolate_lithium(calibration, {14.0, 0.01}).error));
    EXPECT_TRUE(std::isnan(interpolate_lithium(calibration, {nan_value, 0.01}).value));
}

TEST(LatticeQuantity, RatioAndVolumesWithErrors) {
    LithiumCalibration calibration;
    calibration.parameter = "c/a";
    const auto ratio = lattice_quantity(calibration, {{"a", {2.86, 0.001}}, {"c", {14.3, 0.01}}});
    EXPECT_NEAR(ratio.value, 5.0, 1e-12);
    EXPECT_NEAR(ratio.error, 5.0 * std::hypot(0.001 / 2.86, 0.01 / 14.3), 1e-8);
    calibration.parameter = "volume";
    const auto hexagonal =
        lattice_quantity(calibration, {{"a", {2.86, 0.001}}, {"c", {14.3, 0.01}}});
    EXPECT_NEAR(hexagonal.value, 2.86 * 2.86 * 14.3 * std::sqrt(0.75), 1e-9);
    EXPECT_NEAR(hexagonal.error, hexagonal.value * std::hypot(2 * 0.001 / 2.86, 0.01 / 14.3), 1e-6);
    calibration.gamma = 90;
    EXPECT_NEAR(lattice_quantity(calibration, {{"a", {3, nan_value}}, {"c", {5, nan_value}}}).value,
                45, 1e-9);
    EXPECT_NEAR(lattice_quantity(calibration, {{"a", {4, 0.01}}}).value, 64, 1e-9);
    EXPECT_NEAR(lattice_quantity(calibration, {{"a", {4, 0.01}}}).error, 3 * 16 * 0.01, 1e-6);
    EXPECT_NEAR(
        lattice_quantity(calibration,
                         {{"a", {4, nan_value}}, {"b", {5, nan_value}}, {"c", {6, nan_value}}})
            .value,
        120, 1e-9);
    // Monoclinic: sin β; rhombohedral: a³ √(1 − 3 cos² + 2 cos³).
    EXPECT_NEAR(lattice_quantity(calibration, {{"a", {4, nan_value}},
                                               {"b", {5, nan_value}},
                                               {"c", {6, nan_value}},
                                               {"beta", {150, nan_value}}})
                    .value,
                60, 1e-9);
    const double k = std::cos(80.0 * std::acos(-1.0) / 180.0);
    EXPECT_NEAR(
        lattice_quantity(calibration, {{"a", {4, nan_value}}, {"alpha", {80, nan_value}}}).value,
        64 * std::sqrt(1 - 3 * k * k + 2 * k * k * k), 1e-9);
    EXPECT_NEAR(lattice_quantity(calibration, {{"cell_volume", {77, 0.5}}, {"a", {4, 1}}}).value,
                77, 1e-12);
    calibration.parameter = "c";
    EXPECT_TRUE(std::isnan(lattice_quantity(calibration, {{"alpha", {80, nan_value}}}).value));
}

LithiumPhase phase_of(const LithiumCalibration& calibration, std::vector<double> amount,
                      std::vector<Estimate> lattice = {}) {
    return {calibration, std::move(lattice), std::move(amount), {}};
}

TEST(LithiumMapOf, CathodeFollowsItsTable) {
    // Amounts 1, with too little (below 5 % of the largest) and without a lattice value.
    const auto map = lithium_map(
        std::vector<LithiumPhase>{phase_of(falling_c(), {1, 1, 0.01, 1, nan_value, -1, 1},
                                           {{14.45, 0.01},
                                            {14.25, 0.02},
                                            {14.4, 0.01},
                                            {nan_value, nan_value},
                                            {14.4, 0.1},
                                            {14.4, 0.1},
                                            {14.6, 0.01}})});
    ASSERT_EQ(map.values.size(), 7U);
    EXPECT_NEAR(map.values[0], 0.55, 1e-12);
    EXPECT_NEAR(map.errors[0], 0.02, 1e-12);
    EXPECT_NEAR(map.values[1], 0.875, 1e-12);
    EXPECT_NEAR(map.errors[1], 0.03, 1e-12);
    for (const std::size_t i : {2U, 3U, 4U, 5U, 6U})
        EXPECT_TRUE(std::isnan(map.values[i])) << i;
    EXPECT_EQ(map.electrode, 4U);
    EXPECT_EQ(map.no_lattice, 1U);
    EXPECT_EQ(map.beyond, 1U);
    EXPECT_EQ(map.weights[2], 0);
    EXPECT_EQ(map.weights[3], 1);
}

TEST(LithiumMapOf, AnodeIsTheMeanOverMolesOfHost) {
    // 79.01 g of LiC6 and 2 · 75.54 g of LiC12 per C6: one and two moles of C6.
    auto lic6 = phase_of(fixed("LiC6", 1.0, 79.01), {79.01, 0, 79.01});
    auto lic12 = phase_of(fixed("LiC12", 0.5, 75.54), {2 * 75.54, 75.54, 0});
    auto map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_NEAR(map.values[0], 2.0 / 3.0, 1e-12);
    EXPECT_NEAR(map.values[1], 0.5, 1e-12);
    EXPECT_NEAR(map.values[2], 1.0, 1e-12);
    EXPECT_NEAR(map.weights[0], 3.0, 1e-12);
    EXPECT_TRUE(std::isnan(map.errors[0])) << "nothing is known about the amounts' errors";
    // dx/dn_1 = (x_1 − x)/N with x = 2/3, N = 3.
    lic6.amount_errors = {0.1 * 79.01, 0.01, 0.01};
    lic12.amount_errors = {0.2 * 75.54, 0.01, 0.01};
    map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_NEAR(map.errors[0], std::hypot(0.1 / 9.0, 0.2 / 18.0), 1e-12);
    // Below five standard deviations there is no electrode.
    lic6.amount_errors = lic12.amount_errors = {30, 30, 30};
    map = lithium_map(std::vector<LithiumPhase>{lic6, lic12});
    EXPECT_EQ(map.electrode, 1U) << "only the voxel with three moles";
}

TEST(LithiumMapOf, APhaseWithoutAContentMustBeSmall) {
    auto second = falling_c();
    second.phase = "NMC (S)";
    second.host_mass = 96;
    auto first = second;
    first.phase = "NMC";
    const auto map = lithium_map(std::vector<LithiumPhase>{
        phase_of(first, {95, 80}, {{14.4, 0.01}, {14.4, 0.01}}),
        phase_of(second, {5, 20}, {{nan_value, nan_value}, {nan_value, nan_value}})});
    EXPECT_NEAR(map.values[0], 0.65, 1e-12);
    EXPECT_TRUE(std::isnan(map.values[1])) << "a fifth of the host is unknown";
    EXPECT_THROW(lithium_map(std::vector<LithiumPhase>{
                     phase_of(first, {1, 1}, {{14.4, 0}, {14.4, 0}}), phase_of(second, {1}, {})}),
                 Error);
}

TEST(LithiumMapOf, OtherUnitsAreFound) {
    EXPECT_THAT(
        [] {
            lithium_map(std::vector<LithiumPhase>{
                phase_of(falling_c(), {1, 1}, {{1.44, 0.001}, {1.44, 0.001}})});
        },
        ThrowsMessage<Error>(AllOf(HasSubstr("'NMC'"), HasSubstr("1.44"), HasSubstr("14.2"))));
}

} // namespace
