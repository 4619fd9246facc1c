// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/patterns/rows.hpp"

#include <boost/property_tree/ptree.hpp>
#include <boost/property_tree/xml_parser.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <sstream>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

using Tree = boost::property_tree::ptree;

/// All elements of a name below another, at any depth, in their order.
void find_all(const Tree& tree, const std::string& name, std::vector<const Tree*>& found) {
    for (const auto& [key, child] : tree) {
        if (key == name)
            found.push_back(&child);
        else
            find_all(child, name, found);
    }
}

/// The numbers of an element, separated by white space. Throws Error naming file and element.
std::vector<double> numbers_of(const Tree& element, const std::string& name,
                               const std::string& file) {
    std::istringstream words(element.data());
    std::vector<double> values;
    for (std::string word; words >> word;) {
        double value = 0;
        if (!number_from(word, value))
            throw Error(fmt::format("{}: <{}>: '{}' is no number", file, name, word));
        values.push_back(value);
    }
    return values;
}

/// The numbers of a child; nothing without it.
std::vector<double> child_numbers(const Tree& parent, const std::string& name,
                                  const std::string& file) {
    const auto child = parent.get_child_optional(name);
    return child ? numbers_of(*child, name, file) : std::vector<double>{};
}

std::string unit_of(const Tree& element) {
    return lower_case(element.get<std::string>("<xmlattr>.unit", ""));
}

/// 2θ [deg] of n points.
std::vector<double> positions_of(const Tree& points, std::size_t n, const std::string& file) {
    for (const auto& [key, element] : points) {
        if (key != "positions" ||
            lower_case(element.get<std::string>("<xmlattr>.axis", "")) != "2theta")
            continue;
        if (const auto unit = unit_of(element); !unit.empty() && unit != "deg")
            throw Error(fmt::format("{}: 2Theta is in '{}', expected deg", file, unit));
        auto list = child_numbers(element, "listPositions", file);
        if (!list.empty()) {
            if (list.size() != n)
                throw Error(fmt::format("{}: {} positions of 2Theta, but {} intensities", file,
                                        list.size(), n));
            return list;
        }
        const auto start = child_numbers(element, "startPosition", file);
        const auto end = child_numbers(element, "endPosition", file);
        if (start.size() != 1 || end.size() != 1)
            throw Error(fmt::format("{}: 2Theta does not move in this scan; expected a scan over "
                                    "2Theta",
                                    file));
        for (std::size_t i = 0; i < n; ++i)
            list.push_back(start[0] + (end[0] - start[0]) * static_cast<double>(i) /
                                          static_cast<double>(std::max<std::size_t>(1, n - 1)));
        return list;
    }
    throw Error(fmt::format("{}: a scan without positions of 2Theta", file));
}

/// One value per point: the list of a name, its common form, or nothing.
std::vector<double> per_point(const Tree& points, const std::string& list,
                              const std::string& common, std::size_t n, const std::string& file) {
    auto values = child_numbers(points, list, file);
    if (values.empty()) {
        values = child_numbers(points, common, file);
        if (values.size() == 1)
            values.resize(n, values[0]);
    }
    if (!values.empty() && values.size() != n)
        throw Error(
            fmt::format("{}: <{}>: {} values, but {} intensities", file, list, values.size(), n));
    return values;
}

/// Intensities and what counting makes them uncertain by.
void take_intensities(const Tree& points, const std::string& file, Rows& rows) {
    const bool raw = points.count("counts") > 0;
    const std::string name = raw ? "counts" : "intensities";
    const auto element = points.get_child_optional(name);
    if (!element)
        throw Error(fmt::format("{}: a scan without <intensities> or <counts>", file));
    rows.intensity = numbers_of(*element, name, file);
    const std::size_t n = rows.intensity.size();
    auto factors =
        per_point(points, "beamAttenuationFactors", "commonBeamAttenuationFactor", n, file);
    const bool attenuated =
        std::any_of(factors.begin(), factors.end(), [](double f) { return f != 1; });
    std::vector<double> times;
    if (unit_of(*element) == "cps")
        times = per_point(points, "countingTimes", "commonCountingTime", n, file);
    if (!attenuated && times.empty())
        return;
    if (!attenuated)
        factors.assign(n, 1.0);
    // <counts> are those of the detector; <intensities> are corrected for the attenuator.
    for (std::size_t i = 0; i < n; ++i) {
        const double scale = factors[i] / (times.empty() || !(times[i] > 0) ? 1.0 : times[i]);
        if (raw)
            rows.intensity[i] *= factors[i];
        rows.sigma.push_back(std::sqrt(std::max(rows.intensity[i], scale) * scale));
    }
    if (raw && attenuated)
        rows.notes.emplace_back("the counts are multiplied by the factors of the attenuator");
}

} // namespace

Rows read_xrdml_rows(const std::string& text, const std::string& file) {
    Tree document;
    try {
        std::istringstream stream(text);
        boost::property_tree::read_xml(stream, document);
    } catch (const boost::property_tree::xml_parser_error& error) {
        throw Error(
            fmt::format("{}: line {}: is no valid XML ({})", file, error.line(), error.message()));
    }
    const auto root = document.get_child_optional("xrdMeasurements");
    if (!root)
        throw Error(fmt::format("{}: an XML file without <xrdMeasurements>: not of PANalytical, "
                                "and not read; export the pattern as columns of position and "
                                "intensity (.xy)",
                                file));
    std::vector<const Tree*> scans, wavelengths;
    find_all(*root, "scan", scans);
    std::erase_if(scans, [](const Tree* scan) { return scan->count("dataPoints") == 0; });
    if (scans.empty())
        throw Error(fmt::format("{}: holds no scan with data", file));
    const Tree& points = scans.front()->get_child("dataPoints");
    Rows rows;
    rows.format = "xrdml";
    rows.unit = PatternUnit::two_theta;
    take_intensities(points, file, rows);
    rows.position = positions_of(points, rows.intensity.size(), file);
    for (std::size_t i = 0; i < rows.position.size(); ++i)
        rows.where.push_back(fmt::format("point {}", i));
    find_all(*root, "usedWavelength", wavelengths);
    if (!wavelengths.empty()) {
        const auto alpha = child_numbers(*wavelengths.front(), "kAlpha1", file);
        if (alpha.size() == 1 && alpha[0] > 0)
            rows.wavelength = alpha[0];
    }
    if (scans.size() > 1)
        rows.notes.push_back(
            fmt::format("the file holds {} scans; the first is used", scans.size()));
    return rows;
}

} // namespace xrdct::patterns::detail
