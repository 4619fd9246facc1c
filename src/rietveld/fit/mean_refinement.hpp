// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/fit/refinement.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// A parameter in PhaseModel::cell of a phase.
struct CellPlace {
    std::size_t phase = 0, parameter = 0;
};

struct MeanRefinementOptions {
    RefinementOptions refinement;
    /// [phase][parameter of PhaseModel::cell]: takes other values elsewhere in the object, its mean
    /// is always taken. Phases and parameters beyond the end: false.
    std::vector<std::vector<bool>> varying;
    /// [phase] the phase with the same structure that it follows, −1 or beyond the end: none. On
    /// the mean pattern a follower would take what a spread of the other's cell does to the lines.
    std::vector<int> leader;
};

/// What came of it.
struct MeanRefinement {
    RefinementResult fit;
    /// Refined cell parameters that the pattern did not tell: they stand at their start in `fit`.
    /// Ordered by phase.
    std::vector<CellPlace> untold;
    /// Single peaks [index in the model] with a refined place or width that the pattern did not
    /// tell: both stand at their start in `fit`.
    std::vector<std::size_t> untold_peaks;
};

/// Refines the mean pattern of an object of which parts differ; arguments as for refine(). First
/// without the followers; then with them, their cells at the start, their widths those of the
/// leader. A cell parameter of another phase stays at its start when the fit moves it by less than
/// three e.s.d. (unless these are below 3e-4 of it: then either value does), farther than the
/// search range, or to a bound. Phases of one structure without a leader change places when each,
/// or the one that is significant, starts nearer to where the other has come. Place and width of a
/// single peak stay at their start when its place comes to a bound, one of them is not determined
/// or the area is below three e.s.d. With refinement.max_iterations = 0 as refine(). Throws Error
/// for refine()'s reasons.
MeanRefinement refine_mean(const RadialAxis& axis, std::span<const double> intensity,
                           std::span<const double> variance, const PatternModel& start,
                           const MeanRefinementOptions& options);

/// Two phases of a model whose lines hardly differ.
struct AlikePhases {
    std::size_t one = 0, other = 0;
    double likeness = 0; ///< correlation of their scales, see alike_phases()
};

/// Pairs of phases with Σ p q / √(Σ p² Σ q²) of at least 0.99, where p and q are their patterns
/// without background and with equal widths, those of the narrower: the correlation of their scales
/// (with the sign turned) in a fit of these two with equal weights. A pattern hardly tells how much
/// there is of each; their sum it does. Throws Error for PatternCalculator's reasons.
std::vector<AlikePhases> alike_phases(const RadialAxis& axis, const PatternModel& model);

/// Gaussian microstrain that widens lines as parallax does, for an object whose parts lie at depths
/// of standard deviation `depth_spread` along the beam, at `distance` (same unit) from the
/// detector: a relative shift of 2θ by σ_z/D is a FWHM of 2 √(2 ln 2) · 2 tan θ · σ_z/D, that of a
/// Gaussian microstrain ε is 4 ε tan θ.
double parallax_microstrain(double depth_spread, double distance);

} // namespace xrdct::rietveld
