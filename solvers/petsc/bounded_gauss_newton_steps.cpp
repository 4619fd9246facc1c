// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/bounded_gauss_newton_impl.hpp"

#include <cstdlib>
#include <limits>
#include <utility>

namespace xrdct::petsc {

namespace {

/// Stands for a value that is not finite, which TAO would take for an error: a step there is
/// rejected like one that raises f beyond measure.
constexpr double forbidden = 1e300;

constexpr unsigned not_finite = 1;
constexpr unsigned differs_from_present = 2;
constexpr unsigned differs_from_trial = 4;

EvaluationCounts difference(const EvaluationCounts& a, const EvaluationCounts& b) {
    return {a.objective - b.objective, a.objective_and_gradient - b.objective_and_gradient,
            a.linearise - b.linearise, a.gauss_newton_products - b.gauss_newton_products,
            a.preconditionings - b.preconditionings};
}

} // namespace

double BoundedGaussNewton::Impl::projected_gradient_norm() const {
    double sum = 0;
    for (std::size_t i = 0; i < present_.x.size(); ++i) {
        const double g = present_.gradient[i];
        const bool outward =
            (present_.x[i] <= lower_[i] && g > 0) || (present_.x[i] >= upper_[i] && g < 0);
        if (!outward)
            sum += g * g;
    }
    return std::sqrt(communicator_.allreduce(sum, mpi::Reduction::sum));
}

bool BoundedGaussNewton::Impl::all_near_bounds() const {
    double tolerance = options_.active_set_tolerance;
    if (const auto* option = session_->find("-tao_bnk_as_tol"))
        tolerance = std::strtod(option->value.c_str(), nullptr);
    std::int64_t free = 0;
    for (std::size_t i = 0; i < present_.x.size(); ++i) {
        const double g = present_.gradient[i];
        const bool active = (present_.x[i] <= lower_[i] + tolerance && g >= 0) ||
                            (present_.x[i] >= upper_[i] - tolerance && g <= 0) ||
                            lower_[i] == upper_[i];
        free += active ? 0 : 1;
    }
    return communicator_.allreduce(free, mpi::Reduction::sum) == 0;
}

void BoundedGaussNewton::Impl::evaluate_point(Point& point, bool gradient) {
    point.known = false;
    const auto flags = guard_.run([&] {
        if (gradient) {
            point.gradient.resize(point.x.size());
            ++counts_.objective_and_gradient;
            point.objective = problem_.objective_and_gradient(point.x, point.gradient);
        } else {
            ++counts_.objective;
            point.objective = problem_.objective(point.x);
        }
        const bool good =
            std::isfinite(point.objective) && (!gradient || all_finite(point.gradient));
        return good ? 0U : not_finite;
    });
    if (!flags)
        return;
    point.known = true;
    point.has_gradient = gradient;
    point.finite = (*flags & not_finite) == 0;
}

const Point* BoundedGaussNewton::Impl::find(std::span<const double> x, bool gradient) {
    unsigned differences = 0;
    if (!present_.known || !std::equal(x.begin(), x.end(), present_.x.begin()))
        differences |= differs_from_present;
    if (!trial_.known || !std::equal(x.begin(), x.end(), trial_.asked.begin()))
        differences |= differs_from_trial;
    differences = guard_.combine(differences);
    if ((differences & differs_from_present) == 0)
        return &present_;
    if ((differences & differs_from_trial) != 0) {
        trial_.asked.assign(x.begin(), x.end());
        trial_.x = trial_.asked;
        guard_.run([&] {
            problem_.retract(present_.x, trial_.x);
            return 0U;
        });
        if (guard_.failed())
            return nullptr;
        evaluate_point(trial_, gradient);
    } else if (gradient && !trial_.has_gradient) {
        evaluate_point(trial_, true);
    }
    return guard_.failed() ? nullptr : &trial_;
}

PetscErrorCode BoundedGaussNewton::Impl::objective(Tao, Vec x, PetscReal* value, void* context) {
    Impl& self = *static_cast<Impl*>(context);
    if (self.trials_ > self.options_.max_rejections) {
        self.gave_up_ = true;
        return callback_failed;
    }
    const PetscScalar* array = nullptr;
    PetscCall(VecGetArrayRead(x, &array));
    const Point* point =
        self.find({array, self.present_.x.size()}, self.options_.gradient_at_trial);
    PetscCall(VecRestoreArrayRead(x, &array));
    if (point == nullptr)
        return callback_failed;
    *value = point->finite ? point->objective : forbidden;
    if (point != &self.present_) {
        ++self.trials_;
        self.non_finite_trials_ += point->finite ? 0 : 1;
        self.last_trial_finite_ = point->finite;
    }
    return 0;
}

PetscErrorCode BoundedGaussNewton::Impl::gradient(Tao, Vec x, Vec gradient, void* context) {
    Impl& self = *static_cast<Impl*>(context);
    const PetscScalar* array = nullptr;
    PetscCall(VecGetArrayRead(x, &array));
    const Point* point = self.find({array, self.present_.x.size()}, true);
    PetscCall(VecRestoreArrayRead(x, &array));
    if (point == nullptr)
        return callback_failed;
    if (!point->finite) {
        self.gradient_not_finite_ = true;
        return callback_failed;
    }
    PetscScalar* out = nullptr;
    PetscCall(VecGetArrayWrite(gradient, &out));
    std::copy(point->gradient.begin(), point->gradient.end(), out);
    PetscCall(VecRestoreArrayWrite(gradient, &out));
    return 0;
}

PetscErrorCode BoundedGaussNewton::Impl::objective_and_gradient(Tao tao, Vec x, PetscReal* value,
                                                                Vec gradient, void* context) {
    Impl& self = *static_cast<Impl*>(context);
    // The first thing TaoSolve asks for, after it set the number to 0: monitors then show the
    // iteration it is.
    PetscInt iteration = 0;
    PetscCall(TaoGetIterationNumber(tao, &iteration));
    if (iteration == 0)
        PetscCall(TaoSetIterationNumber(tao, self.iteration_));
    const PetscErrorCode code = Impl::gradient(tao, x, gradient, context);
    if (code != 0)
        return code;
    return objective(tao, x, value, context);
}

PetscErrorCode BoundedGaussNewton::Impl::hessian(Tao, Vec x, Mat, Mat, void* context) {
    Impl& self = *static_cast<Impl*>(context);
    const PetscScalar* array = nullptr;
    PetscCall(VecGetArrayRead(x, &array));
    const Point* point = self.find({array, self.present_.x.size()}, true);
    PetscCall(VecRestoreArrayRead(x, &array));
    if (point != nullptr)
        self.linearise(*point);
    return self.guard_.failed() ? callback_failed : 0;
}

PetscErrorCode BoundedGaussNewton::Impl::stop_after_one(Tao tao, void* context) {
    const Impl& self = *static_cast<Impl*>(context);
    TaoConvergedReason reason = TAO_CONTINUE_ITERATING;
    PetscInt iteration = 0;
    PetscCall(TaoGetConvergedReason(tao, &reason));
    PetscCall(TaoGetIterationNumber(tao, &iteration));
    if (reason == TAO_CONTINUE_ITERATING && iteration > self.iteration_)
        PetscCall(TaoSetConvergedReason(tao, TAO_CONVERGED_USER));
    return 0;
}

void BoundedGaussNewton::Impl::linearise(const Point& point) {
    if (linearised_ && &point == &present_)
        return;
    const auto flags = guard_.run([&] {
        ++counts_.linearise;
        problem_.linearise(point.x);
        return 0U;
    });
    linearised_ = flags.has_value() && &point == &present_;
}

void BoundedGaussNewton::Impl::rethrow() {
    if (guard_.failed())
        linearised_ = false; // nobody knows where the problem stopped
    guard_.rethrow();
}

void BoundedGaussNewton::Impl::require_finite_start(StepReport& report) {
    if (!present_.known || !present_.has_gradient) {
        evaluate_point(present_, true);
        rethrow();
        gradient_norm_ =
            present_.finite ? projected_gradient_norm() : std::numeric_limits<double>::quiet_NaN();
        if (!present_.finite)
            reason_ = StopReason::non_finite_objective;
        else if (initial_gradient_norm_ == 0)
            initial_gradient_norm_ = gradient_norm_;
    }
    report.objective = present_.objective;
    report.gradient_norm = gradient_norm_;
}

StepReport BoundedGaussNewton::Impl::evaluate() {
    const EvaluationCounts before = evaluations();
    StepReport report;
    require_finite_start(report);
    report.iteration = iteration_;
    report.trust_radius = trust_radius_;
    report.evaluations = difference(evaluations(), before);
    report.reason = reason_;
    return report;
}

StepReport BoundedGaussNewton::Impl::step() {
    const EvaluationCounts before = evaluations();
    StepReport report = evaluate();
    if (reason_ == StopReason::none)
        reason_ = stop_reason(report, 0, true, false);
    if (reason_ == StopReason::none)
        run_optimizer(report);
    report.iteration = iteration_;
    report.objective = present_.objective;
    report.gradient_norm = gradient_norm_;
    report.trust_radius = trust_radius_;
    report.evaluations = difference(evaluations(), before);
    report.reason = reason_;
    return report;
}

void BoundedGaussNewton::Impl::set_callbacks(Tao tao, Mat hessian_matrix) {
    check(TaoSetObjective(tao, &objective, this));
    check(TaoSetGradient(tao, nullptr, &gradient, this));
    check(TaoSetObjectiveAndGradient(tao, nullptr, &objective_and_gradient, this));
    check(TaoSetHessian(tao, hessian_matrix, hessian_matrix, &hessian, this));
    check(TaoSetConvergenceTest(tao, &stop_after_one, this));
}

BoundedGaussNewton::Impl::Outcome BoundedGaussNewton::Impl::solve(Tao tao, StepReport& report) {
    const PetscErrorCode code = TaoSolve(tao);
    rethrow();
    PetscInt linear_iterations = 0;
    check(TaoGetLinearSolveIterations(tao, &linear_iterations));
    report.linear_iterations = static_cast<int>(linear_iterations);
    if (code != 0 && (gave_up_ || gradient_not_finite_)) {
        forget_error();
        return {true, false};
    }
    check(code);
    TaoConvergedReason reason = TAO_CONTINUE_ITERATING;
    check(TaoGetConvergedReason(tao, &reason));
    PetscReal radius = 0;
    check(TaoGetCurrentTrustRegionRadius(tao, &radius));
    trust_radius_ = radius;
    KSP solver = nullptr;
    KSPConvergedReason linear_reason = KSP_CONVERGED_ITERATING;
    check(TaoGetKSP(tao, &solver));
    check(KSPGetConvergedReason(solver, &linear_reason));
    return {reason == TAO_DIVERGED_TR_REDUCTION || reason == TAO_DIVERGED_LS_FAILURE,
            linear_reason == KSP_CONVERGED_CG_CONSTRAINED ||
                linear_reason == KSP_CONVERGED_STEP_LENGTH};
}

void BoundedGaussNewton::Impl::accept_trial(StepReport& report) {
    double sum = 0;
    for (std::size_t i = 0; i < trial_.x.size(); ++i)
        sum += (trial_.x[i] - present_.x[i]) * (trial_.x[i] - present_.x[i]);
    report.step_length = std::sqrt(communicator_.allreduce(sum, mpi::Reduction::sum));
    std::swap(present_, trial_);
    trial_.known = false;
    linearised_ = false;
    ++iteration_;
    gradient_norm_ = projected_gradient_norm();
}

void BoundedGaussNewton::Impl::run_optimizer(StepReport& report) {
    const bool near = all_near_bounds();
    const double objective_before = present_.objective;
    std::vector<double> x = present_.x;
    trials_ = 0;
    non_finite_trials_ = 0;
    last_trial_finite_ = true;
    gave_up_ = false;
    gradient_not_finite_ = false;
    Outcome outcome;
    {
        const OptionScope scope(*session_, defaults(), overrides(near));
        const auto infinite_for_petsc = [](std::vector<double> bounds) {
            for (double& bound : bounds)
                bound = std::clamp<double>(bound, PETSC_NINFINITY, PETSC_INFINITY);
            return bounds;
        };
        std::vector<double> lower = infinite_for_petsc(lower_);
        std::vector<double> upper = infinite_for_petsc(upper_);
        const Vector solution = wrap(x);
        const Vector lower_vector = wrap(lower);
        const Vector upper_vector = wrap(upper);
        const Matrix matrix = operator_.matrix();
        const Optimizer optimizer = make_optimizer();
        Tao tao = optimizer.get();
        check(TaoSetSolution(tao, solution.get()));
        check(TaoSetVariableBounds(tao, lower_vector.get(), upper_vector.get()));
        set_callbacks(tao, matrix.get());
        outcome = solve(tao, report);
        const Point* end = outcome.failed ? &present_ : find(x, true);
        rethrow();
        report.accepted = end == &trial_ && trial_.finite;
    }
    if (report.accepted)
        accept_trial(report);
    report.rejected_trials = trials_ - (report.accepted ? 1 : 0);
    report.non_finite_trials = non_finite_trials_;
    report.objective = present_.objective;
    report.gradient_norm = gradient_norm_;
    reason_ = stop_reason(report, objective_before, outcome.shortened,
                          outcome.failed || !report.accepted);
    if (!std::exchange(solved_, true))
        session_->require_used(true);
}

StopReason BoundedGaussNewton::Impl::stop_reason(const StepReport& report, double objective_before,
                                                 bool shortened, bool failed) const {
    const double f = present_.objective;
    const double g = gradient_norm_;
    if (failed)
        return gradient_not_finite_ || !last_trial_finite_ ? StopReason::non_finite_objective
                                                           : StopReason::no_decrease;
    if (g == 0 || g <= criteria_.gatol || g <= criteria_.grtol * std::abs(f) ||
        g <= criteria_.gttol * initial_gradient_norm_)
        return StopReason::gradient;
    if (f <= criteria_.fmin)
        return StopReason::objective_bound;
    if (report.accepted && report.rejected_trials == 0 && !shortened &&
        objective_before - f <= options_.objective_tolerance * std::abs(objective_before))
        return StopReason::objective_decrease;
    if (iteration_ >= criteria_.max_iterations)
        return StopReason::max_iterations;
    if (criteria_.max_evaluations >= 0 &&
        counts_.objective + counts_.objective_and_gradient >= criteria_.max_evaluations)
        return StopReason::max_evaluations;
    return StopReason::none;
}

} // namespace xrdct::petsc
