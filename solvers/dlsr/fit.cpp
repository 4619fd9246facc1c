// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/fit.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "solvers/dlsr/geometry.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Products with the Gauss-Newton matrix in a step.
constexpr int max_products = 30;
/// Steps between two replacements of masked and outlying samples, and the change of the data
/// (standard deviations per unknown) that ends them.
constexpr int steps_per_pass = 2;
constexpr double data_tolerance = 0.05;
/// Amounts of a phase that starts absent are tied to their neighbours more strongly by this factor
/// in the rough steps. Free ones would stand for a cell that varies: on an independent cell whose
/// second phase, 0.4 % apart, is a hundredth of the first it took a fifth of it.
constexpr double late_tie = 100;
/// Times that the ranges of global shapes are moved after their values.
constexpr int max_moves = 6;

} // namespace

petsc::BoundedGaussNewtonOptions solver_options(double convergence, int steps) {
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = steps;
    options.objective_tolerance = convergence;
    options.linear_tolerance = 0.04;
    options.linear_max_iterations = max_products;
    options.objective_noise = 1e-7;
    options.initial_trust_radius = 1e6; // the problem is nearly quadratic: full steps first
    return options;
}

bool fits(const System& system, const State& state) {
    const std::size_t ranges = state.fit.ranges.start.size();
    return state.fit.x.size() == system.unknown_count() &&
           (ranges == 0 || ranges == system.setup().globals.size());
}

Fit::Fit(const petsc::Session& session, System& system, std::optional<State> earlier)
    : session_(session), system_(system), communicator_(system.communicator()) {
    // Built once, as it was: values that went through another build's unknowns would be rounded.
    if (earlier) {
        if (earlier->geometry.radial_scale != 1)
            system_.scale_radial_axis(earlier->geometry.radial_scale);
        if (!earlier->fit.ranges.start.empty())
            system_.set_ranges(earlier->fit.ranges);
    }
    system_.build(globals_);
    const auto& problem = system_.problem();
    stand_at(problem.start());
    system_.log(fmt::format("{} unknowns; {:.0f} rays of {} channels as {} coefficients, {} layers "
                            "as {} functions of depth and component",
                            problem.size(), system_.ray_count(), system_.scan().channel_count(),
                            system_.basis().size(), system_.layers().count,
                            system_.model().packed_size()));
    if (earlier)
        go_on_from(std::move(*earlier));
    else
        apply_state();
}

void Fit::go_on_from(State earlier) {
    state_ = std::move(earlier);
    auto& fit = state_.fit;
    stand_at(own_share(fit.x));
    auto& squares = state_.esd.squares;
    squares =
        squares.size() == system_.problem().size() ? own_share(squares) : std::vector<double>();
    for (auto& x : state_.validation.x)
        x = own_share(x);
    if (!fit.data_x.empty()) {
        fit.data_x = own_share(fit.data_x);
        system_.replace_data(fit.data_x);
    }
    resumed_ = true;
    hold_geometry();
    apply_state();
    if (state_.phase == Phase::esd) {
        const auto reason = static_cast<petsc::StopReason>(fit.reason);
        stop_reason_ = std::string(petsc::describe(reason));
        converged_ = petsc::is_converged(reason);
    }
}

void Fit::set_smoothness(double weight) {
    const auto& fields = system_.setup().fields;
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (fields[f].field.shape >= 0)
            system_.problem().set_smoothness(f, weight, fields[f].field.edge);
    state_.fit.smoothness = weight;
}

void Fit::rebuild_at(std::span<const double> values) {
    system_.build(globals_);
    state_.fit.data_x.clear();
    stand_at(system_.problem().unknowns(values));
    set_smoothness(state_.fit.smoothness);
    apply_state();
}

bool Fit::tie_late_amounts() {
    const auto& setup = system_.setup();
    const auto at = values();
    auto ties = state_.fit.ties;
    bool changed = false;
    for (std::size_t f = 0; f < setup.fields.size(); ++f) {
        const auto& field = setup.fields[f];
        if (!field.late)
            continue;
        const auto part = field.field.part;
        const std::size_t first = system_.model().offset(part, field.field.shape),
                          count = system_.model().pixels(part).size();
        std::vector<double> amounts;
        for (const double value : at.span().subspan(first, count))
            amounts.push_back(std::abs(value));
        const double typical = lower_quantile(std::move(amounts), 0.95);
        ties[f] = std::clamp(std::pow(field.field.unit / typical, 2), 1.0, late_tie);
        changed = changed || std::abs(ties[f] / state_.fit.ties[f] - 1) > 0.1;
        system_.log(fmt::format("{}: typical amount {:.3g} of the conventional one",
                                field.quantity.group, typical / field.field.unit));
    }
    set_ties(std::move(ties));
    return changed;
}

void Fit::set_ties(std::vector<double> ties) {
    state_.fit.ties = std::move(ties);
    apply_state();
}

void Fit::set_amount_smoothness(AmountSmoothness amounts) {
    state_.fit.amounts = std::move(amounts);
    apply_state();
}

void Fit::apply_state() {
    const auto& setup = system_.setup();
    const auto& amounts = state_.fit.amounts;
    for (std::size_t f = 0; f < amounts.weight.size(); ++f)
        if (amounts.weight[f] > 0) {
            system_.problem().set_smoothness(f, amounts.weight[f], amounts.edge[f]);
            system_.problem().set_fineness(f, amounts.fineness[f]);
        }
    if (state_.fit.ties.empty())
        state_.fit.ties.assign(setup.fields.size(), late_tie);
    const bool held = state_.phase == Phase::rough_steps;
    for (std::size_t g = 0; g < setup.late.size(); ++g) {
        if (!setup.late[g])
            continue;
        const auto& global = setup.globals[g];
        const double value = globals_[g] * global.unit;
        system_.problem().set_global_bounds(g, held ? value : global.lower,
                                            held ? value : global.upper);
    }
    for (std::size_t f = 0; f < setup.fields.size(); ++f)
        if (const auto& field = setup.fields[f]; field.late)
            system_.problem().set_smoothness(f, state_.fit.ties[f] * field.field.smoothness,
                                             field.field.edge);
}

void Fit::scale_radial_axis(double factor) {
    auto at = values();
    communicator_.collectively(
        [&] { apply_radial_scale(system_.setup(), system_.model(), factor, at.span()); });
    system_.scale_radial_axis(factor);
    state_.geometry.radial_scale *= factor;
    if (!state_.fit.ranges.start.empty())
        state_.fit.ranges = global_ranges(system_.setup());
    rebuild_at(at);
}

void Fit::stand_at(std::vector<double> x) {
    state_.fit.x = std::move(x);
    globals_ = system_.global_unknowns(state_.fit.x);
}

void Fit::set_global(std::size_t global, double value) {
    globals_[global] = value;
    const auto own = system_.problem().own();
    if (const std::size_t i = system_.first_global() + global; i >= own.begin && i < own.end)
        state_.fit.x[i - own.begin] = value;
}

SharedArray<double> Fit::values() const {
    const auto lent = system_.problem().values(x());
    return communicator_.collectively([&] { return SharedArray<double>(system_.team(), lent); });
}

std::vector<double> Fit::own_share(const std::vector<double>& whole) const {
    const auto range = system_.problem().own();
    return {whole.begin() + static_cast<std::ptrdiff_t>(range.begin),
            whole.begin() + static_cast<std::ptrdiff_t>(range.end)};
}

/// Global shapes at the end of the range for which patterns are tabulated get another range.
/// Collective.
void Fit::move_to(const GlobalRanges& ranges) {
    const auto& setup = system_.setup();
    ++state_.fit.range_moves;
    const auto at = values();
    for (std::size_t g = 0; g < ranges.start.size(); ++g)
        if (ranges.upper[g] != setup.globals[g].upper)
            system_.log(fmt::format("{} {} leaves its range: {:.6g} to {:.6g} from here on",
                                    setup.global_quantities[g].group,
                                    setup.global_quantities[g].name, ranges.lower[g],
                                    ranges.upper[g]));
    system_.set_ranges(ranges);
    state_.fit.ranges = ranges;
    rebuild_at(at);
    if (system_.scan().needs_model())
        replace_data();
}

double Fit::replace_data() {
    state_.fit.data_x = x();
    return system_.replace_data(x());
}

void Fit::save() {
    const auto begin = std::chrono::steady_clock::now();
    State whole = state_;
    whole.fit.x = communicator_.gather(state_.fit.x);
    whole.fit.data_x = communicator_.gather(state_.fit.data_x);
    whole.esd.squares = communicator_.gather(state_.esd.squares);
    for (std::size_t i = 0; i < whole.validation.x.size(); ++i)
        whole.validation.x[i] = communicator_.gather(state_.validation.x[i]);
    system_.observer().keep(whole);
    checkpoint_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    system_.observer().stop_point();
}

void Fit::solve(const std::string& what, double convergence, int steps, bool keep) {
    // At the end of a range steps are cut short; the next ones are judged afresh.
    while (const auto ranges = take_steps(what, convergence, steps, keep)) {
        move_to(*ranges);
        state_.fit.trust_radius = 0;
    }
    // The reason stays: a run resumed after the fit tells how it ended.
    state_.fit.iteration = 0;
    state_.fit.trust_radius = 0;
    state_.fit.initial_gradient_norm = 0;
}

void Fit::restore(petsc::BoundedGaussNewton& solver) const {
    petsc::BoundedGaussNewton::State state;
    state.x = x();
    state.trust_radius = state_.fit.trust_radius;
    state.initial_gradient_norm = state_.fit.initial_gradient_norm;
    state.iteration = state_.fit.iteration;
    state.reason = static_cast<petsc::StopReason>(state_.fit.reason);
    solver.restore(state);
}

void Fit::take_over(const petsc::BoundedGaussNewton::State& state) {
    stand_at(state.x);
    state_.fit.trust_radius = state.trust_radius;
    state_.fit.initial_gradient_norm = state.initial_gradient_norm;
    state_.fit.iteration = state.iteration;
    state_.fit.reason = static_cast<int>(state.reason);
}

/// To history, observer and log.
void Fit::report(const std::string& what, const petsc::StepReport& step, bool keep) {
    const double misfit = system_.problem().last_misfit(), rwp = system_.rwp(misfit);
    // Counted through: the fit is taken up again with other weights and data.
    auto& history = state_.fit.history;
    if (keep && step.accepted)
        history.push_back({static_cast<int>(history.size()) + 1, step.objective, misfit,
                           step.gradient_norm, step.step_length, rwp, step.linear_iterations,
                           system_.data_squares()});
    system_.observer().step(step.iteration, rwp);
    system_.log(fmt::format(
        "{} {}: objective {:.6e}, Rwp {:.3f} %, gradient {:.2e}, step {:.2e}, {} matrix-vector "
        "products of {} functions{}",
        what, step.iteration, step.objective, 100 * rwp, step.gradient_norm, step.step_length,
        step.linear_iterations, system_.model().low_rank_size(),
        step.rejected_trials > 0 ? fmt::format(", {} trials rejected", step.rejected_trials) : ""));
}

void Fit::end_steps(petsc::StopReason reason) {
    stop_reason_ = std::string(petsc::describe(reason));
    converged_ = petsc::is_converged(reason);
    if (reason == petsc::StopReason::non_finite_objective)
        throw Error("dlsr: the fit diverged: the objective is not finite; start from "
                    "better maps or bound the amounts (dlsr.bounded)");
}

/// Steps until they end (nothing), or global shapes at the end of their ranges need these.
/// Collective.
std::optional<GlobalRanges> Fit::take_steps(const std::string& what, double convergence, int steps,
                                            bool keep) {
    petsc::BoundedGaussNewton solver(session_, communicator_, system_.problem(), x(),
                                     solver_options(convergence, steps));
    const auto& fit = state_.fit;
    if (fit.iteration > 0 || fit.initial_gradient_norm > 0)
        restore(solver);
    const bool ended = fit.iteration > 0 && fit.reason != static_cast<int>(petsc::StopReason::none);
    for (;;) {
        // Before the step and not after it: so does a run that goes on from what was saved.
        if (keep && !ended && fit.range_moves < max_moves)
            if (auto ranges = moved_ranges(system_.setup(), system_.global_values(globals_)))
                return ranges;
        const auto step = solver.step();
        take_over(solver.state());
        step_was_cut_ = step.accepted && step.rejected_trials > 0;
        report(what, step, keep);
        if (keep)
            save();
        if (step.reason != petsc::StopReason::none) {
            end_steps(step.reason);
            return {};
        }
    }
}

void Fit::solve_and_replace(const std::string& what, double convergence, int steps) {
    if (!system_.scan().needs_model()) {
        solve(what, convergence, steps, true);
        return;
    }
    const auto length = [&] { return static_cast<int>(state_.fit.history.size()); };
    // One that goes on has begun already; the steps of a pass that was begun are in the history.
    if (state_.fit.passes_begin < 0)
        state_.fit.passes_begin = length();
    const int before = state_.fit.passes_begin;
    for (;;) {
        const int taken = length() - before - state_.fit.iteration;
        solve(what, convergence, std::clamp(steps - taken, 1, steps_per_pass), true);
        const bool settled = replace_data() < data_tolerance;
        if (settled && converged_) {
            state_.fit.passes_begin = -1;
            return;
        }
        if (length() - before >= steps) {
            state_.fit.passes_begin = -1;
            if (converged_) {
                converged_ = false;
                stop_reason_ = "maximum number of iterations, the replaced data still change";
                state_.fit.reason = static_cast<int>(petsc::StopReason::max_iterations);
            }
            return;
        }
        state_.fit.reason = 0;
    }
}

} // namespace xrdct::dlsr
