// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::rietveld {

/// What came of a fit. The values are written to status maps: do not renumber.
enum class FitStatus : int {
    converged = 0,
    masked = 1,        ///< not asked for, or too few valid channels for the parameters
    no_signal = 2,     ///< no phase is significant
    not_converged = 3, ///< iteration limit
    singular = 4,      ///< the data do not determine the parameters
    at_bound = 5,      ///< converged, but a cell parameter lies on its bound
};
std::string_view to_string(FitStatus status);

/// Agreement indices over the channels of weight > 0 (Toby, Powder Diffr. 21 (2006) 67), as
/// fractions, not per cent; background included.
struct Agreement {
    double rp = 0;   ///< Σ|y_o − y_c| / Σ|y_o|
    double rwp = 0;  ///< √(Σ w (y_o − y_c)² / Σ w y_o²)
    double rexp = 0; ///< √((N − P) / Σ w y_o²)
    double gof = 0;  ///< Rwp / Rexp = √(χ² / (N − P))
    double chi_squared = 0;
    std::size_t observations = 0, parameters = 0;
};
Agreement agreement(std::span<const double> observed, std::span<const double> variance,
                    std::span<const double> calculated, std::size_t parameters);

/// Variance per channel for a pattern that came without: counting statistics with an unknown gain,
/// g · y, smoothed over five channels and not below g² nor a hundredth of its median; g from the
/// scatter of third differences in comparison with the counts. A stand-in: say so where e.s.d. are
/// shown. Channels that are not finite get 0. Throws Error when fewer than 20 channels are finite.
std::vector<double> estimate_variance(const RadialAxis& axis, std::span<const double> intensity);

struct RefinementOptions {
    int max_iterations = 60; ///< per stage; 0: scales, background and peak areas only
    /// Converged when a step lowers χ² by less than this fraction of χ²/(N − P) …
    double tolerance = 1e-4;
    /// Refine scales and background, then cells, then widths, then all (otherwise all at once).
    bool staged = true;
    /// Relative half-range in which the cells of phases with refined cells are searched before
    /// refining; 0: none.
    double cell_search = 0;
    /// Multiply e.s.d. by GoF where GoF > 1 (always done when no variance is given).
    bool scale_errors = false;
    /// Phases whose line intensities are taken from the pattern instead of the structure (Le Bail,
    /// Duroy & Fourquet, Mater. Res. Bull. 23 (1988) 447): for the widths and cell of a standard
    /// whose grains or texture spoil its intensities. Scale and b_overall of such a phase are not
    /// refined, its weight fraction has no meaning.
    std::vector<std::string> extract_intensities;
    /// A cell whose phase has scale / e.s.d. below this is put back to its start and not refined.
    double significance = 3;
};

/// The cell_margin with which refine() makes its PatternCalculator; one made for the same start
/// model with it has the lines that PhaseModel::line_factors of the result belong to.
double refinement_cell_margin(double cell_search);

struct RefinedParameter {
    std::string name;
    std::string unit;
    double value = 0;
    double esd = 0; ///< NaN where undetermined or on a bound
    bool at_bound = false;
};

struct PhaseResult {
    std::string name;
    double scale = 0, scale_esd = 0;
    /// Hill & Howard, J. Appl. Cryst. 20 (1987) 467: W_p = S_p (ZMV)_p / Σ S (ZMV).
    double weight_fraction = 0, weight_fraction_esd = 0;
    double r_bragg = 0; ///< Σ|I_o − I_c| / Σ I_o over the lines, I_o by Rietveld's partition
    std::vector<crystal::CellParameter> cell_parameters;
    std::vector<double> cell, cell_esd; ///< esd NaN when not refined
    crystal::UnitCell unit_cell;
    bool significant = false;
    bool cell_refined = false;
};

struct RefinementResult {
    FitStatus status = FitStatus::not_converged;
    std::string
        message; ///< in words: what was left out and why (near-degeneracies, insignificant phases)
    PatternModel model; ///< with the refined values
    std::vector<RefinedParameter> parameters;
    std::vector<double> correlation; ///< parameters × parameters, row-major; unit diagonal
    Agreement agreement;
    std::vector<PhaseResult> phases;
    std::vector<double> calculated; ///< [n]
    std::vector<double> background; ///< [n], Chebyshev part
    std::vector<PatternLine> lines;
    int iterations = 0;
    bool errors_scaled = false; ///< e.s.d. multiplied by GoF
};

/// Refines one pattern by Levenberg–Marquardt with bounds and analytic derivatives.
/// `intensity` [n]; `variance` [n], or empty: constant weights, e.s.d. scaled by GoF. A channel
/// whose intensity is not finite or whose variance is not a finite positive number is left out.
/// Nothing is assumed about the sign of the data. Throws Error for misuse (lengths,
/// PatternCalculator's reasons, contradictory parameters); data that cannot be fitted give a
/// status.
RefinementResult refine(const RadialAxis& axis, std::span<const double> intensity,
                        std::span<const double> variance, const PatternModel& start,
                        const RefinementOptions& options = {});

} // namespace xrdct::rietveld
