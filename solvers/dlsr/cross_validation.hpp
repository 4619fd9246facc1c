// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/fit.hpp"

#include <vector>

namespace xrdct::dlsr {

/// First regularisation weight of the smoothness that is tried, the largest one too. Larger ones
/// leave so few independent values that samples of noise do not tell their e.s.d.
inline constexpr double first_weight = 8;

/// The weight that the validation projections choose among those tried: the largest one that is no
/// worse than the best one by more than a standard error.
struct WeightChoice {
    double chosen = 0, best = 0;
    bool best_is_clear = true; ///< better than every other one by more than a standard error
    std::vector<double> best_projections;

    /// Standard error of the mean difference from the best one, projection by projection.
    double error_of(const Result::Validation& entry) const;
};
/// `tried` has at least one. Not collective.
WeightChoice choose_weight(const std::vector<Result::Validation>& tried);

/// Weights of the own rays of the validation projections (every n-th), or of the others, which the
/// fit sees while they validate. Not collective.
std::vector<float> validation_rays(const System& system);
std::vector<float> training_rays(const System& system);

/// Sets the largest regularisation weight that predicts the validation projections no worse than
/// the best one, within one standard error of their differences, projection by projection (the
/// one-standard-error rule of Breiman et al., Classification and Regression Trees, 1984), and goes
/// to its maps. Weights are tried from the first one, which is the largest, downwards as long as
/// they predict better than that. The fit stands at that of the first one, or where a run stopped
/// that is resumed here; it must not see the validation projections. Collective.
void choose_by_cross_validation(Fit& fit);

/// Amounts of phases that started absent are tied anew by what was found, and steps follow, as long
/// as that predicts the validation projections better by more than a standard error. With the
/// weight chosen: under a larger one such a phase takes up the spread of another one's cell.
/// Collective.
void settle_ties(Fit& fit);

} // namespace xrdct::dlsr
