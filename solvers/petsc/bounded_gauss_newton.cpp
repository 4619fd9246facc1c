// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include "base/error.hpp"
#include "solvers/petsc/bounded_gauss_newton_impl.hpp"

#include <fmt/format.h>

#include <limits>
#include <string>

namespace xrdct::petsc {

namespace {

std::string number(double value) {
    return fmt::format("{:.17g}", value);
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
