// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/evidence.hpp"

#include "jobs/report/analysis_internal.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include <nlohmann/json.hpp>

namespace xrdct::report {

namespace {

constexpr double lost_share = 0.5;    ///< unexplained, from which a voxel counts as lost
constexpr double same_value = 1e-7;   ///< relative, of numbers that are one
constexpr double stuck_share = 0.5;   ///< of a phase's voxels at one end of the map's range
constexpr std::size_t few_voxels = 8; ///< of which most are at one end by chance

double mean_pattern_rwp(const ProductStage& stage) {
    for (const ProductData& data : stage.data) {
        const ProductSeries *observed = data.find_series("observed"),
                            *calculated = data.find_series("calculated"),
                            *background = data.find_series("background");
        if (!observed || !calculated || !background)
            continue;
        double highest = 0;
        for (const double v : observed->values)
            highest = std::max(highest, std::isfinite(v) ? v : 0.0);
        double missed = 0, lines = 0;
        const std::size_t n = std::min(
            {observed->values.size(), calculated->values.size(), background->values.size()});
        for (std::size_t k = 0; k < n; ++k) {
            const double o = observed->values[k], c = calculated->values[k],
                         b = background->values[k];
            if (!std::isfinite(o) || !std::isfinite(c) || !std::isfinite(b) || !(highest > 0))
                continue;
            const double weight = 1 / std::max(o, 0.01 * highest);
            missed += weight * (o - c) * (o - c);
            lines += weight * (o - b) * (o - b);
        }
        return lines > 0 ? std::sqrt(missed / lines) : nan_value;
    }
    return nan_value;
}

void find_misfit(const ProductStage& stage, Evidence& out) {
    for (const ProductData& data : stage.data) {
        if (data.is_phase() || data.is_peak() || !data.find("rwp") || !data.find("gof"))
            continue;
        const Map rwp = read_map(stage, data, "rwp"), gof = read_map(stage, data, "gof"),
                  intensity = data.find("intensity") ? read_map(stage, data, "intensity") : Map{};
        Map share;
        double lost = 0, all = 0;
        for (std::size_t i = 0; i < std::min(rwp.size(), gof.size()); ++i) {
            const double one = unexplained_share(rwp[i], gof[i]);
            if (!std::isfinite(one))
                continue;
            share.push_back(one);
            // Voxels that hold hardly anything hold the streaks of others.
            const double weight = i < intensity.size() && std::isfinite(intensity[i])
                                      ? std::max(0.0, intensity[i])
                                      : 1.0;
            all += weight;
            lost += one > lost_share ? weight : 0;
        }
        if (share.empty())
            return;
        out.unexplained = maps::weighted_median(share);
        out.lost_voxels = all > 0 ? lost / all : 1;
        return;
    }
}

/// Whether most of the values where the phase was found equal the least or the greatest of them.
bool is_stuck(const Map& values, const std::vector<bool>& found) {
    Map own;
    for (std::size_t i = 0; i < std::min(values.size(), found.size()); ++i)
        if (found[i] && std::isfinite(values[i]))
            own.push_back(values[i]);
    if (own.size() < few_voxels)
        return false;
    const auto [low, high] = std::minmax_element(own.begin(), own.end());
    for (const double end : {*low, *high}) {
        const auto count = std::count_if(own.begin(), own.end(), [end](double v) {
            return std::abs(v - end) <= same_value * std::abs(end);
        });
        if (static_cast<double>(count) > stuck_share * static_cast<double>(own.size()))
            return true;
    }
    return false;
}

constexpr std::array cell_names{"a", "b", "c", "alpha", "beta", "gamma"};

PhaseEvidence evidence_of(const ProductStage& stage, const ProductData& data) {
    PhaseEvidence out;
    out.phase = data.name;
    const ProductMap* status = data.find("status");
    out.has_status = status && !status->meanings.empty();
    std::vector<bool> found;
    if (out.has_status) {
        const auto means = [&](double code, const char* meaning) {
            const auto at = status->meanings.find(static_cast<int>(std::lround(code)));
            return at != status->meanings.end() && at->second == meaning;
        };
        const Map codes = read_map_values(stage, *status), mask = read_map(stage, data, "mask");
        found.assign(codes.size(), false);
        for (std::size_t i = 0; i < codes.size(); ++i) {
            if (!std::isfinite(codes[i]) || means(codes[i], "not in the model") ||
                (mask.size() == codes.size() && mask[i] == 0.0))
                continue;
            ++out.sought;
            const bool bound = means(codes[i], "at bound"),
                       unresolved = means(codes[i], "width unresolved");
            found[i] = bound || unresolved || means(codes[i], "refined");
            out.unresolved += unresolved ? 1 : 0;
            out.found += found[i] ? 1 : 0;
            out.at_bound += bound ? 1 : 0;
        }
    }
    for (const ProductMap& map : data.maps) {
        const bool cell =
            std::find(cell_names.begin(), cell_names.end(), map.name) != cell_names.end();
        out.has_cell_maps = out.has_cell_maps || cell;
        if ((cell || map.name.find("size") != std::string::npos ||
             map.name.find("strain") != std::string::npos) &&
            is_stuck(read_map_values(stage, map), found))
            out.stuck.push_back(map.name);
    }
    return out;
}

/// Lengths that were refined, on the mean pattern or in the voxels, over those of the structure,
/// which the product has as attributes of the phase's group.
void add_cells(const ProductStage& stage, const ProductData& data, const PhaseEvidence& phase,
               std::vector<CellRatio>& out) {
    const auto global = global_cell_of(stage.start_model, data.name);
    for (const char* name : {"a", "b", "c"}) {
        const auto reference = data.numbers.find(std::string("reference_") + name);
        if (reference == data.numbers.end() || !(reference->second > 0))
            continue;
        if (const ProductMap* map = data.find(name); map && (phase.found > 0 || !phase.has_status))
            out.push_back({data.name, maps::weighted_median(read_map_values(stage, *map)) /
                                          reference->second});
        else if (const auto at = global.find(name);
                 !map && at != global.end() && at->second.error > 0)
            out.push_back({data.name, at->second.value / reference->second});
        if (!out.empty() && !std::isfinite(out.back().ratio))
            out.pop_back();
    }
}

std::vector<std::string> globals_at_bound(const nlohmann::json& json) {
    std::vector<std::string> names;
    if (!json.is_object() || !json.contains("parameters") || !json["parameters"].is_array())
        return names;
    for (const auto& entry : json["parameters"]) {
        if (!entry.is_object() || entry.value("at_bound", nlohmann::json(false)) != true ||
            !entry.contains("name") || !entry["name"].is_string() || !entry.contains("value") ||
            !entry["value"].is_number())
            continue;
        // No amount, no strain and no broadening by size are no ends of a range.
        const double value = entry["value"].get<double>();
        if (std::abs(value) > 1e-12 && value < rietveld::infinite_size)
            names.push_back(entry["name"].get<std::string>());
    }
    return names;
}

std::vector<std::string> alike_phases(const nlohmann::json& json) {
    std::vector<std::string> pairs;
    if (!json.is_object() || !json.contains("alike") || !json["alike"].is_array())
        return pairs;
    for (const auto& entry : json["alike"])
        if (entry.is_object() && entry.contains("phases") && entry["phases"].is_array() &&
            entry["phases"].size() == 2 && entry["phases"][0].is_string() &&
            entry["phases"][1].is_string())
            pairs.push_back(entry["phases"][0].get<std::string>() + " and " +
                            entry["phases"][1].get<std::string>());
    return pairs;
}

} // namespace

double unexplained_share(double rwp, double gof) {
    if (!std::isfinite(rwp) || !std::isfinite(gof) || !(gof > 0))
        return nan_value;
    const double noise = rwp / gof * (rwp / gof);
    // Patterns of noise alone have no share to speak of.
    return noise < 0.98 ? std::max(0.0, (rwp * rwp - noise) / (1 - noise)) : nan_value;
}

Evidence find_evidence(const Products& products, const ProductStage& stage) {
    Evidence out;
    out.mean_pattern_rwp = mean_pattern_rwp(stage);
    find_misfit(stage, out);
    for (const ProductData& data : stage.data)
        if (data.is_phase()) {
            out.phases.push_back(evidence_of(stage, data));
            add_cells(stage, data, out.phases.back(), out.cells);
        }
    const auto start_model = nlohmann::json::parse(stage.start_model, nullptr, false);
    out.globals_at_bound = globals_at_bound(start_model);
    out.alike = alike_phases(start_model);
    for (const ProductStage& other : products.stages) {
        const auto file = hdf5::File::open(other.file, hdf5::Access::read_only);
        const std::string path = "entry/" + other.name;
        if (!file.root().has_group(path))
            continue;
        if (const auto misfit =
                nexus::read_value(file.root().open_group(path), "reprojection_misfit"))
            out.reprojection_misfit = *misfit;
    }
    return out;
}

} // namespace xrdct::report
