// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/scan/sinogram_opener.hpp"

#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/scan/sinogram_axes.hpp"
#include "mpi/scan/sinogram_beam.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::scan::detail {

using hdf5::Dataset;
using hdf5::Group;
using units::Quantity;

namespace {

/// Reads what a scan says about itself, one question after another.
class SinogramOpener {
  public:
    SinogramOpener(const hdf5::File& file, const SinogramSource& source)
        : source_(source), name_(file.path().string()), intensity_(find_intensity(file.root())),
          groups_(groups_of(file.root(), intensity_)) {
        metadata_.origin["intensity"] = intensity_.describe();
        StoredAxes axes = find_axes(intensity_, groups_, source_);
        axis_ = axes.position;
        axis_names_ = std::move(axes.names);
        read_stack();
        // The radial axis may need wavelength and distance.
        read_wavelength(groups_, source_, metadata_);
        read_distance(groups_, source_, metadata_);
        read_axis(rotation, metadata_.rotation);
        read_axis(translation, metadata_.translation);
        if (axis_[channel] >= 0)
            read_radial();
        else
            metadata_.origin["two_theta"] = "none, a single-channel scan";
        if (source_.require_wavelength && std::isnan(metadata_.wavelength))
            throw Error(name_ +
                        ": no wavelength: neither incident_wavelength nor incident_energy in an "
                        "NXbeam of the file, and none set by the caller");
        if (source_.require_distance && std::isnan(metadata_.distance))
            throw Error(name_ +
                        ": no distance in an NXdetector of the file, and none set by the caller");
        read_beam_extent(groups_, source_, metadata_);
        read_optional_arrays();
        read_texts();
        note_gaps();
    }

    OpenedSinogram take() && {
        return {std::move(intensity_),
                std::move(errors_),
                std::move(transmission_),
                std::move(monitor_),
                std::move(pixels_),
                std::move(metadata_),
                axis_,
                stack_index_,
                !source_.intensity.empty()};
    }

  private:
    Dataset find_intensity(const Group& root) const {
        Dataset dataset = [&] {
            if (!source_.intensity.empty())
                return root.open_dataset(source_.intensity, chunk_cache_bytes);
            const auto data = nexus::default_data(root);
            if (!data)
                throw Error(name_ +
                            ": no NXdata group with @signal was found by @default; name the "
                            "dataset of the intensities");
            return data->open_dataset(nexus::signal_of(*data).value(), chunk_cache_bytes);
        }();
        if (!dataset.is_numeric())
            throw Error(dataset.describe() + ": expected intensities, found " +
                        name_of(dataset.element_type()));
        return dataset;
    }

    static ScanGroups groups_of(Group root, const Dataset& intensity) {
        Group data = parent_of(intensity);
        Group entry = find_entry(root, data);
        return {std::move(root), std::move(data), std::move(entry)};
    }

    static Group find_entry(const Group& root, const Group& data) {
        std::string path = data.path();
        while (path.size() > 1) {
            Group group = root.open_group(path);
            if (group.has_attribute("NX_class") && group.string_attribute("NX_class") == "NXentry")
                return group;
            const std::size_t slash = path.rfind('/');
            path = slash == 0 ? "/" : path.substr(0, slash);
        }
        // Plain arrays beside a NeXus entry: the entry describes them.
        const auto entries = nexus::groups_of_class(root, "NXentry", 1);
        return root.open_group(entries.size() == 1 ? entries.front() : "/");
    }

    const std::optional<AxisValues>& given_values(Role role) const {
        static const std::optional<AxisValues> none;
        return role == rotation      ? source_.rotation_values
               : role == translation ? source_.translation_values
               : role == channel     ? source_.radial_values
                                     : none;
    }
    const std::string& given_units(Role role) const {
        return role == rotation      ? source_.rotation_units
               : role == translation ? source_.translation_units
                                     : source_.radial_units;
    }

    std::optional<Dataset> find_axis_dataset(Role role) const {
        const std::string& given = given_path(source_, role);
        if (!given.empty())
            return groups_.open_given(given);
        const std::string& name = axis_names_[static_cast<std::size_t>(axis_[role])];
        if (!name.empty() && name != ".")
            return groups_.data.open_dataset(name);
        for (const hdf5::Entry& entry : groups_.data.entries())
            if (entry.kind == hdf5::Kind::dataset && role_by_name(entry.name) == role &&
                entry.name.size() > 1) {
                Dataset dataset = groups_.data.open_dataset(entry.name);
                if (dataset.rank() == 1 && dataset.is_numeric())
                    return dataset;
            }
        return std::nullopt;
    }

    /// The numbers of an axis, checked to be finite and monotonic, in their own units.
    std::vector<double> axis_numbers(Role role, std::string& units, std::string& origin) {
        const std::size_t n = intensity_.shape()[static_cast<std::size_t>(axis_[role])];
        std::vector<double> values;
        if (const auto& given = given_values(role)) {
            const double steps = n > 1 ? static_cast<double>(given->include_last ? n - 1 : n) : 1;
            values.reserve(n);
            for (std::size_t i = 0; i < n; ++i)
                values.push_back(given->first +
                                 (given->last - given->first) * static_cast<double>(i) / steps);
            origin = by_caller;
            units = given_units(role);
        } else {
            const auto dataset = find_axis_dataset(role);
            if (!dataset)
                throw Error(
                    fmt::format("{}: the dataset of the {} axis is not known; name it or set "
                                "the values",
                                groups_.data.describe(), role_names[role]));
            origin = dataset->describe();
            if (!dataset->is_numeric())
                throw Error(origin + ": expected the numbers of an axis, found " +
                            name_of(dataset->element_type()));
            if (dataset->rank() != 1)
                throw Error(fmt::format("{}: expected one axis, found shape [{}]", origin,
                                        fmt::join(dataset->shape(), ", ")));
            if (dataset->size() != n)
                throw Error(fmt::format("{}: has {} values, but the {} axis of {} has length {}",
                                        origin, dataset->size(), role_names[role],
                                        intensity_.path(), n));
            values = dataset->read_all<double>();
            units = given_units(role).empty() ? units_attribute(*dataset) : given_units(role);
        }
        for (std::size_t i = 0; i < n; ++i)
            if (!std::isfinite(values[i]))
                throw Error(fmt::format("{}: value {} of the {} axis is not a finite number",
                                        origin, i, role_names[role]));
        for (std::size_t i = 1; i < n; ++i) {
            const bool rises = values[i] > values[i - 1];
            if (values[i] == values[i - 1] || rises != (values[1] > values[0]))
                throw Error(
                    fmt::format("{}: the {} axis is not monotonic: {} follows {} at index {}",
                                origin, role_names[role], values[i], values[i - 1], i));
        }
        return values;
    }

    void read_axis(Role role, std::vector<double>& out) {
        std::string units;
        std::string origin;
        out = axis_numbers(role, units, origin);
        const Quantity quantity = role == rotation ? Quantity::angle : Quantity::length;
        const bool assumed = units.empty();
        if (assumed)
            units = units::canonical_unit(quantity);
        const double factor = units::unit_factor(quantity, units, origin);
        for (double& value : out)
            value *= factor;
        metadata_.origin[role_names[role]] =
            fmt::format("{} [{}{}]", origin, units, assumed ? ", assumed" : "");
    }

    /// What the radial axis measures; units that are not stated become deg.
    Radial radial_kind(const std::string& origin, std::string& units) {
        const std::string path = !source_.radial.empty()
                                     ? source_.radial
                                     : axis_names_[static_cast<std::size_t>(axis_[channel])];
        Radial kind = Radial::two_theta;
        if (units.empty()) {
            const auto named = radial_by_name(origin == by_caller ? path : origin);
            if (named != Radial::two_theta && origin != by_caller)
                throw Error(origin +
                            ": the radial axis has no @units; set them (deg, 1/angstrom, 1/nm "
                            "or mm)");
            units = "deg";
            metadata_.origin["two_theta"] = origin + " [deg, assumed]";
        } else {
            if (units::is_unit_of(Quantity::angle, units))
                kind = Radial::two_theta;
            else if (units::is_unit_of(Quantity::inverse_length, units))
                kind = Radial::q;
            else if (units::is_unit_of(Quantity::length, units))
                kind = Radial::radius;
            else
                throw Error(fmt::format(
                    "{}: the unit \"{}\" of the radial axis is not one of the "
                    "accepted ones: angles (deg, rad), 1/angstrom, 1/nm, lengths (mm, m)",
                    origin, units));
            metadata_.origin["two_theta"] = fmt::format("{} [{}]", origin, units);
        }
        return kind;
    }

    void to_two_theta(std::vector<double>& values, Radial kind, const std::string& units,
                      const std::string& origin) {
        if (kind == Radial::two_theta) {
            const double factor = units::unit_factor(Quantity::angle, units, origin);
            for (double& value : values)
                value *= factor;
        } else if (kind == Radial::q) {
            if (std::isnan(metadata_.wavelength))
                throw Error(origin +
                            ": the scattering vector is turned into 2theta with the wavelength, "
                            "which is neither in the file nor set by the caller");
            const double factor = units::unit_factor(Quantity::inverse_length, units, origin);
            for (double& value : values) {
                const double sine = value * factor * metadata_.wavelength / (4 * pi);
                if (sine >= 1)
                    throw Error(fmt::format("{}: {} {} cannot be reached with the wavelength {} "
                                            "angstrom; check the units",
                                            origin, value, units, metadata_.wavelength));
                value = 2 * degrees(std::asin(sine));
            }
            metadata_.origin["two_theta"] += ", converted with the wavelength";
        } else {
            if (std::isnan(metadata_.distance))
                throw Error(origin +
                            ": the radius is turned into 2theta with the distance, which is "
                            "neither in the file nor set by the caller");
            const double factor = units::unit_factor(Quantity::length, units, origin);
            for (double& value : values)
                value = degrees(std::atan2(value * factor, metadata_.distance));
            metadata_.origin["two_theta"] += ", converted with the distance";
        }
    }

    void read_radial() {
        std::string units;
        std::string origin;
        std::vector<double> values = axis_numbers(channel, units, origin);
        const Radial kind = radial_kind(origin, units);
        if (values.size() > 1 && values[1] < values[0])
            throw Error(origin + ": the radial axis must rise, it falls");
        if (values.front() < 0)
            throw Error(origin + ": the radial axis begins with a negative value");
        to_two_theta(values, kind, units, origin);
        if (values.back() >= 180)
            throw Error(
                fmt::format("{}: 2theta reaches {} deg; check the units", origin, values.back()));
        metadata_.two_theta = std::move(values);
    }

    void read_stack() {
        if (axis_[stack] < 0)
            return;
        const auto d = static_cast<std::size_t>(axis_[stack]);
        const std::size_t n = intensity_.shape()[d];
        const std::string where = intensity_.describe() + ": the stack axis" +
                                  (axis_names_[d].empty() ? "" : " \"" + axis_names_[d] + "\"");
        if (!source_.stack_index && n > 1)
            throw Error(fmt::format("{} holds {} slices; choose one by its index", where, n));
        stack_index_ = source_.stack_index.value_or(0);
        if (stack_index_ >= n)
            throw Error(
                fmt::format("{} holds {} slices, there is no index {}", where, n, stack_index_));
        if (axis_names_[d].empty() || !groups_.data.has_dataset(axis_names_[d]))
            return;
        const Dataset axis = groups_.data.open_dataset(axis_names_[d]);
        if (!axis.is_numeric() || axis.rank() != 1 || axis.size() != n)
            throw Error(
                fmt::format("{}: expected the {} values of the stack axis", axis.describe(), n));
        const double value = axis.read_all<double>()[stack_index_];
        if (!std::isfinite(value))
            throw Error(
                fmt::format("{}: value {} is not a finite number", axis.describe(), stack_index_));
        const std::string units = units_attribute(axis);
        const Quantity quantity = units::is_unit_of(Quantity::time, units) ||
                                          (units.empty() && last_part(axis.path()) == "time")
                                      ? Quantity::time
                                      : Quantity::length;
        metadata_.stack_value =
            units.empty() ? value : value * units::unit_factor(quantity, units, axis.describe());
    }

    std::optional<Dataset> optional_array(const char* key, const std::string& given,
                                          const std::vector<std::string>& usual) {
        std::optional<Dataset> found;
        if (!given.empty()) {
            found = groups_.open_given(given);
        } else {
            for (const std::string& name : usual)
                if (!found && !name.empty() && groups_.data.has_dataset(name))
                    found = groups_.data.open_dataset(name, chunk_cache_bytes);
        }
        if (!found)
            return found;
        if (!found->is_numeric())
            throw Error(found->describe() + ": expected numbers, found " +
                        name_of(found->element_type()));
        metadata_.origin[key] = found->describe() + (given.empty() ? "" : ", named by the caller");
        return found;
    }

    void read_optional_arrays() {
        const std::string signal = last_part(intensity_.path());
        std::string uncertainties;
        if (intensity_.has_attribute("uncertainties"))
            uncertainties = intensity_.string_attribute("uncertainties").value_or("");
        errors_ = optional_array("intensity_errors", source_.intensity_errors,
                                 {uncertainties, signal + "_errors", "errors"});
        if (errors_ && errors_->shape() != intensity_.shape())
            throw Error(fmt::format("{}: shape [{}] differs from the intensities' [{}]",
                                    errors_->describe(), fmt::join(errors_->shape(), ", "),
                                    fmt::join(intensity_.shape(), ", ")));
        metadata_.has_errors = errors_.has_value();

        pixels_ = optional_array("pixels", source_.pixels, {"pixels"});
        if (pixels_ && pixels_->shape() != hdf5::Shape{metadata_.n_channel()})
            throw Error(fmt::format(
                "{}: expected one value for each of the {} channels, found shape [{}]",
                pixels_->describe(), metadata_.n_channel(), fmt::join(pixels_->shape(), ", ")));
        metadata_.has_pixels = pixels_.has_value();

        transmission_ = optional_array("transmission", source_.transmission, {"transmission"});
        monitor_ = optional_array("monitor", source_.monitor, {"monitor"});
        for (const auto* plane : {&transmission_, &monitor_})
            if (*plane)
                check_plane(**plane);
        metadata_.has_transmission = transmission_.has_value();
        metadata_.has_monitor = monitor_.has_value();
    }

    void check_plane(const Dataset& dataset) const {
        hdf5::Shape sorted = dataset.shape();
        hdf5::Shape wanted = {metadata_.n_rotation(), metadata_.n_translation()};
        if (axis_[stack] >= 0 && sorted.size() == 3)
            wanted.push_back(intensity_.shape()[static_cast<std::size_t>(axis_[stack])]);
        std::sort(sorted.begin(), sorted.end());
        std::sort(wanted.begin(), wanted.end());
        if (sorted != wanted)
            throw Error(
                fmt::format("{}: expected {} rotations and {} translations, found shape [{}]",
                            dataset.describe(), metadata_.n_rotation(), metadata_.n_translation(),
                            fmt::join(dataset.shape(), ", ")));
    }

    std::string text(const Group& group, const char* name) const {
        if (!group.has_dataset(name))
            return "";
        const Dataset dataset = group.open_dataset(name);
        return dataset.element_type() == hdf5::ElementType::string && dataset.size() == 1
                   ? dataset.read_string()
                   : "";
    }

    void read_texts() {
        metadata_.intensity_units = intensity_.string_attribute("units").value_or("");
        for (const auto& [name, target] :
             {std::pair{"solid_angle_corrected", &metadata_.solid_angle_corrected},
              {"polarization_corrected", &metadata_.polarization_corrected}})
            if (const auto value = groups_.data.number_attribute(name))
                *target = *value != 0;
        metadata_.title = text(groups_.entry, "title");
        metadata_.start_time = text(groups_.entry, "start_time");
        for (const std::string& path : nexus::groups_of_class(groups_.entry, "NXsample", 2))
            if (metadata_.sample_name.empty())
                metadata_.sample_name = text(groups_.root.open_group(path), "name");
    }

    /// Parts of the slice without values; Error when it has none at all.
    void note_gaps() {
        hdf5::Selection slice{hdf5::Shape(intensity_.rank(), 0), intensity_.shape()};
        if (axis_[stack] >= 0) {
            slice.start[static_cast<std::size_t>(axis_[stack])] = stack_index_;
            slice.count[static_cast<std::size_t>(axis_[stack])] = 1;
        }
        std::size_t missing = 0;
        const auto gaps = intensity_.gaps(slice);
        for (const auto& gap : gaps)
            missing += gap.box.size();
        if (missing == 0)
            return;
        const auto first = intensity_.describe() + ": " + gaps.front().describe();
        if (missing >= slice.size())
            throw Error(first);
        metadata_.notes.push_back(
            fmt::format("{}{}; {:.3g} % of the intensities are missing", first,
                        gaps.size() > 1 ? fmt::format(", and so on, {} parts", gaps.size()) : "",
                        100.0 * static_cast<double>(missing) / static_cast<double>(slice.size())));
        metadata_.origin["intensity"] +=
            ", of which " + metadata_.notes.back().substr(intensity_.describe().size() + 2);
    }

    const SinogramSource& source_;
    std::string name_;
    Dataset intensity_;
    ScanGroups groups_;
    SinogramMetadata metadata_;
    std::array<int, 4> axis_{-1, -1, -1, -1};
    std::vector<std::string> axis_names_; ///< from @axes, one per stored axis, or empty
    std::size_t stack_index_ = 0;
    std::optional<Dataset> errors_, transmission_, monitor_, pixels_;
};

} // namespace

OpenedSinogram open_sinogram(const hdf5::File& file, const SinogramSource& source) {
    return SinogramOpener(file, source).take();
}

} // namespace xrdct::scan::detail
