// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/version.hpp"
#include "jobs/report/analysis.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace xrdct::report {

namespace {

using Json = nlohmann::ordered_json;

/// NaN has no JSON number: null.
Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json numbers(const std::vector<double>& values) {
    Json list = Json::array();
    for (const double v : values)
        list.push_back(number(v));
    return list;
}

void put(Json& json, const maps::WeightedSummary& s) {
    json["mean"] = number(s.mean);
    json["spread"] = number(s.spread);
    json["median"] = number(s.median);
    json["median_esd"] = number(s.median_error);
    json["voxels"] = s.count;
    json["voxels_of_phase"] = s.present;
    json["share_of_voxels"] = number(s.share_of_voxels());
    json["share_of_amount"] = number(s.share_of_amount);
    json["uniform"] = s.uniform;
}

Json profile_json(const maps::RadialProfile& profile, const std::string& weights) {
    Json json;
    json["weights"] = weights;
    json["radius"] = numbers(profile.radius);
    json["mean"] = numbers(profile.mean);
    json["spread"] = numbers(profile.spread);
    json["voxels"] = profile.count;
    return json;
}

Json dlsr_json(const DlsrDiagnostics& d) {
    Json json{{"rwp", number(d.rwp)},
              {"gof", number(d.gof)},
              {"converged", d.converged},
              {"stop_reason", d.stop_reason},
              {"steps", d.history.empty() ? Json(nullptr) : number(d.history.back().iteration)},
              {"remarks", d.remarks}};
    json["globals"] = Json::array();
    for (const auto& global : d.globals)
        json["globals"].push_back({{"group", global.group},
                                   {"quantity", global.quantity},
                                   {"units", global.units},
                                   {"value", number(global.value)},
                                   {"esd", number(global.esd)},
                                   {"at_bound", global.at_bound}});
    json["geometry"] = Json::array();
    for (const auto& geometry : d.geometry)
        json["geometry"].push_back({{"quantity", geometry.quantity},
                                    {"units", geometry.units},
                                    {"value", number(geometry.value)},
                                    {"esd", number(geometry.esd)},
                                    {"systematic", number(geometry.systematic)},
                                    {"given", number(geometry.given)},
                                    {"refined", geometry.refined}});
    json["maps"] = Json::array();
    for (const auto& map : d.maps)
        json["maps"].push_back(
            {{"group", map.group},
             {"quantity", map.quantity},
             {"smoothness", number(map.smoothness)},
             {"resolution_mm", map.resolution > 0.0 ? Json(map.resolution) : Json(nullptr)}});
    json["held_out"] = Json::array();
    for (const auto& [smoothness, chi_squared] : d.held_out)
        json["held_out"].push_back(
            {{"smoothness", number(smoothness)}, {"chi_squared", number(chi_squared)}});
    json["lines"] = Json::array();
    for (const auto& line : d.lines)
        json["lines"].push_back({{"phase", line.phase},
                                 {"hkl", line.hkl},
                                 {"two_theta", number(line.two_theta)},
                                 {"rms", number(line.rms())},
                                 {"expected_rms", number(line.rms_errors())},
                                 {"rms_over_esd", number(line.excess())}});
    return json;
}

Json differences_json(const std::vector<MapDifference>& differences) {
    Json list = Json::array();
    for (const MapDifference& d : differences)
        list.push_back({{"phase", d.phase},
                        {"quantity", d.quantity},
                        {"units", d.units},
                        {"voxels", d.voxels},
                        {"conventional_mean", number(d.conventional)},
                        {"dlsr_mean", number(d.dlsr)},
                        {"rms_difference", number(d.rms)},
                        {"correlation", number(d.correlation)}});
    return list;
}

double bin_width(const StageResult& stage) {
    for (const PhaseResult& phase : stage.phases)
        for (const QuantityResult& quantity : phase.quantities)
            if (quantity.profile.width > 0.0)
                return quantity.profile.width;
    return std::nan("");
}

Json electrode_json(const ElectrodeResult& electrode) {
    Json json;
    json["electrode"] = electrode.electrode;
    json["units"] = "lithium per host unit";
    json["weights"] = electrode.weights_units.empty()
                          ? "moles of host, up to a constant"
                          : "moles of host [" + electrode.weights_units + "]";
    put(json, electrode.summary);
    json["voxels_beyond_table"] = electrode.map.beyond;
    json["voxels_without_lattice"] = electrode.map.no_lattice;
    for (const settings::LithiumSettings& s : electrode.settings) {
        Json phase{{"phase", s.phase}};
        if (s.table.empty()) {
            phase["content"] = s.content;
        } else {
            phase["parameter"] = s.parameter;
            phase["table"] = s.table;
            phase["outside"] = s.clamp ? "clamp" : "nan";
        }
        phase["host_mass"] = number(s.host_mass);
        json["phases"].push_back(std::move(phase));
    }
    if (!electrode.profile.radius.empty())
        json["profile"] = profile_json(electrode.profile, "moles of host");
    return json;
}

Json phase_json(const PhaseResult& phase, const StageResult& stage) {
    Json entry;
    entry["phase"] = phase.phase;
    entry["weights"] = phase.weights;
    entry["whole_weight_fraction"] = number(phase.whole_weight_fraction);
    if (!phase.global_cell.empty()) {
        Json cell;
        for (const auto& [name, parameter] : phase.global_cell)
            cell[name] = {{"value", number(parameter.value)}, {"esd", number(parameter.error)}};
        entry[stage.dlsr ? "global_cell" : "mean_pattern_cell"] = cell;
    }
    entry["quantities"] = Json::array();
    for (const QuantityResult& quantity : phase.quantities) {
        Json q{{"quantity", quantity.quantity}, {"units", quantity.units}};
        put(q, quantity.summary);
        if (!quantity.profile.radius.empty())
            q["profile"] = profile_json(quantity.profile, quantity.profile_weights);
        entry["quantities"].push_back(std::move(q));
    }
    return entry;
}

Json stage_json(const StageResult& stage) {
    Json out;
    out["stage"] = stage.stage;
    out["product"] = stage.file;
    out["version"] = stage.version;
    out["date"] = stage.date;
    Json fractions;
    for (const PhaseResult& phase : stage.phases)
        fractions[phase.phase] = number(phase.whole_weight_fraction);
    out["whole_weight_fractions"] = {{"of", "crystalline part: the phases of the model"},
                                     {"method", stage.whole_method},
                                     {"phases", fractions}};
    out["profiles"] = {{"centre", stage.centre},
                       {"centre_x", number(stage.centre_x)},
                       {"centre_y", number(stage.centre_y)},
                       {"bin_width", number(bin_width(stage))},
                       {"units", stage.x.units}};
    out["phases"] = Json::array();
    for (const PhaseResult& phase : stage.phases)
        out["phases"].push_back(phase_json(phase, stage));
    out["lithium"] = Json::array();
    for (const ElectrodeResult& electrode : stage.lithium)
        out["lithium"].push_back(electrode_json(electrode));
    Json quality = Json::object();
    for (const auto& [index, summary] : stage.agreement) {
        quality[index] = {{"mean", number(summary.mean)},
                          {"spread", number(summary.spread)},
                          {"median", number(summary.median)},
                          {"voxels", summary.count}};
    }
    for (const Outcome& outcome : stage.outcomes)
        quality["status"][outcome.meaning] = outcome.voxels;
    out["quality"] = quality;
    if (stage.dlsr)
        out["dlsr"] = dlsr_json(*stage.dlsr);
    if (!stage.differences.empty())
        out["differences"] = differences_json(stage.differences);
    return out;
}

/// A field of RFC 4180.
std::string field(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos)
        return text;
    std::string quoted = "\"";
    for (const char c : text)
        quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + "\"";
}

std::string field(double value) {
    return std::isfinite(value) ? fmt::format("{:.10g}", value) : "";
}

} // namespace

std::string analysis_json(const Analysis& analysis, const std::string& title) {
    Json json;
    json["format"] = "xrdct report 1";
    json["program"] = "xrdct";
    json["version"] = program_version;
    json["revision"] = revision();
    json["title"] = title;
    json["main_stage"] = analysis.main.empty() ? Json(nullptr) : Json(analysis.main);
    json["stages"] = Json::array();
    for (const StageResult& stage : analysis.stages) {
        json["stages"].push_back(stage_json(stage));
    }
    json["notes"] = analysis.notes;
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string analysis_csv(const Analysis& analysis) {
    std::string csv = "stage,phase,quantity,units,weights,mean,spread,median,median_esd,voxels,"
                      "voxels_of_phase,share_of_voxels,share_of_amount\r\n";
    const auto row = [&](const std::string& stage, const std::string& phase,
                         const std::string& quantity, const std::string& units,
                         const std::string& weights, const maps::WeightedSummary& s) {
        csv += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", field(stage), field(phase),
                           field(quantity), field(units), field(weights), field(s.mean),
                           field(s.spread), field(s.median), field(s.median_error), s.count,
                           s.present, field(s.share_of_voxels()), field(s.share_of_amount));
    };
    for (const StageResult& stage : analysis.stages) {
        for (const PhaseResult& phase : stage.phases) {
            csv += fmt::format("{},{},whole_weight_fraction,,,{},,,,,,,\r\n", field(stage.stage),
                               field(phase.phase), field(phase.whole_weight_fraction));
            for (const QuantityResult& quantity : phase.quantities)
                row(stage.stage, phase.phase, quantity.quantity, quantity.units, phase.weights,
                    quantity.summary);
            for (const auto& [name, parameter] : phase.global_cell) {
                const bool varies =
                    std::any_of(phase.quantities.begin(), phase.quantities.end(),
                                [&](const QuantityResult& q) { return q.quantity == name; });
                if (!varies) // one value for the object, with its own e.s.d.
                    csv += fmt::format(
                        "{},{},{},{},{},{},,{},{},,,,\r\n", field(stage.stage), field(phase.phase),
                        name, name.size() == 1 ? "angstrom" : "deg",
                        stage.dlsr ? "all projections" : "mean pattern", field(parameter.value),
                        field(parameter.value), field(parameter.error));
            }
        }
        if (stage.dlsr)
            for (const auto& global : stage.dlsr->globals) {
                const PhaseResult* phase = stage.find(global.group);
                if (!phase || !phase->global_cell.contains(global.quantity)) // cells: above
                    csv += fmt::format("{},{},{},{},all projections,{},,{},{},,,,\r\n",
                                       field(stage.stage), field(global.group),
                                       field(global.quantity), field(global.units),
                                       field(global.value), field(global.value), field(global.esd));
            }
        for (const ElectrodeResult& electrode : stage.lithium)
            row(stage.stage, electrode.electrode, "lithium", "lithium per host unit",
                "moles of host", electrode.summary);
    }
    return csv;
}

} // namespace xrdct::report
