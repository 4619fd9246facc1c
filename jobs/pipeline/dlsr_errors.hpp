#pragma once

#include "jobs/pipeline/dlsr_fit.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::pipeline {

/// Which own unknowns x (own share) are at bounds that the gradient there points at: 1, else 0.
/// Collective.
std::vector<std::uint8_t> at_bounds(dlsr::Problem& problem, std::span<const double> x);

/// E.s.d. of all unknowns where the fit has ended, in their units and the team's memory, from the
/// job's number of samples of noise (at least one) that are propagated through the linearised
/// problem; those done are kept in the state and its checkpoint. Unknowns at their bounds stay
/// there: NaN where nothing tells the e.s.d. of a map. Collective.
SharedArray<double> sample_errors(DlsrFit& fit);

} // namespace xrdct::pipeline
