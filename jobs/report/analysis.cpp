// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/analysis_internal.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/report/labels.hpp"
#include "maps/relative_masses.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace xrdct::report {

Map read_map(const ProductStage& stage, const ProductData& data, const std::string& quantity) {
    const ProductMap* map = data.find(quantity);
    return map ? read_map_values(stage, *map) : Map{};
}

Map read_errors(const ProductStage& stage, const ProductData& data, const std::string& quantity) {
    const ProductMap* map = data.find(quantity);
    return map ? read_map_errors(stage, *map) : Map{};
}

std::map<std::string, maps::Estimate> global_cell_of(const std::string& start_model,
                                                     const std::string& phase) {
    std::map<std::string, maps::Estimate> cell;
    const auto json = nlohmann::json::parse(start_model, nullptr, false);
    if (!json.is_object() || !json.contains("phases") || !json["phases"].is_array())
        return cell;
    for (const auto& entry : json["phases"]) {
        if (!entry.is_object() || entry.value("name", nlohmann::json{}) != phase)
            continue;
        for (const char* name : {"a", "b", "c", "alpha", "beta", "gamma"})
            if (entry.contains(name) && entry[name].is_number()) {
                const std::string error = std::string(name) + "_esd";
                const bool known = entry.contains(error) && entry[error].is_number() &&
                                   entry[error].get<double>() > 0.0;
                cell[name] = {entry[name].get<double>(),
                              known ? entry[error].get<double>() : nan_value};
            }
    }
    return cell;
}

namespace {

constexpr double voxels_per_bin = 1.5; ///< width of the bins of radial profiles

double pixel_of(const Axis& axis) {
    if (axis.values.size() < 2)
        return 1.0;
    return std::abs(axis.values.back() - axis.values.front()) /
           static_cast<double>(axis.values.size() - 1);
}

} // namespace

maps::RadialProfile profile_of(const StageResult& stage, const Map& values, const Map& weights) {
    if (!std::isfinite(stage.centre_x) || stage.x.units != stage.y.units)
        return {};
    return maps::radial_profile(values, weights, stage.x.values, stage.y.values, stage.centre_x,
                                stage.centre_y, voxels_per_bin * pixel_of(stage.x));
}

namespace {

bool is_amount(const std::string& quantity) {
    return describe_quantity(quantity).from_zero;
}

/// Masses per voxel of all phases, and how they were found.
std::string find_masses(const ProductStage& stage, std::vector<PhaseMaps>& phases) {
    const auto all_have = [&](const char* quantity) {
        return std::all_of(phases.begin(), phases.end(),
                           [&](const PhaseMaps& p) { return p.data->find(quantity); });
    };
    const std::string file = stage.file.filename().string();
    if (all_have("density")) {
        for (PhaseMaps& phase : phases)
            phase.mass = read_map(stage, *phase.data, "density");
        return fmt::format("sum of the density maps of {}", file);
    }
    if (all_have("scale") && all_have("weight_fraction")) {
        std::vector<Map> scales, fractions;
        for (const PhaseMaps& phase : phases) {
            scales.push_back(read_map(stage, *phase.data, "scale"));
            fractions.push_back(read_map(stage, *phase.data, "weight_fraction"));
        }
        auto masses = maps::relative_masses(scales, fractions);
        if (!masses.empty()) {
            for (std::size_t p = 0; p < phases.size(); ++p)
                phases[p].mass = std::move(masses[p]);
            return fmt::format("sum of scale · Z M V over the voxels of {}, Z M V as the weight "
                               "fractions contain it",
                               file);
        }
    }
    return "";
}

double sum_of(const Map& map) {
    return std::accumulate(map.begin(), map.end(), 0.0,
                           [](double sum, double v) { return std::isfinite(v) ? sum + v : sum; });
}

/// Whole-object weight fractions; returns how they were found.
std::string find_whole_fractions(const ProductStage& stage, const std::vector<PhaseMaps>& phases,
                                 const std::string& mass_method, StageResult& result) {
    double total = 0.0;
    std::vector<double> masses;
    std::string method = mass_method;
    for (const PhaseMaps& phase : phases) {
        masses.push_back(phase.mass.empty() ? nan_value : sum_of(phase.mass));
        total += masses.back();
    }
    if (method.empty()) {
        total = 0.0;
        for (std::size_t p = 0; p < phases.size(); ++p) {
            masses[p] = phases[p].data->find("weight_fraction")
                            ? sum_of(read_map(stage, *phases[p].data, "weight_fraction"))
                            : nan_value;
            total += masses[p];
        }
        method = fmt::format("mean of the weight fractions of the voxels of {}, in which a voxel "
                             "with little material counts as much as a full one",
                             stage.file.filename().string());
    }
    for (std::size_t p = 0; p < phases.size(); ++p)
        result.phases[p].whole_weight_fraction = total > 0.0 ? masses[p] / total : nan_value;
    return total > 0.0 ? method : "";
}

bool same_axis(const Axis& a, const Axis& b) {
    return a.values.size() == b.values.size() && a.units == b.units;
}

/// The centre of the radial profiles: that of the ring (the can), else of the sample mask, else of
/// what the phases fill.
void find_centre(const Products& products, const Map& filled, StageResult& result) {
    for (const ProductStage& stage : products.stages)
        if (stage.ring.contains("centre_x") && stage.ring.contains("centre_y")) {
            result.centre_x = stage.ring.at("centre_x");
            result.centre_y = stage.ring.at("centre_y");
            result.centre = "centre of the ring in " + stage.file.filename().string();
            return;
        }
    for (const ProductStage& stage : products.stages)
        for (const ProductData& data : stage.data)
            if (!data.is_phase() && data.find("mask") && same_axis(data.x, result.x) &&
                same_axis(data.y, result.y)) {
                const Map mask = read_map(stage, data, "mask");
                const auto centre =
                    maps::centre_of_mass(maps::filled_outline(mask, result.x.values.size()),
                                         result.x.values, result.y.values);
                if (std::isnan(centre.x))
                    continue;
                result.centre_x = centre.x;
                result.centre_y = centre.y;
                result.centre = "centre of mass of the sample mask (gaps filled) in " +
                                stage.file.filename().string();
                return;
            }
    const auto centre = maps::centre_of_mass(maps::filled_outline(filled, result.x.values.size()),
                                             result.x.values, result.y.values);
    result.centre_x = centre.x;
    result.centre_y = centre.y;
    result.centre = "centre of mass of the phases";
}

void summarise_phase(const ProductStage& stage, const PhaseMaps& phase, const Map& crystalline,
                     const StageResult& result, PhaseResult& out) {
    for (const ProductMap& map : phase.data->maps) {
        if (map.is_integer || map.name == "scale")
            continue;
        QuantityResult quantity;
        quantity.quantity = map.name;
        quantity.units = map.units;
        Map values = read_map_values(stage, map);
        quantity.summary = maps::summarise(values, phase.amount, read_map_errors(stage, map));
        // Where others were found and the phase was not sought, there is none of it.
        if (is_amount(map.name) && crystalline.size() == values.size())
            for (std::size_t i = 0; i < values.size(); ++i)
                if (std::isnan(values[i]) && crystalline[i] > 0.0)
                    values[i] = 0.0;
        if (quantity.summary.count > 0 && !maps::summarise(values).uniform) {
            // Averages of amounts over a ring are those of what the ring holds, not of the phase.
            const bool fraction = map.name == "weight_fraction" && !crystalline.empty();
            const bool amount = is_amount(map.name) && !fraction;
            quantity.profile_weights = fraction ? "crystalline mass of the voxel"
                                       : amount ? "none"
                                                : phase.weights;
            quantity.profile = profile_of(result, values,
                                          fraction ? crystalline
                                          : amount ? Map{}
                                                   : phase.amount);
        }
        out.quantities.push_back(std::move(quantity));
    }
}

void summarise_agreement(const ProductStage& stage, StageResult& result) {
    for (const ProductData& data : stage.data) {
        if (data.is_phase() || data.is_peak() || data.name != "maps")
            continue;
        for (const char* index : {"rwp", "rp", "rexp", "gof"})
            if (data.find(index))
                result.agreement.emplace_back(index, maps::summarise(read_map(stage, data, index)));
        const ProductMap* status = data.find("status");
        if (!status || status->meanings.empty())
            continue;
        const Map codes = read_map_values(stage, *status), mask = read_map(stage, data, "mask");
        std::map<int, std::size_t> counts;
        for (std::size_t i = 0; i < codes.size(); ++i)
            if (std::isfinite(codes[i]) && (mask.size() != codes.size() || mask[i] != 0.0))
                ++counts[static_cast<int>(std::lround(codes[i]))];
        for (const auto& [code, count] : counts) {
            const auto meaning = status->meanings.find(code);
            result.outcomes.push_back(
                {meaning != status->meanings.end() ? meaning->second : fmt::format("code {}", code),
                 count});
        }
    }
}

bool has_cells(const ProductStage& stage) {
    return !stage.start_model.empty() ||
           std::any_of(stage.data.begin(), stage.data.end(), [](const ProductData& data) {
               return data.is_phase() && (data.find("a") || data.find("c") || data.find("b"));
           });
}

/// The phases of a stage with what a voxel holds of them; those of another size are left out.
std::vector<PhaseMaps> find_phases(const ProductStage& stage, StageResult& result,
                                   std::vector<std::string>& notes) {
    std::vector<PhaseMaps> phases;
    for (const ProductData& data : stage.data) {
        if (!data.is_phase())
            continue;
        if (!phases.empty() && (data.x.values.size() != result.x.values.size() ||
                                data.y.values.size() != result.y.values.size())) {
            notes.push_back(fmt::format("{}/{} has another size than {} and no statistics",
                                        stage.name, data.name, phases.front().data->name));
            continue;
        }
        result.x = data.x;
        result.y = data.y;
        PhaseMaps maps;
        maps.data = &data;
        // The scale factor of a phase is proportional to its amount in the voxel.
        for (const char* quantity : {"density", "volume_fraction", "scale", "weight_fraction"})
            if (maps.amount.empty() && data.find(quantity)) {
                maps.amount = read_map(stage, data, quantity);
                maps.weights = quantity;
            }
        phases.push_back(std::move(maps));
    }
    return phases;
}

/// Area and mass of a phase in the slice, where the product has them per voxel.
void add_amounts(const ProductStage& stage, const PhaseMaps& phase, const StageResult& result,
                 PhaseResult& out) {
    if (display_units(result.x.units) != "mm" || display_units(result.y.units) != "mm")
        return;
    const double pixel = pixel_of(result.x) * pixel_of(result.y); // mm²
    if (phase.data->find("volume_fraction"))
        out.cross_section = pixel * sum_of(read_map(stage, *phase.data, "volume_fraction"));
    if (const ProductMap* density = phase.data->find("density");
        density && display_units(density->units) == display_units("g/cm^3"))
        out.mass_per_length = pixel * sum_of(read_map(stage, *phase.data, "density"));
}

/// Statistics of the phases, whole fractions, centre, agreement.
void analyse_phases(const Products& products, const ProductStage& stage,
                    std::vector<PhaseMaps>& phases, StageResult& result) {
    result.stage = stage.name;
    result.file = stage.file.filename().string();
    result.version = stage.version;
    result.date = stage.date;
    const std::string mass_method = find_masses(stage, phases);
    Map filled(phases.front().amount.size(), 0.0), crystalline;
    if (!mass_method.empty())
        crystalline.assign(filled.size(), 0.0);
    for (const PhaseMaps& phase : phases) {
        for (std::size_t i = 0; i < filled.size(); ++i) {
            filled[i] += std::isfinite(phase.amount[i]) && phase.amount[i] > 0.0 ? 1.0 : 0.0;
            if (!crystalline.empty() && std::isfinite(phase.mass[i]))
                crystalline[i] += phase.mass[i];
        }
        PhaseResult& entry = result.phases.emplace_back();
        entry.phase = phase.data->name;
        entry.weights = phase.weights;
        entry.whole_weight_fraction = nan_value;
        entry.global_cell = global_cell_of(stage.start_model, phase.data->name);
        add_amounts(stage, phase, result, entry);
    }
    result.whole_method = find_whole_fractions(stage, phases, mass_method, result);
    find_centre(products, filled, result);
    for (std::size_t p = 0; p < phases.size(); ++p)
        summarise_phase(stage, phases[p], crystalline, result, result.phases[p]);
    summarise_agreement(stage, result);
}

/// The [[lithium]] tables of the job in a product; none, with a note, where they cannot be read.
std::vector<settings::LithiumSettings> lithium_of(const ProductStage& stage,
                                                  std::vector<std::string>& notes) {
    if (stage.job.empty())
        return {};
    try {
        return settings::lithium_of_job(stage.job,
                                        fmt::format("the job in {}", stage.file.string()));
    } catch (const Error& error) {
        notes.push_back(error.what());
        return {};
    }
}

} // namespace

const PhaseResult* StageResult::find(const std::string& phase) const {
    const auto at = std::find_if(phases.begin(), phases.end(),
                                 [&](const PhaseResult& p) { return p.phase == phase; });
    return at == phases.end() ? nullptr : &*at;
}

/// The last stage with phases: its maps have seen all corrections. One with lattice parameters goes
/// first.
std::string find_main_stage(const Analysis& analysis, const std::string& wanted) {
    std::string main, names;
    for (const StageResult& stage : analysis.stages) {
        names += (names.empty() ? "" : ", ") + stage.stage;
        if (stage.stage == wanted)
            return wanted;
        if (const auto* known = pipeline::find_stage(stage.stage);
            main.empty() || !known || !known->is_auxiliary())
            main = stage.stage;
    }
    if (!wanted.empty())
        throw Error(fmt::format("there is no stage '{}' with maps of phases; there is {}", wanted,
                                names.empty() ? "none" : names));
    return main;
}

Analysis analyse(const Products& products,
                 const std::optional<std::vector<settings::LithiumSettings>>& given,
                 const std::string& lithium_source, const std::string& main_stage) {
    Analysis analysis;
    std::vector<std::string> all_phases;
    for (const ProductStage& stage : products.stages)
        for (const ProductData& data : stage.data)
            if (data.is_phase())
                all_phases.push_back(data.name);
    if (given)
        check_lithium_phases(*given, all_phases, lithium_source);
    bool any_lithium = false;
    for (const ProductStage& stage : products.stages) {
        StageResult result;
        std::vector<PhaseMaps> phases = find_phases(stage, result, analysis.notes);
        if (phases.empty())
            continue;
        analyse_phases(products, stage, phases, result);
        result.dlsr = read_dlsr_diagnostics(stage);
        result.evidence = find_evidence(products, stage);
        if (const ProductStage* conventional = conventional_stage(products, stage))
            result.differences = map_differences(*conventional, stage);
        const auto lithium = given ? *given : lithium_of(stage, analysis.notes);
        any_lithium = any_lithium || !lithium.empty();
        if (!lithium.empty() && has_cells(stage))
            find_lithium(stage, phases, lithium, result, analysis.notes);
        analysis.stages.push_back(std::move(result));
    }
    analysis.main = find_main_stage(analysis, main_stage);
    if (any_lithium && std::all_of(analysis.stages.begin(), analysis.stages.end(),
                                   [](const StageResult& s) { return s.lithium.empty(); }))
        analysis.notes.emplace_back(
            "there are [[lithium]] tables, but no stage with lattice parameters to use them on");
    return analysis;
}

} // namespace xrdct::report
