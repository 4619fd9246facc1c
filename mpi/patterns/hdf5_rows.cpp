// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/patterns/rows.hpp"

#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::patterns::detail {

namespace {

using units::Quantity;

/// Length of a dataset that has at most one axis longer than one; nothing for any other.
std::optional<std::size_t> single_axis_length(const hdf5::Dataset& dataset) {
    if (!dataset.is_numeric() || dataset.rank() == 0)
        return std::nullopt;
    std::size_t longer = 0;
    for (const auto extent : dataset.shape())
        longer += extent > 1 ? 1 : 0;
    return longer <= 1 ? std::optional(dataset.size()) : std::nullopt;
}

std::optional<double> value_in(const hdf5::Group& root, const std::string& nx_class,
                               const std::string& name, Quantity quantity) {
    for (const auto& path : nexus::groups_of_class(root, nx_class, 6)) {
        const auto group = root.open_group(path);
        if (!group.has_dataset(name))
            continue;
        const auto dataset = group.open_dataset(name);
        const double value = dataset.read_scalar();
        const auto unit = dataset.string_attribute("units").value_or("");
        if (!std::isfinite(value) || value <= 0)
            throw Error(
                fmt::format("{}: is {}, expected a positive number", dataset.describe(), value));
        return value *
               (unit.empty() ? 1.0 : units::unit_factor(quantity, unit, dataset.describe()));
    }
    return std::nullopt;
}

/// Unit of a radial dataset by its @units, then by its name; `factor` turns values into that unit.
PatternUnit unit_of(const hdf5::Dataset& axis, const std::string& name, double& factor) {
    factor = 1;
    const auto stated = axis.string_attribute("units").value_or("");
    const auto label = lower_case(name + " " + axis.string_attribute("long_name").value_or(""));
    if (stated.empty()) {
        const auto by_name = known_unit(name);
        const auto by_label = unit_in_header(label);
        return by_name ? *by_name : by_label.value_or(PatternUnit::automatic);
    }
    if (units::is_unit_of(Quantity::angle, stated)) {
        factor = units::unit_factor(Quantity::angle, stated, axis.describe());
        return PatternUnit::two_theta;
    }
    if (units::is_unit_of(Quantity::inverse_length, stated)) {
        factor = units::unit_factor(Quantity::inverse_length, stated, axis.describe());
        return PatternUnit::q;
    }
    if (units::is_unit_of(Quantity::length, stated)) {
        const bool spacing = name == "d" || contains(label, "spacing") ||
                             lower_case(stated).starts_with("ang") || stated == "Å" ||
                             stated == "A";
        const auto quantity = spacing ? Quantity::wavelength : Quantity::length;
        factor = units::unit_factor(quantity, stated, axis.describe());
        return spacing ? PatternUnit::d_spacing : PatternUnit::radius;
    }
    if (const auto unit = known_unit(stated))
        return *unit;
    throw Error(fmt::format("{}: the unit '{}' is not one of a radial axis; set pattern.unit",
                            axis.describe(), stated));
}

/// The intensities, the group they lie in and the name they have there.
struct Signal {
    hdf5::Group group;
    std::string name;
    hdf5::Dataset dataset;
    std::size_t size; ///< number of channels
};

Signal find_signal(const hdf5::Group& root, const std::filesystem::path& path,
                   const std::string& given) {
    std::optional<hdf5::Group> group;
    std::string signal;
    if (!given.empty()) {
        const auto dataset = root.open_dataset(given);
        group = hdf5::parent_of(dataset);
        signal = std::filesystem::path(given).filename().string();
    } else {
        group = nexus::default_data(root);
        if (!group)
            throw Error(fmt::format("{}: no NXdata group; name the dataset of the intensities "
                                    "(pattern.intensity)",
                                    path.string()));
        const auto name = nexus::signal_of(*group);
        if (!name)
            throw Error(fmt::format("{}: has no @signal; name the dataset of the intensities "
                                    "(pattern.intensity)",
                                    group->describe()));
        signal = *name;
    }
    auto dataset = group->open_dataset(signal);
    const auto n = single_axis_length(dataset);
    if (!n)
        throw Error(fmt::format("{}: has the shape [{}]; a pattern has one axis. Name a dataset "
                                "with one (pattern.intensity)",
                                dataset.describe(), fmt::join(dataset.shape(), ", ")));
    return {std::move(*group), signal, std::move(dataset), *n};
}

/// Name of the radial axis: by @axes, else a dataset of the same length whose name is a radial
/// quantity's.
std::string find_radial(const Signal& signal) {
    std::vector<std::string> candidates =
        signal.group.strings_attribute("axes").value_or(std::vector<std::string>{});
    for (const auto* name : {"two_theta", "2theta", "tth", "ttheta", "2th", "q", "d", "radial",
                             "radius", "r", "x", "axis"})
        candidates.emplace_back(name);
    for (const auto& name : candidates)
        if (name != "." && name != signal.name && signal.group.has_dataset(name) &&
            single_axis_length(signal.group.open_dataset(name)) == signal.size)
            return name;
    throw Error(fmt::format("{}: no radial axis of {} elements beside it (@axes, two_theta, q, "
                            "d or radius)",
                            signal.dataset.describe(), signal.size));
}

/// Standard deviations beside the intensities, by @uncertainties or the usual names; empty: none.
std::vector<double> read_sigma(const Signal& signal) {
    std::vector<std::string> errors{signal.name + "_errors", "errors"};
    if (const auto named = signal.dataset.string_attribute("uncertainties"))
        errors.insert(errors.begin(), *named);
    for (const auto& name : errors)
        if (signal.group.has_dataset(name) &&
            single_axis_length(signal.group.open_dataset(name)) == signal.size)
            if (auto sigma = signal.group.open_dataset(name).read_all<double>(); !sigma.empty())
                return sigma;
    return {};
}

/// Wavelength [angstrom] of the beam, the monochromator or an integration; 0: not in the file.
double read_wavelength(const hdf5::Group& root) {
    const auto energy = [&](const char* nx_class, const char* name) -> std::optional<double> {
        const auto value = value_in(root, nx_class, name, Quantity::energy);
        return value ? std::optional(wavelength_from_energy(*value)) : std::nullopt;
    };
    for (const auto& value :
         {value_in(root, "NXbeam", "incident_wavelength", Quantity::wavelength),
          value_in(root, "NXmonochromator", "wavelength", Quantity::wavelength),
          value_in(root, "NXprocess", "incident_wavelength", Quantity::wavelength),
          energy("NXbeam", "incident_energy"), energy("NXmonochromator", "energy")})
        if (value)
            return *value;
    return 0;
}

} // namespace

Rows read_hdf5_rows(const std::filesystem::path& path, const PatternFileOptions& options) {
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto root = file.root();
    const Signal signal = find_signal(root, path, options.intensity);
    const std::string radial = find_radial(signal);
    const auto axis = signal.group.open_dataset(radial);

    Rows rows;
    rows.format = "nexus";
    rows.intensity = signal.dataset.read_all<double>();
    rows.position = axis.read_all<double>();
    double factor = 1;
    if (options.unit == PatternUnit::automatic) {
        rows.unit = unit_of(axis, radial, factor);
        if (rows.unit == PatternUnit::automatic)
            throw Error(fmt::format("{}: has no @units; set pattern.unit", axis.describe()));
    }
    for (double& value : rows.position)
        value *= factor;
    for (std::size_t i = 0; i < signal.size; ++i)
        rows.where.push_back(fmt::format("element {} of {}", i, radial));
    rows.sigma = read_sigma(signal);
    if (options.wavelength <= 0)
        rows.wavelength = read_wavelength(root);
    if (options.distance <= 0)
        rows.distance = value_in(root, "NXdetector", "distance", Quantity::length).value_or(0);
    return rows;
}

} // namespace xrdct::patterns::detail
