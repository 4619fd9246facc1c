// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include "crystal/cif_sites.hpp"
#include "crystal/formula.hpp"

#include <cmath>
#include <gemmi/cifdoc.hpp>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// Mass of the atoms [u], occupancies applied.
double mass_of(const std::vector<Atom>& atoms, const std::vector<gemmi::El>& elements);

/// What the file says of its content, to judge a structure by. Structures from X-rays often lack
/// hydrogen that formula and density count.
struct StatedContent {
    double density = NAN;      ///< g/cm³
    double formula_mass = NAN; ///< Z M [u]
    double formula_no_h = NAN; ///< the same without hydrogen; NAN: not known
    double whole_cell_z = 0;   ///< Z, where the formula may be meant for the whole cell; else 0
    std::string formula_text;
    std::vector<FormulaPart> formula; ///< empty: not given

    struct Judgement {
        std::string complaint; ///< "" if all is well; else what differs, for the user
        std::vector<std::string> notes;
    };
    /// Whether the content of a cell of `volume` [Å³] agrees to 3 % with the density or the formula
    /// stated, hydrogen apart; one of the two is enough.
    Judgement judge(const CellContent& content, const std::vector<gemmi::El>& elements,
                    double volume) const;
};

StatedContent read_stated_content(const gemmi::cif::Block& block);

/// Whether the atoms have the proportions of the formula, hydrogen apart.
bool has_proportions(const std::vector<Atom>& atoms, const std::vector<gemmi::El>& elements,
                     const std::vector<FormulaPart>& formula);

} // namespace xrdct::crystal
