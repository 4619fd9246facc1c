// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/unit_cell.hpp"

#include "base/error.hpp"

#include <cmath>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

TEST(UnitCell, VolumesOfKnownCells) {
    EXPECT_NEAR((crystal::UnitCell{4, 4, 4, 90, 90, 90}.volume()), 64, 1e-12);
    EXPECT_NEAR((crystal::UnitCell{3, 3, 5, 90, 90, 120}.volume()), 45 * std::sqrt(3.0) / 2, 1e-12);
    // Primitive cell of a face-centred lattice: a quarter of the cube's volume.
    const double p = 4 / std::sqrt(2.0);
    EXPECT_NEAR((crystal::UnitCell{p, p, p, 60, 60, 60}.volume()), 16, 1e-12);
}

TEST(UnitCell, SpacingsFollowTheTextbookFormulas) {
    const crystal::UnitCell hexagonal{2.87, 2.87, 14.243, 90, 90, 120};
    const double expected = 4.0 / 3.0 * (4 + 2 + 1) / (2.87 * 2.87) + 9 / (14.243 * 14.243);
    EXPECT_NEAR(hexagonal.inverse_d_squared({2, 1, 3}), expected, 1e-12);

    const crystal::UnitCell monoclinic{5, 6, 7, 90, 110, 90};
    const double b = 110 * std::acos(-1.0) / 180, s2 = std::sin(b) * std::sin(b);
    const double direct = (1 / 25.0 + 9 / 49.0 - 2 * 3 * std::cos(b) / 35.0) / s2 + 4 / 36.0;
    EXPECT_NEAR(monoclinic.inverse_d_squared({1, 2, 3}), direct, 1e-12);
}

TEST(UnitCell, TriclinicSpacingAgreesWithReciprocalVectors) {
    const crystal::UnitCell cell{5.1, 6.2, 7.3, 82, 97, 108};
    const double deg = std::acos(-1.0) / 180;
    const double ca = std::cos(cell.alpha * deg), cb = std::cos(cell.beta * deg),
                 cg = std::cos(cell.gamma * deg), sg = std::sin(cell.gamma * deg);
    const double a[3] = {cell.a, 0, 0}, b[3] = {cell.b * cg, cell.b * sg, 0};
    const double cy = (ca - cb * cg) / sg;
    const double c[3] = {cell.c * cb, cell.c * cy, cell.c * std::sqrt(1 - cb * cb - cy * cy)};
    const auto cross = [](const double* u, const double* v) {
        return std::array<double, 3>{u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
                                     u[0] * v[1] - u[1] * v[0]};
    };
    const auto bc = cross(b, c), ca_ = cross(c, a), ab = cross(a, b);
    const double volume = a[0] * bc[0] + a[1] * bc[1] + a[2] * bc[2];
    EXPECT_NEAR(cell.volume(), volume, 1e-10);
    double q = 0;
    for (int i = 0; i < 3; ++i) {
        const double g = (2 * bc[i] - 3 * ca_[i] + 1 * ab[i]) / volume;
        q += g * g;
    }
    EXPECT_NEAR(cell.inverse_d_squared({2, -3, 1}), q, 1e-12);
}

TEST(UnitCell, CellsFromIndependentParameters) {
    const double ac[] = {2.8, 14.2};
    const crystal::UnitCell hexagonal =
        cell_from_independent(crystal::CrystalSystem::hexagonal, ac);
    EXPECT_EQ(hexagonal.b, 2.8);
    EXPECT_EQ(hexagonal.c, 14.2);
    EXPECT_EQ(hexagonal.gamma, 120);
    const double aalpha[] = {5, 57};
    const crystal::UnitCell rhombohedral =
        cell_from_independent(crystal::CrystalSystem::trigonal_rhombohedral, aalpha);
    EXPECT_EQ(rhombohedral.c, 5);
    EXPECT_EQ(rhombohedral.gamma, 57);
    const double mono[] = {5, 6, 7, 101};
    EXPECT_EQ(cell_from_independent(crystal::CrystalSystem::monoclinic, mono, 'c').gamma, 101);
    EXPECT_EQ(cell_from_independent(crystal::CrystalSystem::monoclinic, mono, 'b').beta, 101);
    EXPECT_THROW(cell_from_independent(crystal::CrystalSystem::cubic, ac), Error);
    EXPECT_THROW(independent_parameters(crystal::CrystalSystem::monoclinic, 'x'), Error);
    EXPECT_EQ(to_string(crystal::CellParameter::gamma), "gamma");
    EXPECT_EQ(independent_parameters(crystal::CrystalSystem::triclinic).size(), 6U);
}

} // namespace
} // namespace xrdct
