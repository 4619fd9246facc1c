#include "mpi/patterns/pattern_file.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/numbers.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <fstream>
#include <numeric>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::patterns {

namespace {

constexpr std::size_t min_channels = 10;

using units::Quantity;

std::string lower_case(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
        return c < 0x80 ? static_cast<char>(std::tolower(c)) : static_cast<char>(c);
    });
    return text;
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

struct UnitName {
    const char* name;
    PatternUnit unit;
};

constexpr UnitName unit_names[] = {
    {"auto", PatternUnit::automatic},
    {"deg", PatternUnit::two_theta},
    {"degree", PatternUnit::two_theta},
    {"degrees", PatternUnit::two_theta},
    {"2theta", PatternUnit::two_theta},
    {"two_theta", PatternUnit::two_theta},
    {"2th", PatternUnit::two_theta},
    {"2th_deg", PatternUnit::two_theta},
    {"tth", PatternUnit::two_theta},
    {"rad", PatternUnit::two_theta_radian},
    {"radian", PatternUnit::two_theta_radian},
    {"radians", PatternUnit::two_theta_radian},
    {"2th_rad", PatternUnit::two_theta_radian},
    {"q", PatternUnit::q},
    {"1/angstrom", PatternUnit::q},
    {"angstrom^-1", PatternUnit::q},
    {"1/a", PatternUnit::q},
    {"a^-1", PatternUnit::q},
    {"1/å", PatternUnit::q},
    {"å^-1", PatternUnit::q},
    {"å⁻¹", PatternUnit::q},
    {"q_a^-1", PatternUnit::q},
    {"1/nm", PatternUnit::q_inverse_nanometre},
    {"nm^-1", PatternUnit::q_inverse_nanometre},
    {"nm⁻¹", PatternUnit::q_inverse_nanometre},
    {"q_nm^-1", PatternUnit::q_inverse_nanometre},
    {"d", PatternUnit::d_spacing},
    {"angstrom", PatternUnit::d_spacing},
    {"å", PatternUnit::d_spacing},
    {"d_a", PatternUnit::d_spacing},
    {"mm", PatternUnit::radius},
    {"r", PatternUnit::radius},
    {"radius", PatternUnit::radius},
    {"r_mm", PatternUnit::radius},
};

std::optional<PatternUnit> known_unit(const std::string& text) {
    auto word = lower_case(text);
    word.erase(std::remove_if(word.begin(), word.end(),
                              [](unsigned char c) { return std::isspace(c) != 0; }),
               word.end());
    // Upper-case Å is not touched by the ASCII conversion.
    for (auto at = word.find("Å"); at != std::string::npos; at = word.find("Å"))
        word.replace(at, std::string("Å").size(), "å");
    for (const auto& [name, unit] : unit_names)
        if (word == name)
            return unit;
    return std::nullopt;
}

/// The unit a header line states, if it states one: column titles of pyFAI and Dioptas, the second
/// line of FIT2D's files.
std::optional<PatternUnit> unit_in_header(const std::string& line) {
    const auto text = lower_case(line);
    for (const auto* two_theta :
         {"2-theta", "2theta", "2 theta", "two_theta", "two-theta", "2th", "tth", "2θ"})
        if (contains(text, two_theta))
            return contains(text, "rad") && !contains(text, "radial")
                       ? PatternUnit::two_theta_radian
                       : PatternUnit::two_theta;
    const bool vector = contains(text, "q_") || contains(text, "q (") || contains(text, "q(") ||
                        contains(text, "q [") || contains(text, "q space") ||
                        contains(text, "scattering vector") || contains(text, "momentum transfer");
    if (vector) {
        for (const auto* nanometre : {"nm^-1", "nm-1", "1/nm", "nm⁻¹", "inverse nano"})
            if (contains(text, nanometre))
                return PatternUnit::q_inverse_nanometre;
        for (const auto* angstrom :
             {"a^-1", "å^-1", "å⁻¹", "Å^-1", "Å⁻¹", "1/a", "1/å", "angstrom"})
            if (contains(text, angstrom))
                return PatternUnit::q;
    }
    if (contains(text, "d-spacing") || contains(text, "d_a ") || contains(text, "d spacing"))
        return PatternUnit::d_spacing;
    if (contains(text, "r_mm") || contains(text, "radial distance (mm") ||
        contains(text, "radius (mm"))
        return PatternUnit::radius;
    return std::nullopt;
}

/// "# Wavelength: 1.6e-11 m": the number after a word of a header line, in the canonical unit of
/// the quantity. Nothing when the line has no such word, number or unit.
std::optional<double> header_value(const std::string& line, std::string_view word,
                                   Quantity quantity) {
    const auto text = lower_case(line);
    const auto at = text.find(word);
    if (at == std::string::npos)
        return std::nullopt;
    const auto digit = text.find_first_of("0123456789.", at + word.size());
    if (digit == std::string::npos)
        return std::nullopt;
    double value = 0;
    const auto [end, code] = std::from_chars(line.data() + digit, line.data() + line.size(), value);
    if (code != std::errc{} || !(value > 0))
        return std::nullopt;
    std::istringstream rest(std::string(end, line.data() + line.size()));
    std::string unit;
    rest >> unit;
    while (!unit.empty() && (unit.back() == ',' || unit.back() == ';' || unit.back() == ')'))
        unit.pop_back();
    if (unit.empty() || !units::is_unit_of(quantity, unit))
        return std::nullopt;
    return value * units::unit_factor(quantity, unit, "header");
}

/// Rows as they stand in the file.
struct Rows {
    std::vector<double> position, intensity, sigma; ///< sigma: empty, or one per row
    std::vector<std::string> where;                 ///< "line 17", "element 16"; one per row
    PatternUnit unit = PatternUnit::automatic;
    double wavelength = 0, distance = 0;
    std::string format;
    std::vector<std::string> notes;
};

bool number_from(std::string_view word, double& value) {
    std::string text(word);
    if (!text.empty() && text.front() == '+')
        text.erase(0, 1);
    // Fortran writes 1.5D+03.
    if (text.size() > 1 && (std::isdigit(static_cast<unsigned char>(text.front())) != 0 ||
                            text.front() == '-' || text.front() == '.'))
        std::replace_if(
            text.begin() + 1, text.end(), [](char c) { return c == 'D' || c == 'd'; }, 'e');
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return code == std::errc{} && end == text.data() + text.size();
}

/// The numbers of a line; `bad` gets the first word that is none. Separators are blanks, commas and
/// semicolons; with semicolons a comma is a decimal comma.
std::vector<double> numbers_of(std::string line, std::string& bad) {
    bad.clear();
    line.erase(std::find(line.begin(), line.end(), '#'), line.end());
    if (contains(line, ";"))
        for (char& c : line)
            c = c == ';' ? ' ' : (c == ',' ? '.' : c);
    std::vector<double> numbers;
    std::size_t at = 0;
    const std::string separators = " \t\r\f\v,\x1a";
    while ((at = line.find_first_not_of(separators, at)) != std::string::npos) {
        const auto end = std::min(line.find_first_of(separators, at), line.size());
        double value = 0;
        const auto word = std::string_view(line).substr(at, end - at);
        if (!number_from(word, value)) {
            bad = word;
            return numbers;
        }
        numbers.push_back(value);
        at = end;
    }
    return numbers;
}

struct TextLine {
    std::size_t number = 0;
    std::vector<double> values;
};

/// Start, step, end in the first line: the intensities that follow run on over any number of
/// columns.
bool is_step_list(const std::vector<TextLine>& lines) {
    const auto& head = lines.front().values;
    if (head.size() != 3 || lines.size() < 2)
        return false;
    if (!(head[1] > 0) || !(head[2] > head[0]) || !(head[1] < (head[2] - head[0]) / 2))
        return false;
    const double expected = std::round((head[2] - head[0]) / head[1]) + 1;
    std::size_t count = 0;
    for (std::size_t i = 1; i < lines.size(); ++i)
        count += lines[i].values.size();
    if (static_cast<double>(count) == expected)
        return true;
    // Three columns all the way down are position, intensity, error.
    return std::any_of(lines.begin() + 1, lines.end(),
                       [](const TextLine& line) { return line.values.size() != 3; });
}

Rows rows_of_step_list(const std::vector<TextLine>& lines, const std::string& file) {
    const auto& head = lines.front().values;
    const auto expected = static_cast<std::size_t>(std::round((head[2] - head[0]) / head[1])) + 1;
    Rows rows;
    rows.format = "start-step-end";
    for (std::size_t i = 1; i < lines.size(); ++i)
        for (const double value : lines[i].values) {
            rows.position.push_back(head[0] + head[1] * static_cast<double>(rows.position.size()));
            rows.intensity.push_back(value);
            rows.where.push_back(fmt::format("line {}", lines[i].number));
        }
    if (rows.position.size() != expected)
        throw Error(fmt::format("{}: line {}: start {}, step {}, end {} promise {} intensities, "
                                "but {} follow",
                                file, lines.front().number, head[0], head[1], head[2], expected,
                                rows.position.size()));
    return rows;
}

std::string shortened(const std::string& text) {
    return text.size() > 40 ? text.substr(0, 40) + "…" : text;
}

Rows read_text_rows(const std::filesystem::path& path) {
    const auto file = path.string();
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw Error(fmt::format("{}: cannot be read", file));
    auto extension = lower_case(path.extension().string());
    if (!extension.empty())
        extension.erase(0, 1);
    Rows header;
    std::vector<TextLine> lines;
    std::optional<std::size_t> lone, stated_count;
    std::string line, bad;
    std::size_t number = 0;
    while (std::getline(stream, line)) {
        ++number;
        if (number == 1 && line.starts_with("\xef\xbb\xbf"))
            line.erase(0, 3);
        if (line.find('\0') != std::string::npos)
            throw Error(fmt::format("{}: line {}: is no text; expected columns of numbers or an "
                                    "HDF5 file",
                                    file, number));
        const auto first = line.find_first_not_of(" \t\r\x1a");
        if (first == std::string::npos)
            continue;
        const bool comment = std::string("#!/';").find(line[first]) != std::string::npos;
        if (!comment) {
            auto values = numbers_of(line, bad);
            if (bad.empty() && values.size() >= 2) {
                lines.push_back({number, std::move(values)});
                continue;
            }
            // The rest of a start-step-end list may hold a single number in its last line.
            if (bad.empty() && !lines.empty()) {
                lines.push_back({number, std::move(values)});
                continue;
            }
            if (!lines.empty())
                throw Error(
                    fmt::format("{}: line {}: '{}' is not a number", file, number, shortened(bad)));
            if (bad.empty()) {
                if (!lone)
                    lone = number;
                if (values.front() > 0 && values.front() == std::floor(values.front()))
                    stated_count = static_cast<std::size_t>(std::min(values.front(), 1e9));
                continue;
            }
        }
        if (const auto unit = unit_in_header(line))
            header.unit = *unit;
        if (const auto value = header_value(line, "wavelength", Quantity::wavelength))
            header.wavelength = *value;
        if (const auto value = header_value(line, "distance", Quantity::length))
            header.distance = *value;
    }
    if (number == 0)
        throw Error(fmt::format("{}: is empty", file));
    if (lines.empty())
        throw Error(lone ? fmt::format("{}: line {}: one number; expected two or three columns: "
                                       "position, intensity and, if known, its standard deviation",
                                       file, *lone)
                         : fmt::format("{}: holds no numbers; expected two or three columns: "
                                       "position, intensity and, if known, its standard deviation",
                                       file));
    Rows rows;
    if (is_step_list(lines)) {
        rows = rows_of_step_list(lines, file);
    } else {
        const auto columns = lines.front().values.size();
        if (columns > 3)
            throw Error(fmt::format("{}: line {}: {} columns; expected position, intensity and, "
                                    "if known, its standard deviation",
                                    file, lines.front().number, columns));
        for (const auto& entry : lines) {
            if (entry.values.size() != columns)
                throw Error(fmt::format("{}: line {}: {} column(s) where the first row (line {}) "
                                        "has {}",
                                        file, entry.number, entry.values.size(),
                                        lines.front().number, columns));
            rows.position.push_back(entry.values[0]);
            rows.intensity.push_back(entry.values[1]);
            if (columns == 3)
                rows.sigma.push_back(entry.values[2]);
            rows.where.push_back(fmt::format("line {}", entry.number));
        }
        rows.format = extension == "chi"   ? "chi"
                      : extension == "csv" ? "csv"
                      : columns == 3       ? "xye"
                                           : "xy";
        if (extension == "chi" && stated_count && *stated_count != lines.size())
            throw Error(fmt::format("{}: line {}: {} points are announced, but {} rows follow",
                                    file, *lone, *stated_count, lines.size()));
    }
    rows.unit = header.unit;
    rows.wavelength = header.wavelength;
    rows.distance = header.distance;
    return rows;
}

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

Rows read_hdf5_rows(const std::filesystem::path& path, const PatternFileOptions& options) {
    const auto file = hdf5::File::open(path, hdf5::Access::read_only);
    const auto root = file.root();
    std::optional<hdf5::Group> group;
    std::string signal;
    if (!options.intensity.empty()) {
        const auto dataset = root.open_dataset(options.intensity);
        group = hdf5::parent_of(dataset);
        signal = std::filesystem::path(options.intensity).filename().string();
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
    const auto dataset = group->open_dataset(signal);
    const auto n = single_axis_length(dataset);
    if (!n)
        throw Error(fmt::format("{}: has the shape [{}]; a pattern has one axis. Name a dataset "
                                "with one (pattern.intensity)",
                                dataset.describe(), fmt::join(dataset.shape(), ", ")));

    // The axis: by @axes, else a dataset of the same length whose name is a radial quantity's.
    std::vector<std::string> candidates =
        group->strings_attribute("axes").value_or(std::vector<std::string>{});
    for (const auto* name : {"two_theta", "2theta", "tth", "ttheta", "2th", "q", "d", "radial",
                             "radius", "r", "x", "axis"})
        candidates.emplace_back(name);
    std::string radial;
    for (const auto& name : candidates)
        if (radial.empty() && name != "." && name != signal && group->has_dataset(name) &&
            single_axis_length(group->open_dataset(name)) == n)
            radial = name;
    if (radial.empty())
        throw Error(fmt::format("{}: no radial axis of {} elements beside it (@axes, two_theta, q, "
                                "d or radius)",
                                dataset.describe(), *n));
    const auto axis = group->open_dataset(radial);

    Rows rows;
    rows.format = "nexus";
    rows.intensity = dataset.read_all<double>();
    rows.position = axis.read_all<double>();
    double factor = 1;
    if (options.unit == PatternUnit::automatic) {
        rows.unit = unit_of(axis, radial, factor);
        if (rows.unit == PatternUnit::automatic)
            throw Error(fmt::format("{}: has no @units; set pattern.unit", axis.describe()));
    }
    for (double& value : rows.position)
        value *= factor;
    for (std::size_t i = 0; i < *n; ++i)
        rows.where.push_back(fmt::format("element {} of {}", i, radial));
    std::vector<std::string> errors{signal + "_errors", "errors"};
    if (const auto named = dataset.string_attribute("uncertainties"))
        errors.insert(errors.begin(), *named);
    for (const auto& name : errors)
        if (rows.sigma.empty() && group->has_dataset(name) &&
            single_axis_length(group->open_dataset(name)) == n)
            rows.sigma = group->open_dataset(name).read_all<double>();

    if (options.wavelength <= 0) {
        const auto energy = [&](const char* nx_class, const char* name) -> std::optional<double> {
            const auto value = value_in(root, nx_class, name, Quantity::energy);
            return value ? std::optional(wavelength_from_energy(*value)) : std::nullopt;
        };
        for (const auto& value :
             {value_in(root, "NXbeam", "incident_wavelength", Quantity::wavelength),
              value_in(root, "NXmonochromator", "wavelength", Quantity::wavelength),
              value_in(root, "NXprocess", "incident_wavelength", Quantity::wavelength),
              energy("NXbeam", "incident_energy"), energy("NXmonochromator", "energy")})
            if (rows.wavelength <= 0 && value)
                rows.wavelength = *value;
    }
    if (options.distance <= 0)
        rows.distance = value_in(root, "NXdetector", "distance", Quantity::length).value_or(0);
    return rows;
}

/// Degrees 2θ of a position; NaN when the wavelength cannot reach it.
double two_theta_of(double value, PatternUnit unit, double wavelength, double distance) {
    const auto from_sine = [](double sine) {
        return sine > -1 && sine < 1 ? 2 * degrees(std::asin(sine)) : nan_value;
    };
    switch (unit) {
    case PatternUnit::automatic:
    case PatternUnit::two_theta:
        return value;
    case PatternUnit::two_theta_radian:
        return degrees(value);
    case PatternUnit::q:
        return from_sine(value * wavelength / (4 * pi));
    case PatternUnit::q_inverse_nanometre:
        return from_sine(0.1 * value * wavelength / (4 * pi));
    case PatternUnit::d_spacing:
        return value > 0 ? from_sine(wavelength / (2 * value)) : nan_value;
    case PatternUnit::radius:
        return degrees(std::atan2(value, distance));
    }
    return nan_value;
}

const char* unit_text(PatternUnit unit) {
    switch (unit) {
    case PatternUnit::two_theta_radian:
        return "rad 2theta";
    case PatternUnit::q:
        return "1/angstrom";
    case PatternUnit::q_inverse_nanometre:
        return "1/nm";
    case PatternUnit::d_spacing:
        return "angstrom (d)";
    case PatternUnit::radius:
        return "mm";
    default:
        return "deg 2theta";
    }
}

PatternFile assemble(const std::filesystem::path& path, Rows rows,
                     const PatternFileOptions& options) {
    const auto file = path.string();
    const auto unit = options.unit == PatternUnit::automatic ? rows.unit : options.unit;
    const double wavelength = options.wavelength > 0 ? options.wavelength : rows.wavelength;
    const double distance = options.distance > 0 ? options.distance : rows.distance;
    if (!(wavelength > 0))
        throw Error(fmt::format("{}: the file states no wavelength; give it in angstrom "
                                "(--wavelength, geometry.wavelength) or the energy in keV",
                                file));
    if (unit == PatternUnit::radius && !(distance > 0))
        throw Error(fmt::format("{}: positions are radii [mm]; give the distance from sample to "
                                "detector (geometry.distance)",
                                file));

    const auto n = rows.position.size();
    std::vector<double> two_theta(n);
    for (std::size_t i = 0; i < n; ++i) {
        if (!std::isfinite(rows.position[i]))
            throw Error(
                fmt::format("{}: {}: the position is not a finite number", file, rows.where[i]));
        two_theta[i] = two_theta_of(rows.position[i], unit, wavelength, distance);
        if (std::isnan(two_theta[i]))
            throw Error(fmt::format("{}: {}: {} {} cannot be reached with the wavelength {} "
                                    "angstrom; wrong unit (pattern.unit) or wavelength?",
                                    file, rows.where[i], rows.position[i], unit_text(unit),
                                    wavelength));
        if (two_theta[i] >= 180)
            throw Error(fmt::format("{}: {}: 2theta is {} deg, expected less than 180; is the unit "
                                    "another one (pattern.unit)?",
                                    file, rows.where[i], two_theta[i]));
    }

    std::vector<std::size_t> order(n);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const bool ascending = std::is_sorted(two_theta.begin(), two_theta.end());
    const bool descending = std::is_sorted(two_theta.rbegin(), two_theta.rend());
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return two_theta[a] < two_theta[b]; });
    for (std::size_t i = 1; i < n; ++i)
        if (two_theta[order[i]] == two_theta[order[i - 1]])
            throw Error(fmt::format("{}: {}: the position {} {} occurs twice, first in {}", file,
                                    rows.where[order[i]], rows.position[order[i]], unit_text(unit),
                                    rows.where[order[i - 1]]));

    std::vector<std::string> notes = std::move(rows.notes);
    if (!ascending && !descending)
        notes.emplace_back("the rows were not in the order of their positions; they were sorted");
    std::vector<double> centres, raw, intensity, variance;
    std::size_t missing = 0, negative = 0, no_error = 0, not_positive = 0;
    for (const auto i : order) {
        if (two_theta[i] <= 0) {
            ++not_positive;
            continue;
        }
        if (two_theta[i] < options.minimum || two_theta[i] > options.maximum)
            continue;
        centres.push_back(two_theta[i]);
        raw.push_back(rows.position[i]);
        const bool finite = std::isfinite(rows.intensity[i]);
        intensity.push_back(finite ? rows.intensity[i] : nan_value);
        missing += finite ? 0 : 1;
        negative += finite && rows.intensity[i] < 0 ? 1 : 0;
        if (!rows.sigma.empty()) {
            const bool good = std::isfinite(rows.sigma[i]) && rows.sigma[i] > 0;
            variance.push_back(good ? rows.sigma[i] * rows.sigma[i] : 0);
            no_error += finite && !good ? 1 : 0;
        }
    }
    if (centres.size() - missing < min_channels)
        throw Error(fmt::format(
            "{}: {} channels with a finite intensity{}; at least {} are needed", file,
            centres.size() - missing,
            n > centres.size() ? fmt::format(" between {} and {} deg 2theta (the file reaches from "
                                             "{:.4g} to {:.4g})",
                                             options.minimum, options.maximum,
                                             two_theta[order.front()], two_theta[order.back()])
                               : std::string(),
            min_channels));
    if (not_positive > 0)
        notes.push_back(
            fmt::format("{} channels at or below 2theta = 0 were left out", not_positive));
    if (missing > 0)
        notes.push_back(
            fmt::format("{} channels without a finite intensity are left out", missing));
    if (negative > 0)
        notes.push_back(
            fmt::format("{} intensities are negative; they are used as they are", negative));
    if (!variance.empty() && no_error + missing >= variance.size()) {
        variance.clear();
        notes.emplace_back("no standard deviation of the file is positive; they are not used");
    } else if (no_error > 0) {
        notes.push_back(fmt::format(
            "{} channels whose standard deviation is not positive are left out", no_error));
    }

    try {
        const auto axis = [&] {
            switch (unit) {
            case PatternUnit::q_inverse_nanometre:
                for (double& value : raw)
                    value *= 0.1;
                [[fallthrough]];
            case PatternUnit::q:
                return rietveld::RadialAxis::from_q(raw, wavelength);
            case PatternUnit::radius:
                return rietveld::RadialAxis::from_radius(raw, distance, wavelength);
            default:
                return rietveld::RadialAxis::from_two_theta(centres, wavelength);
            }
        };
        return {path,
                axis(),
                std::move(intensity),
                std::move(variance),
                std::move(rows.format),
                std::move(notes)};
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", file, error.what()));
    }
}

} // namespace

PatternUnit parse_radial_unit(const std::string& text, const std::string& where) {
    if (const auto unit = known_unit(text))
        return *unit;
    std::vector<std::string> names;
    for (const auto& entry : unit_names)
        names.emplace_back(entry.name);
    throw Error(
        fmt::format("{}: '{}' is no unit of a radial axis{}; expected deg, rad, 1/angstrom, "
                    "1/nm, angstrom (d) or mm",
                    where, text, nearest_hint(text, names)));
}

PatternFile read_pattern(const std::filesystem::path& path, const PatternFileOptions& options) {
    std::error_code code;
    if (!std::filesystem::exists(path, code))
        throw Error(fmt::format("{}: there is no such file", path.string()));
    if (std::filesystem::is_directory(path, code))
        throw Error(fmt::format("{} is a folder, not a file", path.string()));
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw Error(fmt::format("{}: cannot be read", path.string()));
    std::string signature(8, '\0');
    stream.read(signature.data(), 8);
    const auto extension = lower_case(path.extension().string());
    const bool named_hdf5 =
        extension == ".h5" || extension == ".hdf5" || extension == ".nxs" || extension == ".hdf";
    const bool hdf5 = signature == "\x89HDF\r\n\x1a\n" || (named_hdf5 && stream.gcount() > 0);
    if (!hdf5 && !options.intensity.empty())
        throw Error(fmt::format("{}: the dataset '{}' was asked for, but this is no HDF5 file",
                                path.string(), options.intensity));
    return assemble(path, hdf5 ? read_hdf5_rows(path, options) : read_text_rows(path), options);
}

} // namespace xrdct::patterns
