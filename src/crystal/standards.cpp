// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/standards.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::crystal {

namespace {

PowderStandard cubic(const std::string& name, const std::string& material,
                     const std::string& source, double a, std::string_view group, int number,
                     std::string_view formula, int z, std::string_view atoms) {
    const std::string cif =
        fmt::format("# {}, {}: {}\n"
                    "data_{}\n"
                    "_chemical_formula_sum '{}'\n"
                    "_cell_formula_units_Z {}\n"
                    "_cell_length_a {}\n_cell_length_b {}\n_cell_length_c {}\n"
                    "_cell_angle_alpha 90\n_cell_angle_beta 90\n"
                    "_cell_angle_gamma 90\n"
                    "_space_group_name_H-M_alt '{}'\n"
                    "_space_group_IT_number {}\n"
                    "loop_\n"
                    "_atom_site_label\n_atom_site_type_symbol\n"
                    "_atom_site_fract_x\n_atom_site_fract_y\n"
                    "_atom_site_fract_z\n_atom_site_occupancy\n"
                    "_atom_site_B_iso_or_equiv\n"
                    "{}",
                    name, material, source, name, formula, z, a, a, a, group, number, atoms);
    return {name, material, source, a, cif};
}

} // namespace

Phase PowderStandard::phase() const {
    return Phase::from_cif_text(cif, "standard " + name, name);
}

const std::vector<PowderStandard>& powder_standards() {
    // CeO2: 5.411651 Å is the cell tabulated for SRM 674b, an intensity standard: the calibrant
    // lists of pyFAI and GSAS-II give it too. Other ceria differs in the fifth digit (5.4115 Å is
    // common).
    // LaB6: certificate of SRM 660c, 0.4156826(80) nm at 22.5 °C, k = 2.
    // Si: certificate of SRM 640f, 0.5431144(80) nm at 22.5 °C, k = 2; 640e has 0.5431179 nm.
    static const std::vector<PowderStandard> standards = {
        cubic("CeO2", "SRM 674b", "a = 5.411651 angstrom tabulated for NIST SRM 674b", 5.411651,
              "F m -3 m", 225, "Ce O2", 4, "Ce1 Ce 0 0 0 1 0.20\nO1 O 0.25 0.25 0.25 1 0.41\n"),
        cubic("LaB6", "SRM 660c",
              "a = 4.156826(8) angstrom at 22.5 C, certificate of NIST SRM 660c", 4.156826,
              "P m -3 m", 221, "La B6", 1, "La1 La 0 0 0 1 0.33\nB1 B 0.5 0.5 0.1996 1 0.25\n"),
        cubic("Si", "SRM 640f", "a = 5.431144(8) angstrom at 22.5 C, certificate of NIST SRM 640f",
              5.431144, "F d -3 m :2", 227, "Si", 8, "Si1 Si 0.125 0.125 0.125 1 0.46\n"),
    };
    return standards;
}

const PowderStandard& powder_standard(std::string_view name) {
    const std::string wanted = lower_case(name);
    std::vector<std::string> known;
    for (const PowderStandard& standard : powder_standards()) {
        if (lower_case(standard.name) == wanted)
            return standard;
        known.push_back(standard.name);
    }
    throw Error(fmt::format("there is no standard '{}'{} (known: {}); another one needs its "
                            "structure as a CIF",
                            name, nearest_hint(name, known, LetterCase::ignored),
                            fmt::join(known, ", ")));
}

} // namespace xrdct::crystal
