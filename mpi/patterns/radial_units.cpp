// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/numbers.hpp"
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::patterns {

namespace detail {

using units::Quantity;

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

namespace {

/// Words for radial quantities that are no units, or are a unit and a quantity in one.
struct QuantityName {
    const char* name;
    PatternUnit unit;
};

constexpr QuantityName quantity_names[] = {
    {"auto", PatternUnit::automatic},
    {"2theta", PatternUnit::two_theta},
    {"two_theta", PatternUnit::two_theta},
    {"2th", PatternUnit::two_theta},
    {"2th_deg", PatternUnit::two_theta},
    {"tth", PatternUnit::two_theta},
    {"2th_rad", PatternUnit::two_theta_radian},
    {"q", PatternUnit::q},
    {"q_a^-1", PatternUnit::q},
    {"q_nm^-1", PatternUnit::q_inverse_nanometre},
    {"d", PatternUnit::d_spacing},
    {"d_a", PatternUnit::d_spacing},
    {"r", PatternUnit::radius},
    {"radius", PatternUnit::radius},
    {"r_mm", PatternUnit::radius},
};

/// The units among base/unit_names that positions can be in as they are.
struct PlainUnit {
    Quantity quantity;
    const char* name;
    PatternUnit unit;
};

constexpr PlainUnit plain_units[] = {
    {Quantity::angle, "deg", PatternUnit::two_theta},
    {Quantity::angle, "rad", PatternUnit::two_theta_radian},
    {Quantity::inverse_length, "1/angstrom", PatternUnit::q},
    {Quantity::inverse_length, "1/nm", PatternUnit::q_inverse_nanometre},
    {Quantity::length, "angstrom", PatternUnit::d_spacing},
    {Quantity::length, "mm", PatternUnit::radius},
};

} // namespace

std::optional<PatternUnit> known_unit(const std::string& text) {
    auto word = lower_case(text);
    word.erase(std::remove_if(word.begin(), word.end(),
                              [](unsigned char c) { return std::isspace(c) != 0; }),
               word.end());
    for (const auto& [name, unit] : quantity_names)
        if (word == name)
            return unit;
    // "a" alone is rather a column's or a dataset's name than angstrom.
    if (word == "a")
        return std::nullopt;
    // unit_names spells the letter Å, not its small form.
    for (auto at = word.find("å"); at != std::string::npos; at = word.find("å"))
        word.replace(at, std::string("å").size(), "Å");
    for (const auto& [quantity, name, unit] : plain_units)
        if (units::is_unit_of(quantity, word) &&
            units::unit_factor(quantity, word, "") == units::unit_factor(quantity, name, ""))
            return unit;
    return std::nullopt;
}

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

} // namespace detail

PatternUnit parse_radial_unit(const std::string& text, const std::string& where) {
    if (const auto unit = detail::known_unit(text))
        return *unit;
    std::vector<std::string> names;
    for (const auto& entry : detail::quantity_names)
        names.emplace_back(entry.name);
    for (const auto& entry : detail::plain_units)
        names.emplace_back(entry.name);
    throw Error(
        fmt::format("{}: '{}' is no unit of a radial axis{}; expected deg, rad, 1/angstrom, "
                    "1/nm, angstrom (d) or mm",
                    where, text, nearest_hint(text, names)));
}

} // namespace xrdct::patterns
