// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include "crystal/formula.hpp"

#include <gemmi/elem.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// Finds the elements of a CIF's atoms by type symbol or, where there is none, by label.
///
/// Type symbols: "Ni2+", "Fe", and water or other groups with hydrogen by their heavy atom ("OH2",
/// "H2O", "Wat", "NH4"). Labels are freer: "OW1" is oxygen, "HO1" hydrogen. A capital second letter
/// belongs to the symbol only if the formula has that element, and the formula, where given,
/// decides between the readings.
class ElementReader {
  public:
    /// The chemical formula, empty if there is none, and the labels of all atoms.
    ElementReader(const std::vector<FormulaPart>& formula, const std::vector<std::string>& labels);

    /// Throws Error, naming `source` and the atom, for what is no element or has no scattering
    /// factor.
    gemmi::El element(const std::optional<std::string>& symbol, const std::string& label,
                      const std::string& source);

    /// What the user should know of the elements found so far.
    std::vector<std::string> warnings() const;

  private:
    gemmi::El element_of_symbol(const std::string& symbol, const std::string& label);
    gemmi::El element_of_label(const std::string& label);
    gemmi::El choose(const std::string& name, const std::string& label);
    bool in_formula(gemmi::El element) const;

    std::set<int> formula_; ///< atomic numbers
    bool hydrogen_is_listed_ = false;
    std::vector<std::string> groups_;    ///< labels of water and the like
    std::vector<std::string> ambiguous_; ///< labels and what they were taken for
    std::vector<std::string> foreign_;   ///< likewise, elements that the formula has not
};

} // namespace xrdct::crystal
