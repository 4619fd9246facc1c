// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/geometry_fit.hpp"

#include "solvers/petsc/unknown_estimate.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Products for what the maps make of a change of the geometry.
constexpr int geometry_products = 25;
/// Rounds of geometry and maps in turn, and the changes of axis [steps] and distance (relative)
/// that end them.
constexpr int geometry_rounds = 5;
constexpr double axis_settled = 0.01, distance_settled = 2e-4;
/// A distance that the data tell worse than this (relative) is not refined.
constexpr double distance_guard = 0.02;

/// Change and e.s.d. [mm, relative] from the state's point, with all maps adapting; the e.s.d. is
/// that of the noise times the goodness of fit. Collective.
petsc::UnknownEstimate estimate(const Fit& fit, GeometryParameter parameter) {
    const auto& system = fit.system();
    auto& problem = system.problem();
    const std::size_t unknown = system.geometry_unknown(parameter);
    system.free_geometry();
    petsc::LinearSolveOptions options;
    options.tolerance = 1e-3;
    options.max_iterations = geometry_products;
    auto result = petsc::estimate_unknown(fit.session(), system.communicator(), problem, fit.x(),
                                          system.first_global() + unknown, options);
    double rays = 0;
    for (const float w : system.used_weight())
        rays += w > 0;
    rays = system.communicator().allreduce(rays, mpi::Reduction::sum);
    const double goodness = 2 * problem.last_misfit() /
                            std::max(1.0, rays * static_cast<double>(system.basis().size()));
    const double unit = system.global_of(unknown).unit;
    result.change *= unit;
    result.esd *= unit * std::sqrt(std::max(1.0, goodness));
    fit.hold_geometry();
    return result;
}

/// Moves a parameter of the geometry to where the data want it, beginning with the change that the
/// state's progress holds, and lets the maps follow, in turn: both at once would need a hundred
/// products a step. Few products find a constant part of the change; two estimates tell which.
/// Collective.
void refine_geometry(Fit& fit, GeometryParameter parameter) {
    auto& progress = fit.geometry().progress;
    const std::size_t unknown = fit.system().geometry_unknown(parameter);
    while (progress.round < geometry_rounds) {
        const auto& global = fit.system().global_of(unknown);
        if (!progress.moved) {
            fit.set_global(unknown, std::clamp(fit.globals()[unknown] * global.unit + progress.move,
                                               global.lower, global.upper) /
                                        global.unit);
            progress.moved = true;
        }
        fit.hold_geometry();
        fit.solve("step", 2e-2, 2, true);
        const auto found = estimate(fit, parameter);
        const double left = found.change / progress.change;
        progress.change = found.change;
        progress.move = found.change / (1 - std::clamp(left, 0.0, 0.6));
        progress.moved = false;
        progress.round =
            std::abs(found.change) <= progress.settled_below ? geometry_rounds : progress.round + 1;
        fit.save();
    }
}

/// `values` in the operator's order, `esd` of the global unknowns or empty. Not collective.
StandardsScale radial_scale(const System& system, std::span<const double> values,
                            std::span<const double> esd) {
    const auto& setup = system.setup();
    std::vector<double> cells, esds;
    for (const std::size_t phase : system.standards()) {
        const std::size_t g = global_cell(setup, phase);
        cells.push_back(values[system.model().global_offset() + g]);
        esds.push_back(esd.empty() ? std::numeric_limits<double>::quiet_NaN()
                                   : esd[g] * setup.globals[g].unit);
    }
    return compare_standards(setup, system.radial_axis(), system.standards(), cells, esds,
                             system.options().standard_uncertainty);
}

/// Sum over the channels, corrected for absorption, [rotation][translation] of all ranks; NaN where
/// a ray is left out. Collective.
std::vector<float> summed_sinogram(const System& system) {
    const auto& geometry = system.geometry();
    const auto& basis = system.basis();
    const auto& weight = system.weight();
    const std::size_t translations = geometry.translation.size(), m = basis.size(),
                      first = system.scan().rotations().begin * translations;
    std::vector<double> sums(geometry.rotation.size() * translations, 0.0), used(sums.size(), 0.0);
    std::vector<float> pattern(basis.channel_count());
    for (std::size_t r = 0; r < weight.size(); ++r) {
        if (!(weight[r] > 0))
            continue;
        basis.expand({system.data().data() + r * m, m}, pattern);
        for (const float value : pattern)
            if (std::isfinite(value))
                sums[first + r] += value;
        sums[first + r] /= static_cast<double>(system.scan().transmission()[r]);
        used[first + r] = 1;
    }
    system.communicator().allreduce(std::span<double>(sums), mpi::Reduction::sum);
    system.communicator().allreduce(std::span<double>(used), mpi::Reduction::sum);
    std::vector<float> result;
    for (std::size_t i = 0; i < sums.size(); ++i)
        result.push_back(used[i] > 0 ? static_cast<float>(sums[i])
                                     : std::numeric_limits<float>::quiet_NaN());
    return result;
}

void settle_axis(Fit& fit) {
    const auto& system = fit.system();
    auto& state = fit.geometry();
    const double step = std::abs(system.geometry().step());
    if (state.progress.round < 0) {
        const auto axis = estimate(fit, GeometryParameter::axis_offset);
        state.axis_change = axis.change;
        state.axis_esd = axis.esd;
        state.refine_axis = system.options().axis_offset == AxisRefinement::refined ||
                            axis_matters(axis.change, axis.esd, step);
        system.log(
            fmt::format("axis offset: {:+.3f} +- {:.3f} steps from the one given: {} ({} products)",
                        axis.change / step, axis.esd / step, state.refine_axis ? "refined" : "kept",
                        axis.solve.iterations));
        state.progress.round = state.refine_axis ? 0 : geometry_rounds;
        state.progress.change = state.progress.move = axis.change;
        state.progress.settled_below = axis_settled * step;
    }
    if (!state.refine_axis)
        return;
    refine_geometry(fit, GeometryParameter::axis_offset);
    system.log(fmt::format("axis offset: {:+.3f} steps from the one given",
                           fit.globals()[system.geometry_unknown(GeometryParameter::axis_offset)] *
                               System::axis_unit));
}

void settle_distance(Fit& fit) {
    auto& system = fit.system();
    auto& state = fit.geometry();
    if (state.progress.round < 0) {
        const auto distance = estimate(fit, GeometryParameter::distance);
        state.refine_distance = distance.esd < distance_guard;
        system.log(fmt::format("distance: {:+.2f} +- {:.2f} % from the one given: {}",
                               100 * distance.change, 100 * distance.esd,
                               state.refine_distance ? "refined" : "kept"));
        if (!state.refine_distance)
            system.remark(
                fmt::format("the distance is kept: the parallax tells it to {:.1f} % only",
                            100 * distance.esd));
        state.progress.round = state.refine_distance ? 0 : geometry_rounds;
        state.progress.change = state.progress.move = distance.change;
        state.progress.settled_below = std::max(distance.esd, distance_settled);
    }
    if (!state.refine_distance)
        return;
    refine_geometry(fit, GeometryParameter::distance);
    system.log(
        fmt::format("distance: {:+.3f} % from the one given",
                    100 * System::distance_unit *
                        fit.globals()[system.geometry_unknown(GeometryParameter::distance)]));
}

/// True when the scale was corrected.
bool settle_radial_scale(Fit& fit) {
    auto& system = fit.system();
    const auto values = fit.values();
    system.problem().linearise(fit.x());
    auto esd = system.global_unknowns(system.problem().block_variances());
    for (double& value : esd)
        value = std::sqrt(value);
    const auto scale = radial_scale(system, values, esd);
    if (!scale.agree()) {
        system.log("radial scale: the standards do not agree: not corrected");
        return false;
    }
    system.log(fmt::format("radial scale: {:+.0f} ppm by the standards: corrected",
                           1e6 * (scale.factor - 1)));
    fit.scale_radial_axis(scale.factor);
    return true;
}

/// Axis offset or distance in the end: change from what is given [mm, relative]. Collective.
GeometryEstimate found_parameter(Fit& fit, GeometryParameter parameter, bool refined) {
    const auto& system = fit.system();
    const auto& state = fit.state().geometry;
    // What was kept before the last steps is not looked for again.
    const bool known =
        parameter == GeometryParameter::axis_offset && !refined && state.axis_esd > 0;
    const auto found = known ? petsc::UnknownEstimate{state.axis_change, state.axis_esd, {}}
                             : estimate(fit, parameter);
    const std::size_t unknown = system.geometry_unknown(parameter);
    GeometryEstimate estimated;
    estimated.refined = refined;
    estimated.found =
        refined ? fit.globals()[unknown] * system.global_of(unknown).unit : found.change;
    estimated.esd = found.esd;
    return estimated;
}

} // namespace

bool settle_geometry(Fit& fit) {
    const auto& options = fit.system().options();
    auto& progress = fit.geometry().progress;
    const auto next = [&] { progress = {progress.parameter + 1}; };
    if (progress.parameter == 0) {
        if (options.axis_offset != AxisRefinement::fixed)
            settle_axis(fit);
        next();
    }
    if (progress.parameter == 1) {
        if (options.refine_distance && fit.system().has_parallax())
            settle_distance(fit);
        next();
    }
    const bool changed = options.correct_radial_scale && settle_radial_scale(fit);
    fit.geometry().settled = true;
    fit.hold_geometry();
    return changed;
}

GeometryResult check_geometry(Fit& fit, std::span<const double> esd) {
    const auto& system = fit.system();
    const auto& state = fit.state().geometry;
    const auto& geometry = system.geometry();
    GeometryResult result;
    result.step = std::abs(geometry.step());
    result.applied_scale = state.radial_scale;
    result.axis_offset = found_parameter(fit, GeometryParameter::axis_offset, state.refine_axis);
    result.axis_offset.given = geometry.axis_offset;
    result.axis_offset.found += geometry.axis_offset;
    result.sinogram_axis = sinogram_axis(geometry, summed_sinogram(system));
    if (system.has_parallax()) {
        auto distance = found_parameter(fit, GeometryParameter::distance, state.refine_distance);
        distance.given = geometry.distance;
        distance.found = geometry.distance * (1 + distance.found);
        distance.esd *= geometry.distance;
        distance.systematic =
            geometry.distance * distance_systematic(system.grid().pixel, system.half_depth());
        result.distance = distance;
    }
    result.radial = radial_scale(system, fit.values(), esd);
    result.radial.factor *= state.radial_scale;
    for (auto& standard : result.radial.standards)
        standard.factor *= state.radial_scale;
    return result;
}

} // namespace xrdct::dlsr
