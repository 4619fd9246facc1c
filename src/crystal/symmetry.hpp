// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include "crystal/unit_cell.hpp"

#include <gemmi/cifdoc.hpp>
#include <gemmi/symmetry.hpp>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// A space group that the file may mean.
struct SymmetryCandidate {
    gemmi::GroupOps operations;
    std::string name;
};

/// What a CIF block says of its symmetry. The operators win over the Hall symbol, that over the
/// Hermann–Mauguin name, that over the number. More than one candidate: the name leaves the origin
/// open.
struct SymmetryStatement {
    std::vector<SymmetryCandidate> candidates;
    std::vector<std::string> warnings;
};

/// Throws Error, naming `source`, if the block states no symmetry or one that cannot be understood.
SymmetryStatement read_symmetry(gemmi::cif::Block& block, double alpha, double gamma,
                                const std::string& source);

struct LatticeSymmetry {
    CrystalSystem system = CrystalSystem::triclinic;
    char unique_axis = 'b';
};

/// The constraints that a group's rotations put on the metric. Throws Error, naming `source`, for a
/// setting of axes other than the usual ones (tetragonal or hexagonal with a unique axis that is
/// not c).
LatticeSymmetry lattice_symmetry(const gemmi::GroupOps& operations, const std::string& source);

} // namespace xrdct::crystal
