// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/march_dollase.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <numeric>
#include <set>

namespace xrdct {
namespace {

using testing::HasSubstr;

crystal::Phase read(const std::string& cell, const std::string& group) {
    return crystal::Phase::from_cif_text(
        "data_t\n" + cell + "_symmetry_space_group_name_H-M '" + group +
            "'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
            "_atom_site_fract_y\n_atom_site_fract_z\nC C 0 0 0\n",
        "t.cif");
}
crystal::Phase hexagonal() {
    return read("_cell_length_a 2.46\n_cell_length_b 2.46\n_cell_length_c 6.71\n"
                "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 120\n",
                "P 6/m m m");
}
crystal::Phase cubic() {
    return read("_cell_length_a 3.6\n_cell_length_b 3.6\n_cell_length_c 3.6\n"
                "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n",
                "F m -3 m");
}

/// cos δ of all equivalents, from the geometry of the lattices alone.
std::vector<double> hexagonal_cosines(int h, int k, int l) {
    const double in_plane = std::sqrt(4.0 / 3 * (h * h + h * k + k * k)) / 2.46, along = l / 6.71;
    return {along / std::hypot(in_plane, along)};
}
std::vector<double> cubic_cosines(crystal::Miller hkl, const crystal::Miller& axis) {
    std::vector<double> cosines;
    std::sort(hkl.begin(), hkl.end());
    do
        for (int signs = 0; signs < 8; ++signs) {
            double inner = 0, own = 0, other = 0;
            for (int i = 0; i < 3; ++i) {
                const auto at = static_cast<std::size_t>(i);
                inner += ((signs >> i) & 1 ? -1 : 1) * hkl[at] * axis[at];
                own += hkl[at] * hkl[at];
                other += axis[at] * axis[at];
            }
            cosines.push_back(inner / std::sqrt(own * other));
        }
    while (std::next_permutation(hkl.begin(), hkl.end()));
    return cosines;
}

/// The definition, integral by integral.
double pole_density(double cos_alpha, const std::vector<double>& cosines, double r) {
    constexpr int steps = 96;
    const double sin_alpha = std::sqrt(1 - cos_alpha * cos_alpha);
    double sum = 0;
    for (const double c : cosines)
        for (int i = 0; i < steps; ++i) {
            const double cosine = cos_alpha * c + sin_alpha * std::sqrt(std::max(0.0, 1 - c * c)) *
                                                      std::cos(2 * M_PI * (i + 0.5) / steps);
            sum += std::pow(r * r * cosine * cosine + (1 - cosine * cosine) / r, -1.5);
        }
    return sum / steps / static_cast<double>(cosines.size());
}
double ring_factor(double psi, const std::vector<double>& cosines, double r) {
    constexpr int steps = 96;
    double sum = 0;
    for (int i = 0; i < steps; ++i)
        sum += pole_density(std::sin(psi) * std::cos(2 * M_PI * (i + 0.5) / steps), cosines, r);
    return sum / steps;
}

double harmonic(std::span<const double> moments, double r, std::size_t h) {
    std::vector<double> only(h + 1, 0.0);
    only[h] = 1;
    const auto weights = crystal::ring_weights(crystal::march_coefficients(r), only);
    return std::inner_product(weights.begin(), weights.end(), moments.begin(), 0.0);
}

TEST(MarchDollase, MeansOverTheSphereAreOne) {
    for (const double r : {0.3, 0.7, 1.0, 1.6, 3.0}) {
        double distribution = 0, density = 0;
        constexpr int steps = 2000;
        const std::vector<double> cosines = hexagonal_cosines(1, 0, 1);
        for (int i = 0; i < steps; ++i)
            distribution += crystal::march_dollase((i + 0.5) / steps, r) / steps;
        for (int i = 0; i < 200; ++i)
            density += pole_density((i + 0.5) / 200, cosines, r) / 200;
        EXPECT_NEAR(distribution, 1, 1e-4) << r;
        EXPECT_NEAR(density, 1, 2e-3) << r;
        EXPECT_NEAR(crystal::march_coefficients(r)[0], 1, 1e-12) << r;
    }
    // Σ (2l + 1)/2 ∫ W P_l, at the pole and across it, is W again.
    for (const double r : {0.3, 0.7, 1.6, 3.0}) {
        const auto w = crystal::march_coefficients(r);
        EXPECT_NEAR(std::accumulate(w.begin(), w.end(), 0.0), crystal::march_dollase(1, r),
                    1e-5 * crystal::march_dollase(1, r))
            << r;
    }
}

TEST(MarchDollase, FactorsAreTheIntegralsOfTheDefinition) {
    struct Case {
        crystal::Phase phase;
        crystal::Miller hkl, axis;
        std::vector<double> cosines;
    };
    const std::vector<Case> cases{
        {hexagonal(), {0, 0, 2}, {0, 0, 1}, hexagonal_cosines(0, 0, 2)},
        {hexagonal(), {1, 0, 0}, {0, 0, 1}, hexagonal_cosines(1, 0, 0)},
        {hexagonal(), {1, 0, 1}, {0, 0, 1}, hexagonal_cosines(1, 0, 1)},
        {hexagonal(), {2, 1, 3}, {0, 0, 2}, hexagonal_cosines(2, 1, 3)},
        {cubic(), {2, 0, 0}, {1, 1, 1}, cubic_cosines({2, 0, 0}, {1, 1, 1})},
        {cubic(), {3, 1, 1}, {1, 1, 0}, cubic_cosines({3, 1, 1}, {1, 1, 0})}};
    for (const double r : {0.5, 0.7, 0.9, 1.5})
        for (const auto& c : cases) {
            const auto moments = axis_moments(c.phase, c.phase.cell(), c.hkl, c.axis);
            ASSERT_EQ(moments.size(), crystal::march_terms);
            constexpr int steps = 24;
            std::vector<double> factors;
            for (int i = 0; i < steps; ++i)
                factors.push_back(ring_factor(M_PI * (i + 0.5) / steps, c.cosines, r));
            for (const std::size_t h : {0U, 1U, 2U}) {
                double expected = 0;
                for (int i = 0; i < steps; ++i)
                    expected += factors[static_cast<std::size_t>(i)] *
                                std::cos(2 * static_cast<double>(h) * M_PI * (i + 0.5) / steps) *
                                (h == 0 ? 1 : 2) / steps;
                EXPECT_NEAR(harmonic(moments, r, h), expected, 2e-5)
                    << r << " " << c.hkl[0] << c.hkl[1] << c.hkl[2] << " harmonic " << h;
            }
            double sum = 0;
            for (std::size_t h = 0; h < crystal::march_terms; ++h)
                sum += harmonic(moments, r, h) * std::cos(0.7 * static_cast<double>(2 * h));
            EXPECT_NEAR(sum, ring_factor(0.7, c.cosines, r), 1e-6) << r;
        }
}

TEST(MarchDollase, PlateletsOnTheLayersShowTheirBasalPlanesEdgeOn) {
    const crystal::Phase phase = hexagonal();
    const auto moments = axis_moments(phase, phase.cell(), {0, 0, 2}, {0, 0, 1});
    // cos 2ψ is 1 with the normal along the beam, where 002 cannot diffract at small angles.
    EXPECT_LT(harmonic(moments, 0.7, 1), -0.3);
    EXPECT_GT(harmonic(moments, 1.4, 1), 0.2);
    const auto prismatic = axis_moments(phase, phase.cell(), {1, 0, 0}, {0, 0, 1});
    EXPECT_GT(harmonic(prismatic, 0.7, 1), 0.1);
}

TEST(MarchDollase, NoneWithoutTexture) {
    EXPECT_EQ(crystal::march_coefficients(1), std::vector<double>{1});
    const crystal::Phase phase = cubic();
    const auto moments = axis_moments(phase, phase.cell(), {2, 0, 0}, {1, 1, 1});
    EXPECT_NEAR(harmonic(moments, 1, 0), 1, 1e-14);
    EXPECT_EQ(harmonic(moments, 1, 1), 0);
    EXPECT_NEAR(harmonic(moments, 1 + 1e-6, 0), 1, 1e-5);
    EXPECT_NEAR(harmonic(moments, 1 + 1e-6, 1), 0, 1e-5);
}

TEST(MarchDollase, EquivalentReflections) {
    EXPECT_EQ(cubic().equivalent_reflections({1, 1, 1}).size(), 8U);
    EXPECT_EQ(cubic().equivalent_reflections({3, 1, 1}).size(), 24U);
    const auto family = hexagonal().equivalent_reflections({1, 0, 1});
    EXPECT_EQ(family.size(), 12U);
    const std::set<crystal::Miller> members(family.begin(), family.end());
    EXPECT_TRUE(members.count({-1, 1, 1}));
    EXPECT_TRUE(members.count({1, 0, -1}));
    EXPECT_FALSE(members.count({1, 1, 1}));
}

TEST(MarchDollase, BadInput) {
    const crystal::Phase phase = cubic();
    EXPECT_THROW(crystal::march_coefficients(0), Error);
    EXPECT_THROW(crystal::march_coefficients(-0.7), Error);
    EXPECT_THROW(crystal::march_coefficients(0.19), Error);
    EXPECT_THROW(crystal::march_coefficients(5.1), Error);
    EXPECT_THROW(crystal::march_coefficients(std::nan("")), Error);
    EXPECT_THROW(axis_moments(phase, phase.cell(), {0, 0, 0}, {1, 1, 1}), Error);
    EXPECT_THROW(axis_moments(phase, phase.cell(), {1, 1, 1}, {0, 0, 0}), Error);
}

} // namespace
} // namespace xrdct
