// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/result.hpp"
#include "solvers/dlsr/setup.hpp"

#include <optional>
#include <string_view>
#include <vector>

namespace xrdct::dlsr {

/// What a DLSR does, in this order.
enum class Phase {
    rough_steps, ///< with the cells of phases that start absent held
    first_steps, ///< with the first weight of the smoothness
    amounts,     ///< finding the smoothness of amounts
    geometry,
    validation, ///< choosing the weight
    last_steps, ///< with the chosen one
    esd,
};

/// "rough", "fit", "geometry", "held-out", "final", "errors": as checkpoints have it.
std::string_view to_string(Phase phase);
/// Nothing for another text.
std::optional<Phase> parse_phase(std::string_view text);

/// Where the refinement of a parameter of the geometry stands.
struct GeometryProgress {
    int parameter = 0;        ///< 0: axis, 1: distance, 2: radial scale; those before are settled
    int round = -1;           ///< −1: whether it is refined is not known yet
    bool moved = false;       ///< in this round, and the maps are following
    double change = 0;        ///< as estimated last
    double move = 0;          ///< of this round
    double settled_below = 0; ///< change that ends it
};

/// What the data say of the smoothness of amounts, per field; 0 where it was not chosen.
struct AmountSmoothness {
    std::vector<double> weight, edge, fineness; ///< as Field has them
    int rounds = 0;                             ///< how often they were chosen
};

/// Where the steps of a fit stand.
struct FitState {
    double smoothness = 0; ///< weight in force
    std::vector<double> x; ///< unknowns of all ranks
    /// Where masked and outlying samples got their values; empty: they have none of the model yet.
    std::vector<double> data_x;
    int passes_begin = -1; ///< length of the history where the passes over the data began; −1: none
    GlobalRanges ranges;   ///< of the global shapes where some were moved; empty: the setup's
    int range_moves = 0;   ///< how often
    /// Per field, for amounts of phases that start absent: factor of their smoothness; empty: not
    /// known yet.
    std::vector<double> ties;
    /// Smoothness of amounts that was chosen, per field; empty: that of the options.
    AmountSmoothness amounts;
    double trust_radius = 0, initial_gradient_norm = 0;
    int iteration = 0, reason = 0; ///< the reason as petsc::StopReason
    std::vector<Result::Step> history;
};

/// What was decided about the geometry.
struct GeometryState {
    bool settled = false, refine_axis = false, refine_distance = false;
    double axis_change = 0, axis_esd = 0; ///< of the axis where it was kept; esd 0: not known
    double radial_scale = 1;              ///< that tan 2θ of the model was corrected by
    GeometryProgress progress;            ///< while a parameter is refined
};

/// Weights of the smoothness that were tried.
struct ValidationState {
    std::vector<Result::Validation> tried;
    std::vector<std::vector<double>> x; ///< where the fit stood for each of these
};

/// Samples of noise for the e.s.d.
struct EsdState {
    int samples = 0;             ///< done
    std::vector<double> squares; ///< sums over the samples [unknown]
};

/// Where a DLSR stands: enough to go on after it was stopped, on any number of ranks. Vectors of
/// unknowns are those of all ranks in a state that is handed out (on the root) or taken up, and a
/// rank's own share in between.
struct State {
    Phase phase = Phase::rough_steps;
    FitState fit;
    GeometryState geometry;
    ValidationState validation;
    EsdState esd;
};

} // namespace xrdct::dlsr
