// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xrdct::units {

/// What a unit measures, and the unit values of it are converted to.
enum class Quantity {
    angle,          ///< deg
    length,         ///< mm
    wavelength,     ///< angstrom (the same units as length)
    energy,         ///< keV
    inverse_length, ///< 1/angstrom
    time,           ///< s
};

/// "deg", "mm", "angstrom", "keV", "1/angstrom", "s".
std::string canonical_unit(Quantity quantity);

/// Factor by which a value in `unit` is multiplied to be in the canonical unit of the quantity.
/// Case and spaces do not matter where they cannot mislead; Å, µ and ⁻¹ are understood. Error
/// naming the unit and listing the accepted ones when it is not one of the quantity; `where`
/// ("scan.nxs:/entry/data/q") begins the message.
double unit_factor(Quantity quantity, std::string_view unit, std::string_view where);

/// Whether the unit is one of the quantity.
bool is_unit_of(Quantity quantity, std::string_view unit);

/// The accepted spellings, for documentation and messages.
std::vector<std::string> accepted_units(Quantity quantity);

} // namespace xrdct::units
