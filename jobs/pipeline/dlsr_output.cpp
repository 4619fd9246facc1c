// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_output.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "mpi/nexus/nexus.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

/// A scale below this many e.s.d. is called insignificant, as in the fits of single voxels.
constexpr double significance = 3;

const dlsr::Result::Map* find_map(const dlsr::Result& result, const std::string& group,
                                  const std::string& name) {
    for (const auto& map : result.maps)
        if (map.quantity.group == group && map.quantity.name == name)
            return &map;
    return nullptr;
}

void check_sizes(const hdf5::Group& stage, const dlsr::Result& result) {
    const auto check = [&](const std::string& what, std::size_t size, std::size_t expected) {
        if (size != expected)
            throw Error(fmt::format("{}: {} has {} values, expected {}", stage.describe(), what,
                                    size, expected));
    };
    const std::size_t voxels = result.n * result.n;
    check("the axis of the maps", result.x.size(), result.n);
    check("the sample mask", result.sample.size(), voxels);
    check("the list of phase masks", result.masks.size(), result.model.phases.size());
    for (std::size_t p = 0; p < result.masks.size(); ++p)
        check("the mask of " + result.model.phases[p].name, result.masks[p].size(), voxels);
    for (const auto& map : result.maps) {
        const std::string name = map.quantity.group + "/" + map.quantity.name;
        check(name, map.values.size(), voxels);
        if (!map.errors.empty())
            check("the e.s.d. of " + name, map.errors.size(), voxels);
    }
    if (!result.residual_sinogram.empty())
        check("the residual sinogram", result.residual_sinogram.size(),
              result.rotation.size() * result.translation.size());
    for (const auto* series : {&result.observed, &result.calculated, &result.background})
        check("the mean pattern", series->size(), result.two_theta.size());
    for (const auto& line : result.lines) {
        const std::string name = fmt::format("the line {} of {}", line.hkl, line.phase);
        check(name, line.ratio.size(), result.rotation.size());
        check("the e.s.d. of " + name, line.error.size(), result.rotation.size());
    }
}

void describe_map(hdf5::Group& group, const std::string& name, double smoothness,
                  double resolution) {
    auto dataset = group.open_dataset(name);
    dataset.set_attribute("smoothness", smoothness);
    if (resolution > 0) {
        dataset.set_attribute("resolution", resolution);
        dataset.set_attribute("resolution_units", "mm");
    }
}

void write_values(hdf5::Group& group, const dlsr::Result& result, const dlsr::Result::Map& map) {
    const nexus::Labels labels{map.quantity.unit, map.quantity.name};
    if (map.errors.empty())
        nexus::write_map(group, map.quantity.name, map.values, result.n, result.n, labels);
    else
        nexus::write_map(group, map.quantity.name, map.values, map.errors, result.n, result.n,
                         labels);
    describe_map(group, map.quantity.name, map.smoothness, map.resolution);
}

/// Where the phase's amount ended; cells of insignificant voxels stay in the map, smoothness ties
/// them to their neighbours.
void write_status(hdf5::Group& group, std::size_t n, const std::vector<unsigned char>& mask,
                  const dlsr::Result::Map& scale) {
    std::vector<std::int32_t> status(n * n,
                                     static_cast<std::int32_t>(rietveld::VoxelPhaseStatus::absent));
    for (std::size_t i = 0; i < status.size(); ++i) {
        if (!mask[i] || !std::isfinite(scale.values[i]))
            continue;
        rietveld::VoxelPhaseStatus code = rietveld::VoxelPhaseStatus::refined;
        if (!(scale.values[i] > 0))
            code = rietveld::VoxelPhaseStatus::at_bound;
        else if (!scale.errors.empty() && scale.values[i] < significance * scale.errors[i])
            code = rietveld::VoxelPhaseStatus::insignificant;
        status[i] = static_cast<std::int32_t>(code);
    }
    nexus::write_map(group, "status", std::span<const std::int32_t>(status), n, n, {"", "status"});
    group.open_dataset("status").set_attribute(
        "meanings", scale.errors.empty()
                        ? "0 refined, 2 absent (amount not above 0), 3 not in the model"
                        : "0 refined, 1 insignificant, 2 absent (amount not above 0), 3 not in the "
                          "model");
}

void write_phases(hdf5::Group& stage, const dlsr::Result& result, std::optional<double> constant) {
    const auto& phases = result.model.phases;
    std::vector<PhaseMapView> views;
    for (const auto& phase : phases) {
        const auto* scale = find_map(result, phase.name, "scale");
        if (!scale)
            throw Error(fmt::format("{}: there is no map of the scale of {}", stage.describe(),
                                    phase.name));
        PhaseMapView view;
        view.scale = &scale->values;
        view.scale_errors = scale->errors.empty() ? nullptr : &scale->errors;
        for (const auto parameter : phase.phase.free_parameters()) {
            const auto* cell = find_map(result, phase.name, std::string(to_string(parameter)));
            view.cell.push_back(cell ? &cell->values : nullptr);
        }
        views.push_back(std::move(view));
    }
    const auto fractions = weight_fractions(phases, views);
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const auto& scale = *find_map(result, phases[p].name, "scale");
        auto group = nexus::require_data(stage, phases[p].name, "weight_fraction", {"y", "x"});
        for (const auto& map : result.maps)
            if (map.quantity.group == phases[p].name)
                write_values(group, result, map);
        dlsr::Result::Map fraction{{phases[p].name, "weight_fraction", ""},
                                   fractions[p].values,
                                   fractions[p].errors,
                                   scale.smoothness,
                                   scale.resolution};
        write_values(group, result, fraction);
        write_map_axes(group, result.x);
        write_status(group, result.n, result.masks[p], scale);
        write_mask_map(group, result.masks[p], result.n, "voxels whose model contains the phase");
        write_reference_cell(group, phases[p]);
        if (constant) {
            write_amounts(group, result.n, phases[p], views[p], *constant);
            for (const char* name : {"volume_fraction", "density"})
                describe_map(group, name, scale.smoothness, scale.resolution);
        }
        describe_errors(group, false);
    }
}

/// Single peaks and the background.
void write_others(hdf5::Group& stage, const dlsr::Result& result) {
    std::vector<std::string> groups;
    for (const auto& map : result.maps) {
        const auto& group = map.quantity.group;
        const bool phase =
            std::any_of(result.model.phases.begin(), result.model.phases.end(),
                        [&](const rietveld::PhaseModel& other) { return other.name == group; });
        if (!phase && std::find(groups.begin(), groups.end(), group) == groups.end())
            groups.push_back(group);
    }
    for (const auto& name : groups) {
        std::string signal = find_map(result, name, "area") ? "area" : "";
        hdf5::Group group = nexus::require_class(stage, name, "NXdata");
        for (const auto& map : result.maps) {
            if (map.quantity.group != name)
                continue;
            if (signal.empty())
                signal = map.quantity.name;
            write_values(group, result, map);
        }
        nexus::require_data(stage, name, signal, {"y", "x"});
        write_map_axes(group, result.x);
    }
    auto maps = nexus::require_data(stage, "maps", "mask", {"y", "x"});
    write_mask_map(maps, result.sample, result.n, "voxels of the reconstruction");
    write_map_axes(maps, result.x);
}

void write_globals(hdf5::Group& stage, const dlsr::Result& result) {
    if (result.globals.empty())
        return;
    auto group = nexus::require_class(stage, "globals", "NXcollection");
    for (const auto& global : result.globals) {
        const auto& quantity = global.quantity;
        const std::string name =
            quantity.group.empty() ? quantity.name : quantity.group + "_" + quantity.name;
        nexus::write_value(group, name, global.value, {quantity.unit, quantity.name});
        nexus::write_value(group, name + "_errors", global.esd, {quantity.unit, ""});
        auto dataset = group.open_dataset(name);
        dataset.set_attribute("group", quantity.group);
        dataset.set_attribute("quantity", quantity.name);
        dataset.set_attribute("at_bound", global.at_bound ? 1 : 0);
    }
}

/// The values that hold for the whole object, in the form of the rietveld stage's start model.
nlohmann::json model_json(const dlsr::Result& result) {
    const auto number = [](double value) {
        return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
    };
    nlohmann::json json{{"rwp", number(result.rwp)}, {"gof", number(result.gof)}};
    json["parameters"] = nlohmann::json::array();
    for (const auto& global : result.globals) {
        const auto& quantity = global.quantity;
        json["parameters"].push_back(
            {{"name",
              quantity.group.empty() ? quantity.name : quantity.group + " " + quantity.name},
             {"value", number(global.value)},
             {"esd", number(global.esd)},
             {"unit", quantity.unit}});
    }
    for (const auto& phase : result.model.phases) {
        nlohmann::json entry{{"name", phase.name}};
        const auto free = phase.phase.free_parameters();
        for (std::size_t i = 0; i < free.size(); ++i) {
            const std::string name(to_string(free[i]));
            if (find_map(result, phase.name, name))
                continue;
            entry[name] = phase.cell[i].value;
            for (const auto& global : result.globals)
                if (global.quantity.group == phase.name && global.quantity.name == name &&
                    global.esd > 0)
                    entry[name + "_esd"] = number(global.esd);
        }
        json["phases"].push_back(entry);
    }
    return json;
}

void write_residuals(hdf5::Group& stage, const dlsr::Result& result) {
    if (!result.residual_sinogram.empty()) {
        auto group = nexus::require_data(stage, "residuals", "chi_squared",
                                         {"rotation_angle", "translation"});
        nexus::write_map(group, "chi_squared", result.residual_sinogram, result.rotation.size(),
                         result.translation.size(),
                         {"", "mean over the channels of squared residual over variance"});
        nexus::write_axis(group, "rotation_angle", result.rotation, {"deg", "rotation angle"});
        nexus::write_axis(group, "translation", result.translation, {"mm", "translation"});
    }
    if (result.lines.empty() || result.rotation.empty())
        return;
    auto group = nexus::require_data(stage, "lines", "ratio", {"line", "rotation_angle"});
    std::vector<double> ratio, error, two_theta, index;
    std::vector<std::string> phases, reflections;
    for (const auto& line : result.lines) {
        ratio.insert(ratio.end(), line.ratio.begin(), line.ratio.end());
        error.insert(error.end(), line.error.begin(), line.error.end());
        two_theta.push_back(line.two_theta);
        index.push_back(static_cast<double>(index.size()));
        phases.push_back(line.phase);
        reflections.push_back(line.hkl);
    }
    nexus::write_map(group, "ratio", ratio, error, result.lines.size(), result.rotation.size(),
                     {"", "observed over calculated intensity of the line, minus 1"});
    nexus::write_axis(group, "line", index, {"", "line"});
    nexus::write_axis(group, "rotation_angle", result.rotation, {"deg", "rotation angle"});
    nexus::write_axis(group, "two_theta", two_theta, {"deg", "2theta of the line"});
    group.write_strings("phase", phases);
    group.write_strings("hkl", reflections);
    for (const char* name : {"two_theta", "phase", "hkl"})
        group.set_attribute(std::string(name) + "_indices", 0);
}

void write_history(hdf5::Group& stage, const dlsr::Result& result) {
    if (!result.history.empty()) {
        auto group = nexus::require_data(stage, "convergence", "objective", {"iteration"});
        const auto write = [&](const std::string& name,
                               const std::function<double(const dlsr::Result::Step&)>& value) {
            std::vector<double> values;
            for (const auto& step : result.history)
                values.push_back(value(step));
            nexus::write_axis(group, name, values, {"", name});
        };
        write("iteration", [](const auto& step) { return step.iteration; });
        write("objective", [](const auto& step) { return step.objective; });
        write("misfit", [](const auto& step) { return step.misfit; });
        write("gradient_norm", [](const auto& step) { return step.gradient_norm; });
        write("step_length", [](const auto& step) { return step.step_length; });
        write("rwp", [](const auto& step) { return step.rwp; });
        write("linear_iterations", [](const auto& step) { return step.linear_iterations; });
        write("data_squares", [](const auto& step) { return step.data_squares; });
        group.open_dataset("rwp").set_attribute("meaning", dlsr_rwp_meaning);
    }
    if (!result.validation.empty()) {
        auto tried = result.validation;
        std::sort(tried.begin(), tried.end(),
                  [](const auto& a, const auto& b) { return a.smoothness < b.smoothness; });
        std::vector<double> smoothness, chi_squared, error;
        for (const auto& entry : tried) {
            smoothness.push_back(entry.smoothness);
            chi_squared.push_back(entry.chi_squared);
            error.push_back(entry.error);
        }
        auto group = nexus::require_data(stage, "held_out", "chi_squared", {"smoothness"});
        nexus::write_axis(group, "smoothness", smoothness, {"", "regularisation weight"});
        nexus::write_axis(group, "chi_squared", chi_squared,
                          {"", "squared residual over variance of the validation projections"});
        nexus::write_axis(group, "chi_squared_errors", error,
                          {"", "standard error of the difference from the least"});
    }
}

void write_standards(hdf5::Group& group, const dlsr::StandardsScale& radial) {
    nexus::write_value(group, "radial_scale", radial.factor,
                       {"", "tan 2theta of the data over that by the cells of the standards"});
    nexus::write_value(group, "radial_scale_errors", radial.uncertainty, {"", ""});
    nexus::write_value(group, "radial_scale_chi_squared", radial.chi_squared,
                       {"", "of the standards about the mean, per degree of freedom"});
    std::vector<std::string> names;
    std::vector<double> reference, cell, esd, factor, uncertainty;
    for (const auto& standard : radial.standards) {
        names.push_back(standard.phase);
        reference.push_back(standard.reference);
        cell.push_back(standard.cell);
        esd.push_back(standard.esd);
        factor.push_back(standard.factor);
        uncertainty.push_back(standard.uncertainty);
    }
    group.write_strings("standard", names);
    nexus::write_axis(group, "standard_reference", reference, {"angstrom", "a of the CIF"});
    nexus::write_axis(group, "standard_cell", cell, {"angstrom", "a of the fit"});
    nexus::write_axis(group, "standard_cell_errors", esd, {"angstrom", ""});
    nexus::write_axis(group, "standard_factor", factor, {"", "radial scale by this standard"});
    nexus::write_axis(group, "standard_factor_errors", uncertainty,
                      {"", "reference's uncertainty included"});
}

/// Group "geometry".
void write_geometry(hdf5::Group& stage, const dlsr::GeometryResult& geometry) {
    auto group = nexus::require_class(stage, "geometry", "NXcollection");
    const auto write = [&](const std::string& name, const dlsr::GeometryEstimate& estimate,
                           const std::string& meaning) {
        nexus::write_value(group, name, estimate.found, {"mm", meaning});
        nexus::write_value(group, name + "_errors", estimate.esd, {"mm", ""});
        auto dataset = group.open_dataset(name);
        dataset.set_attribute("given", estimate.given);
        dataset.set_attribute("refined", estimate.refined ? 1 : 0);
        group.open_dataset(name + "_errors").set_attribute("meaning", counting_esd_meaning);
        if (std::isfinite(estimate.systematic))
            dataset.set_attribute("systematic", estimate.systematic);
    };
    write("axis_offset", geometry.axis_offset, "translation at which the beam hits the axis");
    if (geometry.sinogram_axis)
        write("sinogram_axis_offset", *geometry.sinogram_axis,
              "the same from the summed sinogram alone");
    if (geometry.distance)
        write("distance", *geometry.distance, "axis to detector, from the parallax alone");
    nexus::write_value(group, "radial_scale_applied", geometry.applied_scale,
                       {"", "tan 2theta of the data over that of the lines in the model"});
    if (!geometry.radial.standards.empty())
        write_standards(group, geometry.radial);
}

} // namespace

void write_dlsr_result(hdf5::Group& stage, const dlsr::Result& result,
                       std::optional<double> constant) {
    check_sizes(stage, result);
    write_phases(stage, result, constant);
    write_others(stage, result);
    write_globals(stage, result);
    if (result.geometry)
        write_geometry(stage, *result.geometry);
    stage.write_string("model", model_json(result).dump(1));
    write_residuals(stage, result);
    write_history(stage, result);
    if (!result.two_theta.empty()) {
        const auto axis =
            rietveld::RadialAxis::from_two_theta(result.two_theta, result.model.wavelength.value);
        write_mean_pattern(stage,
                           {result.two_theta, result.observed, result.calculated, result.background,
                            "intensity", result.rwp, result.gof},
                           result.model.phases,
                           rietveld::PatternCalculator(axis, result.model).lines(result.model));
    }
    nexus::write_value(stage, "rwp", result.rwp, {"", "Rwp over all rays and channels"});
    nexus::write_value(stage, "gof", result.gof, {"", "goodness of fit"});
    stage.open_dataset("rwp").set_attribute("meaning", dlsr_rwp_meaning);
    stage.open_dataset("gof").set_attribute("meaning", dlsr_gof_meaning);
    if (stage.has_group("mean_pattern"))
        stage.open_group("mean_pattern").set_attribute("rwp_meaning", dlsr_rwp_meaning);
    if (std::isfinite(result.masked)) {
        nexus::write_value(stage, "masked_samples", result.masked, {"", "share of the samples"});
        nexus::write_value(stage, "outlying_samples", result.outlying,
                           {"", "share of the samples beyond the threshold of the loss"});
    }
    nexus::write_value(stage, "converged", static_cast<std::int64_t>(result.converged ? 1 : 0));
    stage.write_string("stop_reason", result.stop_reason);
    if (!result.remarks.empty())
        stage.write_strings("remarks", result.remarks);
    stage.write_string(
        "conventions",
        "scales are per mm of the beam's path, as in the rietveld stage; weight fractions of the "
        "refined crystalline phases after Hill and Howard, their e.s.d. from those of the scales "
        "taken as independent; smoothness ties neighbouring voxels, whose values and e.s.d. are "
        "then correlated over the resolution stated (FWHM)");
}

} // namespace xrdct::pipeline
