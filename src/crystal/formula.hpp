// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

struct FormulaPart {
    int atomic_number = 0;
    double mass = 0; ///< of one atom [u]
    double count = 0;
};

/// Elements of "Li Ni0.5 Mn0.3 Co0.2 O2" or "Ca(OH)2", each once, sorted by atomic number; nothing
/// if the text is not a formula.
std::optional<std::vector<FormulaPart>> parse_formula(std::string_view text);

/// Mass of the formula unit [u].
double mass_of(const std::vector<FormulaPart>& formula);

} // namespace xrdct::crystal
