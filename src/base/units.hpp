// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <numbers>

namespace xrdct {

inline constexpr double pi = std::numbers::pi;

/// Angles are in degrees at every interface and in radians inside formulas.
constexpr double radians(double degrees) {
    return degrees * (pi / 180.0);
}
constexpr double degrees(double radians) {
    return radians * (180.0 / pi);
}

/// h c in keV Å (CODATA 2018, exact in the SI): wavelength [Å] = hc / energy [keV].
inline constexpr double hc_kev_angstrom = 12.398419843320026;

constexpr double wavelength_from_energy(double energy_kev) {
    return hc_kev_angstrom / energy_kev;
}
constexpr double energy_from_wavelength(double wavelength_angstrom) {
    return hc_kev_angstrom / wavelength_angstrom;
}

/// 1 u/Å³ in g/cm³ (CODATA 2018).
inline constexpr double atomic_mass_g_per_cm3 = 1.66053906660;

} // namespace xrdct
