// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

/// A powder standard with a cell from its certificate.
struct PowderStandard {
    std::string name;     ///< "CeO2", "LaB6", "Si"
    std::string material; ///< "SRM 674b", …
    std::string source;   ///< where the cell is from, in words
    double a = 0;         ///< Å; all are cubic
    /// Structure with this cell, made without a file. Space groups, sites and isotropic
    /// displacement parameters at room temperature.
    Phase phase() const;
    std::string cif; ///< the structure as CIF text
};

/// All standards the program knows.
const std::vector<PowderStandard>& powder_standards();

/// The one of that name, in any case. Throws Error listing the known ones, the nearest first.
const PowderStandard& powder_standard(std::string_view name);

} // namespace xrdct::crystal
