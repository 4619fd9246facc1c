// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/fit.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// Which own unknowns x (own share) are at bounds that the gradient there points at: 1, else 0.
/// Collective.
std::vector<std::uint8_t> at_bounds(Problem& problem, std::span<const double> x);

/// E.s.d. of all unknowns where the fit has ended, in their units and the team's memory, by Monte
/// Carlo: the options' number of samples of noise (at least one) are propagated through the
/// linearised problem; those done are in the state, which is saved after each. Unknowns at their
/// bounds stay there: NaN where nothing tells the e.s.d. of a map. Collective.
SharedArray<double> sample_esd(Fit& fit);

} // namespace xrdct::dlsr
