// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/unit_cell.hpp"

#include <complex>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

/// A family of symmetry-equivalent reflections (Friedel mates included).
struct Reflection {
    Miller hkl{};
    int multiplicity = 0;
    double structure_factor_squared =
        0;        ///< |F|² [electrons²] per unit cell, displacement factors included
    double d = 0; ///< Å
};

/// Amount of one element in the unit cell.
struct ElementCount {
    int atomic_number = 0;
    std::string symbol;
    double count = 0; ///< atoms per unit cell, occupancies applied
};

struct ScatteringOptions {
    /// Photon energy [keV] for f′ and f″ (xraylib); 0: no anomalous terms.
    double energy = 0;
};

/// A crystalline phase: cell, symmetry, atoms. Immutable; copies are cheap (shared structure).
class Phase {
  public:
    /// The structure of a CIF's text in the data block `block`, or of that number among the
    /// structures, empty: the first;
    /// `source`, as the file's path, names it in messages. The symmetry operators win over the
    /// space-group name; warnings() says where they differ, and what else of the file was read in a
    /// way that the user should know. Throws Error, naming `source` and the item, for no CIF, no
    /// such block, no cell, no symmetry, no atoms, an unknown element, places with more than one
    /// atom, or a content inconsistent (> 3 %) with the density or formula stated, hydrogen apart.
    static Phase from_cif_text(std::string_view text, const std::string& source,
                               std::string name = {}, const std::string& block = {});

    const std::string& name() const;
    const UnitCell& cell() const;
    CrystalSystem crystal_system() const;
    char unique_axis() const;                             ///< 'a', 'b' or 'c'
    std::vector<CellParameter> free_parameters() const;   ///< independent cell parameters
    const std::string& space_group() const;               ///< Hermann–Mauguin name, extended
    const std::vector<ElementCount>& composition() const; ///< of the unit cell
    double cell_mass() const; ///< Z M [u], mass of the unit cell's content
    double density() const;   ///< crystal density [g/cm³]
    const std::vector<std::string>& warnings() const;

    /// Reflection families with d ≥ d_min [Å], sorted by falling d, systematic absences left out;
    /// lines that merely coincide are kept apart (see merge_coincident). |F|² from IT92 form
    /// factors, CIF occupancies and displacement parameters. Throws Error if d_min ≤ 0 or if the
    /// list would exceed 100,000 families.
    std::vector<Reflection> reflections(double d_min, const ScatteringOptions& options = {}) const;

    /// The Laue-equivalent reflections of `hkl`, itself and Friedel mates included, each once.
    std::vector<Miller> equivalent_reflections(const Miller& hkl) const;

    /// Mass attenuation coefficient μ/ρ [cm²/g] at an energy [keV]: photoelectric, Compton and
    /// Rayleigh (xraylib). Throws Error for an energy outside the tables.
    double mass_attenuation(double energy) const;

    /// The same sites in another cell of the same crystal system (its dependent parameters are set
    /// from the independent ones). Throws Error if the cell is not positive.
    Phase with_cell(const UnitCell& cell) const;
    /// The same phase under another name.
    Phase with_name(std::string name) const;

  private:
    struct Structure;
    explicit Phase(std::shared_ptr<const Structure> structure) : structure_(std::move(structure)) {}
    std::shared_ptr<const Structure> structure_;
};

/// One line of a powder pattern: reflections that coincide for every cell of the phase's crystal
/// system.
struct PowderLine {
    Miller hkl{};         ///< of the strongest contributor
    double intensity = 0; ///< Σ multiplicity · |F|² [electrons²]
    int multiplicity = 0; ///< sum
    double d = 0;         ///< Å, at the phase's own cell
};

/// Merges families whose d coincide whatever the cell (333/511 in cubic, 3 0 3 / 3 0 −3 on
/// hexagonal axes). `line`, when given, takes the index of every reflection's line.
std::vector<PowderLine> merge_coincident(const std::vector<Reflection>& reflections,
                                         CrystalSystem system, char unique_axis = 'b',
                                         std::vector<std::size_t>* line = nullptr);

} // namespace xrdct::crystal
