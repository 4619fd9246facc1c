// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/condition/source.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/patterns/pattern_file.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::condition::detail {

namespace {

/// A number that stands as an attribute or dataset in the group, or in a class of the entry.
std::optional<double> find_number(const hdf5::Group& root, const hdf5::Group& group,
                                  const char* name, const char* nx_class,
                                  units::Quantity quantity) {
    std::optional<double> value;
    std::string where, unit;
    const auto take = [&](const hdf5::Dataset& dataset) {
        value = dataset.read_scalar();
        where = dataset.describe();
        unit = dataset.string_attribute("units").value_or("");
    };
    if (group.has_attribute(name)) {
        value = group.number_attribute(name);
        where = group.describe() + "/@" + name;
    } else if (group.has_dataset(name)) {
        take(group.open_dataset(name));
    } else {
        for (const auto& path : nexus::groups_of_class(root, nx_class, 5))
            if (const auto one = root.open_group(path); !value && one.has_dataset(name))
                take(one.open_dataset(name));
    }
    if (!value)
        return value;
    if (!unit.empty())
        *value *= units::unit_factor(quantity, unit, where);
    if (!(*value > 0) || !std::isfinite(*value))
        throw Error(fmt::format("{}: must be positive, is {}", where, *value));
    return value;
}

/// Pixels per channel: one value each, or one for every frame, of which the mean is taken.
std::vector<double> read_pixels(const hdf5::Dataset& pixels, const hdf5::Dataset& intensity) {
    const std::size_t n = intensity.shape().back();
    if (pixels.rank() != 2 || pixels.shape() != intensity.shape())
        return vector_of(pixels, n, "channel");
    const std::size_t frames = pixels.shape()[0];
    std::vector<double> sum(n, 0), rows;
    constexpr std::size_t block = 256;
    for (std::size_t begin = 0; begin < frames; begin += block) {
        const std::size_t count = std::min(block, frames - begin);
        rows.resize(count * n);
        pixels.read(hdf5::Selection{{begin, 0}, {count, n}}, std::span<double>(rows));
        for (std::size_t i = 0; i < rows.size(); ++i)
            sum[i % n] += std::isfinite(rows[i]) ? rows[i] / static_cast<double>(frames) : 0.0;
    }
    return sum;
}

} // namespace

void check_finite(std::span<const float> values, const std::string& where) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isinf(values[i]))
            throw Error(fmt::format("{}: infinite value at index {}; missing points are marked "
                                    "with NaN",
                                    where, i));
}

std::vector<double> stated_axis(const std::vector<double>& range, bool closed, std::size_t n) {
    std::vector<double> values;
    const double steps = n > 1 ? static_cast<double>(closed ? n - 1 : n) : 1;
    for (std::size_t i = 0; i < n; ++i)
        values.push_back(range[0] + (range[1] - range[0]) * static_cast<double>(i) / steps);
    return values;
}

std::optional<hdf5::Dataset> find_dataset(const hdf5::Group& root, const hdf5::Group& group,
                                          const std::string& given,
                                          std::initializer_list<const char*> usual) {
    if (!given.empty())
        return given.front() != '/' && group.has_dataset(given) ? group.open_dataset(given)
                                                                : root.open_dataset(given);
    for (const char* name : usual)
        if (group.has_dataset(name))
            return group.open_dataset(name);
    return std::nullopt;
}

std::vector<double> vector_of(const hdf5::Dataset& dataset, std::size_t n, const char* what) {
    if (!dataset.is_numeric() || dataset.size() != n)
        throw Error(fmt::format("{}: expected {} numbers, one for each {}, found shape [{}]",
                                dataset.describe(), n, what, fmt::join(dataset.shape(), ", ")));
    auto values = dataset.read_all<double>();
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isinf(values[i]))
            throw Error(fmt::format("{}: value {} is infinite", dataset.describe(), i));
    return values;
}

std::vector<double> in_unit(std::vector<double> values, units::Quantity quantity,
                            const std::string& given, const hdf5::Dataset& dataset) {
    std::string unit = given;
    if (unit.empty() && dataset.has_attribute("units"))
        unit = dataset.string_attribute("units").value_or("");
    if (!unit.empty()) {
        const double factor = units::unit_factor(quantity, unit, dataset.describe());
        for (double& value : values)
            value *= factor;
    }
    return values;
}

void read_corrections(ConditionInput& input, const hdf5::Group& group,
                      const hdf5::Dataset& intensity) {
    for (const auto& [name, target] :
         {std::pair{"solid_angle_corrected", &input.solid_angle_corrected},
          {"polarization_corrected", &input.polarization_corrected}})
        for (const hdf5::Object* object : {static_cast<const hdf5::Object*>(&group),
                                           static_cast<const hdf5::Object*>(&intensity)})
            if (!*target && object->has_attribute(name))
                *target = object->number_attribute(name).value_or(0) != 0;
}

void read_description(ConditionInput& input, const ConditionJob& job, const hdf5::Group& root,
                      const hdf5::Group& group, const hdf5::Dataset& intensity) {
    if (!std::isnan(job.geometry.wavelength))
        input.wavelength = job.geometry.wavelength;
    else if (!std::isnan(job.geometry.energy))
        input.wavelength = wavelength_from_energy(job.geometry.energy);
    else if (const auto value = find_number(root, group, "incident_wavelength", "NXbeam",
                                            units::Quantity::wavelength))
        input.wavelength = *value;
    else if (const auto energy =
                 find_number(root, group, "incident_energy", "NXbeam", units::Quantity::energy))
        input.wavelength = wavelength_from_energy(*energy);
    else if (const auto other = find_number(root, group, "wavelength", "NXmonochromator",
                                            units::Quantity::wavelength))
        input.wavelength = *other;
    if (!std::isnan(job.geometry.distance))
        input.distance = job.geometry.distance;
    else if (const auto value =
                 find_number(root, group, "distance", "NXdetector", units::Quantity::length))
        input.distance = *value;

    const std::size_t n = intensity.shape().back();
    std::optional<hdf5::Dataset> axis = find_dataset(
        root, group, job.input.radial,
        {"two_theta", "tth", "2th", "2theta", "q", "radial", "radius", "r", "polar_angle"});
    if (!axis)
        throw Error(fmt::format("{}: no radial axis (two_theta, q, radius) beside it; name the "
                                "dataset in input.radial",
                                intensity.describe()));
    auto values = vector_of(*axis, n, "channel");
    std::string unit = job.input.radial_unit;
    for (const char* name : {"units", "unit"}) // pyFAI writes the second
        if (unit.empty())
            unit = axis->string_attribute(name).value_or("");
    if (unit.empty()) {
        const auto name = axis->path().substr(axis->path().rfind('/') + 1);
        if (name.find("th") == std::string::npos)
            throw Error(fmt::format("{}: has no unit; state it in input.radial_unit (deg, "
                                    "1/angstrom, 1/nm, mm)",
                                    axis->describe()));
        unit = "deg";
    }
    const auto kind = patterns::parse_radial_unit(unit, axis->describe());
    for (std::size_t k = 0; k < n; ++k) {
        double& value = values[k];
        if (!std::isfinite(value) || value < 0)
            throw Error(fmt::format("{}: value {} is {}", axis->describe(), k, value));
        if (kind == patterns::PatternUnit::q ||
            kind == patterns::PatternUnit::q_inverse_nanometre) {
            if (std::isnan(input.wavelength))
                throw Error(fmt::format("{}: a scattering vector becomes 2theta with the "
                                        "wavelength; state geometry.wavelength or geometry.energy",
                                        axis->describe()));
            const double q = kind == patterns::PatternUnit::q ? value : 0.1 * value;
            const double sine = q * input.wavelength / (4 * pi);
            if (sine >= 1)
                throw Error(fmt::format("{}: {} {} cannot be reached with the wavelength {} "
                                        "angstrom; check the units",
                                        axis->describe(), value, unit, input.wavelength));
            value = 2 * degrees(std::asin(sine));
        } else if (kind == patterns::PatternUnit::radius) {
            if (std::isnan(input.distance))
                throw Error(fmt::format("{}: a radius becomes 2theta with the distance; state "
                                        "geometry.distance",
                                        axis->describe()));
            value = degrees(std::atan2(value, input.distance));
        } else if (kind == patterns::PatternUnit::two_theta_radian) {
            value = degrees(value);
        } else if (kind == patterns::PatternUnit::d_spacing) {
            throw Error(fmt::format("{}: a scan's radial axis is 2theta, q or radius, not d",
                                    axis->describe()));
        }
        if (k > 0 && !(value > values[k - 1]))
            throw Error(fmt::format("{}: the radial axis must rise, it does not at channel {}",
                                    axis->describe(), k));
    }
    input.two_theta = std::move(values);
    if (const auto pixels = find_dataset(root, group, job.input.pixels, {"pixels"}))
        input.pixels = read_pixels(*pixels, intensity);
    input.intensity_units = intensity.string_attribute("units").value_or("");
    read_corrections(input, group, intensity);
    for (const auto& path : nexus::groups_of_class(root, "NXentry", 2))
        if (input.title.empty())
            input.title = nexus::read_text(root.open_group(path), "title").value_or("");
}

hdf5::Dataset open_intensity(const hdf5::Group& root, const std::string& given) {
    if (!given.empty())
        return root.open_dataset(given);
    const auto data = nexus::default_data(root);
    const auto signal = data ? nexus::signal_of(*data) : std::nullopt;
    if (!signal)
        throw Error(root.file_path().string() +
                    ": no NXdata group with @signal was found by @default; name the dataset in "
                    "input.intensity");
    return data->open_dataset(*signal);
}

} // namespace xrdct::condition::detail
