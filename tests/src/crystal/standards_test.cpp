// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "crystal/standards.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const crystal::Reflection* find(const std::vector<crystal::Reflection>& list,
                                const crystal::Miller& squares) {
    // cubic: a family is told by its sorted squares
    const auto sorted = [](crystal::Miller m) {
        for (int& i : m) {
            i = i * i;
        }
        std::sort(m.begin(), m.end());
        return m;
    };
    for (const crystal::Reflection& r : list) {
        if (sorted(r.hkl) == sorted(squares)) {
            return &r;
        }
    }
    return nullptr;
}

TEST(Standards, CellsSpacingsAndDensities) {
    // density: 4 CeO2 (172.114 u), LaB6 (203.77 u, natural boron), 8 Si (28.0855 u) per cell
    const struct {
        const char* name;
        double a, density;
        crystal::Miller first;
        double d;
    } expected[] = {{"CeO2", 5.411651, 7.2133, {1, 1, 1}, 3.1244182},
                    {"LaB6", 4.156826, 4.7108, {1, 0, 0}, 4.1568260},
                    {"Si", 5.431144, 2.3288, {1, 1, 1}, 3.1356724}};
    for (const auto& e : expected) {
        const crystal::Phase phase = crystal::powder_standard(e.name).phase();
        EXPECT_EQ(phase.crystal_system(), crystal::CrystalSystem::cubic) << e.name;
        EXPECT_EQ(phase.cell().a, e.a);
        EXPECT_EQ(crystal::powder_standard(e.name).a, e.a);
        EXPECT_NEAR(phase.density(), e.density, 2e-3 * e.density) << e.name;
        const auto list = phase.reflections(0.8);
        ASSERT_FALSE(list.empty());
        EXPECT_NEAR(list[0].d, e.d, 1e-6) << e.name;
        EXPECT_NE(find(list, e.first), nullptr) << e.name;
    }
}

TEST(Standards, StructureFactors) {
    // Ceria without displacement factors, computed by cctbx for a = 5.411 Å (IT92 form factors);
    // the displacement factors of the standard are put on by hand, which separates the two atoms
    // only where both are known: 111 is nearly cerium alone, 200 is Ce − 2 O, 220 is Ce + 2 O.
    const auto ceria = crystal::powder_standard("CeO2").phase().reflections(0.9);
    const struct {
        crystal::Miller hkl;
        int multiplicity;
        double f2, d;
    } reference[] = {{{1, 1, 1}, 8, 38244.7839, 3.124042},
                     {{2, 0, 0}, 6, 20146.2290, 2.705500},
                     {{2, 2, 0}, 12, 42643.4045, 1.913077}};
    for (const auto& r : reference) {
        const auto* found = find(ceria, r.hkl);
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(found->multiplicity, r.multiplicity);
        const double damping = std::exp(-2 * 0.22 / (4 * r.d * r.d));
        EXPECT_NEAR(found->structure_factor_squared / (r.f2 * damping), 1, 0.01);
    }
    // Diamond: h + k + l = 4n + 2 is absent, 111 has half the squared amplitude of 220 but for the
    // form factor.
    const auto silicon = crystal::powder_standard("Si").phase().reflections(0.9);
    EXPECT_EQ(find(silicon, {2, 0, 0}), nullptr);
    if (const auto* s222 = find(silicon, {2, 2, 2})) { // absent by the site, not by the group
        EXPECT_NEAR(s222->structure_factor_squared, 0, 1e-6);
    }
    const auto* s111 = find(silicon, {1, 1, 1});
    const auto* s220 = find(silicon, {2, 2, 0});
    ASSERT_TRUE(s111 != nullptr && s220 != nullptr);
    // f(sin θ/λ = 0.1595) = 10.53, f(0.2604) = 8.71 (International Tables C, 6.1.1.1), B = 0.46
    EXPECT_NEAR(s111->structure_factor_squared / (32 * 10.53 * 10.53 * std::exp(-0.0234)), 1, 0.02);
    EXPECT_NEAR(s220->structure_factor_squared / (64 * 8.71 * 8.71 * std::exp(-0.0624)), 1, 0.02);
    // Lanthanum hexaboride: primitive, 110 the strongest line
    const auto hexaboride = crystal::powder_standard("LaB6").phase().reflections(1.5);
    ASSERT_GE(hexaboride.size(), 6U);
    const auto weight = [&](const crystal::Miller& hkl) {
        const auto* r = find(hexaboride, hkl);
        return r != nullptr ? r->multiplicity * r->structure_factor_squared : 0.0;
    };
    EXPECT_GT(weight({1, 1, 0}), weight({1, 0, 0}));
    EXPECT_GT(weight({1, 1, 0}), weight({1, 1, 1}));
}

TEST(Standards, NamesInAnyCaseAndTheNearest) {
    EXPECT_EQ(crystal::powder_standard("lab6").name, "LaB6");
    try {
        crystal::powder_standard("CeO");
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), AllOf(HasSubstr("'CeO'"), HasSubstr("nearest is 'CeO2'"),
                                        HasSubstr("LaB6"), HasSubstr("Si")));
    }
}

} // namespace
} // namespace xrdct
