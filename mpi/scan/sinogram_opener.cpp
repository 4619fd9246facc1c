#include "mpi/scan/sinogram_opener.hpp"

#include "base/error.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/nexus/nexus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <utility>

namespace xrdct::scan::detail {

using hdf5::Dataset;
using hdf5::Group;
using units::Quantity;

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
const std::string by_caller = "set by the caller";

enum class Radial { two_theta, q, radius };

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

std::string last_part(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

bool one_of(const std::string& name, std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<Radial> radial_by_name(const std::string& path) {
    const std::string name = lower(last_part(path));
    if (one_of(name, {"two_theta", "twotheta", "tth", "2th", "2theta", "ttheta"}))
        return Radial::two_theta;
    if (one_of(name, {"q", "q_axis", "scattering_vector"}))
        return Radial::q;
    if (one_of(name, {"radius", "r"}))
        return Radial::radius;
    return std::nullopt;
}

std::optional<scan::detail::Role> role_by_unit(const std::string& unit) {
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

std::string units_attribute(const Dataset& dataset) {
    return dataset.has_attribute("units") ? dataset.string_attribute("units").value_or("") : "";
}

} // namespace

std::optional<scan::detail::Role> role_by_name(const std::string& path) {
    const std::string name = lower(last_part(path));
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

namespace {

/// Reads what a scan says about itself, one question after another.
class SinogramOpener {
  public:
    SinogramOpener(const hdf5::File& file, const SinogramSource& source)
        : source_(source), root_(file.root()), name_(file.path().string()),
          intensity_(find_intensity()), data_(parent_of(intensity_)), entry_(find_entry()) {
        metadata_.origin["intensity"] = intensity_.describe();
        find_axes();
        read_stack();
        // The radial axis may need wavelength and distance.
        read_wavelength();
        read_distance();
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
        read_beam_extent();
        read_optional_arrays();
        read_texts();
    }

    scan::detail::OpenedSinogram take() && {
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
    Dataset find_intensity() {
        Dataset dataset = [&] {
            if (!source_.intensity.empty())
                return root_.open_dataset(source_.intensity, chunk_cache_bytes);
            const auto data = nexus::default_data(root_);
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

    Group find_entry() const {
        std::string path = data_.path();
        while (path.size() > 1) {
            Group group = root_.open_group(path);
            if (group.has_attribute("NX_class") && group.string_attribute("NX_class") == "NXentry")
                return group;
            const std::size_t slash = path.rfind('/');
            path = slash == 0 ? "/" : path.substr(0, slash);
        }
        // Plain arrays beside a NeXus entry: the entry describes them.
        const auto entries = nexus::groups_of_class(root_, "NXentry", 1);
        return root_.open_group(entries.size() == 1 ? entries.front() : "/");
    }

    const std::string& given_path(scan::detail::Role role) const {
        static const std::string none;
        return role == rotation      ? source_.rotation
               : role == translation ? source_.translation
               : role == channel     ? source_.radial
                                     : none;
    }
    const std::optional<AxisValues>& given_values(scan::detail::Role role) const {
        static const std::optional<AxisValues> none;
        return role == rotation      ? source_.rotation_values
               : role == translation ? source_.translation_values
               : role == channel     ? source_.radial_values
                                     : none;
    }
    const std::string& given_units(scan::detail::Role role) const {
        return role == rotation      ? source_.rotation_units
               : role == translation ? source_.translation_units
                                     : source_.radial_units;
    }

    bool is_there(const std::string& path) const {
        return data_.has_dataset(path) || root_.has_dataset(path);
    }
    /// A path the caller gave: below the intensity's group, or below the root.
    Dataset open_given(const std::string& path) const {
        return path.front() != '/' && data_.has_dataset(path) ? data_.open_dataset(path)
                                                              : root_.open_dataset(path);
    }

    void find_axes() {
        const hdf5::Shape& shape = intensity_.shape();
        const std::size_t rank = shape.size();
        std::vector<scan::detail::Role> roles(rank);
        axis_names_.assign(rank, "");
        std::vector<std::string> axes = axes_attribute(data_);
        if (axes.empty())
            axes = axes_attribute(intensity_);
        if (axes.size() == rank)
            axis_names_ = axes;

        const std::string expected =
            "expected the axes rotation, translation and radial" +
            std::string(source_.allow_single_channel ? " (or the first two)" : "");
        if (rank < 2 || rank > 4)
            throw Error(
                fmt::format("{}: {}, found {} axes", intensity_.describe(), expected, rank));

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
                                        data_.describe(), axes.size(), rank));
            for (std::size_t d = 0; d < rank; ++d)
                roles[d] = role_of_named_axis(axes[d]);
        } else {
            roles = roles_by_length();
        }

        axis_.fill(-1);
        for (std::size_t d = 0; d < rank; ++d) {
            if (axis_[roles[d]] >= 0)
                throw Error(fmt::format("{}: {}, found two {} axes", intensity_.describe(),
                                        expected, scan::detail::role_names[roles[d]]));
            axis_[roles[d]] = static_cast<int>(d);
        }
        for (const scan::detail::Role role : {rotation, translation, channel})
            if (axis_[role] < 0 && !(role == channel && source_.allow_single_channel))
                throw Error(fmt::format("{}: {}, found no {} axis in shape [{}]",
                                        intensity_.describe(), expected,
                                        scan::detail::role_names[role], fmt::join(shape, ", ")));
        for (const scan::detail::Role role : {rotation, translation, channel, stack})
            if (axis_[role] >= 0 && shape[static_cast<std::size_t>(axis_[role])] == 0)
                throw Error(fmt::format("{}: has no data, the {} axis has length 0",
                                        intensity_.describe(), scan::detail::role_names[role]));
    }

    scan::detail::Role role_of_named_axis(const std::string& name) const {
        for (const scan::detail::Role role : {rotation, translation, channel})
            if (!given_path(role).empty() && last_part(given_path(role)) == last_part(name))
                return role;
        // A unit says more than a name ("x" in 1/nm), but an angle or a length may be either kind.
        std::optional<scan::detail::Role> by_unit;
        if (data_.has_dataset(name)) {
            const std::string unit = units_attribute(data_.open_dataset(name));
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
        throw Error(data_.describe() + "/@axes: what the axis \"" + name +
                    "\" is cannot be told from its name or units; set the axis order");
    }

    /// Without @axes: the lengths of the axes named by the caller tell, when they differ.
    std::vector<scan::detail::Role> roles_by_length() const {
        const hdf5::Shape& shape = intensity_.shape();
        const std::string help =
            "; the file has no @axes: set the axis order (such as translation, rotation, radial)";
        if (shape.size() > 3)
            throw Error(intensity_.describe() + ": the order of its axes is not known" + help);
        std::vector<std::optional<scan::detail::Role>> roles(shape.size());
        std::vector<scan::detail::Role> open;
        for (const scan::detail::Role role : {rotation, translation, channel}) {
            if (role == channel && shape.size() == 2)
                continue;
            if (given_path(role).empty()) {
                open.push_back(role);
                continue;
            }
            const std::size_t length = open_given(given_path(role)).size();
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
        std::vector<scan::detail::Role> result;
        for (const auto& role : roles)
            result.push_back(role ? *role : open.front());
        return result;
    }

    std::optional<Dataset> find_axis_dataset(scan::detail::Role role) const {
        const std::string& given = given_path(role);
        if (!given.empty())
            return open_given(given);
        const std::string& name = axis_names_[static_cast<std::size_t>(axis_[role])];
        if (!name.empty() && name != ".")
            return data_.open_dataset(name);
        for (const hdf5::Entry& entry : data_.entries())
            if (entry.kind == hdf5::Kind::dataset && role_by_name(entry.name) == role &&
                entry.name.size() > 1) {
                Dataset dataset = data_.open_dataset(entry.name);
                if (dataset.rank() == 1 && dataset.is_numeric())
                    return dataset;
            }
        return std::nullopt;
    }

    /// The numbers of an axis, checked to be finite and monotonic, in their own units.
    std::vector<double> axis_numbers(scan::detail::Role role, std::string& units,
                                     std::string& origin) {
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
                                data_.describe(), scan::detail::role_names[role]));
            origin = dataset->describe();
            if (!dataset->is_numeric())
                throw Error(origin + ": expected the numbers of an axis, found " +
                            name_of(dataset->element_type()));
            if (dataset->rank() != 1)
                throw Error(fmt::format("{}: expected one axis, found shape [{}]", origin,
                                        fmt::join(dataset->shape(), ", ")));
            if (dataset->size() != n)
                throw Error(fmt::format("{}: has {} values, but the {} axis of {} has length {}",
                                        origin, dataset->size(), scan::detail::role_names[role],
                                        intensity_.path(), n));
            values = dataset->read_all<double>();
            units = given_units(role).empty() ? units_attribute(*dataset) : given_units(role);
        }
        for (std::size_t i = 0; i < n; ++i)
            if (!std::isfinite(values[i]))
                throw Error(fmt::format("{}: value {} of the {} axis is not a finite number",
                                        origin, i, scan::detail::role_names[role]));
        for (std::size_t i = 1; i < n; ++i) {
            const bool rises = values[i] > values[i - 1];
            if (values[i] == values[i - 1] || rises != (values[1] > values[0]))
                throw Error(fmt::format(
                    "{}: the {} axis is not monotonic: {} follows {} at index {}", origin,
                    scan::detail::role_names[role], values[i], values[i - 1], i));
        }
        return values;
    }

    void read_axis(scan::detail::Role role, std::vector<double>& out) {
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
        metadata_.origin[scan::detail::role_names[role]] =
            fmt::format("{} [{}{}]", origin, units, assumed ? ", assumed" : "");
    }

    void read_radial() {
        std::string units;
        std::string origin;
        std::vector<double> values = axis_numbers(channel, units, origin);
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
        if (values.size() > 1 && values[1] < values[0])
            throw Error(origin + ": the radial axis must rise, it falls");
        if (values.front() < 0)
            throw Error(origin + ": the radial axis begins with a negative value");
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
        if (axis_names_[d].empty() || !data_.has_dataset(axis_names_[d]))
            return;
        const Dataset axis = data_.open_dataset(axis_names_[d]);
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

    double positive(double value, const std::string& origin, const char* what) const {
        if (!(value > 0) || !std::isfinite(value))
            throw Error(fmt::format("{}: the {} must be positive, found {}", origin, what, value));
        return value;
    }

    /// The first group of the class below the entry that has the dataset.
    std::optional<Dataset> find_in_class(const char* nx_class, const char* dataset) const {
        for (const std::string& path : nexus::groups_of_class(entry_, nx_class, 4)) {
            const Group group = root_.open_group(path);
            if (group.has_dataset(dataset))
                return group.open_dataset(dataset);
        }
        return std::nullopt;
    }

    double read_quantity(const Dataset& dataset, Quantity quantity, const char* what,
                         std::string& origin) const {
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

    void read_wavelength() {
        metadata_.wavelength = missing;
        if (source_.wavelength || source_.energy) {
            double value = 0;
            if (source_.wavelength)
                value = positive(*source_.wavelength, by_caller, "wavelength");
            if (source_.energy) {
                const double from_energy =
                    wavelength_from_energy(positive(*source_.energy, by_caller, "energy"));
                if (source_.wavelength && std::abs(from_energy / value - 1) > 1e-3)
                    throw Error(
                        fmt::format("the wavelength {} angstrom and the energy {} keV set by "
                                    "the caller contradict each other",
                                    value, *source_.energy));
                if (!source_.wavelength)
                    value = from_energy;
            }
            metadata_.wavelength = value;
            metadata_.origin["wavelength"] = by_caller;
            return;
        }
        for (const auto& [nx_class, wave, energy] :
             {std::tuple{"NXbeam", "incident_wavelength", "incident_energy"},
              std::tuple{"NXmonochromator", "wavelength", "energy"}}) {
            std::string origin;
            std::string energy_origin;
            const auto wave_dataset = find_in_class(nx_class, wave);
            const auto energy_dataset = find_in_class(nx_class, energy);
            double from_energy = missing;
            if (energy_dataset)
                from_energy = wavelength_from_energy(
                    read_quantity(*energy_dataset, Quantity::energy, "energy", energy_origin));
            if (wave_dataset) {
                metadata_.wavelength =
                    read_quantity(*wave_dataset, Quantity::wavelength, "wavelength", origin);
                if (energy_dataset && std::abs(from_energy / metadata_.wavelength - 1) > 1e-3)
                    throw Error(
                        fmt::format("{}: {} angstrom contradicts {}, which means {} angstrom",
                                    origin, metadata_.wavelength, energy_origin, from_energy));
            } else if (energy_dataset) {
                metadata_.wavelength = from_energy;
                origin = energy_origin;
            } else {
                continue;
            }
            metadata_.origin["wavelength"] = origin;
            return;
        }
    }

    void read_distance() {
        metadata_.distance = missing;
        if (source_.distance) {
            metadata_.distance = positive(*source_.distance, by_caller, "distance");
            metadata_.origin["distance"] = by_caller;
        } else if (const auto dataset = find_in_class("NXdetector", "distance")) {
            std::string origin;
            metadata_.distance = read_quantity(*dataset, Quantity::length, "distance", origin);
            metadata_.origin["distance"] = origin;
        }
    }

    void read_beam_extent() {
        if (source_.beam_extent) {
            for (const double extent : *source_.beam_extent)
                if (!(extent >= 0) || !std::isfinite(extent))
                    throw Error(
                        fmt::format("the beam extent set by the caller must not be negative, "
                                    "found {}",
                                    extent));
            metadata_.beam_extent = source_.beam_extent;
            metadata_.origin["beam_extent"] = by_caller;
            return;
        }
        const auto dataset = find_in_class("NXbeam", "extent");
        if (!dataset)
            return;
        const std::string where = dataset->describe();
        if (!dataset->is_numeric() || dataset->size() < 1 || dataset->size() > 2)
            throw Error(where + ": expected two lengths, horizontal and vertical");
        const std::string units = units_attribute(*dataset);
        const double factor =
            units.empty() ? 1 : units::unit_factor(Quantity::length, units, where);
        const auto values = dataset->read_all<double>();
        for (const double value : values)
            if (!(value >= 0) || !std::isfinite(value))
                throw Error(fmt::format("{}: the beam extent must not be negative, found {}", where,
                                        value));
        metadata_.beam_extent = {values.front() * factor, values.back() * factor};
        metadata_.origin["beam_extent"] =
            fmt::format("{} [{}]", where, units.empty() ? "mm, assumed" : units);
    }

    std::optional<Dataset> optional_array(const char* key, const std::string& given,
                                          const std::vector<std::string>& usual) {
        std::optional<Dataset> found;
        if (!given.empty()) {
            found = open_given(given);
        } else {
            for (const std::string& name : usual)
                if (!found && !name.empty() && data_.has_dataset(name))
                    found = data_.open_dataset(name, chunk_cache_bytes);
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
            if (const auto value = data_.number_attribute(name))
                *target = *value != 0;
        metadata_.title = text(entry_, "title");
        metadata_.start_time = text(entry_, "start_time");
        for (const std::string& path : nexus::groups_of_class(entry_, "NXsample", 2))
            if (metadata_.sample_name.empty())
                metadata_.sample_name = text(root_.open_group(path), "name");
    }

    const SinogramSource& source_;
    Group root_;
    std::string name_;
    Dataset intensity_;
    Group data_;
    Group entry_;
    SinogramMetadata metadata_;
    std::array<int, 4> axis_{-1, -1, -1, -1};
    std::vector<std::string> axis_names_; ///< from @axes, one per stored axis, or empty
    std::size_t stack_index_ = 0;
    std::optional<Dataset> errors_, transmission_, monitor_, pixels_;
};

} // namespace

scan::detail::OpenedSinogram open_sinogram(const hdf5::File& file, const SinogramSource& source) {
    return SinogramOpener(file, source).take();
}

} // namespace xrdct::scan::detail
