// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/structures.hpp"

#include "base/error.hpp"

#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

std::string cif(std::string_view name, std::string_view comment, double a, double c,
                std::string_view group, int number, std::string_view formula, int z,
                std::string_view atoms) {
    const bool cubic = c == 0, tetragonal = number >= 75 && number <= 142;
    return fmt::format("# {}\n"
                       "data_{}\n"
                       "_chemical_formula_sum '{}'\n"
                       "_cell_formula_units_Z {}\n"
                       "_cell_length_a {}\n_cell_length_b {}\n_cell_length_c {}\n"
                       "_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma {}\n"
                       "_space_group_name_H-M_alt '{}'\n"
                       "_space_group_IT_number {}\n"
                       "loop_\n"
                       "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
                       "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
                       "_atom_site_B_iso_or_equiv\n"
                       "{}",
                       comment, name, formula, z, a, a, cubic ? a : c,
                       cubic || tetragonal ? 90 : 120, group, number, atoms);
}

} // namespace

const std::vector<StructureFile>& structure_files() {
    static const std::vector<StructureFile> files = {
        {"Fe", cif("Fe", "alpha iron, body-centred cubic; stands for the steel of the can", 2.8665,
                   0, "I m -3 m", 229, "Fe", 2, "Fe1 Fe 0 0 0 1 0.35\n")},
        {"Cu", cif("Cu", "copper, face-centred cubic", 3.6149, 0, "F m -3 m", 225, "Cu", 4,
                   "Cu1 Cu 0 0 0 1 0.55\n")},
        {"Al", cif("Al", "aluminium, face-centred cubic", 4.0495, 0, "F m -3 m", 225, "Al", 4,
                   "Al1 Al 0 0 0 1 0.80\n")},
        {"NMC532",
         cif("NMC532", "LiNi0.5Mn0.3Co0.2O2, alpha-NaFeO2 type, 3 % exchange of lithium and nickel",
             2.870, 14.243, "R -3 m :H", 166, "Li Ni0.5 Mn0.3 Co0.2 O2", 3,
             "Li1 Li 0 0 0.5 0.97 1.0\n"
             "Ni2 Ni 0 0 0.5 0.03 1.0\n"
             "Ni1 Ni 0 0 0 0.47 0.4\n"
             "Mn1 Mn 0 0 0 0.30 0.4\n"
             "Co1 Co 0 0 0 0.20 0.4\n"
             "Li2 Li 0 0 0 0.03 0.4\n"
             "O1 O 0 0 0.2587 1 0.8\n")},
        {"LiC6", cif("LiC6", "lithium graphite, stage 1", 4.305, 3.706, "P 6/m m m", 191, "Li C6",
                     1, "Li1 Li 0 0 0 1 2.0\nC1 C 0.333333 0 0.5 1 0.7\n")},
        {"LiC12", cif("LiC12", "lithium graphite, stage 2", 4.288, 7.065, "P 6/m m m", 191,
                      "Li C12", 1, "Li1 Li 0 0 0 1 2.0\nC1 C 0.333333 0 0.25 1 0.7\n")},
        {"graphite", cif("graphite", "hexagonal graphite", 2.464, 6.711, "P 63/m m c", 194, "C", 4,
                         "C1 C 0 0 0.25 1 0.7\nC2 C 0.333333 0.666667 0.25 1 0.7\n")},
        {"CeO2", cif("CeO2", "cerium dioxide, fluorite type", 5.4115, 0, "F m -3 m", 225, "Ce O2",
                     4, "Ce1 Ce 0 0 0 1 0.3\nO1 O 0.25 0.25 0.25 1 0.5\n")},
        {"TiO2", cif("TiO2", "titanium dioxide, anatase", 3.7845, 9.5143, "I 41/a m d :2", 141,
                     "Ti O2", 4, "Ti1 Ti 0 0.25 0.375 1 0.4\nO1 O 0 0.25 0.1668 1 0.6\n")},
        {"gamma-Al2O3",
         cif("gamma-Al2O3", "gamma alumina, cubic spinel with vacancies on the octahedral sites",
             7.911, 0, "F d -3 m :2", 227, "Al21.333 O32", 1,
             "Al1 Al 0.125 0.125 0.125 1 0.6\nAl2 Al 0.5 0.5 0.5 0.8333 0.6\n"
             "O1 O 0.2547 0.2547 0.2547 1 0.8\n")},
    };
    return files;
}

const StructureFile& structure_file(std::string_view name) {
    for (const StructureFile& file : structure_files())
        if (file.name == name)
            return file;
    throw Error(fmt::format("no built-in structure is called \"{}\"", name));
}

} // namespace xrdct::phantom
