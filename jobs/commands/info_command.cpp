// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/commands/commands.hpp"

#include "base/error.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/program/program.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/scan/sinogram_file.hpp"

#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace xrdct::commands {

namespace {

nlohmann::json describe_scan(const std::filesystem::path& path) {
    scan::SinogramSource source;
    source.require_wavelength = source.require_distance = false;
    source.allow_single_channel = true;
    source.stack_index = 0;
    const auto scan = scan::SinogramFile::open(path, source);
    const auto& m = scan.metadata();
    nlohmann::json json{{"kind", "scan"},
                        {"file", path.string()},
                        {"rotations", m.n_rotation()},
                        {"translations", m.n_translation()},
                        {"channels", m.n_channel()},
                        {"stored_order", scan.stored_order()},
                        {"origin", m.origin}};
    const auto range = [&](const char* name, const std::vector<double>& axis) {
        if (!axis.empty())
            json[name] = {axis.front(), axis.back()};
    };
    range("rotation_deg", m.rotation);
    range("translation_mm", m.translation);
    range("two_theta_deg", m.two_theta);
    if (!std::isnan(m.wavelength))
        json["wavelength_angstrom"] = m.wavelength;
    if (!std::isnan(m.distance))
        json["distance_mm"] = m.distance;
    if (m.beam_extent)
        json["beam_extent_mm"] = *m.beam_extent;
    for (const auto& [name, present] : {std::pair{"intensity_errors", m.has_errors},
                                        {"pixels", m.has_pixels},
                                        {"transmission", m.has_transmission},
                                        {"monitor", m.has_monitor}})
        json["has"][name] = present;
    if (!m.title.empty())
        json["title"] = m.title;
    if (!m.sample_name.empty())
        json["sample"] = m.sample_name;
    return json;
}

nlohmann::json describe_product(const std::filesystem::path& path, const hdf5::Group& root) {
    nlohmann::json json{
        {"kind", "product"},
        {"file", path.string()},
        {"program_version", root.string_attribute("program_version").value_or("")},
        {"program_revision", root.string_attribute("program_revision").value_or("")},
        {"creation_time", root.string_attribute("creation_time").value_or("")}};
    for (const auto& process : nexus::groups_of_class(root, "NXprocess")) {
        const auto stage = root.open_group(process);
        nlohmann::json one{{"path", process}};
        if (stage.has_dataset("date"))
            one["date"] = stage.open_dataset("date").read_string();
        if (stage.has_dataset("ranks"))
            one["ranks"] = stage.open_dataset("ranks").read_scalar();
        for (const auto& data : nexus::groups_of_class(stage, "NXdata")) {
            const auto group = stage.open_group(data);
            nlohmann::json names = nlohmann::json::array();
            for (const auto& entry : group.entries())
                if (entry.kind == hdf5::Kind::dataset)
                    names.push_back(
                        fmt::format("{} [{}]", entry.name,
                                    fmt::join(group.open_dataset(entry.name).shape(), ", ")));
            one["data"][data] = names;
        }
        json["stages"].push_back(one);
    }
    if (root.has_group("entry/patterns")) {
        const auto patterns = root.open_group("entry/patterns");
        for (const auto& entry : patterns.entries())
            if (entry.kind == hdf5::Kind::dataset)
                json["patterns"].push_back(
                    fmt::format("{} [{}]", entry.name,
                                fmt::join(patterns.open_dataset(entry.name).shape(), ", ")));
    }
    return json;
}

void print(const nlohmann::json& json, int indent) {
    for (const auto& [key, value] : json.items()) {
        const std::string margin(static_cast<std::size_t>(indent), ' ');
        if (value.is_object()) {
            fmt::print("{}{}:\n", margin, key);
            print(value, indent + 2);
        } else if (value.is_array() && !value.empty() && value[0].is_object()) {
            for (const auto& element : value)
                print(element, indent + 2);
        } else if (value.is_array()) {
            std::string list;
            for (const auto& element : value)
                list += (list.empty() ? "" : ", ") +
                        (element.is_string() ? element.get<std::string>() : element.dump());
            fmt::print("{}{:<20} {}\n", margin, key, list);
        } else {
            fmt::print("{}{:<20} {}\n", margin, key,
                       value.is_string() ? value.get<std::string>() : value.dump());
        }
    }
}

} // namespace

int command_info(const std::vector<std::string>& arguments) {
    program::CommandLine line("info", "say what is in a scan or a product file", "FILE [--json]",
                              "xrdct info scan.nxs");
    line.flag("json", "as JSON");
    line.positional("file", program::CommandLine::Need::required);
    if (!line.parse(arguments))
        return 0;
    const std::filesystem::path path = line.get<std::string>("file");
    nlohmann::json json;
    {
        const auto file = hdf5::File::open(path, hdf5::Access::read_only);
        const auto root = file.root();
        const auto type = root.string_attribute("file_type");
        const bool ours = type && *type == nexus::file_type;
        // An integrated scan is a product, too; what is in the scan says more. Of a conditioned one
        // both are told.
        const bool conditioned = root.has_group("entry/condition");
        const bool scan = root.has_dataset("entry/data/two_theta") && !conditioned;
        if (ours && !scan && !nexus::groups_of_class(root, "NXprocess").empty())
            json = describe_product(path, root);
        if (!json.is_null() && conditioned)
            json["scan"] = describe_scan(path);
    }
    if (json.is_null())
        json = describe_scan(path);
    if (line.has("json"))
        fmt::print("{}\n", json.dump(1));
    else
        print(json, 0);
    return 0;
}

} // namespace xrdct::commands
