// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/monte_carlo_esd.hpp"

#include "solvers/dlsr/uncertainty.hpp"

#include <cmath>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Voxels about one whose samples of noise tell its e.s.d. together (Gaussian, σ).
constexpr double error_window = 3;

/// Of sums over the samples; maps are smoothed. Collective.
SharedArray<double> errors_of(Fit& fit) {
    const auto& system = fit.system();
    auto& problem = system.problem();
    const auto& team = system.team();
    const auto& fields = system.setup().fields;
    const int samples = fit.state().esd.samples;
    const SharedArray<double> information(team, problem.whole(problem.information()));
    const auto sums = problem.whole(fit.state().esd.squares);
    return system.communicator().collectively([&] {
        SharedArray<double> esd;
        esd.resize(team, problem.size());
        team.run_and_sync([&] {
            for (std::size_t f = 0; f <= fields.size(); ++f) {
                if (!team.owns(f))
                    continue;
                const auto range = problem.field_unknowns(f);
                const bool voxels =
                    f < fields.size() && fields[f].field.treatment == FieldTreatment::voxel;
                if (!voxels) {
                    for (std::size_t i = range.begin; i < range.end; ++i)
                        esd[i] = std::sqrt(sums[i] / samples);
                    continue;
                }
                // An unknown that is held has no sample.
                std::vector<double> squares, own;
                for (std::size_t i = range.begin; i < range.end; ++i) {
                    squares.push_back(sums[i] / samples);
                    own.push_back(information[i]);
                }
                const auto variance =
                    smoothed_variance(squares, own, system.model().pixels(fields[f].field.part),
                                      system.grid().n, error_window);
                for (std::size_t i = range.begin; i < range.end; ++i)
                    esd[i] = variance[i - range.begin] > 0
                                 ? std::sqrt(variance[i - range.begin])
                                 : std::numeric_limits<double>::quiet_NaN();
            }
        });
        return esd;
    });
}

} // namespace

std::vector<std::uint8_t> at_bounds(Problem& problem, std::span<const double> x) {
    std::vector<double> lower(x.size()), upper(x.size()), gradient(x.size());
    problem.bounds(lower, upper);
    problem.objective_and_gradient(x, gradient);
    std::vector<std::uint8_t> held(x.size(), 0);
    for (std::size_t i = 0; i < x.size(); ++i)
        held[i] = (x[i] <= lower[i] + 1e-9 && gradient[i] > 0) ||
                  (x[i] >= upper[i] - 1e-9 && gradient[i] < 0);
    return held;
}

SharedArray<double> sample_esd(Fit& fit) {
    const auto& system = fit.system();
    const auto& communicator = system.communicator();
    auto& problem = system.problem();
    auto& state = fit.esd();
    const int samples = system.options().noise_samples;
    const auto& x = fit.x();
    petsc::BoundedGaussNewton solver(fit.session(), communicator, problem, x,
                                     solver_options(system.options().convergence, 1));
    const auto held = at_bounds(problem, x);
    problem.linearise(x);
    if (state.samples == 0)
        state.squares.clear();
    if (state.squares.empty()) {
        state.squares.assign(x.size(), 0.0);
        state.samples = 0;
    }
    auto& observer = system.observer();
    observer.begin("dlsr: e.s.d.", static_cast<std::size_t>(samples));
    petsc::LinearSolveOptions linear;
    linear.tolerance = 0.05;
    linear.max_iterations = 40;
    while (state.samples < samples) {
        const auto noise = communicator.collectively([&] {
            return system.scan().noise(system.basis(), system.weight(),
                                       static_cast<std::uint64_t>(state.samples) + 1);
        });
        const auto right = problem.back_project(noise);
        std::vector<double> change(x.size());
        solver.solve_linear(right, change, held, linear);
        for (std::size_t i = 0; i < change.size(); ++i)
            state.squares[i] += change[i] * change[i];
        ++state.samples;
        observer.progress(static_cast<std::size_t>(state.samples));
        fit.save();
    }
    observer.end(fmt::format("{} samples of noise", samples));
    return errors_of(fit);
}

} // namespace xrdct::dlsr
