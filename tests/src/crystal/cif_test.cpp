// SPDX-License-Identifier: BSD-3-Clause
// CIFs as databases, journals and programs write them.
#include "base/error.hpp"
#include "crystal/phase.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

namespace xrdct {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

crystal::Phase read(const std::string& text, const std::string& block = {}) {
    return crystal::Phase::from_cif_text(text, "file.cif", {}, block);
}

std::string error_of(const std::string& text, const std::string& block = {}) {
    try {
        read(text, block);
    } catch (const Error& e) {
        return e.what();
    }
    return "no error";
}

std::string cell(const std::string& a, const std::string& b, const std::string& c,
                 const std::string& alpha = "90", const std::string& beta = "90",
                 const std::string& gamma = "90") {
    return "_cell_length_a " + a + "\n_cell_length_b " + b + "\n_cell_length_c " + c +
           "\n_cell_angle_alpha " + alpha + "\n_cell_angle_beta " + beta + "\n_cell_angle_gamma " +
           gamma + "\n";
}

std::string group(const std::string& name) {
    return "_symmetry_space_group_name_H-M \"" + name + "\"\n";
}

/// Atoms with the columns label, x, y, z and `more`.
std::string atoms(const std::string& rows, const std::vector<std::string>& more = {}) {
    std::string text = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n"
                       "_atom_site_fract_z\n";
    for (const auto& column : more)
        text += "_atom_site_" + column + "\n";
    return text + rows;
}

double count_of(const crystal::Phase& phase, const std::string& symbol) {
    for (const auto& element : phase.composition())
        if (element.symbol == symbol)
            return element.count;
    return 0;
}

const std::string salt = cell("5.6402", "5.6402", "5.6402") + group("F m -3 m");
const std::string salt_atoms = atoms("Na1 0 0 0\nCl1 .5 .5 .5\n");

TEST(CifSites, SplitPositionsStayApartAsTheDigitsSay) {
    // Half occupied at 0.016 of c from a mirror, 0.2 Å apart, and on a mirror within the rounding.
    const std::string tetragonal = "data_x\n" + cell("4", "4", "6.1") + group("P 4/m m m");
    const auto split = read(tetragonal + atoms("La1 0 0 0.484 0.5\n", {"occupancy"}));
    EXPECT_NEAR(count_of(split, "La"), 1, 1e-12); // two half atoms
    const auto on = read(tetragonal + atoms("La1 0 0 0.499 0.5\n", {"occupancy"}));
    EXPECT_NEAR(count_of(on, "La"), 0.5, 1e-12);
    // Two digits leave 0.2 Å open, four do not.
    const auto rough = read(tetragonal + atoms("La1 0 0 0.49 0.5\n", {"occupancy"}));
    EXPECT_NEAR(count_of(rough, "La"), 0.5, 1e-12);
    const auto fine = read(tetragonal + atoms("La1 0 0 0.4900 0.5\n", {"occupancy"}));
    EXPECT_NEAR(count_of(fine, "La"), 1, 1e-12);
}

TEST(CifSites, AFullAtomIsNotSplit) {
    const auto phase = read("data_x\n" + cell("4", "4", "6.1") + group("P 4/m m m") +
                            atoms("La1 0 0 0.4900 1\n", {"occupancy"}));
    EXPECT_NEAR(count_of(phase, "La"), 1, 1e-12);
    EXPECT_THAT(phase.warnings(), Contains(HasSubstr("La1")));
}

TEST(CifSites, RoundedThirdsAndSixthsAreSpecialBesideLongNumbers) {
    const std::string hexagonal = "data_x\n" + cell("9", "9", "7", "90", "90", "120");
    for (const char* third : {"0.33 0.67", "0.333 0.667", "0.3333 0.6666", "1/3 2/3"}) {
        const auto phase =
            read(hexagonal + group("P 63/m m c") +
                 atoms("Na1 " + std::string(third) + " 0.25\nCl1 0.12345 0.2469 0.08123\n"));
        EXPECT_NEAR(count_of(phase, "Na"), 2, 1e-12) << third;
        EXPECT_NEAR(count_of(phase, "Cl"), 12, 1e-12) << third;
    }
}

TEST(CifSites, StatedMultiplicityDecides) {
    const std::string start = "data_x\n" + cell("4", "4", "6.1") + group("P 4/m m m");
    const auto split =
        read(start + atoms("La1 0 0 0.49 0.5 2\n", {"occupancy", "symmetry_multiplicity"}));
    EXPECT_NEAR(count_of(split, "La"), 1, 1e-12);
    const auto merged =
        read(start + atoms("La1 0 0 0.4900 0.5 1\n", {"occupancy", "site_symmetry_multiplicity"}));
    EXPECT_NEAR(count_of(merged, "La"), 0.5, 1e-12);
    // Old files of SHELXL have the order of the site symmetry in that column.
    const auto order = read(start + atoms("La1 0 0 0.5 1 16\nO1 .1 .2 .3 1 1\n",
                                          {"occupancy", "symmetry_multiplicity"}));
    EXPECT_NEAR(count_of(order, "La"), 1, 1e-12);
    EXPECT_NEAR(count_of(order, "O"), 16, 1e-12);
}

TEST(CifSites, ListedTwiceIsCountedOnce) {
    for (const char* again : {"Na2 0 0 0\n", "Na2 .5 .5 0\n", "Na1 0 .5 .5\n"}) {
        const auto phase =
            read("data_x\n" + salt + atoms("Na1 0 0 0\nCl1 .5 .5 .5\n" + std::string(again)));
        EXPECT_NEAR(phase.density(), 2.1635, 1e-3) << again;
        EXPECT_THAT(phase.warnings(), Contains(HasSubstr("counted once"))) << again;
    }
    // Halves of one element are not listed twice: two valences, say.
    const auto halves = read("data_x\n" + salt +
                             atoms("Fe1 0 0 0 .5\nFe2 0 0 0 .5\nO1 .5 .5 .5 1\n", {"occupancy"}));
    EXPECT_NEAR(count_of(halves, "Fe"), 4, 1e-12);
    EXPECT_THAT(halves.warnings(), Not(Contains(HasSubstr("counted once"))));
}

TEST(CifSites, DensityThatCountsTwiceIsNoReasonToRefuse) {
    const auto phase = read("data_x\n_exptl_crystal_density_diffrn 3.0146\n" + salt +
                            atoms("Na1 0 0 0\nNa2 .5 .5 0\nCl1 .5 .5 .5\n"));
    EXPECT_NEAR(phase.density(), 2.1635, 1e-3);
    EXPECT_THAT(phase.warnings(), Contains(HasSubstr("3.01")));
}

TEST(CifSites, MoreThanOneAtomOnAPlaceIsRefusedByName) {
    const auto with = [&](const std::string& rows) {
        return error_of("data_x\n" + salt + atoms(rows, {"occupancy"}));
    };
    EXPECT_THAT(with("Na1 0 0 0 .5\nK1 0 0 0 .6\n"),
                AllOf(HasSubstr("file.cif"), HasSubstr("Na1"), HasSubstr("K1"), HasSubstr("1.1")));
    EXPECT_THAT(with("Na1 0 0 0 1\nK1 .5 0 .5 1\n"), HasSubstr("K1"));
    EXPECT_THAT(with("Na1 0 0 0 1\nNa2 0 0 0 .5\n"), HasSubstr("Na2"));
    EXPECT_EQ(with("Na1 0 0 0 .34\nK1 0 0 0 .34\nRb1 0 0 0 .34\n"), "no error"); // rounding
}

TEST(CifSites, AtomsTooCloseAreWarnedOf) {
    const auto phase = read("data_x\n" + salt + atoms("Na1 0 0 0\nO1 .05 0 0\n"));
    EXPECT_THAT(phase.warnings(), Contains(AllOf(HasSubstr("Na1"), HasSubstr("0.28"))));
}

TEST(CifElements, WaterOfMineralogicalDatabasesIsOxygen) {
    for (const char* label : {"Wat1", "WatOW", "WAT2", "Wat", "OH", "Oh2", "Ow1", "OW", "H2O1"}) {
        const auto phase =
            read("data_x\n" + salt + atoms("Ca1 0 0 0\n" + std::string(label) + " .5 .5 .5\n"));
        EXPECT_EQ(count_of(phase, "O"), 4) << label;
    }
    for (const char* type : {"OH2", "H2O", "OH", "OH-", "Wat", "H3O+", "D2O", "O-H"}) {
        const auto phase =
            read("data_x\n" + salt +
                 atoms("Ca1 0 0 0 Ca2+\nX1 .5 .5 .5 " + std::string(type) + "\n", {"type_symbol"}));
        EXPECT_EQ(count_of(phase, "O"), 4) << type;
    }
    for (const auto& [type, symbol] : {std::pair{"NH4", "N"},
                                       {"NH4+", "N"},
                                       {"CH3", "C"},
                                       {"Cd2+", "Cd"},
                                       {"Nd3+", "Nd"},
                                       {"Ho3+", "Ho"},
                                       {"CO2+", "Co"},
                                       {"Cval", "C"},
                                       {"Sival", "Si"},
                                       {"H", "H"}}) {
        const auto phase = read("data_x\n" + salt +
                                atoms("X1 .5 .5 .5 " + std::string(type) + "\n", {"type_symbol"}));
        EXPECT_EQ(count_of(phase, symbol), 4) << type;
    }
    const auto labelled = read("data_x\n" + salt + atoms("Ca1 0 0 0\nWat1 .5 .5 .5\n"));
    EXPECT_THAT(labelled.warnings(), Contains(AllOf(HasSubstr("Wat1"), HasSubstr("hydrogen"))));
}

TEST(CifElements, MixedSitesOfThePaulingFile) {
    const auto mixed =
        read("data_x\n" + salt +
             atoms("Nb,Zr 0 0 0 '0.8Nb + 0.2Zr'\nO1 .5 .5 .5 '.9O'\n", {"type_symbol"}));
    EXPECT_NEAR(count_of(mixed, "Nb"), 3.2, 1e-12);
    EXPECT_NEAR(count_of(mixed, "Zr"), 0.8, 1e-12);
    EXPECT_NEAR(count_of(mixed, "O"), 3.6, 1e-12);
    const auto water = read("data_x\n" + salt +
                            atoms("M1 0 0 0 '0.645Zn + 0.345Fe3+ + 0.01Pb'\nM2 .5 .5 .5 "
                                  "'0.655OH2 + 0.345OH'\n",
                                  {"type_symbol"}));
    EXPECT_NEAR(count_of(water, "Fe"), 1.38, 1e-12);
    EXPECT_NEAR(count_of(water, "O"), 4, 1e-12);
    EXPECT_EQ(count_of(read("data_x\n" + salt + atoms("L1 0 0 0 7Li\n", {"type_symbol"})), "Li"),
              4);
    for (const char* bad : {"'Nb + Zr'", "'0.8Nb + Zr'", "'1.8Nb + 0.2Zr'", "Nb,Zr", "Nb/Zr"})
        EXPECT_THAT(error_of("data_x\n" + salt +
                             atoms("M1 0 0 0 " + std::string(bad) + "\n", {"type_symbol"})),
                    AllOf(HasSubstr("M1"), HasSubstr("share")))
            << bad;
    EXPECT_THAT(error_of("data_x\n" + salt + atoms("Nb,Zr 0 0 0\n")), HasSubstr("Nb,Zr"));
}

TEST(CifElements, TheFormulaDecidesWhatALabelMeans) {
    const auto element = [](const std::string& label, const std::string& formula) {
        const auto phase = read("data_x\n_chemical_formula_sum '" + formula + "'\n" + salt +
                                atoms(label + " .5 .5 .5\n"));
        return phase.composition().front().symbol;
    };
    EXPECT_EQ(element("HO1", "C2 H4 O"), "H");
    EXPECT_EQ(element("HF1", "C2 H4 F"), "H");
    EXPECT_EQ(element("HG11", "C2 H4 O"), "H");
    EXPECT_EQ(element("OS1", "C O4 S"), "O");
    EXPECT_EQ(element("CO1", "C4 O4"), "C");
    EXPECT_EQ(element("CD2", "C4 H4"), "C");
    EXPECT_EQ(element("NA", "C4 N4"), "N");
    EXPECT_EQ(element("Ho1", "C4 H4 O"), "H");
    EXPECT_EQ(element("HO1", "Ho2 O3"), "Ho");
    EXPECT_EQ(element("CU1", "Cu O"), "Cu");
    EXPECT_EQ(element("ZN1", "Zn O"), "Zn");
    EXPECT_EQ(element("DO1", "D2 O"), "H"); // deuterium is atomic number 1
    EXPECT_EQ(element("AlM1", "Al2 O3"), "Al");
    EXPECT_EQ(element("(OH)1", "H2 Mg O2"), "O");
}

TEST(CifElements, WithoutAFormulaAnAmbiguousLabelIsSaid) {
    const auto hydrogen = read("data_x\n" + salt + atoms("HO1 .5 .5 .5\n"));
    EXPECT_EQ(hydrogen.composition().front().symbol, "H");
    EXPECT_THAT(hydrogen.warnings(), Contains(HasSubstr("HO1 (H)")));
    const auto iron = read("data_x\n" + salt + atoms("FE1 .5 .5 .5\n"));
    EXPECT_EQ(iron.composition().front().symbol, "Fe");
    EXPECT_THAT(iron.warnings(), Contains(HasSubstr("FE1 (Fe)")));
    EXPECT_THAT(read("data_x\n" + salt + atoms("Fe1 .5 .5 .5\n")).warnings(), IsEmpty());
    EXPECT_THAT(error_of("data_x\n" + salt + atoms("Vac1 .5 .5 .5\n")), HasSubstr("Vac1"));
}

TEST(CifCoordinates, DummiesAreLeftOut) {
    for (const char* occupancy : {"1.", "2.", "5.08"}) {
        const auto phase = read("data_x\n" + salt +
                                atoms("Na1 0 0 0 1. d\nCl1 .5 .5 .5 1. d\nH1 -1. -1. -1. " +
                                          std::string(occupancy) + " dum\n",
                                      {"occupancy", "calc_flag"}));
        EXPECT_NEAR(phase.density(), 2.1635, 1e-3);
        EXPECT_THAT(phase.warnings(), Contains(HasSubstr("H1")));
    }
    const auto unflagged =
        read("data_x\n" + salt +
             atoms("Na1 0 0 0 1.\nCl1 .5 .5 .5 1.\nH1 -1 -1 -1 2.\n", {"occupancy"}));
    EXPECT_EQ(count_of(unflagged, "H"), 0);
    // An atom at -1 -1 -1 that is not hydrogen is one.
    EXPECT_EQ(count_of(read("data_x\n" + salt + atoms("Hg1 -1 -1 -1\n")), "Hg"), 4);
}

TEST(CifCoordinates, ABarePointIsZeroWhereZerosAreLeftOut) {
    const auto phase = read("data_x\n" + cell("4.19", "4.19", "4.19") + group("P m -3 m") +
                            atoms("F1 .5 . .\nK1 .5 .5 .5\nMn1 . . .\n"));
    EXPECT_EQ(count_of(phase, "F"), 3);
    EXPECT_EQ(count_of(phase, "Mn"), 1);
    const auto chloride = read("data_x\n" + cell("4.1", "4.1", "4.1") + group("P m -3 m") +
                               atoms("Cs1 . . .\nCl1 .5 .5 .5\n"));
    EXPECT_EQ(count_of(chloride, "Cs"), 1);
    const auto unknown =
        read("data_x\n" + salt + atoms("Na1 0 0 0\nCl1 0.5 0.5 0.5\nH1 . . .\nH2 ? ? ?\n"));
    EXPECT_EQ(count_of(unknown, "H"), 0);
    EXPECT_THAT(unknown.warnings(), AllOf(Contains(HasSubstr("H1")), Contains(HasSubstr("H2"))));
}

TEST(CifCoordinates, WhatIsNoNumberIsNamed) {
    for (const char* bad : {"0,5", "x", "0.5a", "0.5(3", "nan"})
        EXPECT_THAT(error_of("data_x\n" + salt + atoms("Na1 0 0 " + std::string(bad) + "\n")),
                    AllOf(HasSubstr("Na1"), HasSubstr(bad)));
    EXPECT_EQ(count_of(read("data_x\n" + salt + atoms("Na1 0.25(3) 1/4 -0.75(10)\n")), "Na"), 8);
    EXPECT_THAT(error_of("data_x\n" + salt + atoms("Na1 0 0 0 full\n", {"occupancy"})),
                AllOf(HasSubstr("Na1"), HasSubstr("full")));
}

TEST(CifCoordinates, AFileWithoutThemSaysSo) {
    EXPECT_THAT(error_of("data_x\n" + salt + atoms("? ? ? ?\n")),
                HasSubstr("no atomic coordinates"));
    EXPECT_THAT(error_of("data_x\n" + salt + atoms("Na1 ? ? ?\nCl1 ? ? ?\n")),
                HasSubstr("no atomic coordinates"));
    EXPECT_THAT(error_of("data_x\n" + salt +
                         "loop_\n_atom_site_label\n_atom_site_Cartn_x\n_atom_site_Cartn_y\n"
                         "_atom_site_Cartn_z\nNa1 0 0 0\n"),
                HasSubstr("Cartesian"));
}

TEST(CifContent, HydrogenWithoutPositionsIsNoted) {
    const std::string brucite =
        cell("3.142", "3.142", "4.766", "90", "90", "120") + group("P -3 m 1");
    const std::string sites = atoms("Mg1 0 0 0\nO1 0.3333 0.6667 0.2203\n");
    for (const char* stated :
         {"_chemical_formula_sum 'H2 Mg O2'\n_exptl_crystal_density_diffrn 2.377\n",
          "_chemical_formula_sum 'H2 Mg O2'\n_cell_formula_units_Z 1\n",
          "_chemical_formula_sum 'Mg (O H)2'\n_exptl_crystal_density_diffrn 2.377\n"
          "_cell_formula_units_Z 1\n"}) {
        const auto phase = read("data_x\n" + std::string(stated) + brucite + sites);
        EXPECT_NEAR(phase.density(), 2.2945, 1e-3);
        EXPECT_THAT(phase.warnings(), Contains(HasSubstr("2 of 2 hydrogen"))) << stated;
    }
    // Without a formula: by hydrogen attached, or by what the oxygen could bind.
    const auto attached =
        read("data_x\n_exptl_crystal_density_diffrn 2.377\n" + brucite +
             atoms("Mg1 0 0 0 0\nO1 0.3333 0.6667 0.2203 1\n", {"attached_hydrogens"}));
    EXPECT_THAT(attached.warnings(), Contains(HasSubstr("2 of 2 hydrogen")));
    const auto weight =
        read("data_x\n_chemical_formula_weight 58.32\n_cell_formula_units_Z 1\n" + brucite + sites);
    EXPECT_NEAR(weight.density(), 2.2945, 1e-3);
    // What hydrogen does not explain is refused as before.
    EXPECT_THAT(error_of("data_x\n_chemical_formula_sum 'H2 Mg O2'\n"
                         "_exptl_crystal_density_diffrn 2.6\n" +
                         brucite + sites),
                HasSubstr("2.600"));
    EXPECT_THAT(error_of("data_x\n_exptl_crystal_density_diffrn 2.1\n" + brucite + sites),
                HasSubstr("2.100"));
}

TEST(CifContent, AFormulaOfTheWholeCellIsRecognised) {
    const std::string start = "data_x\n_cell_formula_units_Z 4\n" + salt;
    const auto phase = read(start + "_chemical_formula_sum 'Na4 Cl4'\n" + salt_atoms);
    EXPECT_THAT(phase.warnings(), Contains(HasSubstr("whole cell")));
    EXPECT_THAT(error_of(start + "_chemical_formula_sum 'Na2 Cl2'\n" + salt_atoms),
                HasSubstr("Na2 Cl2"));
}

TEST(CifContent, CellsInOtherUnitsAreNoted) {
    const std::string tail = group("F m -3 m") + salt_atoms;
    EXPECT_THAT(read("data_x\n" + cell("0.56402", "0.56402", "0.56402") + tail).warnings(),
                Contains(HasSubstr("Å")));
    EXPECT_THAT(error_of("data_x\n" + cell("4", "1e-308", "4") + tail), HasSubstr("impossible"));
}

TEST(CifSyntax, EncodingsAndLineEndsOfAllSystems) {
    const std::string text = "data_x\n" + salt + salt_atoms;
    std::string utf16(text.size() * 2, '\0'), utf16_big(text.size() * 2, '\0'), carriage = text,
                                                                                dos;
    for (std::size_t i = 0; i < text.size(); ++i) {
        utf16[2 * i] = utf16_big[2 * i + 1] = text[i];
        if (text[i] == '\n') {
            carriage[i] = '\r';
            dos += '\r';
        }
        dos += text[i];
    }
    for (const std::string& form : {"\xEF\xBB\xBF" + text, "\xFF\xFE" + utf16,
                                    "\xFE\xFF" + utf16_big, utf16, carriage, dos, dos + "\x1A"})
        EXPECT_NEAR(read(form).density(), 2.1635, 1e-3);
}

TEST(CifSyntax, CharactersBeyondAsciiInBareValues) {
    const auto phase = read("data_x\n_audit_author_name M\xC3\xBCller\n" + salt +
                            atoms("Na1 0\xC2\xA0"
                                  "0 0\nCl1 0.5 \xE2\x88\x92"
                                  "0.5 0.5\n"));
    EXPECT_NEAR(phase.density(), 2.1635, 1e-3);
}

TEST(CifSyntax, TagsGivenTwice) {
    const auto same =
        read("data_x\n_chemical_formula_sum 'Na Cl'\n" + salt +
             "_chemical_formula_sum ''\n_journal_year 1\n_journal_year 2\n" + salt_atoms);
    EXPECT_NEAR(same.density(), 2.1635, 1e-3);
    EXPECT_THAT(same.warnings(),
                Contains(AllOf(HasSubstr("_chemical_formula_sum"), HasSubstr("twice"))));
    // The first one empty: the second one counts.
    EXPECT_THAT(
        error_of("data_x\n_exptl_crystal_density_diffrn ?\n_exptl_crystal_density_diffrn 9.9\n" +
                 salt + salt_atoms),
        HasSubstr("9.9"));
    EXPECT_THAT(error_of("data_x\n" + salt + "_cell_length_a 5.7\n" + salt_atoms),
                AllOf(HasSubstr("_cell_length_a"), HasSubstr("5.6402"), HasSubstr("5.7")));
    EXPECT_THAT(error_of("data_x\n" + salt + group("P 1") + salt_atoms),
                AllOf(HasSubstr("F m -3 m"), HasSubstr("P 1")));
    EXPECT_THAT(error_of("data_x\n" + salt + salt_atoms + atoms("K1 0 0 0\n")),
                HasSubstr("_atom_site_label"));
    EXPECT_NEAR(read("data_x\n" + salt + salt_atoms + salt_atoms).density(), 2.1635, 1e-3);
}

TEST(CifSyntax, WhatStandsBehindTheEnd) {
    for (const char* end : {"END\n", "_eof\n", "_refine_ls_extinction_method\n", "\nEnd\n\n"}) {
        const auto phase = read("data_x\n" + salt + salt_atoms + end);
        EXPECT_NEAR(phase.density(), 2.1635, 1e-3) << end;
        EXPECT_FALSE(phase.warnings().empty()) << end;
    }
    EXPECT_THAT(error_of("data_x\n" + salt + salt_atoms + "K1 0 0\n"), HasSubstr("not a CIF"));
}

TEST(CifSyntax, TagsOfLaterDictionariesHaveDots) {
    EXPECT_NEAR(read("data_x\n_cell.length_a 5.6402\n_cell.length_b 5.6402\n_cell.length_c 5.6402\n"
                     "_space_group.name_H-M_alt 'F m -3 m'\nloop_\n_atom_site.label\n"
                     "_atom_site.fract_x\n_atom_site.fract_y\n_atom_site.fract_z\n"
                     "Na1 0 0 0\nCl1 .5 .5 .5\n")
                    .density(),
                2.1635, 1e-3);
}

TEST(CifBlocks, SeveralStructuresAreNamedAndChosen) {
    const std::string text = "data_global\n_journal_year 2000\ndata_one\n" + salt + salt_atoms +
                             "data_two\n" + cell("4.12", "4.12", "4.12") + group("P m -3 m") +
                             atoms("Cs1 0 0 0\nCl1 .5 .5 .5\n");
    const auto first = read(text);
    EXPECT_EQ(first.name(), "one");
    EXPECT_THAT(first.warnings(), Contains(AllOf(HasSubstr("2 structures"),
                                                 HasSubstr("one was taken"), HasSubstr("two"))));
    const auto second = read(text, "TWO");
    EXPECT_EQ(count_of(second, "Cs"), 1);
    EXPECT_THAT(second.warnings(), IsEmpty());
    EXPECT_THAT(error_of(text, "three"), AllOf(HasSubstr("three"), HasSubstr("one, two")));
    EXPECT_THAT(read("data_global\n_journal_year 2000\ndata_one\n" + salt + salt_atoms).warnings(),
                IsEmpty());
}

TEST(CifBlocks, BlocksNamedAlikeAreChosenByNumber) {
    const std::string text = "data_global\n" + salt + salt_atoms + "data_global\n" +
                             cell("4.12", "4.12", "4.12") + group("P m -3 m") +
                             atoms("Cs1 0 0 0\nCl1 .5 .5 .5\n");
    EXPECT_EQ(count_of(read(text), "Na"), 4);
    EXPECT_EQ(count_of(read(text, "2"), "Cs"), 1);
    EXPECT_THAT(error_of(text, "3"), HasSubstr("3"));
}

TEST(CifSpaceGroups, SpellingsOfDatabasesAndJournals) {
    const std::string monoclinic = cell("5", "6", "7", "90", "105", "90");
    const std::string hexagonal = cell("3", "3", "14", "90", "90", "120");
    const std::string rhombohedral = cell("5", "5", "5", "55", "55", "55");
    const std::string tetragonal = cell("5", "5", "7");
    const std::string cubic = cell("8", "8", "8");
    const std::string orthorhombic = cell("5", "6", "7");
    struct Case {
        const std::string& cell;
        const char* spelled;
        const char* meant;
    };
    for (const Case& c : std::vector<Case>{{monoclinic, "P2(1)/n", "P 1 21/n 1"},
                                           {monoclinic, "P 2(1)/c", "P 1 21/c 1"},
                                           {monoclinic, "P2_1/c", "P 1 21/c 1"},
                                           {monoclinic, "P 2_1 / c", "P 1 21/c 1"},
                                           {monoclinic, "P2~1~/n", "P 1 21/n 1"},
                                           {monoclinic, "P2_{1}/c", "P 1 21/c 1"},
                                           {monoclinic, "$P2_1/c$", "P 1 21/c 1"},
                                           {monoclinic, "P2<sub>1</sub>/c", "P 1 21/c 1"},
                                           {monoclinic, "P 1 2_1/c 1", "P 1 21/c 1"},
                                           {monoclinic, "P 21/c (14)", "P 1 21/c 1"},
                                           {monoclinic, "P 21/c (No. 14)", "P 1 21/c 1"},
                                           {monoclinic, "P_21/c", "P 1 21/c 1"},
                                           {monoclinic, "C 2/c", "C 1 2/c 1"},
                                           {orthorhombic, "P2(1)2(1)2(1)", "P 21 21 21"},
                                           {orthorhombic, "P 2~1~ 2~1~ 2~1~", "P 21 21 21"},
                                           {orthorhombic, "I 2/b 2/a 2/m", "I b a m"},
                                           {orthorhombic, "P 21/n 21/m 21/a", "P n m a"},
                                           {orthorhombic, "Pna2(1)", "P n a 21"},
                                           {hexagonal, "R-3mH", "R -3 m:H"},
                                           {hexagonal, "R -3 m H", "R -3 m:H"},
                                           {hexagonal, "R-3m:H", "R -3 m:H"},
                                           {hexagonal, "R \\bar{3} m", "R -3 m:H"},
                                           {hexagonal, "R -3 m {hexagonal axes}", "R -3 m:H"},
                                           {hexagonal, "R 3 c {rhombohedral axes}", "R 3 c:H"},
                                           {hexagonal, "P6(3)/mmc", "P 63/m m c"},
                                           {hexagonal, "P 63/m 2/m 2/c", "P 63/m m c"},
                                           {hexagonal, "P6_3/mmc", "P 63/m m c"},
                                           {hexagonal, "P 6_{3}/m m c", "P 63/m m c"},
                                           {rhombohedral, "R-3mR", "R -3 m:R"},
                                           {rhombohedral, "R -3 m", "R -3 m:R"},
                                           {tetragonal, "I4(1)/amdZ", "I 41/a m d:2"},
                                           {tetragonal, "I -4 2 d S", "I -4 2 d"},
                                           {tetragonal, "P4(2)/mnm", "P 42/m n m"},
                                           {cubic, "Fd-3mS", "F d -3 m:1"},
                                           {cubic, "Fd-3mZ", "F d -3 m:2"},
                                           {cubic, "Fd3mS", "F d -3 m:1"},
                                           {cubic, "F d -3 m O2", "F d -3 m:2"},
                                           {cubic, "F d -3 m (origin choice 1)", "F d -3 m:1"},
                                           {cubic, "F d -3 m (O2)", "F d -3 m:2"},
                                           {monoclinic, "C 1 2/c 1 (b1)", "C 1 2/c 1"},
                                           {cubic, "F 4/m -3 2/m", "F m -3 m"},
                                           {cubic, "FM-3M", "F m -3 m"},
                                           {cubic, "Ia-3d", "I a -3 d"}}) {
        const std::string text =
            "data_x\n" + c.cell + group(c.spelled) + atoms("Fe1 .12 .13 .17\n");
        try {
            EXPECT_EQ(read(text).space_group(), c.meant) << c.spelled;
        } catch (const Error& e) {
            ADD_FAILURE() << c.spelled << ": " << e.what();
        }
    }
    EXPECT_THAT(error_of("data_x\n" + cubic + group("P9(1)/x") + atoms("Fe1 .12 .13 .17\n")),
                HasSubstr("P9(1)/x"));
}

TEST(CifSpaceGroups, AnyOfTheTagsAndNoFalseNoteBesideOperators) {
    for (const char* tag : {"_space_group_name_H-M_ref", "_space_group_name_H-M_full",
                            "_symmetry_space_group_name_H-M", "_space_group.name_H-M_ref"})
        EXPECT_EQ(read("data_x\n" + cell("5", "5", "5") + tag + " 'F m -3 m'\n" + salt_atoms)
                      .space_group(),
                  "F m -3 m")
            << tag;
    const auto phase =
        read("data_x\n" + cell("5", "6", "7", "90", "105", "90") + group("P2(1)/n") +
             "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n-x+1/2,y+1/2,-z+1/2\n-x,-y,-z\n"
             "x+1/2,-y+1/2,z+1/2\n" +
             atoms("Fe1 .12 .13 .17\n"));
    EXPECT_THAT(phase.warnings(), IsEmpty());
}

TEST(CifMeasured, CasesOfPublicReports) {
    const char* data = std::getenv("XRDCT_DATA");
    const auto folder = std::filesystem::path(data == nullptr ? "" : data) / "field";
    if (data == nullptr || !std::filesystem::is_directory(folder))
        GTEST_SKIP()
            << "XRDCT_DATA, the folder of reference data, is not set or has no field cases";
    struct Case {
        const char* file;
        double density; ///< g/cm³; 0: refused
        const char* says;
    };
    for (const Case& c : std::vector<Case>{
             {"19-cif-split-sites-merged/La2O3.cif", 6.565, ""},
             {"19-cif-split-sites-merged/La2O3_Z.cif", 6.565, ""},
             {"21-cif-amcsd-water/oxalate.cif", 1.7998, "Wat1"},
             {"21-cif-amcsd-water/tsumcorite.cif", 5.3659, "OH2"},
             {"21-cif-amcsd-water/gypsum.cif", 2.263, "16 of 16 hydrogen"},
             {"23-cif-label-ho-is-holmium/organic.cif", 1.6408, ""},
             {"24-cif-dummy-atoms/Li2SO4_H2O.cif", 2.0525, "H1"},
             {"24-cif-dummy-atoms/one.cif", 2.0525, "H1"},
             {"26-cif-density-without-hydrogen/brucite.cif", 2.2945, "2 of 2 hydrogen"},
             {"26-cif-density-without-hydrogen/brucite_nodensity.cif", 2.2945, "2 of 2 hydrogen"},
             {"27-cif-coordinate-dot/KMnF3.cif", 3.4170, "\".\""},
             {"27-cif-coordinate-dot/KMnF3_bare.cif", 3.4170, "\".\""},
             {"29-cif-duplicate-tag/corundum.cif", 3.984, "_chemical_formula_sum"},
             {"31-cif-byte-order-mark/NaCl.cif", 2.1635, ""},
             {"32-cif-sites-on-one-place/listed_twice.cif", 2.1635, "Na2"},
             {"32-cif-sites-on-one-place/mixed.cif", 0, "K1"},
             {"32-cif-sites-on-one-place/occupancy.cif", 0, "K1"},
             {"33-cif-rhombohedral-small-angle/Sn4As3.cif", 6.7039, ""},
             {"33-cif-rhombohedral-small-angle/digenite.cif", 5.713, "10.679"},
             {"34-cif-space-group-spellings/shelx.cif", 1.8286, ""},
             {"34-cif-space-group-spellings/latex.cif", 1.8286, ""},
             {"34-cif-space-group-spellings/ref.cif", 2.1635, ""},
             {"36-cif-without-coordinates/cyanide.cif", 0, "no atomic coordinates"},
             {"38-cif-several-structures/supplement.cif", 2.1635, "paper_2"}}) {
        std::ifstream file(folder / c.file, std::ios::binary);
        std::ostringstream text;
        text << file.rdbuf();
        std::string said;
        try {
            const auto phase = read(text.str());
            EXPECT_NEAR(phase.density(), c.density, 5e-4) << c.file;
            for (const auto& warning : phase.warnings())
                said += warning + "\n";
            if (*c.says == 0) {
                EXPECT_EQ(said, "") << c.file;
            }
        } catch (const Error& e) {
            EXPECT_EQ(c.density, 0) << c.file << ": " << e.what();
            said = e.what();
        }
        EXPECT_THAT(said, HasSubstr(c.says)) << c.file;
    }
}

} // namespace
} // namespace xrdct
