// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/fit.hpp"
#include "solvers/dlsr/geometry.hpp"

#include <span>

namespace xrdct::dlsr {

/// After the first steps: whether the axis is refined, the distance can be, and which radial scale
/// holds, as the options ask. Everything later stands on it. True when the model was built
/// again and the maps have to follow. Collective.
bool settle_geometry(Fit& fit);

/// What the fit says of the geometry in the end; `esd` of the global unknowns, in their units, or
/// empty.
/// Collective.
GeometryResult check_geometry(Fit& fit, std::span<const double> esd);

} // namespace xrdct::dlsr
