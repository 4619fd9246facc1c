// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_checkpoint.hpp"

#include "base/error.hpp"
#include "jobs/program/version.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "solvers/dlsr/fit.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

template <class T, class Member>
std::vector<double> column(const std::vector<T>& rows, Member member) {
    std::vector<double> values;
    for (const auto& row : rows)
        values.push_back(static_cast<double>(row.*member));
    return values;
}

void write_column(hdf5::Group& group, const std::string& name, const std::vector<double>& values) {
    if (!values.empty())
        group.write_array(name, {values.size()}, std::span<const double>(values));
}
std::vector<double> read_column(const hdf5::Group& group, const std::string& name) {
    return group.has_dataset(name) ? group.open_dataset(name).read_all<double>()
                                   : std::vector<double>{};
}

using Step = dlsr::Result::Step;
using Validation = dlsr::Result::Validation;

void write_fit(hdf5::Group& group, const dlsr::State& state) {
    const auto& fit = state.fit;
    write_column(group, "numbers",
                 {fit.smoothness, fit.trust_radius, fit.initial_gradient_norm,
                  static_cast<double>(fit.iteration), static_cast<double>(fit.reason),
                  static_cast<double>(state.esd.samples), static_cast<double>(fit.range_moves),
                  static_cast<double>(fit.passes_begin)});
    write_column(group, "global_lower", fit.ranges.lower);
    write_column(group, "global_upper", fit.ranges.upper);
    write_column(group, "global_start", fit.ranges.start);
    write_column(group, "late_ties", fit.ties);
    write_column(group, "amount_weight", fit.amounts.weight);
    write_column(group, "amount_edge", fit.amounts.edge);
    write_column(group, "amount_fineness", fit.amounts.fineness);
    write_column(group, "amount_rounds", {static_cast<double>(fit.amounts.rounds)});
    write_column(group, "x", fit.x);
    write_column(group, "data_x", fit.data_x);
    write_column(group, "error_squares", state.esd.squares);
    const auto& history = fit.history;
    write_column(group, "history_iteration", column(history, &Step::iteration));
    write_column(group, "history_objective", column(history, &Step::objective));
    write_column(group, "history_misfit", column(history, &Step::misfit));
    write_column(group, "history_gradient_norm", column(history, &Step::gradient_norm));
    write_column(group, "history_step_length", column(history, &Step::step_length));
    write_column(group, "history_rwp", column(history, &Step::rwp));
    write_column(group, "history_linear_iterations", column(history, &Step::linear_iterations));
    write_column(group, "history_data_squares", column(history, &Step::data_squares));
}

void write_geometry(hdf5::Group& group, const dlsr::GeometryState& geometry) {
    write_column(group, "geometry",
                 {geometry.settled ? 1.0 : 0.0, geometry.refine_axis ? 1.0 : 0.0,
                  geometry.refine_distance ? 1.0 : 0.0, geometry.radial_scale, geometry.axis_change,
                  geometry.axis_esd});
    const auto& progress = geometry.progress;
    write_column(group, "geometry_progress",
                 {static_cast<double>(progress.parameter), static_cast<double>(progress.round),
                  progress.moved ? 1.0 : 0.0, progress.change, progress.move,
                  progress.settled_below});
}

void write_validation(hdf5::Group& group, const dlsr::ValidationState& validation) {
    for (std::size_t i = 0; i < validation.x.size(); ++i)
        write_column(group, fmt::format("tried_{}", i), validation.x[i]);
    const auto& tried = validation.tried;
    write_column(group, "held_out_smoothness", column(tried, &Validation::smoothness));
    write_column(group, "held_out_chi_squared", column(tried, &Validation::chi_squared));
    write_column(group, "held_out_errors", column(tried, &Validation::error));
    std::vector<double> projections;
    for (const auto& entry : tried)
        projections.insert(projections.end(), entry.projections.begin(), entry.projections.end());
    write_column(group, "held_out_projections", projections);
}

void require_finite(const std::vector<double>& values) {
    if (!std::all_of(values.begin(), values.end(),
                     [](double value) { return std::isfinite(value); }))
        throw Error("it holds values that are not finite");
}

void read_fit(const hdf5::Group& group, dlsr::State& state) {
    auto& fit = state.fit;
    const auto numbers = read_column(group, "numbers");
    if (numbers.size() != 8)
        throw Error("the numbers of the checkpoint are incomplete");
    fit.smoothness = numbers[0];
    fit.trust_radius = numbers[1];
    fit.initial_gradient_norm = numbers[2];
    fit.iteration = static_cast<int>(numbers[3]);
    fit.reason = static_cast<int>(numbers[4]);
    state.esd.samples = static_cast<int>(numbers[5]);
    fit.range_moves = static_cast<int>(numbers[6]);
    fit.passes_begin = static_cast<int>(numbers[7]);
    fit.ties = read_column(group, "late_ties");
    fit.amounts = {read_column(group, "amount_weight"), read_column(group, "amount_edge"),
                   read_column(group, "amount_fineness"),
                   static_cast<int>(read_column(group, "amount_rounds").at(0))};
    auto& ranges = fit.ranges;
    ranges = {read_column(group, "global_lower"), read_column(group, "global_upper"),
              read_column(group, "global_start")};
    if (ranges.lower.size() != ranges.start.size() || ranges.upper.size() != ranges.start.size())
        throw Error("the ranges of the checkpoint are incomplete");
    fit.x = read_column(group, "x");
    fit.data_x = read_column(group, "data_x");
    if (!fit.data_x.empty() && fit.data_x.size() != fit.x.size())
        throw Error("the state of the data has another size");
    state.esd.squares = read_column(group, "error_squares");
    require_finite(numbers);
    require_finite(fit.x);
    require_finite(state.esd.squares);
}

void read_geometry(const hdf5::Group& group, dlsr::GeometryState& state) {
    const auto geometry = read_column(group, "geometry");
    if (geometry.size() != 6 || !(geometry[3] > 0))
        throw Error("the geometry of the checkpoint is incomplete");
    state.settled = geometry[0] != 0;
    state.refine_axis = geometry[1] != 0;
    state.refine_distance = geometry[2] != 0;
    state.radial_scale = geometry[3];
    state.axis_change = geometry[4];
    state.axis_esd = geometry[5];
    const auto progress = read_column(group, "geometry_progress");
    if (progress.size() != 6)
        throw Error("the progress of the geometry is incomplete");
    state.progress = {static_cast<int>(progress[0]),
                      static_cast<int>(progress[1]),
                      progress[2] != 0,
                      progress[3],
                      progress[4],
                      progress[5]};
}

/// `unknowns`: of all ranks.
void read_validation(const hdf5::Group& group, std::size_t unknowns,
                     dlsr::ValidationState& validation) {
    const auto weights = read_column(group, "held_out_smoothness"),
               chi_squared = read_column(group, "held_out_chi_squared"),
               errors = read_column(group, "held_out_errors");
    for (std::size_t i = 0; i < weights.size(); ++i)
        if (auto x = read_column(group, fmt::format("tried_{}", i)); !x.empty())
            validation.x.push_back(std::move(x));
    if (!validation.x.empty() && validation.x.size() != weights.size())
        throw Error("the states of the regularisation weights are incomplete");
    for (const auto& x : validation.x)
        if (x.size() != unknowns)
            throw Error("the states of the regularisation weights have other sizes");
    const auto projections = read_column(group, "held_out_projections");
    const std::size_t each = weights.empty() ? 0 : projections.size() / weights.size();
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const auto first = projections.begin() + static_cast<std::ptrdiff_t>(i * each);
        validation.tried.push_back({weights[i],
                                    chi_squared.at(i),
                                    errors.at(i),
                                    {first, first + static_cast<std::ptrdiff_t>(each)}});
    }
}

std::vector<Step> read_history(const hdf5::Group& group) {
    const auto iteration = read_column(group, "history_iteration"),
               objective = read_column(group, "history_objective"),
               misfit = read_column(group, "history_misfit"),
               gradient = read_column(group, "history_gradient_norm"),
               length = read_column(group, "history_step_length"),
               rwp = read_column(group, "history_rwp"),
               linear = read_column(group, "history_linear_iterations"),
               squares = read_column(group, "history_data_squares");
    std::vector<Step> history;
    for (std::size_t i = 0; i < iteration.size(); ++i)
        history.push_back({static_cast<int>(iteration.at(i)), objective.at(i), misfit.at(i),
                           gradient.at(i), length.at(i), rwp.at(i), static_cast<int>(linear.at(i)),
                           squares.at(i)});
    return history;
}

void check_version(const hdf5::Group& root) {
    nexus::read_format_version(root);
    const auto written_by = root.string_attribute("program_version").value_or("of no version");
    if (written_by != program_version)
        throw Error(
            fmt::format("it was written by xrdct {}, this is {}", written_by, program_version));
}

} // namespace

void write_dlsr_checkpoint(const std::filesystem::path& path, const DlsrOrigin& origin,
                           const dlsr::State& state) {
    auto product = nexus::ProductFile::create(path, nexus::ProductFile::Existing::replace);
    {
        auto root = product.root();
        nexus::write_root(root, program_version, revision(), nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto group = nexus::require_class(entry, "checkpoint", "NXcollection");
        group.write_string("settings", origin.settings);
        group.write_string("inputs", origin.inputs);
        group.write_string("phase", std::string(to_string(state.phase)));
        write_fit(group, state);
        write_geometry(group, state.geometry);
        write_validation(group, state.validation);
    }
    product.commit();
}

std::optional<DlsrCheckpoint> read_dlsr_checkpoint(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path))
        return {};
    try {
        const auto file = hdf5::File::open(path, hdf5::Access::read_only);
        check_version(file.root());
        const auto group = file.root().open_group("entry/checkpoint");
        DlsrCheckpoint checkpoint;
        checkpoint.origin.settings = nexus::read_text(group, "settings").value_or("");
        checkpoint.origin.inputs = nexus::read_text(group, "inputs").value_or("");
        auto& state = checkpoint.state;
        const auto name = nexus::read_text(group, "phase").value_or("fit");
        const auto phase = dlsr::parse_phase(name);
        if (!phase)
            throw Error(fmt::format("there is no phase '{}'", name));
        state.phase = *phase;
        read_fit(group, state);
        read_geometry(group, state.geometry);
        read_validation(group, state.fit.x.size(), state.validation);
        state.fit.history = read_history(group);
        return checkpoint;
    } catch (const std::exception& error) {
        throw Error(fmt::format("{}: cannot be continued from: {}; remove it or use --force to "
                                "start over",
                                path.string(), error.what()));
    }
}

std::optional<dlsr::State> earlier_dlsr_state(const std::filesystem::path& path,
                                              const DlsrOrigin& origin, const dlsr::System& system,
                                              bool force) {
    std::optional<DlsrCheckpoint> earlier;
    try {
        earlier = read_dlsr_checkpoint(path);
    } catch (const Error&) {
        if (!force)
            throw;
    }
    if (!earlier)
        return {};
    if (earlier->origin == origin && dlsr::fits(system, earlier->state))
        return std::move(earlier->state);
    if (force)
        return {};
    throw Error(fmt::format("{}: is of another job or of other settings; --force starts over",
                            path.string()));
}

} // namespace xrdct::pipeline
