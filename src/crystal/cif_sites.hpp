// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include "crystal/formula.hpp"
#include "crystal/structure.hpp"

#include <array>
#include <gemmi/cifdoc.hpp>
#include <gemmi/elem.hpp>
#include <gemmi/symmetry.hpp>
#include <gemmi/unitcell.hpp>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// One listed site, coordinates as written.
struct Site {
    std::string label;
    gemmi::El element = gemmi::El::X;
    gemmi::Fractional position;
    std::array<double, 3> unit{}; ///< of the last digit that is listed, fractional
    double occupancy = 1;
    double u_iso = 0;              ///< Å²
    int multiplicity = 0;          ///< stated, atoms per cell; 0: not stated
    double attached_hydrogens = 0; ///< stated, without positions of their own
};

/// The atoms of a block that have a place; `formula` (may be empty) helps to tell elements from
/// labels. What is left out and why is added to `warnings`. Throws Error, naming `source` and the
/// atom, if none is left, for an unknown element, and for a coordinate or occupancy that makes no
/// sense.
std::vector<Site> read_sites(gemmi::cif::Block& block, const gemmi::UnitCell& cell,
                             const std::vector<FormulaPart>& formula, const std::string& source,
                             std::vector<std::string>& warnings);

/// The atoms of a unit cell.
struct CellContent {
    std::vector<Atom> atoms;
    double repeated_mass = 0;      ///< of atoms listed once more, which are not in `atoms` [u]
    double attached_hydrogens = 0; ///< per cell
    std::string fault;             ///< "": places that hold more than one atom, in words
    std::vector<std::string> warnings;
};

/// All atoms of the unit cell; `elements` are the species. Images of a site are one atom if the
/// digits listed allow it (or the file states such a multiplicity, or they would be more than one
/// atom in one place); the site is first moved to the mean of its coinciding images, so that 0.3333
/// becomes 1/3. A site listed once more, or at an image of its place, is counted once.
CellContent expand(const std::vector<Site>& sites, const gemmi::GroupOps& operations,
                   const gemmi::UnitCell& cell, const std::vector<gemmi::El>& elements);

} // namespace xrdct::crystal
