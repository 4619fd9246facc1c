// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/scan/sinogram_axes.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/unit_names.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::scan::detail {

using hdf5::Dataset;
using units::Quantity;

namespace {

bool one_of(const std::string& name, std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<Role> role_by_unit(const std::string& unit) {
    if (units::is_unit_of(Quantity::inverse_length, unit))
        return channel;
    if (units::is_unit_of(Quantity::angle, unit))
        return rotation;
    if (units::is_unit_of(Quantity::length, unit))
        return translation;
    if (units::is_unit_of(Quantity::time, unit))
        return stack;
    return std::nullopt;
}

} // namespace

std::string last_part(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

std::string units_attribute(const Dataset& dataset) {
    return dataset.has_attribute("units") ? dataset.string_attribute("units").value_or("") : "";
}

std::optional<Radial> radial_by_name(const std::string& path) {
    const std::string name = lower_case(last_part(path));
    if (one_of(name, {"two_theta", "twotheta", "tth", "2th", "2theta", "ttheta"}))
        return Radial::two_theta;
    if (one_of(name, {"q", "q_axis", "scattering_vector"}))
        return Radial::q;
    if (one_of(name, {"radius", "r"}))
        return Radial::radius;
    return std::nullopt;
}

std::optional<Role> role_by_name(const std::string& path) {
    const std::string name = lower_case(last_part(path));
    if (one_of(name, {"rotation_angle", "rotation", "rotations", "omega", "rot", "phi", "angle",
                      "angles"}))
        return rotation;
    if (one_of(name, {"translation", "translations", "trans", "position", "positions", "dty",
                      "sample_x", "sample_y", "x", "y"}))
        return translation;
    if (radial_by_name(path) || one_of(name, {"radial", "channel", "channels"}))
        return channel;
    if (one_of(name, {"height", "z", "sample_z", "time", "slice", "t"}))
        return stack;
    return std::nullopt;
}

std::vector<std::string> axes_attribute(const hdf5::Object& object) {
    if (!object.has_attribute("axes"))
        return {};
    std::vector<std::string> axes = object.strings_attribute("axes").value();
    if (axes.size() == 1 && axes[0].find_first_of(":,") != std::string::npos) {
        std::vector<std::string> parts(1);
        for (const char c : axes[0]) {
            if (c == ':' || c == ',')
                parts.emplace_back();
            else if (c != '[' && c != ']' && c != ' ')
                parts.back() += c;
        }
        return parts;
    }
    return axes;
}

const std::string& given_path(const SinogramSource& source, Role role) {
    static const std::string none;
    return role == rotation      ? source.rotation
           : role == translation ? source.translation
           : role == channel     ? source.radial
                                 : none;
}

Dataset ScanGroups::open_given(const std::string& path) const {
    return path.front() != '/' && data.has_dataset(path) ? data.open_dataset(path)
                                                         : root.open_dataset(path);
}

namespace {

class AxisFinder {
  public:
    AxisFinder(const Dataset& intensity, const ScanGroups& groups, const SinogramSource& source)
        : intensity_(intensity), groups_(groups), source_(source),
          expected_("expected the axes rotation, translation and radial" +
                    std::string(source.allow_single_channel ? " (or the first two)" : "")) {}

    StoredAxes find() const {
        const std::size_t rank = intensity_.shape().size();
        StoredAxes found;
        found.names.assign(rank, "");
        std::vector<std::string> axes = axes_attribute(groups_.data);
        if (axes.empty())
            axes = axes_attribute(intensity_);
        if (axes.size() == rank)
            found.names = axes;
        if (rank < 2 || rank > 4)
            throw Error(
                fmt::format("{}: {}, found {} axes", intensity_.describe(), expected_, rank));
        const std::vector<Role> roles = roles_of(axes);
        found.position.fill(-1);
        for (std::size_t d = 0; d < rank; ++d) {
            if (found.position[roles[d]] >= 0)
                throw Error(fmt::format("{}: {}, found two {} axes", intensity_.describe(),
                                        expected_, role_names[roles[d]]));
            found.position[roles[d]] = static_cast<int>(d);
        }
        check(found);
        return found;
    }

  private:
    /// What each stored axis is, by the caller's word, @axes or the lengths.
    std::vector<Role> roles_of(const std::vector<std::string>& axes) const {
        const std::size_t rank = intensity_.shape().size();
        std::vector<Role> roles(rank);
        if (!source_.axis_order.empty()) {
            if (source_.axis_order.size() != rank)
                throw Error(
                    fmt::format("{}: has {} axes, but the axis order set by the caller names {}",
                                intensity_.describe(), rank, source_.axis_order.size()));
            for (std::size_t d = 0; d < rank; ++d) {
                const auto role = role_by_name(source_.axis_order[d]);
                if (!role)
                    throw Error("the axis order names \"" + source_.axis_order[d] +
                                "\"; expected rotation, translation, radial, height or time");
                roles[d] = *role;
            }
        } else if (!axes.empty()) {
            if (axes.size() != rank)
                throw Error(fmt::format("{}: @axes names {} axes, but the data have {}",
                                        groups_.data.describe(), axes.size(), rank));
            for (std::size_t d = 0; d < rank; ++d)
                roles[d] = role_of_named_axis(axes[d]);
        } else {
            roles = roles_by_length();
        }
        return roles;
    }

    void check(const StoredAxes& found) const {
        const hdf5::Shape& shape = intensity_.shape();
        for (const Role role : {rotation, translation, channel})
            if (found.position[role] < 0 && !(role == channel && source_.allow_single_channel))
                throw Error(fmt::format("{}: {}, found no {} axis in shape [{}]",
                                        intensity_.describe(), expected_, role_names[role],
                                        fmt::join(shape, ", ")));
        for (const Role role : {rotation, translation, channel, stack})
            if (found.position[role] >= 0 &&
                shape[static_cast<std::size_t>(found.position[role])] == 0)
                throw Error(fmt::format("{}: has no data, the {} axis has length 0",
                                        intensity_.describe(), role_names[role]));
    }

    Role role_of_named_axis(const std::string& name) const {
        for (const Role role : {rotation, translation, channel})
            if (!given_path(source_, role).empty() &&
                last_part(given_path(source_, role)) == last_part(name))
                return role;
        // A unit says more than a name ("x" in 1/nm), but an angle or a length may be either kind.
        std::optional<Role> by_unit;
        if (groups_.data.has_dataset(name)) {
            const std::string unit = units_attribute(groups_.data.open_dataset(name));
            if (!unit.empty())
                by_unit = role_by_unit(unit);
        }
        const auto by_name = role_by_name(name);
        if (by_unit == channel)
            return channel;
        if (by_name)
            return *by_name;
        if (by_unit)
            return *by_unit;
        throw Error(groups_.data.describe() + "/@axes: what the axis \"" + name +
                    "\" is cannot be told from its name or units; set the axis order");
    }

    /// Without @axes: the lengths of the axes named by the caller tell, when they differ.
    std::vector<Role> roles_by_length() const {
        const hdf5::Shape& shape = intensity_.shape();
        const std::string help =
            "; the file has no @axes: set the axis order (such as translation, rotation, radial)";
        if (shape.size() > 3)
            throw Error(intensity_.describe() + ": the order of its axes is not known" + help);
        std::vector<std::optional<Role>> roles(shape.size());
        std::vector<Role> open;
        for (const Role role : {rotation, translation, channel}) {
            if (role == channel && shape.size() == 2)
                continue;
            if (given_path(source_, role).empty()) {
                open.push_back(role);
                continue;
            }
            const std::size_t length = groups_.open_given(given_path(source_, role)).size();
            const auto n = std::count(shape.begin(), shape.end(), length);
            if (n != 1) {
                open.push_back(role);
                continue;
            }
            const auto d = static_cast<std::size_t>(std::find(shape.begin(), shape.end(), length) -
                                                    shape.begin());
            if (roles[d])
                throw Error(intensity_.describe() + ": the order of its axes is not known" + help);
            roles[d] = role;
        }
        if (open.size() > 1)
            throw Error(intensity_.describe() + ": the order of its axes is not known" + help);
        std::vector<Role> result;
        for (const auto& role : roles)
            result.push_back(role ? *role : open.front());
        return result;
    }

    const Dataset& intensity_;
    const ScanGroups& groups_;
    const SinogramSource& source_;
    std::string expected_;
};

} // namespace

StoredAxes find_axes(const Dataset& intensity, const ScanGroups& groups,
                     const SinogramSource& source) {
    return AxisFinder(intensity, groups, source).find();
}

} // namespace xrdct::scan::detail
