// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/nexus/nexus.hpp"

#include "base/error.hpp"

#include <ctime>

namespace xrdct::nexus {

using hdf5::Dataset;
using hdf5::Group;

namespace {

void label(Dataset& dataset, const Labels& labels) {
    if (!labels.units.empty())
        dataset.set_attribute("units", labels.units);
    if (!labels.long_name.empty())
        dataset.set_attribute("long_name", labels.long_name);
}

std::string class_of(const Group& group) {
    if (!group.has_attribute("NX_class"))
        return {};
    return group.string_attribute("NX_class").value_or("");
}

void check_size(const Group& group, const std::string& name, std::size_t values, std::size_t ny,
                std::size_t nx) {
    if (values != ny * nx)
        throw Error(group.describe() + "/" + name + ": " + std::to_string(values) +
                    " values given for a map of " + std::to_string(ny) + " x " +
                    std::to_string(nx));
}

} // namespace

std::string now_utc() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

void write_root(Group& root, const std::string& program_version,
                const std::string& program_revision, const std::string& creation_time,
                const std::string& default_entry) {
    root.set_attribute("NX_class", "NXroot");
    root.set_attribute("file_type", file_type);
    root.set_attribute("format_version", format_version);
    root.set_attribute("program_version", program_version);
    root.set_attribute("program_revision", program_revision);
    root.set_attribute("creation_time", creation_time);
    if (!default_entry.empty())
        root.set_attribute("default", default_entry);
}

int read_format_version(const Group& root) {
    const std::string file = root.file_path().string();
    if (!root.has_attribute("file_type") || !root.has_attribute("format_version") ||
        root.string_attribute("file_type") != file_type)
        throw Error(file + ": was not written by this program (@file_type of / is not \"" +
                    file_type + "\")");
    const int version = static_cast<int>(root.number_attribute("format_version").value_or(0));
    if (version < 1 || version > format_version)
        throw Error(file + ": has format version " + std::to_string(version) +
                    ", this program reads up to " + std::to_string(format_version));
    return version;
}

Group require_class(Group& parent, const std::string& name, const std::string& nx_class) {
    if (parent.has(name)) {
        Group group = parent.open_group(name);
        const std::string found = class_of(group);
        if (found.empty())
            group.set_attribute("NX_class", nx_class);
        else if (found != nx_class)
            throw Error(group.describe() + ": is of class " + found + ", expected " + nx_class);
        return group;
    }
    Group group = parent.create_group(name);
    group.set_attribute("NX_class", nx_class);
    return group;
}

void set_default(const Group& group) {
    std::string child = group.path();
    while (child.size() > 1) {
        const std::size_t slash = child.rfind('/');
        const std::string parent = slash == 0 ? "/" : child.substr(0, slash);
        Group above = group.open_group(parent);
        above.set_attribute("default", child.substr(slash + 1));
        child = parent;
    }
}

void write_value(Group& group, const std::string& name, double value, const Labels& labels) {
    Dataset dataset = group.write_scalar(name, value);
    label(dataset, labels);
}

void write_value(Group& group, const std::string& name, std::int64_t value, const Labels& labels) {
    Dataset dataset = group.write_scalar(name, value);
    label(dataset, labels);
}

std::optional<double> read_value(const Group& group, const std::string& name) {
    if (!group.has_dataset(name))
        return std::nullopt;
    return group.open_dataset(name).read_scalar();
}

std::optional<std::string> read_text(const Group& group, const std::string& name) {
    if (!group.has_dataset(name))
        return std::nullopt;
    return group.open_dataset(name).read_string();
}

void write_axis(Group& group, const std::string& name, std::span<const double> values,
                const Labels& labels) {
    Dataset dataset = group.write_array(name, {values.size()}, values);
    label(dataset, labels);
}

Group require_data(Group& parent, const std::string& name, const std::string& signal,
                   const std::vector<std::string>& axes) {
    Group group = require_class(parent, name, "NXdata");
    group.set_attribute("signal", signal);
    group.set_attribute("axes", axes);
    for (std::size_t i = 0; i < axes.size(); ++i)
        if (axes[i] != ".")
            group.set_attribute(axes[i] + "_indices", static_cast<std::int64_t>(i));
    return group;
}

void write_map(Group& group, const std::string& name, std::span<const double> values,
               std::size_t ny, std::size_t nx, const Labels& labels) {
    check_size(group, name, values.size(), ny, nx);
    Dataset dataset = group.write_array(name, {ny, nx}, values);
    label(dataset, labels);
}

void write_map(Group& group, const std::string& name, std::span<const double> values,
               std::span<const double> errors, std::size_t ny, std::size_t nx,
               const Labels& labels) {
    write_map(group, name, values, ny, nx, labels);
    write_map(group, name + "_errors", errors, ny, nx, {labels.units, ""});
}

void write_map(Group& group, const std::string& name, std::span<const std::int32_t> values,
               std::size_t ny, std::size_t nx, const Labels& labels) {
    check_size(group, name, values.size(), ny, nx);
    Dataset dataset = group.write_array(name, {ny, nx}, values);
    label(dataset, labels);
}

Map read_map(const Group& group, const std::string& name) {
    const Dataset dataset = group.open_dataset(name);
    if (dataset.rank() != 2)
        throw Error(dataset.describe() + ": expected a map with two axes, found " +
                    std::to_string(dataset.rank()));
    Map map;
    map.ny = dataset.shape()[0];
    map.nx = dataset.shape()[1];
    map.values = dataset.read_all<double>();
    map.units = dataset.string_attribute("units").value_or("");
    return map;
}

std::optional<std::string> signal_of(const Group& data) {
    if (data.has_attribute("signal")) {
        auto name = data.string_attribute("signal");
        if (name && data.has_dataset(*name))
            return name;
        return std::nullopt;
    }
    for (const hdf5::Entry& entry : data.entries()) {
        if (entry.kind != hdf5::Kind::dataset)
            continue;
        const Dataset dataset = data.open_dataset(entry.name);
        if (!dataset.has_attribute("signal"))
            continue;
        // Old files write the number 1, some as text.
        bool marked = false;
        try {
            marked = dataset.number_attribute("signal") == 1.0;
        } catch (const Error&) {
            marked = dataset.string_attribute("signal") == "1";
        }
        if (marked)
            return entry.name;
    }
    return std::nullopt;
}

std::vector<std::string> groups_of_class(const Group& group, const std::string& nx_class,
                                         int depth) {
    std::vector<std::string> found;
    if (depth <= 0)
        return found;
    for (const hdf5::Entry& entry : group.entries()) {
        if (entry.kind != hdf5::Kind::group)
            continue;
        const Group child = group.open_group(entry.name);
        if (class_of(child) == nx_class)
            found.push_back(child.path());
        for (std::string& path : groups_of_class(child, nx_class, depth - 1))
            found.push_back(std::move(path));
    }
    return found;
}

std::optional<Group> default_data(const Group& root) {
    std::string path = root.path();
    // As deep as any sensible file goes; a @default that points in circles ends here.
    for (int level = 0; level < 16; ++level) {
        Group group = root.open_group(path);
        if (class_of(group) == "NXdata" && signal_of(group))
            return group;
        const auto next =
            group.has_attribute("default") ? group.string_attribute("default") : std::nullopt;
        if (!next || next->empty() || *next == "." || !group.has_group(*next))
            break;
        path = group.open_group(*next).path();
    }
    const Group last = root.open_group(path);
    for (const std::string& data : groups_of_class(last, "NXdata", 6)) {
        Group group = root.open_group(data);
        if (signal_of(group))
            return group;
    }
    return std::nullopt;
}

} // namespace xrdct::nexus
