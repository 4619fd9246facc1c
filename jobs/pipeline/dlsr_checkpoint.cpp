#include "jobs/pipeline/dlsr_checkpoint.hpp"

#include "base/error.hpp"
#include "jobs/program/version.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

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

} // namespace

void write_dlsr_checkpoint(const std::filesystem::path& path, const DlsrCheckpoint& checkpoint) {
    auto product = nexus::ProductFile::create(path, nexus::ProductFile::Existing::replace);
    {
        auto root = product.root();
        nexus::write_root(root, program_version, revision(), nexus::now_utc());
        auto entry = nexus::require_class(root, "entry", "NXentry");
        auto group = nexus::require_class(entry, "checkpoint", "NXcollection");
        group.write_string("settings", checkpoint.settings);
        group.write_string("inputs", checkpoint.inputs);
        group.write_string("phase", checkpoint.phase);
        write_column(group, "numbers",
                     {checkpoint.smoothness, checkpoint.trust_radius,
                      checkpoint.initial_gradient_norm, static_cast<double>(checkpoint.iteration),
                      static_cast<double>(checkpoint.reason),
                      static_cast<double>(checkpoint.error_samples),
                      static_cast<double>(checkpoint.range_moves),
                      static_cast<double>(checkpoint.passes_begin)});
        write_column(group, "geometry",
                     {checkpoint.settled ? 1.0 : 0.0, checkpoint.refine_axis ? 1.0 : 0.0,
                      checkpoint.refine_distance ? 1.0 : 0.0, checkpoint.radial_scale,
                      checkpoint.axis_change, checkpoint.axis_esd});
        const auto& progress = checkpoint.geometry;
        write_column(group, "geometry_progress",
                     {static_cast<double>(progress.parameter), static_cast<double>(progress.round),
                      progress.moved ? 1.0 : 0.0, progress.change, progress.move,
                      progress.settled_below});
        write_column(group, "global_lower", checkpoint.ranges.lower);
        write_column(group, "global_upper", checkpoint.ranges.upper);
        write_column(group, "global_start", checkpoint.ranges.start);
        write_column(group, "x", checkpoint.x);
        write_column(group, "data_x", checkpoint.data_x);
        write_column(group, "error_squares", checkpoint.error_squares);
        for (std::size_t i = 0; i < checkpoint.tried.size(); ++i)
            write_column(group, fmt::format("tried_{}", i), checkpoint.tried[i]);
        using HeldOut = DlsrResult::HeldOut;
        write_column(group, "held_out_smoothness",
                     column(checkpoint.held_out, &HeldOut::smoothness));
        write_column(group, "held_out_chi_squared",
                     column(checkpoint.held_out, &HeldOut::chi_squared));
        write_column(group, "held_out_errors", column(checkpoint.held_out, &HeldOut::error));
        std::vector<double> projections;
        for (const auto& entry : checkpoint.held_out)
            projections.insert(projections.end(), entry.projections.begin(),
                               entry.projections.end());
        write_column(group, "held_out_projections", projections);
        using Step = DlsrResult::Step;
        const auto& history = checkpoint.history;
        write_column(group, "history_iteration", column(history, &Step::iteration));
        write_column(group, "history_objective", column(history, &Step::objective));
        write_column(group, "history_misfit", column(history, &Step::misfit));
        write_column(group, "history_gradient_norm", column(history, &Step::gradient_norm));
        write_column(group, "history_step_length", column(history, &Step::step_length));
        write_column(group, "history_rwp", column(history, &Step::rwp));
        write_column(group, "history_linear_iterations", column(history, &Step::linear_iterations));
    }
    product.commit();
}

std::optional<DlsrCheckpoint> read_dlsr_checkpoint(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path))
        return {};
    try {
        const auto file = hdf5::File::open(path, hdf5::Access::read_only);
        nexus::read_format_version(file.root());
        const auto written_by =
            file.root().string_attribute("program_version").value_or("of no version");
        if (written_by != program_version)
            throw Error(
                fmt::format("it was written by xrdct {}, this is {}", written_by, program_version));
        const auto group = file.root().open_group("entry/checkpoint");
        DlsrCheckpoint checkpoint;
        checkpoint.settings = nexus::read_text(group, "settings").value_or("");
        checkpoint.inputs = nexus::read_text(group, "inputs").value_or("");
        checkpoint.phase = nexus::read_text(group, "phase").value_or("fit");
        const auto numbers = read_column(group, "numbers");
        if (numbers.size() != 8)
            throw Error("the numbers of the checkpoint are incomplete");
        checkpoint.smoothness = numbers[0];
        checkpoint.trust_radius = numbers[1];
        checkpoint.initial_gradient_norm = numbers[2];
        checkpoint.iteration = static_cast<int>(numbers[3]);
        checkpoint.reason = static_cast<int>(numbers[4]);
        checkpoint.error_samples = static_cast<int>(numbers[5]);
        checkpoint.range_moves = static_cast<int>(numbers[6]);
        checkpoint.passes_begin = static_cast<int>(numbers[7]);
        const auto geometry = read_column(group, "geometry");
        if (geometry.size() != 6 || !(geometry[3] > 0))
            throw Error("the geometry of the checkpoint is incomplete");
        checkpoint.settled = geometry[0] != 0;
        checkpoint.refine_axis = geometry[1] != 0;
        checkpoint.refine_distance = geometry[2] != 0;
        checkpoint.radial_scale = geometry[3];
        checkpoint.axis_change = geometry[4];
        checkpoint.axis_esd = geometry[5];
        const auto progress = read_column(group, "geometry_progress");
        if (progress.size() != 6)
            throw Error("the progress of the geometry is incomplete");
        checkpoint.geometry = {static_cast<int>(progress[0]),
                               static_cast<int>(progress[1]),
                               progress[2] != 0,
                               progress[3],
                               progress[4],
                               progress[5]};
        auto& ranges = checkpoint.ranges;
        ranges = {read_column(group, "global_lower"), read_column(group, "global_upper"),
                  read_column(group, "global_start")};
        if (ranges.lower.size() != ranges.start.size() ||
            ranges.upper.size() != ranges.start.size())
            throw Error("the ranges of the checkpoint are incomplete");
        checkpoint.x = read_column(group, "x");
        checkpoint.data_x = read_column(group, "data_x");
        if (!checkpoint.data_x.empty() && checkpoint.data_x.size() != checkpoint.x.size())
            throw Error("the state of the data has another size");
        checkpoint.error_squares = read_column(group, "error_squares");
        for (const auto* column :
             {&numbers, &std::as_const(checkpoint.x), &std::as_const(checkpoint.error_squares)})
            if (!std::all_of(column->begin(), column->end(),
                             [](double value) { return std::isfinite(value); }))
                throw Error("it holds values that are not finite");
        const auto strengths = read_column(group, "held_out_smoothness"),
                   chi_squared = read_column(group, "held_out_chi_squared"),
                   errors = read_column(group, "held_out_errors");
        for (std::size_t i = 0; i < strengths.size(); ++i)
            if (auto x = read_column(group, fmt::format("tried_{}", i)); !x.empty())
                checkpoint.tried.push_back(std::move(x));
        if (!checkpoint.tried.empty() && checkpoint.tried.size() != strengths.size())
            throw Error("the states of the strengths are incomplete");
        for (const auto& x : checkpoint.tried)
            if (x.size() != checkpoint.x.size())
                throw Error("the states of the strengths have other sizes");
        const auto projections = read_column(group, "held_out_projections");
        const std::size_t each = strengths.empty() ? 0 : projections.size() / strengths.size();
        for (std::size_t i = 0; i < strengths.size(); ++i) {
            const auto first = projections.begin() + static_cast<std::ptrdiff_t>(i * each);
            checkpoint.held_out.push_back({strengths[i],
                                           chi_squared.at(i),
                                           errors.at(i),
                                           {first, first + static_cast<std::ptrdiff_t>(each)}});
        }
        const auto iteration = read_column(group, "history_iteration"),
                   objective = read_column(group, "history_objective"),
                   misfit = read_column(group, "history_misfit"),
                   gradient = read_column(group, "history_gradient_norm"),
                   length = read_column(group, "history_step_length"),
                   rwp = read_column(group, "history_rwp"),
                   linear = read_column(group, "history_linear_iterations");
        for (std::size_t i = 0; i < iteration.size(); ++i)
            checkpoint.history.push_back({static_cast<int>(iteration.at(i)), objective.at(i),
                                          misfit.at(i), gradient.at(i), length.at(i), rwp.at(i),
                                          static_cast<int>(linear.at(i))});
        return checkpoint;
    } catch (const std::exception& error) {
        throw Error(fmt::format("{}: cannot be continued from: {}; remove it or use --force to "
                                "start over",
                                path.string(), error.what()));
    }
}

} // namespace xrdct::pipeline
