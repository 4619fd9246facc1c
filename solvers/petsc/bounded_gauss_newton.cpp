#include "solvers/petsc/bounded_gauss_newton.hpp"

#include "base/error.hpp"
#include "solvers/petsc/callback_guard.hpp"
#include "solvers/petsc/gauss_newton_operator.hpp"
#include "solvers/petsc/internal.hpp"

#include <fmt/format.h>
#include <petsctao.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace xrdct::petsc {

namespace {

using Optimizer = Handle<Tao, TaoDestroy>;

/// Stands for a value that is not finite, which TAO would take for an error: a step there is
/// rejected like one that raises f beyond measure.
constexpr double forbidden = 1e300;

constexpr unsigned not_finite = 1;
constexpr unsigned differs_from_present = 2;
constexpr unsigned differs_from_trial = 4;

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

bool all_finite(std::span<const double> values) {
    return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

std::string number(double value) {
    return fmt::format("{:.17g}", value);
}

EvaluationCounts difference(const EvaluationCounts& a, const EvaluationCounts& b) {
    return {a.objective - b.objective, a.objective_and_gradient - b.objective_and_gradient,
            a.linearise - b.linearise, a.gauss_newton_products - b.gauss_newton_products,
            a.preconditionings - b.preconditionings};
}

} // namespace

std::string_view describe(StopReason reason) {
    switch (reason) {
    case StopReason::none:
        return "not finished";
    case StopReason::gradient:
        return "gradient tolerance reached";
    case StopReason::objective_decrease:
        return "the objective hardly decreases any more";
    case StopReason::objective_bound:
        return "lower bound of the objective reached";
    case StopReason::max_iterations:
        return "maximum number of iterations";
    case StopReason::max_evaluations:
        return "maximum number of evaluations";
    case StopReason::no_decrease:
        return "no step lowers the objective";
    case StopReason::non_finite_objective:
        return "the objective or its gradient is not finite";
    }
    return "unknown";
}

bool is_converged(StopReason reason) {
    return reason == StopReason::gradient || reason == StopReason::objective_decrease ||
           reason == StopReason::objective_bound;
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
    void run_optimizer(StepReport& report);
    StopReason stop_reason(const StepReport& report, double objective_before, bool shortened,
                           bool failed) const;
    double projected_gradient_norm() const;
    bool all_near_bounds() const;
    void linearise(const Point& point);
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

BoundedGaussNewton::Impl::Impl(const Session& session, const mpi::Communicator& communicator,
                               solvers::LeastSquaresProblem& problem, std::span<const double> start,
                               const BoundedGaussNewtonOptions& options)
    : session_(session.impl()), communicator_(communicator.duplicate()), problem_(problem),
      options_(options), guard_(communicator_, options.grace_seconds),
      layout_(make_layout(communicator_, problem.local_size())),
      operator_(problem, guard_, communicator_, layout_) {
    communicator_.collectively([&] {
        check_options();
        read_bounds();
        set_start(start);
        if (layout_.global == 0)
            throw Error("least squares: there are no unknowns");
    });
    read_criteria();
}

void BoundedGaussNewton::Impl::check_options() const {
    const auto require = [](bool good, const char* name, double value, const char* range) {
        if (!good)
            throw Error(fmt::format("least squares: {} is {}; expected {}", name, value, range));
    };
    const auto not_negative = [&](double value, const char* name) {
        require(value >= 0 && std::isfinite(value), name, value, "a finite number, not negative");
    };
    not_negative(options_.objective_tolerance, "objective_tolerance");
    not_negative(options_.gradient_tolerance, "gradient_tolerance");
    not_negative(options_.initial_trust_radius, "initial_trust_radius");
    not_negative(options_.active_set_tolerance, "active_set_tolerance");
    not_negative(options_.objective_noise, "objective_noise");
    not_negative(options_.grace_seconds, "grace_seconds");
    not_negative(options_.max_rejections, "max_rejections");
    not_negative(options_.max_iterations, "max_iterations");
    require(options_.linear_tolerance > 0 && options_.linear_tolerance < 1, "linear_tolerance",
            options_.linear_tolerance, "a number between 0 and 1");
    require(options_.linear_max_iterations > 0, "linear_max_iterations",
            options_.linear_max_iterations, "at least 1");
}

void BoundedGaussNewton::Impl::read_bounds() {
    const auto n = static_cast<std::size_t>(layout_.local);
    lower_.resize(n);
    upper_.resize(n);
    problem_.bounds(lower_, upper_);
    for (std::size_t i = 0; i < n; ++i) {
        if (!(lower_[i] <= upper_[i]) || lower_[i] == std::numeric_limits<double>::infinity() ||
            upper_[i] == -std::numeric_limits<double>::infinity())
            throw Error(fmt::format("least squares: unknown {} of this rank has the bounds {} and "
                                    "{}; expected lower ≤ upper",
                                    i, lower_[i], upper_[i]));
    }
}

void BoundedGaussNewton::Impl::set_start(std::span<const double> start) {
    const auto n = static_cast<std::size_t>(layout_.local);
    if (start.size() != n)
        throw Error(fmt::format("least squares: the start has {} entries on this rank, the problem "
                                "{}",
                                start.size(), n));
    for (std::size_t i = 0; i < n; ++i)
        if (!std::isfinite(start[i]))
            throw Error(
                fmt::format("least squares: unknown {} of this rank starts at {}", i, start[i]));
    present_ = Point{};
    trial_ = Point{};
    linearised_ = false;
    present_.x.resize(n);
    for (std::size_t i = 0; i < n; ++i)
        present_.x[i] = std::clamp(start[i], lower_[i], upper_[i]);
}

OptionValues BoundedGaussNewton::Impl::defaults() const {
    OptionValues values = {{"-tao_bnk_init_type", "constant"},
                           {"-tao_bnk_as_tol", number(options_.active_set_tolerance)}};
    if (options_.objective_noise > 0)
        values["-tao_bnk_epsilon"] = number(options_.objective_noise);
    return values;
}

OptionValues BoundedGaussNewton::Impl::overrides(bool all_near_bounds) const {
    OptionValues values;
    if (trust_radius_ > 0) {
        values["-tao_bnk_init_type"] = "constant";
        values["-tao_trust0"] = number(trust_radius_);
    }
    // TAO takes no step it could judge when no unknown is free; only the ones on their bounds are
    // held then.
    if (all_near_bounds)
        values["-tao_bnk_as_type"] = "none";
    return values;
}

Optimizer BoundedGaussNewton::Impl::make_optimizer() const {
    const Session::Impl::Option* type = session_->find("-tao_type");
    if (type != nullptr && type->value != TAOBNTR && type->value != TAOBNTL &&
        type->value != TAOBNLS)
        throw Error(fmt::format("PETSc options: -tao_type is '{}'; expected bntr, bntl or bnls",
                                type->value));
    Optimizer optimizer;
    check(TaoCreate(communicator_.handle(), optimizer.put()));
    Tao tao = optimizer.get();
    check(TaoSetType(tao, type != nullptr ? type->value.c_str() : TAOBNTR));
    check(TaoSetTolerances(tao, 0, 0, options_.gradient_tolerance));
    check(TaoSetMaximumIterations(tao, options_.max_iterations));
    check(TaoSetInitialTrustRegionRadius(tao, options_.initial_trust_radius));
    KSP solver = nullptr;
    check(TaoGetKSP(tao, &solver));
    check(KSPSetTolerances(solver, options_.linear_tolerance, PETSC_DEFAULT, PETSC_DEFAULT,
                           options_.linear_max_iterations));
    GaussNewtonOperator::attach(solver);
    check(TaoSetFromOptions(tao));
    // TAO gave it the prefix tao_bnk_; users write -ksp_rtol.
    check(KSPSetOptionsPrefix(solver, nullptr));
    check(KSPSetFromOptions(solver));
    return optimizer;
}

LinearSolver BoundedGaussNewton::Impl::make_linear_solver(const LinearSolveOptions& options) const {
    LinearSolver solver;
    check(KSPCreate(communicator_.handle(), solver.put()));
    check(KSPSetType(solver.get(), KSPCG));
    check(KSPSetOptionsPrefix(solver.get(), "linear_"));
    check(KSPSetNormType(solver.get(), KSP_NORM_UNPRECONDITIONED));
    check(KSPSetTolerances(solver.get(), options.tolerance, PETSC_DEFAULT, PETSC_DEFAULT,
                           options.max_iterations));
    GaussNewtonOperator::attach(solver.get());
    check(KSPSetFromOptions(solver.get()));
    return solver;
}

void BoundedGaussNewton::Impl::read_criteria() {
    {
        const OptionScope scope(*session_, defaults());
        const Optimizer optimizer = make_optimizer();
        make_linear_solver({});
        Tao tao = optimizer.get();
        check(TaoGetTolerances(tao, &criteria_.gatol, &criteria_.grtol, &criteria_.gttol));
        check(TaoGetFunctionLowerBound(tao, &criteria_.fmin));
        check(TaoGetMaximumIterations(tao, &criteria_.max_iterations));
        check(TaoGetMaximumFunctionEvaluations(tao, &criteria_.max_evaluations));
    }
    session_->require_used(false);
}

EvaluationCounts BoundedGaussNewton::Impl::evaluations() const {
    EvaluationCounts counts = counts_;
    counts.gauss_newton_products = operator_.products();
    counts.preconditionings = operator_.preconditionings();
    return counts;
}

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

void BoundedGaussNewton::Impl::run_optimizer(StepReport& report) {
    const bool near = all_near_bounds();
    const double objective_before = present_.objective;
    std::vector<double> x = present_.x;
    trials_ = 0;
    non_finite_trials_ = 0;
    last_trial_finite_ = true;
    gave_up_ = false;
    gradient_not_finite_ = false;
    bool failed = false;
    bool shortened = false;
    {
        const OptionScope scope(*session_, defaults(), overrides(near));
        const auto infinite_for_petsc = [](std::vector<double> bounds) {
            for (double& bound : bounds)
                bound = std::clamp<double>(bound, PETSC_NINFINITY, PETSC_INFINITY);
            return bounds;
        };
        std::vector<double> lower = infinite_for_petsc(lower_);
        std::vector<double> upper = infinite_for_petsc(upper_);
        const auto wrap = [&](std::vector<double>& values) {
            Vector vector;
            check(VecCreateMPIWithArray(communicator_.handle(), 1, layout_.local, layout_.global,
                                        values.data(), vector.put()));
            return vector;
        };
        const Vector solution = wrap(x);
        const Vector lower_vector = wrap(lower);
        const Vector upper_vector = wrap(upper);
        const Matrix matrix = operator_.matrix();
        const Optimizer optimizer = make_optimizer();
        Tao tao = optimizer.get();
        check(TaoSetSolution(tao, solution.get()));
        check(TaoSetVariableBounds(tao, lower_vector.get(), upper_vector.get()));
        check(TaoSetObjective(tao, &objective, this));
        check(TaoSetGradient(tao, nullptr, &gradient, this));
        check(TaoSetObjectiveAndGradient(tao, nullptr, &objective_and_gradient, this));
        check(TaoSetHessian(tao, matrix.get(), matrix.get(), &hessian, this));
        check(TaoSetConvergenceTest(tao, &stop_after_one, this));

        const PetscErrorCode code = TaoSolve(tao);
        rethrow();
        PetscInt linear_iterations = 0;
        check(TaoGetLinearSolveIterations(tao, &linear_iterations));
        report.linear_iterations = static_cast<int>(linear_iterations);
        if (code != 0 && (gave_up_ || gradient_not_finite_)) {
            forget_error();
            failed = true;
        } else {
            check(code);
            TaoConvergedReason reason = TAO_CONTINUE_ITERATING;
            check(TaoGetConvergedReason(tao, &reason));
            failed = reason == TAO_DIVERGED_TR_REDUCTION || reason == TAO_DIVERGED_LS_FAILURE;
            PetscReal radius = 0;
            check(TaoGetCurrentTrustRegionRadius(tao, &radius));
            trust_radius_ = radius;
            KSP solver = nullptr;
            KSPConvergedReason linear_reason = KSP_CONVERGED_ITERATING;
            check(TaoGetKSP(tao, &solver));
            check(KSPGetConvergedReason(solver, &linear_reason));
            shortened = linear_reason == KSP_CONVERGED_CG_CONSTRAINED ||
                        linear_reason == KSP_CONVERGED_STEP_LENGTH;
        }
        const Point* end = failed ? &present_ : find(x, true);
        rethrow();
        report.accepted = end == &trial_ && trial_.finite;
    }
    if (report.accepted) {
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            sum += (trial_.x[i] - present_.x[i]) * (trial_.x[i] - present_.x[i]);
        report.step_length = std::sqrt(communicator_.allreduce(sum, mpi::Reduction::sum));
        std::swap(present_, trial_);
        trial_.known = false;
        linearised_ = false;
        ++iteration_;
        gradient_norm_ = projected_gradient_norm();
    }
    report.rejected_trials = trials_ - (report.accepted ? 1 : 0);
    report.non_finite_trials = non_finite_trials_;
    report.objective = present_.objective;
    report.gradient_norm = gradient_norm_;
    reason_ = stop_reason(report, objective_before, shortened, failed || !report.accepted);
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

BoundedGaussNewton::State BoundedGaussNewton::Impl::state() const {
    return {present_.x, trust_radius_, initial_gradient_norm_, iteration_, reason_};
}

void BoundedGaussNewton::Impl::restore(const State& state) {
    communicator_.collectively([&] {
        if (!(state.trust_radius >= 0) || !(state.initial_gradient_norm >= 0) ||
            state.iteration < 0 || !std::isfinite(state.trust_radius) ||
            !std::isfinite(state.initial_gradient_norm))
            throw Error(fmt::format("least squares: a state with iteration {}, trust radius {} and "
                                    "first gradient norm {} cannot be restored",
                                    state.iteration, state.trust_radius,
                                    state.initial_gradient_norm));
        set_start(state.x);
    });
    trust_radius_ = state.trust_radius;
    initial_gradient_norm_ = state.initial_gradient_norm;
    iteration_ = state.iteration;
    const bool limit =
        state.reason == StopReason::max_iterations || state.reason == StopReason::max_evaluations;
    reason_ = limit ? StopReason::none : state.reason;
}

LinearSolveReport BoundedGaussNewton::Impl::solve_linear(std::span<const double> rhs,
                                                         std::span<double> x,
                                                         std::span<const std::uint8_t> held,
                                                         const LinearSolveOptions& options) {
    const std::size_t n = present_.x.size();
    communicator_.collectively([&] {
        if (rhs.size() != n || x.size() != n || (!held.empty() && held.size() != n))
            throw Error(fmt::format("least squares: the linear system has spans of {}, {} and {} "
                                    "entries on this rank instead of {}",
                                    rhs.size(), x.size(), held.size(), n));
        if (!all_finite(rhs))
            throw Error("least squares: the right-hand side of the linear system is not finite");
        if (!(options.tolerance > 0 && options.tolerance < 1) || options.max_iterations < 1)
            throw Error(fmt::format("least squares: tolerance {} and {} iterations of the linear "
                                    "system; expected a number between 0 and 1, and at least 1",
                                    options.tolerance, options.max_iterations));
    });
    std::vector<PetscInt> free;
    std::vector<double> b;
    for (std::size_t i = 0; i < n; ++i)
        if (held.empty() || held[i] == 0) {
            free.push_back(static_cast<PetscInt>(i));
            b.push_back(rhs[i]);
        }
    std::vector<double> solution(b.size());

    StepReport at_present;
    require_finite_start(at_present);
    communicator_.agree(present_.finite ? std::nullopt
                                        : std::optional<std::string>(
                                              "least squares: the objective is not finite where "
                                              "the linear system was asked for"));
    linearise(present_);
    rethrow();

    const OptionScope scope(*session_);
    const LinearSolver solver = make_linear_solver(options);
    const Matrix matrix = operator_.matrix(std::move(free));
    const auto wrap = [&](std::vector<double>& values) {
        Vector vector;
        check(VecCreateMPIWithArray(communicator_.handle(), 1, static_cast<PetscInt>(values.size()),
                                    PETSC_DETERMINE, values.data(), vector.put()));
        return vector;
    };
    {
        const Vector b_vector = wrap(b);
        const Vector x_vector = wrap(solution);
        check(KSPSetOperators(solver.get(), matrix.get(), matrix.get()));
        const PetscErrorCode code = KSPSolve(solver.get(), b_vector.get(), x_vector.get());
        rethrow();
        check(code);
    }
    LinearSolveReport report;
    PetscInt iterations = 0;
    PetscReal norm = 0;
    KSPConvergedReason reason = KSP_CONVERGED_ITERATING;
    check(KSPGetIterationNumber(solver.get(), &iterations));
    check(KSPGetResidualNorm(solver.get(), &norm));
    check(KSPGetConvergedReason(solver.get(), &reason));
    report.iterations = static_cast<int>(iterations);
    report.residual_norm = norm;
    report.converged = reason > 0;
    std::size_t k = 0;
    for (std::size_t i = 0; i < n; ++i)
        x[i] = held.empty() || held[i] == 0 ? solution[k++] : 0.0;
    return report;
}

BoundedGaussNewton::BoundedGaussNewton(const Session& session,
                                       const mpi::Communicator& communicator,
                                       solvers::LeastSquaresProblem& problem,
                                       std::span<const double> start,
                                       const BoundedGaussNewtonOptions& options)
    : impl_(new Impl(session, communicator, problem, start, options)) {}

BoundedGaussNewton::~BoundedGaussNewton() = default;

StepReport BoundedGaussNewton::evaluate() {
    return impl_->evaluate();
}

StepReport BoundedGaussNewton::step() {
    return impl_->step();
}

BoundedGaussNewton::State BoundedGaussNewton::state() const {
    return impl_->state();
}

void BoundedGaussNewton::restore(const State& state) {
    impl_->restore(state);
}

std::span<const double> BoundedGaussNewton::x() const {
    return impl_->x();
}

EvaluationCounts BoundedGaussNewton::evaluations() const {
    return impl_->evaluations();
}

LinearSolveReport BoundedGaussNewton::solve_linear(std::span<const double> rhs, std::span<double> x,
                                                   std::span<const std::uint8_t> held,
                                                   const LinearSolveOptions& options) {
    return impl_->solve_linear(rhs, x, held, options);
}

} // namespace xrdct::petsc
