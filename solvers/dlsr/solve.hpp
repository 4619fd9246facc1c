// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/result.hpp"
#include "solvers/dlsr/state.hpp"
#include "solvers/dlsr/system.hpp"
#include "solvers/petsc/session.hpp"

#include <optional>

namespace xrdct::dlsr {

/// The whole DLSR: handedness, first steps, geometry, cross-validation of the smoothness, last
/// steps, e.s.d., resolutions and diagnostics, as the system's options ask for them. It goes on
/// from `earlier` (of all ranks, the same on each; see fits()) if there is one. The system's
/// observer hears of progress, and is handed the state wherever that is whole. Throws Error on all
/// ranks for a fit that diverges, and what the observer throws. Collective.
Result solve(const petsc::Session& session, System& system, std::optional<State> earlier);

} // namespace xrdct::dlsr
