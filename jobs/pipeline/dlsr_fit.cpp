#include "jobs/pipeline/dlsr_fit.hpp"

#include "base/error.hpp"
#include "jobs/program/run_record.hpp"
#include "jobs/program/stop_request.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

/// Products with the Gauss-Newton matrix in a step.
constexpr int max_products = 30;
/// Steps between two replacements of masked and outlying samples, and the change of the data
/// (standard deviations per unknown) that ends them.
constexpr int steps_per_pass = 2;
constexpr double data_tolerance = 0.05;
/// Times that the ranges of global shapes are moved after their values.
constexpr int max_moves = 6;

} // namespace

petsc::BoundedGaussNewtonOptions dlsr_solver_options(double convergence, int steps) {
    petsc::BoundedGaussNewtonOptions options;
    options.max_iterations = steps;
    options.objective_tolerance = convergence;
    options.linear_tolerance = 0.04;
    options.linear_max_iterations = max_products;
    options.objective_noise = 1e-7;
    options.initial_trust_radius = 1e6; // the problem is nearly quadratic: full steps first
    return options;
}

DlsrFit::DlsrFit(const petsc::Session& session, DlsrSystem& system)
    : session_(session), system_(system), communicator_(system.communicator()),
      checkpoint_path_(system.job().output / "dlsr-checkpoint.nxs") {
    const auto& context = system_.context();
    state_.settings = context.provenance.settings;
    state_.inputs = nlohmann::json(context.provenance.inputs).dump();
    auto found = earlier_state();
    // Built once, as it was: values that went through another build's unknowns would be rounded.
    if (found) {
        if (found->radial_scale != 1)
            system_.scale_radial_axis(found->radial_scale);
        if (!found->ranges.start.empty())
            system_.set_ranges(found->ranges);
    }
    system_.build(globals_);
    const auto& problem = system_.problem();
    stand_at(problem.start());
    if (communicator_.is_root())
        fmt::print(
            stderr,
            "dlsr: {} unknowns; {:.0f} rays of {} channels as {} coefficients, {} layers as {} "
            "packed functions\n",
            problem.size(), system_.ray_count(), context.scan.n_channel(), system_.basis().size(),
            system_.layers().count, system_.model().packed_size());
    if (found)
        go_on_from(std::move(*found));
}

/// Where an earlier run of the same job stopped. Collective.
std::optional<DlsrCheckpoint> DlsrFit::earlier_state() const {
    const auto& options = system_.context().options;
    return communicator_.collectively([&]() -> std::optional<DlsrCheckpoint> {
        if (!options.resume)
            return {};
        std::optional<DlsrCheckpoint> earlier;
        try {
            earlier = read_dlsr_checkpoint(checkpoint_path_);
        } catch (const Error&) {
            if (!options.force)
                throw;
        }
        if (!earlier)
            return {};
        const std::size_t ranges = earlier->ranges.start.size();
        if (earlier->settings != state_.settings || earlier->inputs != state_.inputs ||
            earlier->x.size() != system_.unknown_count() ||
            (ranges > 0 && ranges != system_.setup().globals.size())) {
            if (options.force)
                return {};
            throw Error(fmt::format("{}: is of another job or of other settings; --force starts "
                                    "over",
                                    checkpoint_path_.string()));
        }
        return earlier;
    });
}

void DlsrFit::go_on_from(DlsrCheckpoint earlier) {
    state_ = std::move(earlier);
    stand_at(own_share(state_.x));
    if (state_.error_squares.size() == state_.x.size())
        error_squares_ = own_share(state_.error_squares);
    for (const auto& tried : state_.tried)
        tried_.push_back(own_share(tried));
    if (!state_.data_x.empty()) {
        data_x_ = own_share(state_.data_x);
        system_.replace_data(data_x_);
    }
    state_.x = state_.data_x = state_.error_squares = {};
    state_.tried = {};
    resumed_ = true;
    hold_geometry();
    if (state_.phase == "errors") {
        const auto reason = static_cast<petsc::StopReason>(state_.reason);
        stop_reason_ = std::string(petsc::describe(reason));
        converged_ = petsc::is_converged(reason);
    }
    if (communicator_.is_root())
        fmt::print(stderr, "dlsr: goes on from {} (step {}, {})\n", checkpoint_path_.string(),
                   state_.iteration, state_.phase);
}

void DlsrFit::set_smoothness(double strength) {
    const auto& fields = system_.setup().fields;
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (fields[f].field.shape >= 0)
            system_.problem().set_smoothness(f, strength, fields[f].field.edge);
    state_.smoothness = strength;
}

void DlsrFit::rebuild_at(std::span<const double> values) {
    system_.build(globals_);
    data_x_.clear();
    stand_at(system_.problem().unknowns(values));
    set_smoothness(state_.smoothness);
}

void DlsrFit::stand_at(std::vector<double> x) {
    x_ = std::move(x);
    globals_ = system_.global_unknowns(x_);
}

void DlsrFit::set_global(std::size_t global, double value) {
    globals_[global] = value;
    const auto own = system_.problem().own();
    if (const std::size_t i = system_.first_global() + global; i >= own.begin && i < own.end)
        x_[i - own.begin] = value;
}

SharedArray<double> DlsrFit::values() const {
    const auto lent = system_.problem().values(x_);
    return communicator_.collectively([&] { return SharedArray<double>(system_.team(), lent); });
}

std::vector<double> DlsrFit::own_share(const std::vector<double>& whole) const {
    const auto range = system_.problem().own();
    return {whole.begin() + static_cast<std::ptrdiff_t>(range.begin),
            whole.begin() + static_cast<std::ptrdiff_t>(range.end)};
}

/// Global shapes at the end of the range for which patterns are tabulated get another range.
/// Collective.
void DlsrFit::move_to(const GlobalRanges& ranges) {
    const auto& setup = system_.setup();
    ++state_.range_moves;
    const auto at = values();
    if (communicator_.is_root())
        for (std::size_t g = 0; g < ranges.start.size(); ++g)
            if (ranges.upper[g] != setup.globals[g].upper)
                fmt::print(stderr, "dlsr: {} {} leaves its range: {:.6g} to {:.6g} from here on\n",
                           setup.global_quantities[g].group, setup.global_quantities[g].name,
                           ranges.lower[g], ranges.upper[g]);
    system_.set_ranges(ranges);
    state_.ranges = ranges;
    rebuild_at(at);
    if (system_.scan().needs_model())
        replace_data();
}

double DlsrFit::replace_data() {
    data_x_ = x_;
    return system_.replace_data(x_);
}

void DlsrFit::save() {
    const auto begin = std::chrono::steady_clock::now();
    state_.x = communicator_.gather(x_);
    state_.data_x = communicator_.gather(data_x_);
    state_.error_squares = communicator_.gather(error_squares_);
    for (const auto& tried : tried_)
        state_.tried.push_back(communicator_.gather(tried));
    communicator_.collectively([&] {
        if (communicator_.is_root())
            write_dlsr_checkpoint(checkpoint_path_, state_);
    });
    state_.x = state_.data_x = state_.error_squares = {};
    state_.tried = {};
    checkpoint_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    program::stop_if_asked(communicator_);
}

void DlsrFit::remove_checkpoint() const {
    std::error_code code;
    if (communicator_.is_root())
        std::filesystem::remove(checkpoint_path_, code);
}

void DlsrFit::solve(const std::string& what, double convergence, int steps, bool keep) {
    // At the end of a range steps are cut short; the next ones are judged afresh.
    while (const auto ranges = take_steps(what, convergence, steps, keep)) {
        move_to(*ranges);
        state_.trust_radius = 0;
    }
    // The reason stays: a run resumed after the fit tells how it ended.
    state_.iteration = 0;
    state_.trust_radius = 0;
    state_.initial_gradient_norm = 0;
}

/// Steps until they end (nothing), or global shapes at the end of their ranges need these.
/// Collective.
std::optional<GlobalRanges> DlsrFit::take_steps(const std::string& what, double convergence,
                                                int steps, bool keep) {
    petsc::BoundedGaussNewton solver(session_, communicator_, system_.problem(), x_,
                                     dlsr_solver_options(convergence, steps));
    if (state_.iteration > 0 || state_.initial_gradient_norm > 0) {
        petsc::BoundedGaussNewton::State state;
        state.x = x_;
        state.trust_radius = state_.trust_radius;
        state.initial_gradient_norm = state_.initial_gradient_norm;
        state.iteration = state_.iteration;
        state.reason = static_cast<petsc::StopReason>(state_.reason);
        solver.restore(state);
    }
    const bool ended =
        state_.iteration > 0 && state_.reason != static_cast<int>(petsc::StopReason::none);
    for (;;) {
        // Before the step and not after it: so does a run that goes on from what was saved.
        if (keep && !ended && state_.range_moves < max_moves)
            if (auto ranges = moved_ranges(system_.setup(), system_.global_values(globals_)))
                return ranges;
        const auto report = solver.step();
        const auto state = solver.state();
        stand_at(state.x);
        state_.trust_radius = state.trust_radius;
        state_.initial_gradient_norm = state.initial_gradient_norm;
        state_.iteration = state.iteration;
        state_.reason = static_cast<int>(state.reason);
        step_was_cut_ = report.accepted && report.rejected_trials > 0;
        const double misfit = system_.problem().last_misfit(),
                     rwp = std::sqrt(2 * misfit / system_.data_squares());
        // Counted through: the fit is taken up again with other strengths and data.
        if (keep && report.accepted)
            state_.history.push_back({static_cast<int>(state_.history.size()) + 1, report.objective,
                                      misfit, report.gradient_norm, report.step_length, rwp,
                                      report.linear_iterations});
        if (auto* record = program::RunRecord::current())
            record->iterate(report.iteration, rwp);
        if (communicator_.is_root())
            fmt::print(stderr,
                       "dlsr: {} {}: objective {:.6e}, Rwp {:.3f} %, gradient {:.2e}, step {:.2e}, "
                       "{} products ({} packed functions){}\n",
                       what, report.iteration, report.objective, 100 * rwp, report.gradient_norm,
                       report.step_length, report.linear_iterations,
                       system_.model().low_rank_size(),
                       report.rejected_trials > 0
                           ? fmt::format(", {} trials rejected", report.rejected_trials)
                           : "");
        if (keep)
            save();
        if (report.reason != petsc::StopReason::none) {
            stop_reason_ = std::string(petsc::describe(report.reason));
            converged_ = petsc::is_converged(report.reason);
            if (report.reason == petsc::StopReason::non_finite_objective)
                throw Error("dlsr: the fit diverged: the objective is not finite; start from "
                            "better maps or bound the amounts (dlsr.bounded)");
            return {};
        }
    }
}

void DlsrFit::solve_and_replace(const std::string& what, double convergence, int steps) {
    if (!system_.scan().needs_model()) {
        solve(what, convergence, steps, true);
        return;
    }
    const auto length = [&] { return static_cast<int>(state_.history.size()); };
    // One that goes on has begun already; the steps of a pass that was begun are in the history.
    if (state_.passes_begin < 0)
        state_.passes_begin = length();
    const int before = state_.passes_begin;
    for (;;) {
        const int taken = length() - before - state_.iteration;
        solve(what, convergence, std::clamp(steps - taken, 1, steps_per_pass), true);
        const bool settled = replace_data() < data_tolerance;
        if (settled && converged_) {
            state_.passes_begin = -1;
            return;
        }
        if (length() - before >= steps) {
            state_.passes_begin = -1;
            if (converged_) {
                converged_ = false;
                stop_reason_ = "maximum number of iterations, the replaced data still change";
                state_.reason = static_cast<int>(petsc::StopReason::max_iterations);
            }
            return;
        }
        state_.reason = 0;
    }
}

} // namespace xrdct::pipeline
