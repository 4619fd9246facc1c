#pragma once

#include "jobs/pipeline/dlsr_fit.hpp"
#include "jobs/pipeline/dlsr_geometry.hpp"

#include <span>

namespace xrdct::pipeline {

/// After the first steps: whether the axis is refined, the distance can be, and which radial scale
/// holds, as the job's settings ask. Everything later stands on it. True when the model was built
/// again and the maps have to follow. Collective.
bool settle_geometry(DlsrFit& fit);

/// What the fit says of the geometry in the end; `esd` of the global unknowns, in their units, or
/// empty.
/// Collective.
DlsrGeometry check_geometry(DlsrFit& fit, std::span<const double> esd);

} // namespace xrdct::pipeline
