// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

namespace xrdct::crystal {

/// Mass attenuation coefficient μ/ρ [cm²/g] of a compound such as "C3H4O3" or "Ca(OH)2" at a photon
/// energy [keV], all interactions (photoelectric, Compton, Rayleigh; xraylib's elements). Throws
/// Error for text that is no formula or an energy outside the tables.
double mass_attenuation(const std::string& formula, double energy);

} // namespace xrdct::crystal
