// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/conventional_maps.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/pipeline.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::pipeline {

namespace {

std::vector<double> optional_map(const hdf5::Group& stage, const std::string& group,
                                 const std::string& name) {
    if (!stage.has_group(group))
        return {};
    const auto data = stage.open_group(group);
    return data.has_dataset(name) ? nexus::read_map(data, name).values : std::vector<double>{};
}

/// A value of the model that was refined on the mean pattern.
struct RefinedValue {
    std::string name; ///< as in rietveld::list_parameters
    double value = 0;
};

std::vector<RefinedValue> read_refined_values(const hdf5::Group& stage) {
    const auto text = nexus::read_text(stage, "start_model");
    const auto json = nlohmann::json::parse(text.value_or("{}"), nullptr, false);
    std::vector<RefinedValue> values;
    if (json.is_object() && json.contains("parameters"))
        for (const auto& entry : json["parameters"])
            if (entry.contains("value") && entry["value"].is_number())
                values.push_back({entry.value("name", ""), entry["value"].get<double>()});
    return values;
}

bool is_width(const rietveld::PatternModel& model, const rietveld::Parameter* parameter) {
    return std::any_of(model.phases.begin(), model.phases.end(), [&](const auto& phase) {
        return parameter == &phase.size || parameter == &phase.microstrain ||
               parameter == &phase.gauss_microstrain;
    });
}

void take_over(rietveld::PatternModel& model, const std::vector<RefinedValue>& values) {
    auto parameters = list_parameters(model);
    for (const auto& [name, value] : values)
        for (auto& entry : parameters)
            if (entry.name == name && !is_width(model, entry.parameter))
                entry.parameter->value = value;
}

dlsr::ConventionalMaps::PhaseMaps read_phase(const hdf5::Group& stage,
                                             const rietveld::PhaseModel& phase) {
    dlsr::ConventionalMaps::PhaseMaps maps;
    maps.scale = optional_map(stage, phase.name, "scale");
    for (const double value : optional_map(stage, phase.name, "mask"))
        maps.mask.push_back(value != 0);
    for (const auto parameter : phase.phase.free_parameters())
        maps.cell.push_back(optional_map(stage, phase.name, std::string(to_string(parameter))));
    maps.size = optional_map(stage, phase.name, "size");
    maps.microstrain = optional_map(stage, phase.name, "microstrain");
    maps.gauss_microstrain = optional_map(stage, phase.name, "gauss_microstrain");
    return maps;
}

} // namespace

dlsr::ConventionalMaps read_conventional_maps(const settings::Job& job, double wavelength,
                                              std::vector<std::string>& notes) {
    const auto path = product_path(job, "rietveld");
    if (!std::filesystem::exists(path))
        throw Error(fmt::format("{} is missing; the dlsr stage starts from the rietveld stage's "
                                "product",
                                path.string()));
    if (program::read_provenance(path, "rietveld").settings != job.resolved_for("rietveld"))
        throw Error(fmt::format("{} was made with other settings than the job's; run the rietveld "
                                "stage again",
                                path.string()));
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/rietveld");
    dlsr::ConventionalMaps result;
    result.model = start_model(job, wavelength, notes);
    const auto maps = stage.open_group("maps");
    result.x = maps.open_dataset("x").read_all<double>();
    result.n = result.x.size();
    for (const double value : nexus::read_map(maps, "mask").values)
        result.sample.push_back(value != 0);
    take_over(result.model, read_refined_values(stage));
    for (const auto& phase : result.model.phases) {
        result.phases.push_back(read_phase(stage, phase));
        if (result.phases.back().scale.empty() || result.phases.back().mask.empty())
            throw Error(fmt::format("{}: no maps of phase '{}'", path.string(), phase.name));
    }
    for (const auto& peak : result.model.peaks)
        result.areas.push_back(optional_map(stage, peak.name, "area"));
    for (std::size_t i = 0; i < result.model.background.size(); ++i)
        result.background.push_back(
            optional_map(stage, "background", fmt::format("coefficient_{}", i)));
    return result;
}

} // namespace xrdct::pipeline
