// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/report/analysis_internal.hpp"
#include "jobs/report/labels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace xrdct::report {

namespace {

/// The lattice quantity of a [[lithium]] table in every voxel that holds the phase.
std::vector<maps::Estimate> lattice_map(const ProductStage& stage, const PhaseMaps& phase,
                                        const maps::LithiumCalibration& calibration) {
    auto cell = global_cell_of(stage.start_model, phase.data->name);
    std::map<std::string, std::pair<Map, Map>> known;
    for (const char* name : {"a", "b", "c", "alpha", "beta", "gamma", "cell_volume"})
        if (const ProductMap* map = phase.data->find(name)) {
            const std::string units = display_units(map->units);
            const std::string expected = std::string(name) == "cell_volume" ? "Å³"
                                         : std::string(name).size() == 1    ? "Å"
                                                                            : "°";
            if (units != expected)
                throw Error(fmt::format("{}: {} is in '{}', expected {}", stage.file.string(),
                                        map->path, map->units, expected));
            known[name] = {read_map_values(stage, *map), read_map_errors(stage, *map)};
            cell[name] = {1.0, nan_value};
        }
    if (std::isnan(maps::lattice_quantity(calibration, cell).value))
        throw Error(fmt::format("{}: lithium of phase '{}': there is no {} in maps or start model "
                                "of the stage {}",
                                stage.file.string(), calibration.phase, calibration.parameter,
                                stage.name));
    std::vector<maps::Estimate> values(phase.amount.size(), {nan_value, nan_value});
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!(phase.amount[i] > 0.0))
            continue;
        for (const auto& [name, map] : known)
            cell[name] = {map.first[i], map.second.empty() ? nan_value : map.second[i]};
        values[i] = maps::lattice_quantity(calibration, cell);
    }
    return values;
}

/// Standard deviations of the mass of a phase, from those of its scale; empty: unknown.
Map mass_errors(const ProductStage& stage, const PhaseMaps& phase, const Map& mass) {
    for (const char* quantity : {"density", "volume_fraction", "scale", "weight_fraction"}) {
        Map errors = read_errors(stage, *phase.data, quantity);
        if (errors.empty())
            continue;
        const Map values = read_map(stage, *phase.data, quantity);
        double amount = 0.0, all = 0.0;
        for (std::size_t i = 0; i < values.size(); ++i)
            if (values[i] > 0.0 && mass[i] > 0.0) {
                amount += values[i];
                all += mass[i];
            }
        for (double& error : errors)
            error *= amount > 0.0 ? all / amount : nan_value;
        return errors;
    }
    return {};
}

maps::LithiumCalibration calibration_of(const settings::LithiumSettings& entry) {
    return {entry.phase,   entry.parameter, entry.table, entry.clamp,
            entry.content, entry.host_mass, entry.gamma};
}

/// The phases of an electrode that the stage has maps of; the others are noted.
std::vector<maps::LithiumPhase>
phases_of_electrode(const ProductStage& stage, const std::vector<PhaseMaps>& phases,
                    const std::vector<settings::LithiumSettings>& settings,
                    ElectrodeResult& electrode, std::vector<std::string>& notes) {
    std::vector<maps::LithiumPhase> inputs;
    bool absolute = true;
    for (const settings::LithiumSettings& entry : settings) {
        if (entry.electrode != electrode.electrode)
            continue;
        const auto at = std::find_if(phases.begin(), phases.end(), [&](const PhaseMaps& p) {
            return p.data->name == entry.phase;
        });
        if (at == phases.end()) {
            notes.push_back(fmt::format("{}: lithium: {} has no maps of the phase '{}'", stage.name,
                                        stage.file.filename().string(), entry.phase));
            continue;
        }
        maps::LithiumPhase input;
        input.calibration = calibration_of(entry);
        input.amount = at->mass.empty() ? at->amount : at->mass;
        if (at->mass.empty() && inputs.size() == 1)
            notes.push_back(fmt::format("{}: lithium of the {}: the phases are weighted with "
                                        "{}, as their masses are not known",
                                        stage.name, electrode.electrode, at->weights));
        absolute = absolute && at->data->find("density") && !std::isnan(entry.host_mass);
        input.amount_errors = mass_errors(stage, *at, input.amount);
        if (!entry.table.empty())
            input.lattice = lattice_map(stage, *at, input.calibration);
        electrode.settings.push_back(entry);
        inputs.push_back(std::move(input));
    }
    electrode.weights_units = absolute ? "mol/cm^3" : "";
    return inputs;
}

} // namespace

void find_lithium(const ProductStage& stage, const std::vector<PhaseMaps>& phases,
                  const std::vector<settings::LithiumSettings>& settings, StageResult& result,
                  std::vector<std::string>& notes) {
    std::vector<std::string> electrodes;
    for (const settings::LithiumSettings& entry : settings)
        if (std::find(electrodes.begin(), electrodes.end(), entry.electrode) == electrodes.end())
            electrodes.push_back(entry.electrode);
    for (const std::string& name : electrodes) {
        ElectrodeResult electrode;
        electrode.electrode = name;
        const auto inputs = phases_of_electrode(stage, phases, settings, electrode, notes);
        if (inputs.empty())
            continue;
        try {
            electrode.map = maps::lithium_map(inputs);
        } catch (const Error& error) {
            throw Error(fmt::format("{}: {}", stage.file.string(), error.what()));
        }
        electrode.summary =
            maps::summarise(electrode.map.values, electrode.map.weights, electrode.map.errors);
        if (electrode.summary.count == 0)
            notes.push_back(fmt::format(
                "{}: no voxel of the {} has a lithium content: {} of {} lie beyond a table",
                stage.name, name, electrode.map.beyond, electrode.map.electrode));
        electrode.profile = profile_of(result, electrode.map.values, electrode.map.weights);
        result.lithium.push_back(std::move(electrode));
    }
}

} // namespace xrdct::report
