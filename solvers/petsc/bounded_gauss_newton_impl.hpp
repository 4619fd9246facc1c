// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/petsc: shows PETSc. What the solver holds; its work is cut into
// bounded_gauss_newton (set-up and state), bounded_gauss_newton_steps and
// bounded_gauss_newton_linear.
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/callback_guard.hpp"
#include "solvers/petsc/gauss_newton_operator.hpp"
#include "solvers/petsc/internal.hpp"

#include <petsctao.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace xrdct::petsc {

using Optimizer = Handle<Tao, TaoDestroy>;

/// A point where f is known.
struct Point {
    std::vector<double> x, gradient;
    std::vector<double> asked; ///< what the optimizer calls it: x before the retraction
    double objective = 0;
    bool known = false;
    bool has_gradient = false;
    bool finite = false;
};

/// Stopping criteria after the PETSc options had their say.
struct Criteria {
    double gatol = 0, grtol = 0, gttol = 0, fmin = 0;
    PetscInt max_iterations = 0, max_evaluations = 0;
};

inline bool all_finite(std::span<const double> values) {
    return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

class BoundedGaussNewton::Impl {
  public:
    Impl(const Session& session, const mpi::Communicator& communicator,
         solvers::LeastSquaresProblem& problem, std::span<const double> start,
         const BoundedGaussNewtonOptions& options);

    StepReport evaluate();
    StepReport step();
    State state() const;
    void restore(const State& state);
    LinearSolveReport solve_linear(std::span<const double> rhs, std::span<double> x,
                                   std::span<const std::uint8_t> held,
                                   const LinearSolveOptions& options);
    const std::vector<double>& x() const { return present_.x; }
    EvaluationCounts evaluations() const;

  private:
    void check_options() const;
    void read_bounds();
    void set_start(std::span<const double> start);
    OptionValues defaults() const;
    OptionValues overrides(bool all_near_bounds) const;
    Optimizer make_optimizer() const;
    LinearSolver make_linear_solver(const LinearSolveOptions& options) const;
    void read_criteria();
    void require_finite_start(StepReport& report);
    /// A step with PETSc's optimiser from the present point.
    void run_optimizer(StepReport& report);
    struct Outcome {
        bool failed = false;    ///< no trial was good enough
        bool shortened = false; ///< by the trust region
    };
    void set_callbacks(Tao tao, Mat hessian_matrix);
    /// Runs the optimiser and takes its trust radius.
    Outcome solve(Tao tao, StepReport& report);
    /// Moves to the trial point.
    void accept_trial(StepReport& report);
    StopReason stop_reason(const StepReport& report, double objective_before, bool shortened,
                           bool failed) const;
    double projected_gradient_norm() const;
    bool all_near_bounds() const;
    void linearise(const Point& point);
    /// PETSc's vector of this rank's share, in the memory of `values`.
    Vector wrap(std::vector<double>& values) const;
    void check_linear_system(std::span<const double> rhs, std::span<const double> x,
                             std::span<const std::uint8_t> held,
                             const LinearSolveOptions& options) const;
    /// matrix x = b on the unknowns of the matrix.
    LinearSolveReport solve(Mat matrix, std::vector<double>& b, std::vector<double>& x,
                            const LinearSolveOptions& options);
    void rethrow();

    /// Of PETSc's callbacks. The point with f (and gradient) at x, evaluated unless it is known;
    /// null when the guard holds an exception.
    const Point* find(std::span<const double> x, bool gradient);
    void evaluate_point(Point& point, bool gradient);
    static PetscErrorCode objective(Tao, Vec x, PetscReal* value, void* self);
    static PetscErrorCode gradient(Tao, Vec x, Vec gradient, void* self);
    static PetscErrorCode objective_and_gradient(Tao tao, Vec x, PetscReal* value, Vec gradient,
                                                 void* self);
    static PetscErrorCode hessian(Tao, Vec, Mat, Mat, void* self);
    static PetscErrorCode stop_after_one(Tao tao, void* self);

    std::shared_ptr<Session::Impl> session_;
    mpi::Communicator communicator_;
    solvers::LeastSquaresProblem& problem_;
    BoundedGaussNewtonOptions options_;
    CallbackGuard guard_;
    Layout layout_;
    GaussNewtonOperator operator_;
    std::vector<double> lower_, upper_;
    Criteria criteria_;

    Point present_, trial_;
    double trust_radius_ = 0;
    double initial_gradient_norm_ = 0;
    double gradient_norm_ = 0;
    int iteration_ = 0;
    StopReason reason_ = StopReason::none;
    bool linearised_ = false; ///< at present_
    bool solved_ = false;     ///< options that PETSc reads late have been read
    EvaluationCounts counts_;

    // Within one run of the optimizer:
    int trials_ = 0;
    int non_finite_trials_ = 0;
    bool last_trial_finite_ = true;
    bool gave_up_ = false;             ///< too many trials
    bool gradient_not_finite_ = false; ///< at a point whose f is finite
};

} // namespace xrdct::petsc
