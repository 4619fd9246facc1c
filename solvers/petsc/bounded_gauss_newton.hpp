// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "solvers/least_squares_problem.hpp"
#include "solvers/petsc/session.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace xrdct::petsc {

/// Options of BoundedGaussNewton. Where a PETSc option is named, it overrides the value.
struct BoundedGaussNewtonOptions {
    int max_iterations = 50; ///< accepted steps; -tao_max_it
    /// Stop when a step the trust region did not shorten lowers f by less than this part of it.
    double objective_tolerance = 1e-6;
    /// Stop when the norm of the projected gradient is this part of its first value; -tao_gttol.
    /// (-tao_gatol: absolute, -tao_grtol: relative to f; both 0 unless given.)
    double gradient_tolerance = 1e-6;
    /// In the preconditioner's norm √(dᵀ M d); 0: the length of the first step. -tao_trust0
    double initial_trust_radius = 0;
    /// Shorter trial steps tried for one step before it counts as failed.
    int max_rejections = 12;
    double linear_tolerance = 1e-2; ///< of the conjugate gradients in a step; -ksp_rtol
    int linear_max_iterations = 50; ///< -ksp_max_it
    /// Unknowns closer than this to a bound that the gradient points at are put on it, in units of
    /// x; -tao_bnk_as_tol
    double active_set_tolerance = 1e-6;
    /// Relative noise of f: when the decrease and its prediction are both below this part of
    /// max(1, f), the step is taken. 0: PETSc's 4e-11. -tao_bnk_epsilon
    double objective_noise = 0;
    /// Evaluate f and gradient together at every trial point: the gradient is lost when the
    /// trial is rejected, but an accepted point (the rule) costs one evaluation instead of two.
    bool gradient_at_trial = true;
    /// See CallbackGuard: how long a rank that threw alone waits for the others before it ends
    /// them.
    double grace_seconds = 60;
};

enum class StopReason {
    none,                ///< goes on
    gradient,            ///< gradient tolerance met
    objective_decrease,  ///< objective tolerance met
    objective_bound,     ///< f ≤ -tao_fmin
    max_iterations,      ///< not converged
    max_evaluations,     ///< -tao_max_funcs, since construction; not converged
    no_decrease,         ///< no shorter step lowers f: not converged, or f is too noisy to go on
    non_finite_objective ///< f or its gradient is NaN or infinite at the start or at every trial
};

/// "gradient tolerance reached", …
std::string_view describe(StopReason reason);
/// True for gradient, objective_decrease and objective_bound.
bool is_converged(StopReason reason);

/// Calls of the problem's members.
struct EvaluationCounts {
    std::int64_t objective = 0;              ///< objective()
    std::int64_t objective_and_gradient = 0; ///< objective_and_gradient()
    std::int64_t linearise = 0;
    std::int64_t gauss_newton_products = 0;
    std::int64_t preconditionings = 0;
};

/// What a step came to; the same on all ranks.
struct StepReport {
    int iteration = 0;        ///< accepted steps so far, over restarts
    double objective = 0;     ///< f at the present point
    double gradient_norm = 0; ///< ‖projected gradient‖₂: outward components at bounds left out
    double step_length = 0;   ///< ‖x_new − x_old‖₂; 0 when no step was accepted
    double trust_radius = 0;  ///< for the next step
    int linear_iterations = 0;
    bool accepted = false;
    int rejected_trials = 0;
    int non_finite_trials = 0;    ///< of these, where f was NaN or infinite
    EvaluationCounts evaluations; ///< during this call
    StopReason reason = StopReason::none;
};

struct LinearSolveOptions {
    double tolerance = 1e-6; ///< of ‖rhs − H x‖₂ / ‖rhs‖₂ on the free unknowns; -linear_ksp_rtol
    int max_iterations = 500; ///< -linear_ksp_max_it
};

struct LinearSolveReport {
    int iterations = 0;
    double residual_norm = 0; ///< ‖rhs − H x‖₂ on the free unknowns, as the recurrence has it
    bool converged = false;
};

/// Minimises a LeastSquaresProblem within its bounds by a bounded Gauss–Newton method with trust
/// region (PETSc's TAOBNTR on a matrix-free H; Steihaug–Toint conjugate gradients, preconditioned
/// by the problem), one step at a time. It keeps about twenty vectors the size of x and none of the
/// size of the residuals. The active set is Bertsekas' (SIAM J. Control Optim. 20, 221 (1982)), the
/// linear solver Steihaug's (SIAM J. Numer. Anal. 20, 626 (1983)).
///
/// All that a step depends on is in State: a solver restored from it takes the same steps, bit for
/// bit when the problem evaluates alike. Points evaluated before are not evaluated again.
///
/// Every member is collective unless said otherwise. An exception of the problem leaves step() or
/// solve_linear() unchanged on the rank that threw it; ranks that did not throw get an Error with
/// its text. The solver then stays at the point before the call. Throws Error for PETSc's own
/// errors.
class BoundedGaussNewton {
  public:
    struct State {
        std::vector<double> x;            ///< this rank's share
        double trust_radius = 0;          ///< 0: no step taken yet
        double initial_gradient_norm = 0; ///< of the projected gradient; 0: not evaluated yet
        int iteration = 0;
        StopReason reason = StopReason::none;
    };

    /// Starts at `start` (this rank's share), clipped to the bounds; evaluates nothing. Problem and
    /// session's PETSc must outlive it. Throws Error on all ranks for sizes that differ, starts
    /// that are not finite, bounds that cross, options out of range, and PETSc options that are
    /// unknown (see Session::require_used_options).
    BoundedGaussNewton(const Session& session, const mpi::Communicator& communicator,
                       solvers::LeastSquaresProblem& problem, std::span<const double> start,
                       const BoundedGaussNewtonOptions& options = {});
    BoundedGaussNewton(const BoundedGaussNewton&) = delete;
    BoundedGaussNewton& operator=(const BoundedGaussNewton&) = delete;
    ~BoundedGaussNewton();

    /// f and gradient at the present point, without a step; free when they are known.
    StepReport evaluate();

    /// One step, or none when there is a reason to stop: check the report's `reason`. After a stop
    /// it does nothing more until restore().
    StepReport step();

    /// Not collective.
    State state() const;
    /// Goes to a state that state() gave, in this run or an earlier one on the same shares. A stop
    /// for a limit (iterations, evaluations) is decided anew, any other stays. Throws Error on all
    /// ranks when the state does not fit the problem.
    void restore(const State& state);

    /// This rank's share of the present point. Not collective.
    std::span<const double> x() const;

    /// Calls of the problem since construction. Not collective.
    EvaluationCounts evaluations() const;

    /// x = H⁻¹ rhs with H at the present point, by preconditioned conjugate gradients from x = 0.
    /// Where `held` (empty: nowhere) is not 0, x is 0 and the equation is left out: unknowns at
    /// bounds. Running out of iterations is reported, not thrown. Spans have the length of this
    /// rank's share.
    LinearSolveReport solve_linear(std::span<const double> rhs, std::span<double> x,
                                   std::span<const std::uint8_t> held = {},
                                   const LinearSolveOptions& options = {});

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::petsc
