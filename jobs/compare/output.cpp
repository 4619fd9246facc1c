// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/compare/output.hpp"

#include "jobs/program/provenance.hpp"
#include "jobs/program/version.hpp"
#include "jobs/report/text.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace xrdct::compare {

namespace {

using Json = nlohmann::ordered_json;

Json number(double value) {
    return std::isfinite(value) ? Json(value) : Json(nullptr);
}

Json numbers(const std::vector<double>& values) {
    Json out = Json::array();
    for (const double v : values)
        out.push_back(number(v));
    return out;
}

Json transform_json(const registration::RigidTransform& t) {
    return {{"angle_deg", t.angle},
            {"shift_x_mm", t.shift_x},
            {"shift_y_mm", t.shift_y},
            {"mirrored", t.mirrored}};
}

Json statistics_json(const maps::MapStatistics& s) {
    return {{"mean", number(s.count > 0 ? s.mean : NAN)},
            {"spread", number(s.count > 0 ? s.spread : NAN)},
            {"voxels", s.count},
            {"median_esd", number(s.median_error > 0 ? s.median_error : NAN)},
            {"uniform", s.uniform}};
}

Json alignment_json(const AlignedCell& aligned) {
    Json json = transform_json(aligned.transform);
    if (!aligned.registration)
        return json;
    const registration::RegistrationResult& r = *aligned.registration;
    json["angle_esd_deg"] = number(r.uncertainty[0]);
    json["shift_x_esd_mm"] = number(r.uncertainty[1]);
    json["shift_y_esd_mm"] = number(r.uncertainty[2]);
    json["correlation"] = r.correlation;
    Json channels = Json::object();
    for (std::size_t i = 0; i < aligned.channels.size(); ++i)
        channels[aligned.channels[i]] = r.channel_correlations[i];
    json["correlations"] = channels;
    json["overlap"] = r.overlap;
    if (r.second) {
        json["second"] = transform_json(*r.second);
        json["second"]["correlation"] = r.second_correlation;
        json["second"]["is_optimum"] = r.second_is_optimum;
        json["margin"] = r.margin;
        json["margin_esd"] = r.margin_error;
    }
    json["certain"] = r.certain;
    return json;
}

std::string csv_text(const std::string& text) {
    if (text.find_first_of(",\"\n") == std::string::npos)
        return text;
    std::string out = "\"";
    for (const char c : text)
        out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
}

std::string csv_number(double value) {
    return std::isfinite(value) ? fmt::format("{:.8g}", value) : "";
}

hdf5::Group write_maps(hdf5::Group& parent, const std::string& name,
                       const registration::PixelGrid& grid, const std::string& signal) {
    auto group = nexus::require_data(parent, name, signal, {"y", "x"});
    std::vector<double> x, y;
    for (std::size_t i = 0; i < grid.nx; ++i)
        x.push_back(grid.x(static_cast<double>(i)));
    for (std::size_t i = 0; i < grid.ny; ++i)
        y.push_back(grid.y(static_cast<double>(i)));
    nexus::write_axis(group, "y", y, {"mm", "y"});
    nexus::write_axis(group, "x", x, {"mm", "x"});
    return group;
}

void write_one(hdf5::Group& group, const std::string& name, const std::vector<double>& values,
               const std::vector<double>& errors, const std::string& units,
               const registration::PixelGrid& grid) {
    if (errors.empty())
        nexus::write_map(group, name, values, grid.ny, grid.nx, {units, name});
    else
        nexus::write_map(group, name, values, errors, grid.ny, grid.nx, {units, name});
}

/// What a group shows first.
std::string signal_of(const CellGroup& group) {
    for (const char* name : {relative_mass, "weight_fraction", "scale", "area"})
        if (group.find(name))
            return name;
    return group.maps.begin()->first;
}

void write_alignment(hdf5::Group& parent, const AlignedCell& aligned) {
    auto group = nexus::require_class(parent, "alignment", "NXcollection");
    nexus::write_value(group, "angle", aligned.transform.angle, {"deg", ""});
    nexus::write_value(group, "shift_x", aligned.transform.shift_x, {"mm", ""});
    nexus::write_value(group, "shift_y", aligned.transform.shift_y, {"mm", ""});
    nexus::write_value(group, "mirrored", std::int64_t{aligned.transform.mirrored ? 1 : 0});
    if (!aligned.registration)
        return;
    const registration::RegistrationResult& r = *aligned.registration;
    nexus::write_value(group, "angle_errors", r.uncertainty[0], {"deg", ""});
    nexus::write_value(group, "shift_x_errors", r.uncertainty[1], {"mm", ""});
    nexus::write_value(group, "shift_y_errors", r.uncertainty[2], {"mm", ""});
    nexus::write_value(group, "correlation", r.correlation);
    nexus::write_value(group, "margin", r.margin);
    nexus::write_value(group, "certain", std::int64_t{r.certain ? 1 : 0});
}

} // namespace

namespace {

Json cell_json(const Comparison& c, std::size_t k) {
    const Cell& cell = c.cells[k];
    Json json{{"label", cell.label}, {"path", cell.path.string()},  {"title", cell.title},
              {"stage", cell.stage}, {"pixel_mm", cell.grid.pixel}, {"nx", cell.grid.nx},
              {"ny", cell.grid.ny},  {"inputs", cell.checksums}};
    if (k > 0)
        json["alignment"] = alignment_json(c.aligned[k]);
    json["phases"] = Json::object();
    for (const ComparedGroup& group : c.groups) {
        const CellGroup* own = cell.find(group.name);
        if (!own) {
            json["phases"][group.name] = nullptr;
            continue;
        }
        Json phase{{"kind", group.kind == GroupKind::peak ? "peak" : name_of(group.kind)},
                   {"weights", own->amount}};
        if (const auto share = cell.mass_share.find(group.name); share != cell.mass_share.end())
            phase["whole_cell_weight_fraction"] = share->second;
        for (const auto& [quantity, s] : c.statistics[k].at(group.name)) {
            phase[quantity] = statistics_json(s);
            phase[quantity]["units"] = own->find(quantity)->units;
        }
        json["phases"][group.name] = phase;
    }
    return json;
}

Json histogram_json(const Comparison& c, const Histogram& h) {
    Json edges = Json::array();
    std::size_t bins = 0;
    for (const auto& s : h.shares)
        bins = std::max(bins, s.size());
    for (std::size_t i = 0; i <= bins; ++i)
        edges.push_back(h.low + h.width * static_cast<double>(i));
    Json json{{"phase", h.group}, {"quantity", h.quantity}, {"units", h.units}, {"edges", edges}};
    json["shares"] = Json::object();
    for (std::size_t k = 0; k < c.cells.size(); ++k)
        json["shares"][c.cells[k].label] =
            h.shares[k].empty() ? Json(nullptr) : numbers(h.shares[k]);
    return json;
}

} // namespace

std::string comparison_json(const Comparison& c, const Settings& settings) {
    Json root;
    root["program"] = fmt::format("xrdct {}", program_version);
    root["revision"] = revision();
    root["date"] = settings.date;
    root["settings"] = Json::parse(settings.json);
    root["reference"] = c.cells.front().label;
    root["grid"] = {{"nx", c.grid.nx},
                    {"ny", c.grid.ny},
                    {"pixel_mm", c.grid.pixel},
                    {"x0_mm", c.grid.x0},
                    {"y0_mm", c.grid.y0}};
    root["notes"] = c.notes;
    root["cells"] = Json::array();
    for (std::size_t k = 0; k < c.cells.size(); ++k)
        root["cells"].push_back(cell_json(c, k));
    root["differences"] = Json::array();
    for (const Difference& d : c.differences) {
        Json json{{"cell", c.cells[d.cell].label}, {"phase", d.group}, {"quantity", d.quantity}};
        json.update(statistics_json(d.statistics));
        json["units"] = d.units;
        root["differences"].push_back(json);
    }
    root["histograms"] = Json::array();
    for (const Histogram& h : c.histograms)
        root["histograms"].push_back(histogram_json(c, h));
    return root.dump(1) + "\n";
}

std::string comparison_csv(const Comparison& c) {
    std::string text = "kind,cell,phase,quantity,units,mean,spread,voxels,median_esd\n";
    const auto row = [&](const char* kind, const std::string& cell, const std::string& group,
                         const std::string& quantity, const std::string& units,
                         const maps::MapStatistics& s) {
        text +=
            fmt::format("{},{},{},{},{},{},{},{},{}\n", kind, csv_text(cell), csv_text(group),
                        csv_text(quantity), csv_text(units), csv_number(s.count > 0 ? s.mean : NAN),
                        csv_number(s.count > 0 ? s.spread : NAN), s.count,
                        csv_number(s.median_error > 0 ? s.median_error : NAN));
    };
    for (const ComparedGroup& group : c.groups)
        for (std::size_t k = 0; k < c.cells.size(); ++k) {
            const Cell& cell = c.cells[k];
            const CellGroup* own = cell.find(group.name);
            if (!own)
                continue;
            if (const auto share = cell.mass_share.find(group.name); share != cell.mass_share.end())
                text += fmt::format("whole,{},{},weight_fraction,,{},,,\n", csv_text(cell.label),
                                    csv_text(group.name), csv_number(share->second));
            for (const std::string& quantity : group.quantities)
                if (own->find(quantity))
                    row("voxels", cell.label, group.name, quantity, own->find(quantity)->units,
                        c.statistics[k].at(group.name).at(quantity));
        }
    for (const Difference& d : c.differences)
        row("difference", c.cells[d.cell].label, d.group, d.quantity, d.units, d.statistics);
    return text;
}

void write_comparison(const Comparison& c, const Settings& settings,
                      const std::filesystem::path& path, bool force) {
    auto product = nexus::ProductFile::create(path, force ? nexus::ProductFile::Existing::replace
                                                          : nexus::ProductFile::Existing::refuse);
    {
        program::Provenance provenance;
        provenance.stage = "compare";
        provenance.job = settings.command;
        provenance.settings = settings.json;
        provenance.date = settings.date;
        for (const Cell& cell : c.cells)
            provenance.inputs.insert(cell.checksums.begin(), cell.checksums.end());
        std::string title = "comparison of";
        for (std::size_t k = 0; k < c.cells.size(); ++k)
            title += (k == 0 ? " " : ", ") + c.cells[k].label;
        auto stage = write_provenance(product.root(), provenance, title);
        stage.write_string("reference", c.cells.front().label);
        stage.write_string(
            "conventions",
            "a point p of the reference lies at R(angle) p + shift in the other scan, R counter-"
            "clockwise, the reference mirrored in x first where mirrored is 1; maps are in the "
            "reference's frame; differences are cell minus reference");
        bool first = true;
        for (std::size_t k = 0; k < c.cells.size(); ++k) {
            auto group = nexus::require_class(stage, report::file_name_part(c.cells[k].label),
                                              "NXcollection");
            group.set_attribute("label", c.cells[k].label);
            write_alignment(group, c.aligned[k]);
            for (const CellGroup& maps : c.aligned[k].groups) {
                auto data = write_maps(group, maps.name, c.grid, signal_of(maps));
                for (const auto& [quantity, map] : maps.maps)
                    write_one(data, quantity, map.values, map.errors, map.units, c.grid);
                if (first)
                    nexus::set_default(data);
                first = false;
            }
            if (!c.aligned[k].total.empty()) {
                auto data = write_maps(group, "total", c.grid, "total");
                write_one(data, "total", c.aligned[k].total, {}, c.cells[k].total_units, c.grid);
            }
        }
        auto differences = nexus::require_class(stage, "difference", "NXcollection");
        for (const Difference& d : c.differences) {
            auto cell = nexus::require_class(
                differences, report::file_name_part(c.cells[d.cell].label), "NXcollection");
            const bool known = cell.has_group(d.group);
            auto data =
                known ? cell.open_group(d.group) : write_maps(cell, d.group, c.grid, d.quantity);
            write_one(data, d.quantity, d.values, d.errors, d.units, c.grid);
        }
    }
    product.commit();
}

} // namespace xrdct::compare
