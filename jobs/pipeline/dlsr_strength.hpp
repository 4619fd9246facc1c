#pragma once

#include "jobs/pipeline/dlsr_fit.hpp"

#include <vector>

namespace xrdct::pipeline {

/// First strength of the smoothness that is tried, the strongest one too. Stronger ones leave so
/// few independent values that samples of noise do not tell their e.s.d.
inline constexpr double first_smoothness = 8;

/// Weights of the own rays that judge the strength (`held_out`), or of the others. Not collective.
std::vector<float> held_out_weight(const DlsrSystem& system, bool held_out);

/// Sets the largest strength that predicts the held-out projections no worse than the best one,
/// within one standard error of their differences, projection by projection (the one-standard-error
/// rule of Breiman et al., Classification and Regression Trees, 1984), and goes to its maps.
/// Strengths are tried from the first one, which is the strongest, downwards as long as they
/// predict better than that. The fit stands at that of the first one, or where a run stopped that
/// is resumed here; it must not see the held-out projections. Collective.
void choose_smoothness(DlsrFit& fit);

} // namespace xrdct::pipeline
