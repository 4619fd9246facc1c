// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/analysis_file.hpp"
#include "jobs/report/labels.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

std::vector<double> column(const hdf5::Group& group, const std::string& name) {
    return group.has_dataset(name) ? group.open_dataset(name).read_all<double>()
                                   : std::vector<double>{};
}

std::vector<std::string> texts(const hdf5::Group& group, const std::string& name) {
    return group.has_dataset(name) ? group.open_dataset(name).read_strings()
                                   : std::vector<std::string>{};
}

std::string text(const hdf5::Group& group, const std::string& name) {
    return nexus::read_text(group, name).value_or("");
}

std::size_t count(double value) {
    return static_cast<std::size_t>(value);
}

std::vector<maps::WeightedSummary> read_summaries(const hdf5::Group& group) {
    const auto mean = column(group, "mean"), spread = column(group, "spread"),
               median = column(group, "median"), esd = column(group, "median_esd"),
               voxels = column(group, "voxels"), present = column(group, "voxels_of_phase"),
               share = column(group, "share_of_amount"), uniform = column(group, "uniform");
    for (const auto* other : {&spread, &median, &esd, &voxels, &present, &share, &uniform})
        if (other->size() != mean.size())
            throw Error(fmt::format("{}: columns of different lengths", group.describe()));
    std::vector<maps::WeightedSummary> rows;
    for (std::size_t i = 0; i < mean.size(); ++i)
        rows.push_back({count(voxels[i]), count(present[i]), share[i], mean[i], spread[i],
                        median[i], esd[i], uniform[i] != 0.0});
    return rows;
}

maps::RadialProfile read_profile(const hdf5::Group& parent, const std::string& name,
                                 std::string& weights) {
    maps::RadialProfile profile;
    if (!parent.has_group(name))
        return profile;
    const auto group = parent.open_group(name);
    profile.width = group.number_attribute("bin_width").value_or(0.0);
    profile.radius = column(group, "radius");
    profile.mean = column(group, "mean");
    profile.spread = column(group, "spread");
    for (const double voxels : column(group, "voxels"))
        profile.count.push_back(count(voxels));
    weights = group.string_attribute("weights").value_or("");
    return profile;
}

/// The member groups in the order in which they were written.
std::vector<hdf5::Group> in_order(const hdf5::Group& parent) {
    std::map<double, std::string> names;
    for (const hdf5::Entry& entry : parent.entries())
        if (entry.kind == hdf5::Kind::group)
            if (const auto order = parent.open_group(entry.name).number_attribute("order"))
                names[*order] = entry.name;
    std::vector<hdf5::Group> groups;
    for (const auto& [order, name] : names)
        groups.push_back(parent.open_group(name));
    return groups;
}

PhaseResult read_phase(const hdf5::Group& group) {
    PhaseResult phase;
    phase.phase = text(group, "phase");
    phase.weights = text(group, "weights");
    const auto number = [&](const char* dataset) {
        return nexus::read_value(group, dataset).value_or(nan_value);
    };
    phase.whole_weight_fraction = number("whole_weight_fraction");
    phase.cross_section = number("cross_section");
    phase.mass_per_length = number("mass_per_length");
    if (group.has_group("global_cell")) {
        const auto cell = group.open_group("global_cell");
        for (const hdf5::Entry& entry : cell.entries())
            if (!entry.name.ends_with(errors_suffix))
                phase.global_cell[entry.name] = {
                    nexus::read_value(cell, entry.name).value_or(nan_value),
                    nexus::read_value(cell, entry.name + std::string(errors_suffix))
                        .value_or(nan_value)};
    }
    const auto table = group.open_group("statistics");
    const auto quantities = texts(table, "quantity"), units = texts(table, "units");
    const auto rows = read_summaries(table);
    if (quantities.size() != rows.size() || units.size() != rows.size())
        throw Error(fmt::format("{}: columns of different lengths", table.describe()));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        QuantityResult quantity{quantities[i], units[i], rows[i], {}, {}};
        quantity.profile =
            read_profile(group, "profile_" + quantity.quantity, quantity.profile_weights);
        phase.quantities.push_back(std::move(quantity));
    }
    return phase;
}

std::vector<settings::LithiumSettings> read_calibrations(const hdf5::Group& group) {
    std::vector<settings::LithiumSettings> list;
    try {
        for (const auto& json : nlohmann::json::parse(text(group, "calibration"))) {
            settings::LithiumSettings s;
            s.electrode = json.at("electrode").get<std::string>();
            s.phase = json.at("phase").get<std::string>();
            if (json.contains("content")) {
                s.content = json.at("content").get<double>();
            } else {
                s.parameter = json.at("parameter").get<std::string>();
                s.table = json.at("table").get<std::vector<std::pair<double, double>>>();
                s.clamp = json.at("outside") == "clamp";
                s.gamma = json.at("gamma").get<double>();
            }
            s.host_mass = json.value("host_mass", nan_value);
            list.push_back(std::move(s));
        }
    } catch (const nlohmann::json::exception&) {
        throw Error(fmt::format("{}: the calibration is not valid", group.describe()));
    }
    return list;
}

ElectrodeResult read_electrode(const hdf5::Group& group) {
    ElectrodeResult electrode;
    electrode.electrode = text(group, "electrode");
    electrode.settings = read_calibrations(group);
    const auto rows = read_summaries(group);
    if (rows.size() != 1)
        throw Error(fmt::format("{}: statistics are missing", group.describe()));
    electrode.summary = rows.front();
    const auto number = [&](const char* name) {
        return count(nexus::read_value(group, name).value_or(0.0));
    };
    electrode.map.electrode = number("voxels_of_electrode");
    electrode.map.no_lattice = number("voxels_without_lattice");
    electrode.map.beyond = number("voxels_beyond_table");
    const auto map = group.open_group("map");
    electrode.map.values = nexus::read_map(map, "lithium").values;
    electrode.map.errors = nexus::read_map(map, "lithium" + std::string(errors_suffix)).values;
    const auto host = nexus::read_map(map, "host");
    electrode.map.weights = host.values;
    electrode.weights_units = host.units;
    std::string weights;
    electrode.profile = read_profile(group, "profile", weights);
    return electrode;
}

void read_quality(const hdf5::Group& group, StageResult& stage) {
    if (group.has_group("agreement")) {
        const auto table = group.open_group("agreement");
        const auto names = texts(table, "quantity");
        const auto rows = read_summaries(table);
        for (std::size_t i = 0; i < std::min(names.size(), rows.size()); ++i)
            stage.agreement.emplace_back(names[i], rows[i]);
    }
    if (group.has_group("status")) {
        const auto table = group.open_group("status");
        const auto meanings = texts(table, "meaning");
        const auto voxels = column(table, "voxels");
        for (std::size_t i = 0; i < std::min(meanings.size(), voxels.size()); ++i)
            stage.outcomes.push_back({meanings[i], count(voxels[i])});
    }
}

void read_differences(const hdf5::Group& group, StageResult& stage) {
    if (!group.has_group("differences"))
        return;
    const auto table = group.open_group("differences");
    const auto phases = texts(table, "phase"), quantities = texts(table, "quantity"),
               units = texts(table, "units");
    const auto voxels = column(table, "voxels"), conventional = column(table, "conventional_mean"),
               dlsr = column(table, "dlsr_mean"), rms = column(table, "rms_difference"),
               correlation = column(table, "correlation");
    const std::size_t rows = phases.size();
    for (const std::size_t length :
         {quantities.size(), units.size(), voxels.size(), conventional.size(), dlsr.size(),
          rms.size(), correlation.size()})
        if (length != rows)
            throw Error(fmt::format("{}: columns of different lengths", table.describe()));
    for (std::size_t i = 0; i < rows; ++i)
        stage.differences.push_back({phases[i], quantities[i], units[i], count(voxels[i]),
                                     conventional[i], dlsr[i], rms[i], correlation[i]});
}

Axis read_axis(const hdf5::Group& group, const std::string& name) {
    const auto dataset = group.open_dataset(name);
    return {dataset.read_all<double>(), dataset.string_attribute("long_name").value_or(name),
            dataset.string_attribute("units").value_or("")};
}

StageResult read_stage(const hdf5::Group& group) {
    StageResult stage;
    stage.stage = text(group, "stage");
    stage.file = text(group, "product");
    stage.version = text(group, "product_version");
    stage.date = text(group, "product_date");
    stage.whole_method = text(group, "weight_fraction_method");
    stage.centre = text(group, "centre");
    stage.centre_x = nexus::read_value(group, "centre_x").value_or(nan_value);
    stage.centre_y = nexus::read_value(group, "centre_y").value_or(nan_value);
    const auto axes = group.open_group("axes");
    stage.x = read_axis(axes, "x");
    stage.y = read_axis(axes, "y");
    for (const auto& phase : in_order(group.open_group("phases")))
        stage.phases.push_back(read_phase(phase));
    for (const auto& electrode : in_order(group))
        stage.lithium.push_back(read_electrode(electrode));
    read_quality(group, stage);
    read_differences(group, stage);
    return stage;
}

/// Whether the file says that it was made by this program of these products.
bool is_up_to_date(const hdf5::Group& process, const Products& products) {
    if (text(process, "version") != program_version)
        return false;
    const auto inputs = nlohmann::json::parse(text(process, "inputs"), nullptr, false);
    if (!inputs.is_object())
        return false;
    const auto checksums = analysed_products(products);
    return inputs == nlohmann::json(checksums);
}

/// `settings`: those it must have been made with; null: any.
std::optional<Analysis> read_if_current(const fs::path& path, const Products& products,
                                        const std::string* settings,
                                        const std::string& main_stage) {
    std::error_code code;
    if (!fs::exists(path, code))
        return std::nullopt;
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const std::string where = std::string("entry/") + analysis_process;
    if (!file.root().has_group(where))
        return std::nullopt;
    const auto process = file.root().open_group(where);
    if ((settings && text(process, "settings") != *settings) || !is_up_to_date(process, products))
        return std::nullopt;
    Analysis analysis;
    analysis.notes = texts(process, "notes");
    for (const auto& group : in_order(process)) {
        analysis.stages.push_back(read_stage(group));
        StageResult& result = analysis.stages.back();
        for (const ProductStage& stage : products.stages)
            if (stage.name == result.stage && stage.file.filename() == result.file) {
                result.dlsr = read_dlsr_diagnostics(stage);
                result.evidence = find_evidence(products, stage);
            }
    }
    analysis.main = find_main_stage(analysis, main_stage);
    return analysis;
}

} // namespace

std::optional<Analysis> read_analysis(const fs::path& path, const Products& products,
                                      const GivenLithium& lithium, const std::string& main_stage) {
    const std::string settings = analysis_settings(lithium);
    return read_if_current(path, products, &settings, main_stage);
}

std::optional<Analysis> read_analysis(const fs::path& path, const Products& products,
                                      AnyLithium /*any*/, const std::string& main_stage) {
    return read_if_current(path, products, nullptr, main_stage);
}

} // namespace xrdct::report
