// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/scan/sinogram_beam.hpp"

#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/nexus/nexus.hpp"

#include <cmath>
#include <limits>
#include <tuple>

#include <fmt/format.h>

namespace xrdct::scan::detail {

using hdf5::Dataset;
using hdf5::Group;
using units::Quantity;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();

double positive(double value, const std::string& origin, const char* what) {
    if (!(value > 0) || !std::isfinite(value))
        throw Error(fmt::format("{}: the {} must be positive, found {}", origin, what, value));
    return value;
}

/// The first group of the class below the entry that has the dataset.
std::optional<Dataset> find_in_class(const ScanGroups& groups, const char* nx_class,
                                     const char* dataset) {
    for (const std::string& path : nexus::groups_of_class(groups.entry, nx_class, 4)) {
        const Group group = groups.root.open_group(path);
        if (group.has_dataset(dataset))
            return group.open_dataset(dataset);
    }
    return std::nullopt;
}

double read_quantity(const Dataset& dataset, Quantity quantity, const char* what,
                     std::string& origin) {
    std::string units = units_attribute(dataset);
    const bool assumed = units.empty();
    if (assumed)
        units = units::canonical_unit(quantity);
    origin = fmt::format("{} [{}{}]", dataset.describe(), units, assumed ? ", assumed" : "");
    if (!dataset.is_numeric())
        throw Error(dataset.describe() + ": expected a number, found " +
                    name_of(dataset.element_type()));
    const double factor = units::unit_factor(quantity, units, dataset.describe());
    return positive(dataset.read_scalar() * factor, dataset.describe(), what);
}

/// Wavelength [angstrom] of the caller, who gives it, the energy, or both.
double given_wavelength(const SinogramSource& source) {
    double value = 0;
    if (source.wavelength)
        value = positive(*source.wavelength, by_caller, "wavelength");
    if (source.energy) {
        const double from_energy =
            wavelength_from_energy(positive(*source.energy, by_caller, "energy"));
        if (source.wavelength && std::abs(from_energy / value - 1) > 1e-3)
            throw Error(fmt::format("the wavelength {} angstrom and the energy {} keV set by "
                                    "the caller contradict each other",
                                    value, *source.energy));
        if (!source.wavelength)
            value = from_energy;
    }
    return value;
}

} // namespace

void read_wavelength(const ScanGroups& groups, const SinogramSource& source,
                     SinogramMetadata& metadata) {
    metadata.wavelength = missing;
    if (source.wavelength || source.energy) {
        metadata.wavelength = given_wavelength(source);
        metadata.origin["wavelength"] = by_caller;
        return;
    }
    for (const auto& [nx_class, wave, energy] :
         {std::tuple{"NXbeam", "incident_wavelength", "incident_energy"},
          std::tuple{"NXmonochromator", "wavelength", "energy"}}) {
        std::string origin;
        std::string energy_origin;
        const auto wave_dataset = find_in_class(groups, nx_class, wave);
        const auto energy_dataset = find_in_class(groups, nx_class, energy);
        double from_energy = missing;
        if (energy_dataset)
            from_energy = wavelength_from_energy(
                read_quantity(*energy_dataset, Quantity::energy, "energy", energy_origin));
        if (wave_dataset) {
            metadata.wavelength =
                read_quantity(*wave_dataset, Quantity::wavelength, "wavelength", origin);
            if (energy_dataset && std::abs(from_energy / metadata.wavelength - 1) > 1e-3)
                throw Error(fmt::format("{}: {} angstrom contradicts {}, which means {} angstrom",
                                        origin, metadata.wavelength, energy_origin, from_energy));
        } else if (energy_dataset) {
            metadata.wavelength = from_energy;
            origin = energy_origin;
        } else {
            continue;
        }
        metadata.origin["wavelength"] = origin;
        return;
    }
}

void read_distance(const ScanGroups& groups, const SinogramSource& source,
                   SinogramMetadata& metadata) {
    metadata.distance = missing;
    if (source.distance) {
        metadata.distance = positive(*source.distance, by_caller, "distance");
        metadata.origin["distance"] = by_caller;
    } else if (const auto dataset = find_in_class(groups, "NXdetector", "distance")) {
        std::string origin;
        metadata.distance = read_quantity(*dataset, Quantity::length, "distance", origin);
        metadata.origin["distance"] = origin;
    }
}

void read_beam_extent(const ScanGroups& groups, const SinogramSource& source,
                      SinogramMetadata& metadata) {
    if (source.beam_extent) {
        for (const double extent : *source.beam_extent)
            if (!(extent >= 0) || !std::isfinite(extent))
                throw Error(fmt::format("the beam extent set by the caller must not be negative, "
                                        "found {}",
                                        extent));
        metadata.beam_extent = source.beam_extent;
        metadata.origin["beam_extent"] = by_caller;
        return;
    }
    const auto dataset = find_in_class(groups, "NXbeam", "extent");
    if (!dataset)
        return;
    const std::string where = dataset->describe();
    if (!dataset->is_numeric() || dataset->size() < 1 || dataset->size() > 2)
        throw Error(where + ": expected two lengths, horizontal and vertical");
    const std::string units = units_attribute(*dataset);
    const double factor = units.empty() ? 1 : units::unit_factor(Quantity::length, units, where);
    const auto values = dataset->read_all<double>();
    for (const double value : values)
        if (!(value >= 0) || !std::isfinite(value))
            throw Error(
                fmt::format("{}: the beam extent must not be negative, found {}", where, value));
    metadata.beam_extent = {values.front() * factor, values.back() * factor};
    metadata.origin["beam_extent"] =
        fmt::format("{} [{}]", where, units.empty() ? "mm, assumed" : units);
}

} // namespace xrdct::scan::detail
