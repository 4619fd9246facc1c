// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include "crystal/phase.hpp"
#include "crystal/symmetry.hpp"

#include <gemmi/elem.hpp>
#include <gemmi/symmetry.hpp>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// An atom of the unit cell.
struct Atom {
    int species = 0;            ///< index into the list of elements
    double x = 0, y = 0, z = 0; ///< fractional
    double occupancy = 1;
    double u_iso = 0; ///< Å²
};

/// What the copies of a phase share.
struct Phase::Structure {
    std::string name;
    std::string source;
    UnitCell cell;
    LatticeSymmetry lattice;
    gemmi::GroupOps operations;
    std::string space_group;
    std::vector<gemmi::El> elements;
    std::vector<Atom> atoms;
    std::vector<ElementCount> composition;
    double mass = 0; ///< of the unit cell's content [u]
    std::vector<std::string> warnings;
};

/// The cell whose independent parameters are those of `cell` and whose others follow from the
/// symmetry.
UnitCell symmetrised(const UnitCell& cell, LatticeSymmetry lattice);

} // namespace xrdct::crystal
