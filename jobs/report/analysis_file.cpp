// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/analysis_file.hpp"

#include "base/error.hpp"
#include "jobs/program/provenance.hpp"
#include "jobs/report/labels.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;

Json calibration_json(const settings::LithiumSettings& s) {
    Json json{{"electrode", s.electrode}, {"phase", s.phase}};
    if (s.table.empty()) {
        json["content"] = s.content;
    } else {
        json["parameter"] = s.parameter;
        json["table"] = s.table;
        json["outside"] = s.clamp ? "clamp" : "nan";
        json["gamma"] = s.gamma;
    }
    if (std::isfinite(s.host_mass))
        json["host_mass"] = s.host_mass;
    return json;
}

std::string calibrations_json(const std::vector<settings::LithiumSettings>& lithium) {
    Json list = Json::array();
    for (const auto& entry : lithium)
        list.push_back(calibration_json(entry));
    return list.dump(1);
}

void write_column(hdf5::Group& group, const std::string& name, const std::vector<double>& values,
                  const std::string& units = "") {
    if (values.empty())
        return;
    auto dataset = group.write_array(name, {values.size()}, std::span<const double>(values));
    if (!units.empty())
        dataset.set_attribute("units", units);
}

void write_texts(hdf5::Group& group, const std::string& name,
                 const std::vector<std::string>& texts) {
    if (!texts.empty())
        group.write_strings(name, texts);
}

/// Columns of summaries, one row each.
void write_summaries(hdf5::Group& group, const std::vector<maps::WeightedSummary>& rows) {
    const auto column = [&](const char* name, const auto& value) {
        std::vector<double> values;
        for (const maps::WeightedSummary& row : rows)
            values.push_back(static_cast<double>(value(row)));
        write_column(group, name, values);
    };
    using Row = const maps::WeightedSummary&;
    column("mean", [](Row s) { return s.mean; });
    column("spread", [](Row s) { return s.spread; });
    column("median", [](Row s) { return s.median; });
    column("median_esd", [](Row s) { return s.median_error; });
    column("voxels", [](Row s) { return s.count; });
    column("voxels_of_phase", [](Row s) { return s.present; });
    column("share_of_amount", [](Row s) { return s.share_of_amount; });
    column("uniform", [](Row s) { return s.uniform ? 1 : 0; });
}

void write_profile(hdf5::Group& parent, const std::string& name, const std::string& quantity,
                   const std::string& units, const maps::RadialProfile& profile,
                   const std::string& weights, const std::string& radius_units) {
    if (profile.radius.empty())
        return;
    auto group = nexus::require_data(parent, name, "mean", {"radius"});
    group.write_string("title", "radial profile: " + quantity);
    write_column(group, "mean", profile.mean, units);
    write_column(group, "spread", profile.spread, units);
    nexus::write_axis(group, "radius", profile.radius, {radius_units, "distance from the centre"});
    const std::vector<std::int64_t> count(profile.count.begin(), profile.count.end());
    group.write_array("voxels", {count.size()}, std::span<const std::int64_t>(count));
    group.set_attribute("quantity", quantity);
    group.set_attribute("weights", weights);
    group.set_attribute("bin_width", profile.width);
}

/// A group that remembers its place among the others. Names are made into one part of a path that
/// no other member has: two products may hold a stage of the same name.
hdf5::Group make_member(hdf5::Group& parent, const std::string& wanted, std::size_t order) {
    std::string base = wanted;
    std::replace(base.begin(), base.end(), '/', '_');
    std::string name = base;
    for (int n = 2; parent.has(name); ++n)
        name = fmt::format("{}-{}", base, n);
    auto group = nexus::require_class(parent, name, "NXcollection");
    group.set_attribute("order", static_cast<std::int64_t>(order));
    return group;
}

void write_phase(hdf5::Group& parent, const StageResult& stage, const PhaseResult& phase,
                 std::size_t order) {
    auto group = make_member(parent, phase.phase, order);
    group.write_string("phase", phase.phase);
    group.write_string("weights", phase.weights);
    nexus::write_value(group, "whole_weight_fraction", phase.whole_weight_fraction,
                       {"", "share of the crystalline mass of the object"});
    if (std::isfinite(phase.cross_section))
        nexus::write_value(group, "cross_section", phase.cross_section,
                           {"mm^2", "area of the slice that the phase fills"});
    if (std::isfinite(phase.mass_per_length))
        nexus::write_value(group, "mass_per_length", phase.mass_per_length,
                           {"mg/mm", "mass of the phase per height of the slice"});
    if (!phase.global_cell.empty()) {
        auto cell = nexus::require_class(group, "global_cell", "NXcollection");
        for (const auto& [name, parameter] : phase.global_cell) {
            const std::string units = name.size() == 1 ? "angstrom" : "deg";
            nexus::write_value(cell, name, parameter.value, {units, ""});
            nexus::write_value(cell, name + std::string(errors_suffix), parameter.error,
                               {units, ""});
        }
    }
    auto table = nexus::require_class(group, "statistics", "NXcollection");
    std::vector<std::string> quantities, units;
    std::vector<maps::WeightedSummary> rows;
    for (const QuantityResult& quantity : phase.quantities) {
        quantities.push_back(quantity.quantity);
        units.push_back(quantity.units);
        rows.push_back(quantity.summary);
        write_profile(group, "profile_" + quantity.quantity, quantity.quantity, quantity.units,
                      quantity.profile, quantity.profile_weights, stage.x.units);
    }
    write_texts(table, "quantity", quantities);
    write_texts(table, "units", units);
    write_summaries(table, rows);
}

void write_electrode(hdf5::Group& parent, const StageResult& stage,
                     const ElectrodeResult& electrode, std::size_t order) {
    auto group = make_member(parent, "lithium_" + electrode.electrode, order);
    group.write_string("electrode", electrode.electrode);
    group.write_string("calibration", calibrations_json(electrode.settings));
    write_summaries(group, {electrode.summary});
    const auto count = [&](const char* name, std::size_t value) {
        nexus::write_value(group, name, static_cast<std::int64_t>(value));
    };
    count("voxels_of_electrode", electrode.map.electrode);
    count("voxels_without_lattice", electrode.map.no_lattice);
    count("voxels_beyond_table", electrode.map.beyond);
    auto map = nexus::require_data(group, "map", "lithium", {"y", "x"});
    map.write_string("title", "lithium content of the " + electrode.electrode);
    const std::size_t ny = stage.y.values.size(), nx = stage.x.values.size();
    nexus::write_map(map, "lithium", electrode.map.values, electrode.map.errors, ny, nx,
                     {"", "lithium per host unit"});
    nexus::write_map(map, "host", electrode.map.weights, ny, nx,
                     {electrode.weights_units, electrode.weights_units.empty()
                                                   ? "moles of host, up to a constant"
                                                   : "moles of host"});
    nexus::write_axis(map, "y", stage.y.values, {stage.y.units, stage.y.label});
    nexus::write_axis(map, "x", stage.x.values, {stage.x.units, stage.x.label});
    write_profile(group, "profile", "lithium", "", electrode.profile, "moles of host",
                  stage.x.units);
}

void write_quality(hdf5::Group& group, const StageResult& stage) {
    if (!stage.agreement.empty()) {
        auto table = nexus::require_class(group, "agreement", "NXcollection");
        std::vector<std::string> names;
        std::vector<maps::WeightedSummary> rows;
        for (const auto& [name, summary] : stage.agreement) {
            names.push_back(name);
            rows.push_back(summary);
        }
        write_texts(table, "quantity", names);
        write_summaries(table, rows);
    }
    if (!stage.outcomes.empty()) {
        auto table = nexus::require_class(group, "status", "NXcollection");
        std::vector<std::string> meanings;
        std::vector<double> voxels;
        for (const Outcome& outcome : stage.outcomes) {
            meanings.push_back(outcome.meaning);
            voxels.push_back(static_cast<double>(outcome.voxels));
        }
        write_texts(table, "meaning", meanings);
        write_column(table, "voxels", voxels);
    }
}

void write_differences(hdf5::Group& group, const std::vector<MapDifference>& differences) {
    if (differences.empty())
        return;
    auto table = nexus::require_class(group, "differences", "NXcollection");
    std::vector<std::string> phases, quantities, units;
    std::vector<double> voxels, conventional, dlsr, rms, correlation;
    for (const MapDifference& d : differences) {
        phases.push_back(d.phase);
        quantities.push_back(d.quantity);
        units.push_back(d.units);
        voxels.push_back(static_cast<double>(d.voxels));
        conventional.push_back(d.conventional);
        dlsr.push_back(d.dlsr);
        rms.push_back(d.rms);
        correlation.push_back(d.correlation);
    }
    write_texts(table, "phase", phases);
    write_texts(table, "quantity", quantities);
    write_texts(table, "units", units);
    write_column(table, "voxels", voxels);
    write_column(table, "conventional_mean", conventional);
    write_column(table, "dlsr_mean", dlsr);
    write_column(table, "rms_difference", rms);
    write_column(table, "correlation", correlation);
}

void write_stage(hdf5::Group& process, const StageResult& stage, std::size_t order) {
    auto group = make_member(process, stage.stage, order);
    group.write_string("stage", stage.stage);
    group.write_string("product", stage.file);
    group.write_string("product_version", stage.version);
    group.write_string("product_date", stage.date);
    group.write_string("weight_fraction_method", stage.whole_method);
    group.write_string("centre", stage.centre);
    nexus::write_value(group, "centre_x", stage.centre_x, {stage.x.units, ""});
    nexus::write_value(group, "centre_y", stage.centre_y, {stage.y.units, ""});
    auto axes = nexus::require_class(group, "axes", "NXcollection");
    nexus::write_axis(axes, "y", stage.y.values, {stage.y.units, stage.y.label});
    nexus::write_axis(axes, "x", stage.x.values, {stage.x.units, stage.x.label});
    auto phases = nexus::require_class(group, "phases", "NXcollection");
    for (std::size_t p = 0; p < stage.phases.size(); ++p)
        write_phase(phases, stage, stage.phases[p], p);
    for (std::size_t e = 0; e < stage.lithium.size(); ++e)
        write_electrode(group, stage, stage.lithium[e], e);
    write_quality(group, stage);
    write_differences(group, stage.differences);
}

/// Viewers open the lithium of the main stage's first electrode, else a radial profile of the phase
/// that the main stage's product opens: of its cell, its volume fraction or what there is.
void choose_default(const hdf5::Group& process, const Analysis& analysis,
                    const Products& products) {
    std::vector<std::string> wanted; ///< the last that is there is taken
    for (const ProductStage& stage : products.stages)
        if (stage.name == analysis.main && !stage.default_data.empty())
            for (const char* quantity : {"weight_fraction", "density", "volume_fraction", "a", "c"})
                wanted.push_back(fmt::format("/{}/profile_{}", stage.default_data, quantity));
    for (const StageResult& stage : analysis.stages)
        if (stage.stage == analysis.main && !stage.lithium.empty())
            wanted.push_back("/lithium_" + stage.lithium.front().electrode + "/map");
    const auto paths = nexus::groups_of_class(process, "NXdata", 5);
    std::string best;
    for (const std::string& path : paths)
        if (best.empty() && path.find("/" + analysis.main + "/") != std::string::npos)
            best = path;
    for (const std::string& end : wanted)
        for (const std::string& path : paths)
            if (path.find("/" + analysis.main + "/") != std::string::npos && path.ends_with(end))
                best = path;
    if (!best.empty())
        nexus::set_default(process.open_group(best));
}

} // namespace

std::map<std::string, std::string> analysed_products(const Products& products) {
    std::map<std::string, std::string> checksums;
    for (const ProductStage& stage : products.stages)
        if (!stage.ring.empty() ||
            std::any_of(stage.data.begin(), stage.data.end(), [](const ProductData& data) {
                return data.is_phase() || data.find("mask");
            }))
            if (const std::string name = stage.file.filename().string(); !checksums.contains(name))
                checksums[name] = files::sha256_of_file(stage.file);
    return checksums;
}

std::string analysis_settings(const GivenLithium& lithium) {
    Json json;
    json["lithium"] = lithium ? Json::parse(calibrations_json(*lithium)) : Json("of the products");
    return json.dump(1);
}

void write_analysis(const Analysis& analysis, const Products& products, const GivenLithium& lithium,
                    const fs::path& path) {
    program::Provenance provenance;
    provenance.stage = analysis_process;
    for (const ProductStage& stage : products.stages)
        if (stage.name == analysis.main)
            provenance.job = stage.job;
    provenance.settings = analysis_settings(lithium);
    provenance.inputs = analysed_products(products);
    provenance.date = nexus::now_utc();
    auto file = nexus::ProductFile::create(path, nexus::ProductFile::Existing::replace);
    {
        auto process = program::write_provenance(file.root(), provenance, products.title);
        process.write_string("main_stage", analysis.main);
        write_texts(process, "notes", analysis.notes);
        const Verdict verdict = judge(analysis);
        process.set_attribute("trusted", verdict.trusted() ? 1 : 0);
        write_texts(process, "faults", verdict.faults);
        write_texts(process, "doubts", verdict.doubts);
        for (std::size_t s = 0; s < analysis.stages.size(); ++s)
            write_stage(process, analysis.stages[s], s);
        choose_default(process, analysis, products);
    }
    file.commit();
}

RunAnalysis refresh_analysis(const fs::path& folder) {
    const fs::path path = folder / analysis_file;
    try {
        const Products products = read_products(folder);
        if (const auto analysis = read_analysis(path, products, std::nullopt))
            return {analysis->notes, judge(*analysis)};
        const Analysis analysis = analyse(products);
        if (!analysis.stages.empty())
            write_analysis(analysis, products, {}, path);
        return {analysis.notes, judge(analysis)};
    } catch (const Error& error) {
        return {{fmt::format("{} was not written: {}", path.string(), error.what())}, {}};
    }
}

} // namespace xrdct::report
