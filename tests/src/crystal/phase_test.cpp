// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/phase.hpp"

#include "base/error.hpp"
#include "crystal/attenuation.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace xrdct {
namespace {

using testing::HasSubstr;

std::string cif(const std::string& cell, const std::string& symmetry, const std::string& atoms,
                const std::string& more = {}) {
    return "data_test\n" + cell + symmetry + more +
           "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
           "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n" +
           atoms;
}

std::string cubic(double a) {
    const std::string s = std::to_string(a);
    return "_cell_length_a " + s + "\n_cell_length_b " + s + "\n_cell_length_c " + s +
           "\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n";
}

std::string hexagonal(double a, double c) {
    const std::string s = std::to_string(a);
    return "_cell_length_a " + s + "\n_cell_length_b " + s + "\n_cell_length_c " +
           std::to_string(c) +
           "\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 120\n";
}

std::string named(const std::string& hm) {
    return "_symmetry_space_group_name_H-M '" + hm + "'\n";
}

std::string error_of(const std::string& text) {
    try {
        crystal::Phase::from_cif_text(text, "file.cif");
    } catch (const Error& e) {
        return e.what();
    }
    return "no error";
}

TEST(Phase, ReadsCellCompositionAndDensity) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(5.411), named("F m -3 m"), "Ce1 Ce 0 0 0 1\nO1 O .25 .25 .25 1\n"), "file.cif",
        "ceria");
    EXPECT_EQ(phase.name(), "ceria");
    EXPECT_EQ(phase.crystal_system(), crystal::CrystalSystem::cubic);
    EXPECT_EQ(phase.space_group(), "F m -3 m");
    EXPECT_THAT(phase.free_parameters(), testing::ElementsAre(crystal::CellParameter::a));
    ASSERT_EQ(phase.composition().size(), 2U);
    EXPECT_EQ(phase.composition()[0].symbol, "O");
    EXPECT_EQ(phase.composition()[0].count, 8);
    EXPECT_EQ(phase.composition()[1].atomic_number, 58);
    EXPECT_EQ(phase.composition()[1].count, 4);
    EXPECT_NEAR(phase.cell_mass(), 4 * (140.116 + 2 * 15.999), 0.02);
    EXPECT_NEAR(phase.density(), 7.2159, 1e-3);
    EXPECT_TRUE(phase.warnings().empty());
}

TEST(Phase, BlockNameIsTheDefaultName) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(4), named("P m -3 m"), "Po Po 0 0 0 1\n"), "file.cif");
    EXPECT_EQ(phase.name(), "test");
    EXPECT_EQ(phase.with_name("other").name(), "other");
}

TEST(Phase, OriginChoiceInTheNameIsObeyed) {
    // The same crystal in both settings: eight atoms per cell, density 2.33 g/cm³.
    const auto first = crystal::Phase::from_cif_text(
        cif(cubic(5.431), named("F d -3 m :1"), "Si Si 0 0 0 1\n"), "one.cif");
    const auto second = crystal::Phase::from_cif_text(
        cif(cubic(5.431), named("F d -3 m :2"), "Si Si .125 .125 .125 1\n"), "two.cif");
    const auto suffix = crystal::Phase::from_cif_text(
        cif(cubic(5.431), named("F d -3 m Z"), "Si Si .125 .125 .125 1\n"), "three.cif");
    EXPECT_EQ(first.composition()[0].count, 8);
    EXPECT_EQ(second.composition()[0].count, 8);
    EXPECT_EQ(suffix.composition()[0].count, 8);
    const auto a = first.reflections(1.0), b = second.reflections(1.0);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
        EXPECT_NEAR(a[i].structure_factor_squared, b[i].structure_factor_squared, 1e-6);
}

TEST(Phase, OpenOriginIsSettledByTheStatedDensityWithAWarning) {
    const std::string stated = "_exptl_crystal_density_diffrn 2.33\n";
    for (const char* z : {"0 0 0", ".125 .125 .125"}) {
        const auto phase = crystal::Phase::from_cif_text(
            cif(cubic(5.431), named("F d -3 m"), std::string("Si Si ") + z + " 1\n", stated),
            "file.cif");
        EXPECT_EQ(phase.composition()[0].count, 8) << z;
        ASSERT_EQ(phase.warnings().size(), 1U);
        EXPECT_THAT(phase.warnings()[0], HasSubstr("stated density"));
    }
    const auto unstated = crystal::Phase::from_cif_text(
        cif(cubic(5.431), named("F d -3 m"), "Si Si .125 .125 .125 1\n"), "file.cif");
    EXPECT_EQ(unstated.composition()[0].count, 8);
    EXPECT_EQ(unstated.warnings().size(), 1U);
}

TEST(Phase, OpenOriginIsSettledByTheFormulaOrByRoom) {
    // LiMn2O4; both origins make 56 atoms of the first list.
    const std::string second =
        "Li Li .125 .125 .125 1\nMn Mn .5 .5 .5 1\nO O .2627 .2627 .2627 1\n";
    const std::string first = "Li Li 0 0 0 1\nMn Mn .625 .625 .625 1\nO O .3877 .3877 .3877 1\n";
    for (const auto& [atoms, ext] : {std::pair{second, ":2"}, std::pair{first, ":1"}})
        for (const char* more : {"", "_chemical_formula_sum 'Li Mn2 O4'\n"}) {
            const auto phase = crystal::Phase::from_cif_text(
                cif(cubic(8.24), named("F d -3 m"), atoms, more), "file.cif");
            EXPECT_NEAR(phase.cell_mass(), 8 * (6.94 + 2 * 54.938 + 4 * 15.999), 0.1)
                << ext << more;
            EXPECT_THAT(phase.space_group(), HasSubstr(ext));
            EXPECT_EQ(phase.warnings().size(), 1U);
        }
    const std::string anatase = "_cell_length_a 3.78\n_cell_length_b 3.78\n_cell_length_c 9.51\n";
    const auto titania = crystal::Phase::from_cif_text(
        cif(anatase, named("I 41/a m d"), "Ti Ti 0 .25 .375 1\nO O 0 .25 .1663 1\n"), "file.cif");
    EXPECT_THAT(titania.space_group(), HasSubstr(":2"));
    EXPECT_NEAR(titania.density(), 3.9, 0.05);
}

TEST(Phase, OldNamesAndDecimalOperators) {
    for (const char* name : {"F m 3 m", "Fm3m", "F m -3 m", "Fm-3m", "F_m_3_m"})
        EXPECT_EQ(
            crystal::Phase::from_cif_text(cif(cubic(4), named(name), "Al Al 0 0 0 1\n"), "file.cif")
                .space_group(),
            "F m -3 m")
            << name;
    EXPECT_EQ(
        crystal::Phase::from_cif_text(cif(cubic(4), named("P a 3"), "Al Al 0 0 0 1\n"), "file.cif")
            .space_group(),
        "P a -3");
    const std::string operators = "loop_\n_symmetry_equiv_pos_as_xyz\n'X, Y, Z'\n"
                                  "'-x, y+0.5, -z'\n";
    EXPECT_EQ(
        crystal::Phase::from_cif_text(cif(cubic(4), operators, "Al Al .1 .2 .3 1\n"), "file.cif")
            .space_group(),
        "P 1 21 1");
    EXPECT_THAT(error_of(cif(cubic(4), "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\nx,y+0.27,z\n",
                             "Al Al .1 .2 .3 1\n")),
                HasSubstr("0.27"));
}

TEST(Phase, RhombohedralNameFollowsTheCell) {
    const auto hex = crystal::Phase::from_cif_text(
        cif(hexagonal(2.87, 14.243), named("R -3 m"), "Ni Ni 0 0 0 1\nO O 0 0 .26 1\n"), "a.cif");
    EXPECT_EQ(hex.crystal_system(), crystal::CrystalSystem::hexagonal);
    EXPECT_EQ(hex.composition()[1].count, 3);
    const std::string cell = "_cell_length_a 5.03\n_cell_length_b 5.03\n_cell_length_c 5.03\n"
                             "_cell_angle_alpha 33\n_cell_angle_beta 33\n_cell_angle_gamma 33\n";
    const auto rhombohedral = crystal::Phase::from_cif_text(
        cif(cell, named("R -3 m"), "Ni Ni 0 0 0 1\nO O .26 .26 .26 1\n"), "b.cif");
    EXPECT_EQ(rhombohedral.crystal_system(), crystal::CrystalSystem::trigonal_rhombohedral);
    EXPECT_EQ(rhombohedral.composition()[1].count, 1);
}

TEST(Phase, OperatorsWinOverTheNameWithAWarning) {
    const std::string operators = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x,-y,-z\n";
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(4), named("P 1") + operators, "Fe Fe .1 .2 .3 1\n"), "file.cif");
    EXPECT_EQ(phase.composition()[0].count, 2);
    EXPECT_EQ(phase.space_group(), "P -1");
    EXPECT_EQ(phase.crystal_system(), crystal::CrystalSystem::triclinic);
    ASSERT_EQ(phase.warnings().size(), 1U);
    EXPECT_THAT(phase.warnings()[0], HasSubstr("P 1"));

    const std::string indexed = "loop_\n_space_group_symop_id\n_space_group_symop_operation_xyz\n"
                                "1 'x, y, z'\n2 '-x, -y, -z'\n";
    EXPECT_TRUE(crystal::Phase::from_cif_text(
                    cif(cubic(4), named("P -1") + indexed, "Fe Fe .1 .2 .3 1\n"), "file.cif")
                    .warnings()
                    .empty());
}

TEST(Phase, IncompleteOperatorListIsCompleted) {
    const std::string operators = "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-y,x,z\n";
    const auto phase =
        crystal::Phase::from_cif_text(cif(cubic(4), operators, "Fe Fe .1 .2 .3 1\n"), "file.cif");
    EXPECT_EQ(phase.composition()[0].count, 4);
    EXPECT_FALSE(phase.warnings().empty());
    EXPECT_EQ(phase.crystal_system(), crystal::CrystalSystem::tetragonal);
}

TEST(Phase, HallSymbolWinsOverTheName) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(5.431), "_space_group_name_Hall '-F 4vw 2vw 3'\n" + named("F d -3 m"),
            "Si Si .125 .125 .125 1\n"),
        "file.cif");
    EXPECT_EQ(phase.composition()[0].count, 8);
    EXPECT_TRUE(phase.warnings().empty());
    const auto differing = crystal::Phase::from_cif_text(
        cif(cubic(4), "_space_group_name_Hall '-P 4 2 3'\n" + named("F m -3 m"), "Fe Fe 0 0 0 1\n"),
        "file.cif");
    EXPECT_EQ(differing.composition()[0].count, 1);
    EXPECT_EQ(differing.warnings().size(), 1U);
}

TEST(Phase, RoundedSpecialPositionsAreMerged) {
    // P 6/m m m, C on 1/3 0 z: six atoms, however many threes are written.
    for (const char* third : {"0.333", "0.33333", "0.333333333", "1/3"}) {
        if (std::string(third) == "1/3")
            continue;
        const auto phase = crystal::Phase::from_cif_text(
            cif(hexagonal(4.305, 3.706), named("P 6/m m m"),
                std::string("Li Li 0 0 0 1\nC C ") + third + " 0 0.5 1\n"),
            "file.cif");
        EXPECT_EQ(phase.composition()[0].count, 1) << third;
        EXPECT_EQ(phase.composition()[1].count, 6) << third;
    }
}

TEST(Phase, SharedSitesKeepTheirOccupancies) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(4), named("P m -3 m"), "Ni Ni 0 0 0 .6\nCo Co 0 0 0 .4\n"), "file.cif");
    EXPECT_NEAR(phase.cell_mass(), 0.6 * 58.693 + 0.4 * 58.933, 0.01);
}

TEST(Phase, IonsAndDeuteriumFallBackToTheElement) {
    const auto ions = crystal::Phase::from_cif_text(
        cif(cubic(4.2), named("F m -3 m"), "Mg1 Mg2+ 0 0 0 1\nO1 O2- .5 .5 .5 1\n"), "file.cif");
    const auto neutral = crystal::Phase::from_cif_text(
        cif(cubic(4.2), named("F m -3 m"), "Mg1 Mg 0 0 0 1\nO1 O .5 .5 .5 1\n"), "file.cif");
    EXPECT_EQ(ions.reflections(1)[0].structure_factor_squared,
              neutral.reflections(1)[0].structure_factor_squared);
    const auto deuterium = crystal::Phase::from_cif_text(
        cif(cubic(4), named("P m -3 m"), "D1 D 0 0 0 1\n"), "file.cif");
    EXPECT_EQ(deuterium.composition()[0].atomic_number, 1);
    EXPECT_NEAR(deuterium.cell_mass(), 2.014, 1e-3);
}

TEST(Phase, LabelsNameTheElementWhenNoTypeIsGiven) {
    const std::string text = "data_x\n" + cubic(4) + named("P m -3 m") +
                             "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n"
                             "_atom_site_fract_z\nOW1 0 0 0\nCo2_a .5 .5 .5\n";
    const auto phase = crystal::Phase::from_cif_text(text, "file.cif");
    EXPECT_EQ(phase.composition()[0].symbol, "O");
    EXPECT_EQ(phase.composition()[1].symbol, "Co");
}

TEST(Phase, DisplacementParametersInAllForms) {
    const auto f2 = [](const std::string& columns, const std::string& values,
                       const std::string& more = {}) {
        const std::string text = "data_x\n" + cubic(4) + named("P m -3 m") +
                                 "loop_\n_atom_site_label\n_atom_site_type_symbol\n"
                                 "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n" +
                                 columns + "Fe1 Fe 0 0 0 " + values + "\n" + more;
        return crystal::Phase::from_cif_text(text, "file.cif")
            .reflections(1.9)[1]
            .structure_factor_squared;
    };
    const double u = 0.012, stol2 = 0.25 * 2 / 16.0; // 110 of a 4 Å cube
    const double still = f2("", "");
    const double expected = still * std::exp(-2 * 8 * std::pow(std::acos(-1.0), 2) * u * stol2);
    EXPECT_NEAR(f2("_atom_site_U_iso_or_equiv\n", "0.012"), expected, 1e-9 * still);
    EXPECT_NEAR(f2("_atom_site_U_iso_or_equiv\n", "0.012(3)"), expected, 1e-9 * still);
    const std::string b = std::to_string(8 * std::pow(std::acos(-1.0), 2) * u);
    EXPECT_NEAR(f2("_atom_site_B_iso_or_equiv\n", b), expected, 1e-6 * still);
    const std::string aniso =
        "loop_\n_atom_site_aniso_label\n_atom_site_aniso_U_11\n_atom_site_aniso_U_22\n"
        "_atom_site_aniso_U_33\n_atom_site_aniso_U_12\n_atom_site_aniso_U_13\n"
        "_atom_site_aniso_U_23\nFe1 .010 .012 .014 0 0 0\n";
    EXPECT_NEAR(f2("", "", aniso), expected, 1e-9 * still);
    EXPECT_NEAR(f2("_atom_site_U_iso_or_equiv\n", "?", aniso), expected, 1e-9 * still);
}

TEST(Phase, OtherCellsKeepTheSites) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(hexagonal(2.87, 14.243), named("R -3 m :H"), "Ni Ni 0 0 0 1\nO O 0 0 .26 1\n"),
        "a.cif");
    const auto other = phase.with_cell({2.82, 99, 14.5, 1, 2, 3});
    EXPECT_EQ(other.cell().b, 2.82);
    EXPECT_EQ(other.cell().gamma, 120);
    EXPECT_NEAR(other.density() / phase.density(), phase.cell().volume() / other.cell().volume(),
                1e-12);
    EXPECT_NEAR(other.reflections(4)[0].d, 14.5 / 3, 1e-12);
    EXPECT_THROW(phase.with_cell({-1, 1, 1, 90, 90, 120}), Error);
}

TEST(PhaseErrors, NameFileAndItem) {
    const std::string good = "Fe1 Fe 0 0 0 1\n";
    EXPECT_THAT(error_of("data_x\n" + named("P 1") +
                         "loop_\n_atom_site_label\n_atom_site_fract_x\n"
                         "_atom_site_fract_y\n_atom_site_fract_z\n"
                         "Fe 0 0 0\n"),
                testing::AllOf(HasSubstr("file.cif"), HasSubstr("_cell_length_a")));
    EXPECT_THAT(error_of(cif(cubic(4), named("P 1"), "X1 Xx 0 0 0 1\n")),
                testing::AllOf(HasSubstr("file.cif"), HasSubstr("X1"), HasSubstr("Xx")));
    EXPECT_THAT(error_of(cif(cubic(4), named("P 99 nonsense"), good)),
                testing::AllOf(HasSubstr("file.cif"), HasSubstr("P 99 nonsense")));
    EXPECT_THAT(error_of(cif(cubic(4), "", good)), HasSubstr("no symmetry"));
    EXPECT_THAT(error_of("data_x\n" + cubic(4) + named("P 1")), HasSubstr("no atoms"));
    EXPECT_THAT(error_of("not a cif at all"), HasSubstr("file.cif"));
    EXPECT_THAT(error_of(""), HasSubstr("file.cif"));
    EXPECT_THAT(error_of(cif(hexagonal(4, 6), named("P m -3 m"), good)), HasSubstr("does not fit"));
    EXPECT_THAT(error_of(cif(cubic(-4), named("P 1"), good)), HasSubstr("impossible"));
    EXPECT_THAT(error_of(cif(cubic(4), named("P 1"), "Fe1 Fe 0 0 0 2\n")), HasSubstr("occupancy"));
    EXPECT_THAT(error_of(cif(cubic(4), "loop_\n_symmetry_equiv_pos_as_xyz\nx,y\n", good)),
                HasSubstr("x,y"));
}

TEST(PhaseErrors, InconsistentDensity) {
    const std::string atoms = "Ce1 Ce 0 0 0 1\nO1 O .25 .25 .25 1\n";
    const std::string stated = "_exptl_crystal_density_diffrn 3.6\n";
    EXPECT_THAT(error_of(cif(cubic(5.411), named("F m -3 m"), atoms, stated)),
                testing::AllOf(HasSubstr("file.cif"), HasSubstr("7.21"), HasSubstr("3.6")));
    const std::string formula = "_chemical_formula_sum 'Ce O2'\n_cell_formula_units_Z 2\n";
    EXPECT_THAT(error_of(cif(cubic(5.411), named("F m -3 m"), atoms, formula)),
                HasSubstr("_cell_formula_units_Z"));
    const std::string right = "_chemical_formula_sum 'Ce1.0 O2'\n_cell_formula_units_Z 4\n";
    EXPECT_EQ(error_of(cif(cubic(5.411), named("F m -3 m"), atoms, right)), "no error");
}

TEST(Phase, MassAttenuationIsTheMassWeightedMean) {
    const auto phase = crystal::Phase::from_cif_text(
        cif(cubic(4.2), named("F m -3 m"), "Mg1 Mg 0 0 0 1\nO1 O .5 .5 .5 1\n"), "file.cif");
    EXPECT_NEAR(phase.mass_attenuation(60), crystal::mass_attenuation("MgO", 60), 2e-4);
    // NIST XCOM: iron at 100 keV 0.3717 cm²/g, with coherent scattering.
    EXPECT_NEAR(crystal::mass_attenuation("Fe", 100), 0.3717, 0.004);
    EXPECT_NEAR(crystal::mass_attenuation("Ca(OH)2", 60), crystal::mass_attenuation("CaO2H2", 60),
                1e-12);
    EXPECT_NEAR(crystal::mass_attenuation("H2O", 60), 0.2059, 0.002); // NIST XCOM
    for (const char* bad : {"Qq2", "", "H2O)", "(H2O", "2", "()", "h2o", "C1.2.3"})
        EXPECT_THROW(crystal::mass_attenuation(bad, 60), Error) << bad;
    EXPECT_THROW(static_cast<void>(phase.mass_attenuation(-1)), Error);
}

} // namespace
} // namespace xrdct
