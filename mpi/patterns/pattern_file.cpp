// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/patterns/pattern_file.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <utility>

#include <fmt/format.h>

namespace xrdct::patterns {

using namespace detail;

namespace {

constexpr std::size_t min_channels = 10;

/// How the positions of a file become 2theta.
struct Conversion {
    PatternUnit unit;
    double wavelength; ///< angstrom
    double distance;   ///< mm; 0: not known
};

/// What was found in the header goes into `notes` where it is used.
Conversion conversion_of(const std::string& file, const Rows& rows,
                         const PatternFileOptions& options, std::vector<std::string>& notes) {
    const Conversion c{options.unit == PatternUnit::automatic ? rows.unit : options.unit,
                       options.wavelength > 0 ? options.wavelength : rows.wavelength,
                       options.distance > 0 ? options.distance : rows.distance};
    if (!(c.wavelength > 0))
        throw Error(fmt::format(
            "{}: the file states no wavelength{}; give it in angstrom "
            "(--wavelength, geometry.wavelength) or the energy in keV",
            file,
            rows.wavelength_line.empty()
                ? ""
                : fmt::format(" that is understood ('{}': in which unit?)", rows.wavelength_line)));
    if (options.unit == PatternUnit::automatic && !rows.unit_question.empty())
        throw Error(fmt::format("{}: {}", file, rows.unit_question));
    if (options.unit == PatternUnit::automatic && !rows.unit_note.empty())
        notes.push_back(rows.unit_note);
    if (!(options.wavelength > 0) && !rows.wavelength_note.empty())
        notes.push_back(rows.wavelength_note);
    if (c.unit == PatternUnit::radius && !(c.distance > 0))
        throw Error(fmt::format("{}: positions are radii [mm]; give the distance from sample to "
                                "detector (geometry.distance)",
                                file));
    return c;
}

/// 2theta [deg] of every row, in the order of the file.
std::vector<double> two_thetas(const std::string& file, const Rows& rows, const Conversion& c) {
    const auto n = rows.position.size();
    std::vector<double> two_theta(n);
    for (std::size_t i = 0; i < n; ++i) {
        if (!std::isfinite(rows.position[i]))
            throw Error(
                fmt::format("{}: {}: the position is not a finite number", file, rows.where[i]));
        two_theta[i] = two_theta_of(rows.position[i], c.unit, c.wavelength, c.distance);
        if (std::isnan(two_theta[i]))
            throw Error(fmt::format("{}: {}: {} {} cannot be reached with the wavelength {} "
                                    "angstrom; wrong unit (pattern.unit) or wavelength?",
                                    file, rows.where[i], rows.position[i], unit_text(c.unit),
                                    c.wavelength));
        if (two_theta[i] >= 180)
            throw Error(fmt::format("{}: {}: 2theta is {} deg, expected less than 180; is the unit "
                                    "another one (pattern.unit)?",
                                    file, rows.where[i], two_theta[i]));
    }
    return two_theta;
}

/// Rows in the order of rising 2theta. Throws Error where a position occurs twice.
std::vector<std::size_t> order_of(const std::string& file, const Rows& rows,
                                  const std::vector<double>& two_theta, PatternUnit unit) {
    std::vector<std::size_t> order(two_theta.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return two_theta[a] < two_theta[b]; });
    for (std::size_t i = 1; i < order.size(); ++i)
        if (two_theta[order[i]] == two_theta[order[i - 1]])
            throw Error(fmt::format("{}: {}: the position {} {} occurs twice, first in {}", file,
                                    rows.where[order[i]], rows.position[order[i]], unit_text(unit),
                                    rows.where[order[i - 1]]));
    return order;
}

/// The channels that are left, and what was found in them.
struct Channels {
    std::vector<double> centres;             ///< 2theta [deg], rising
    std::vector<double> raw;                 ///< positions in the file's unit
    std::vector<double> intensity, variance; ///< variance: empty without standard deviations
    std::size_t missing = 0, negative = 0, no_error = 0, not_positive = 0;
};

Channels channels_of(const Rows& rows, const std::vector<double>& two_theta,
                     const std::vector<std::size_t>& order, const PatternFileOptions& options) {
    Channels c;
    for (const auto i : order) {
        if (two_theta[i] <= 0) {
            ++c.not_positive;
            continue;
        }
        if (two_theta[i] < options.minimum || two_theta[i] > options.maximum)
            continue;
        c.centres.push_back(two_theta[i]);
        c.raw.push_back(rows.position[i]);
        const bool finite = std::isfinite(rows.intensity[i]);
        c.intensity.push_back(finite ? rows.intensity[i] : nan_value);
        c.missing += finite ? 0 : 1;
        c.negative += finite && rows.intensity[i] < 0 ? 1 : 0;
        if (!rows.sigma.empty()) {
            const bool good = std::isfinite(rows.sigma[i]) && rows.sigma[i] > 0;
            c.variance.push_back(good ? rows.sigma[i] * rows.sigma[i] : 0);
            c.no_error += finite && !good ? 1 : 0;
        }
    }
    return c;
}

/// Says what was left out; drops standard deviations none of which can be used.
void note_findings(Channels& c, std::vector<std::string>& notes) {
    if (c.not_positive > 0)
        notes.push_back(
            fmt::format("{} channels at or below 2theta = 0 were left out", c.not_positive));
    if (c.missing > 0)
        notes.push_back(
            fmt::format("{} channels without a finite intensity are left out", c.missing));
    if (c.negative > 0)
        notes.push_back(
            fmt::format("{} intensities are negative; they are used as they are", c.negative));
    if (!c.variance.empty() && c.no_error + c.missing >= c.variance.size()) {
        c.variance.clear();
        notes.emplace_back("no standard deviation of the file is positive; they are not used");
    } else if (c.no_error > 0) {
        notes.push_back(fmt::format(
            "{} channels whose standard deviation is not positive are left out", c.no_error));
    }
}

rietveld::RadialAxis axis_of(Channels& c, const Conversion& conversion) {
    switch (conversion.unit) {
    case PatternUnit::q_inverse_nanometre:
        for (double& value : c.raw)
            value *= 0.1;
        [[fallthrough]];
    case PatternUnit::q:
        return rietveld::RadialAxis::from_q(c.raw, conversion.wavelength);
    case PatternUnit::radius:
        return rietveld::RadialAxis::from_radius(c.raw, conversion.distance, conversion.wavelength);
    default:
        return rietveld::RadialAxis::from_two_theta(c.centres, conversion.wavelength);
    }
}

PatternFile assemble(const std::filesystem::path& path, Rows rows,
                     const PatternFileOptions& options) {
    const auto file = path.string();
    judge_sigma(rows);
    std::vector<std::string> notes = std::move(rows.notes);
    const Conversion conversion = conversion_of(file, rows, options, notes);
    const std::vector<double> two_theta = two_thetas(file, rows, conversion);
    const bool ascending = std::is_sorted(two_theta.begin(), two_theta.end());
    const bool descending = std::is_sorted(two_theta.rbegin(), two_theta.rend());
    const auto order = order_of(file, rows, two_theta, conversion.unit);
    if (!ascending && !descending)
        notes.emplace_back("the rows were not in the order of their positions; they were sorted");
    Channels channels = channels_of(rows, two_theta, order, options);
    if (channels.centres.size() - channels.missing < min_channels)
        throw Error(
            fmt::format("{}: {} channels with a finite intensity{}; at least {} are needed", file,
                        channels.centres.size() - channels.missing,
                        two_theta.size() > channels.centres.size()
                            ? fmt::format(" between {} and {} deg 2theta (the file reaches from "
                                          "{:.4g} to {:.4g})",
                                          options.minimum, options.maximum,
                                          two_theta[order.front()], two_theta[order.back()])
                            : std::string(),
                        min_channels));
    note_findings(channels, notes);
    try {
        auto axis = axis_of(channels, conversion);
        return {path,
                std::move(axis),
                std::move(channels.intensity),
                std::move(channels.variance),
                std::move(rows.format),
                std::move(notes)};
    } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", file, error.what()));
    }
}

} // namespace

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
