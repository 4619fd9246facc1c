// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/rietveld_output.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/mask_image.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

nlohmann::json start_model_json(const voxels::VoxelRefinement::State& state) {
    const auto& start = state.start;
    nlohmann::json json;
    json["status"] = std::string(to_string(start.status));
    json["message"] = start.message;
    json["voxels"] = state.mean.voxels;
    json["rp"] = start.agreement.rp;
    json["rwp"] = start.agreement.rwp;
    json["rexp"] = start.agreement.rexp;
    json["gof"] = start.agreement.gof;
    for (const auto& parameter : start.parameters)
        json["parameters"].push_back({{"name", parameter.name},
                                      {"value", parameter.value},
                                      {"esd", parameter.esd},
                                      {"unit", parameter.unit},
                                      {"at_bound", parameter.at_bound}});
    for (const auto& phase : start.phases) {
        nlohmann::json entry{{"name", phase.name},
                             {"weight_fraction", phase.weight_fraction},
                             {"weight_fraction_esd", phase.weight_fraction_esd},
                             {"r_bragg", phase.r_bragg}};
        for (std::size_t i = 0; i < phase.cell.size(); ++i) {
            const std::string name(to_string(phase.cell_parameters[i]));
            entry[name] = phase.cell[i];
            entry[name + "_esd"] = phase.cell_esd[i];
        }
        json["phases"].push_back(entry);
    }
    for (const auto& pair : state.alike)
        json["alike"].push_back(
            {{"phases", {start.phases[pair.one].name, start.phases[pair.other].name}},
             {"correlation", -pair.likeness}});
    return json;
}

/// Volume fraction and density of a phase, from its maps of scale and cell.
void write_phase_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                         double constant, const voxels::VoxelwiseResult& fits) {
    const auto map_of = [&](const std::string& quantity) -> const std::vector<double>* {
        for (const auto& map : fits.maps)
            if (map.quantity.group == phase.name && map.quantity.quantity == quantity)
                return &map.values;
        return nullptr;
    };
    PhaseMapView view{map_of("scale"), map_of("scale_errors"), {}};
    if (!view.scale || !view.scale_errors)
        return;
    for (const auto name : phase.phase.free_parameters())
        view.cell.push_back(map_of(std::string(to_string(name))));
    write_amounts(group, n, phase, view, constant);
}

/// Group of the maps that belong to no phase or peak.
constexpr const char* common = "maps";

std::string group_of(const voxels::VoxelMap& map) {
    return map.quantity.group.empty() ? common : map.quantity.group;
}

/// Groups in the order of their first maps.
std::vector<std::string> groups_of(const std::vector<voxels::VoxelMap>& maps) {
    std::vector<std::string> order;
    for (const auto& map : maps)
        if (std::find(order.begin(), order.end(), group_of(map)) == order.end())
            order.push_back(group_of(map));
    return order;
}

/// The map of a group that a viewer shows first.
std::string signal_of(const std::vector<voxels::VoxelMap>& maps, const std::string& name) {
    for (const auto* preferred : {"weight_fraction", "area", "rwp"})
        for (const auto& map : maps)
            if (group_of(map) == name && map.quantity.quantity == preferred)
                return preferred;
    return std::find_if(maps.begin(), maps.end(),
                        [&](const voxels::VoxelMap& map) { return group_of(map) == name; })
        ->quantity.quantity;
}

void write_status(hdf5::Group& group, const voxels::VoxelMap& map, std::size_t n, bool of_fit) {
    const auto missing = of_fit ? static_cast<std::int32_t>(rietveld::FitStatus::masked)
                                : static_cast<std::int32_t>(rietveld::VoxelPhaseStatus::absent);
    std::vector<std::int32_t> values(map.values.size());
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = std::isnan(map.values[i]) ? missing : static_cast<std::int32_t>(map.values[i]);
    nexus::write_map(group, "status", std::span<const std::int32_t>(values), n, n, {"", "status"});
    group.open_dataset("status").set_attribute(
        "meanings", of_fit ? "0 converged, 1 masked, 2 no signal, 3 not converged, 4 singular, 5 "
                             "at bound"
                           : "0 refined, 1 insignificant, 2 at bound, 3 not in the model, "
                             "4 width unresolved");
}

void write_group(hdf5::Group& stage, const RietveldResult& result, const std::string& name) {
    const auto& maps = result.state.fits.maps;
    const std::size_t n = result.x.size();
    auto group = nexus::require_data(stage, name, signal_of(maps, name), {"y", "x"});
    for (const auto& map : maps) {
        if (group_of(map) != name)
            continue;
        if (map.quantity.quantity == "status")
            write_status(group, map, n, name == common);
        else
            nexus::write_map(group, map.quantity.quantity, map.values, n, n,
                             {map.quantity.unit, map.quantity.quantity});
    }
    write_map_axes(group, result.x);
    const auto& phases = result.state.start.model.phases;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        if (phases[p].name != name)
            continue;
        write_mask_map(group, result.mask_of(p), n, "voxels whose model contains the phase");
        write_reference_cell(group, phases[p]);
        if (result.constant)
            write_phase_amounts(group, n, phases[p], *result.constant, result.state.fits);
    }
    if (name == common) {
        write_mask_map(group, result.sample, n, "voxels that were fitted");
        nexus::write_map(group, "intensity", result.total, n, n, {"", "intensity of all channels"});
        group.open_dataset("rwp").set_attribute("meaning", voxel_rwp_meaning);
        group.open_dataset("gof").set_attribute("meaning", voxel_gof_meaning);
    }
    describe_errors(group, result.relative_variance);
}

} // namespace

void write_rietveld_result(hdf5::Group& stage, const RietveldResult& result) {
    const auto& mean = result.state.mean;
    const auto& start = result.state.start;
    const auto& fits = result.state.fits;
    stage.write_string("start_model", start_model_json(result.state).dump(1));
    stage.write_string("noise",
                       result.relative_variance
                           ? "variances proportional to the intensity, e.s.d. scaled by GoF"
                           : "variances propagated through the reconstruction");
    stage.write_string(
        "conventions",
        "TCH pseudo-Voigt, FWHM in degrees 2theta; Scherrer constant 0.94; LP = (1 + "
        "cos^2 2theta) / (2 sin^2 theta cos theta) for azimuthal means corrected for solid "
        "angle unless the job says otherwise; weight fractions of the refined crystalline "
        "phases after Hill and Howard");
    write_mean_pattern(stage,
                       {result.two_theta, mean.intensity, start.calculated, start.background,
                        "intensity/mm", start.agreement.rwp, start.agreement.gof},
                       start.model.phases, start.lines);
    stage.open_group("mean_pattern").set_attribute("rwp_meaning", mean_rwp_meaning);
    for (const auto& name : groups_of(fits.maps))
        write_group(stage, result, name);
}

void write_masks(const settings::Job& job, const RietveldResult& result) {
    const auto folder = job.output / "masks";
    std::error_code code;
    std::filesystem::create_directories(folder, code);
    if (code)
        throw Error(
            fmt::format("{}: the folder cannot be made: {}", folder.string(), code.message()));
    const std::size_t n = result.x.size();
    for (std::size_t p = 0; p < job.phases.size(); ++p)
        write_mask_image(settings::mask_file(folder, job.phases[p].name), result.mask_of(p), n, n);
}

} // namespace xrdct::pipeline
