// SPDX-License-Identifier: BSD-3-Clause
#include "base/unit_names.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <array>
#include <cctype>
#include <span>

namespace xrdct::units {

namespace {

struct Unit {
    std::string_view name;
    double factor;
};

// Spellings are compared after `simplified`, most common first.
constexpr std::array angle_units = {
    Unit{"deg", 1},          Unit{"degree", 1},          Unit{"degrees", 1},
    Unit{"rad", 180.0 / pi}, Unit{"radian", 180.0 / pi}, Unit{"radians", 180.0 / pi},
    Unit{"mrad", 0.18 / pi}, Unit{"arcmin", 1.0 / 60},   Unit{"arcsec", 1.0 / 3600},
    Unit{"\xc2\xb0", 1},
};
constexpr std::array length_units = {
    Unit{"mm", 1},
    Unit{"m", 1e3},
    Unit{"cm", 10},
    Unit{"um", 1e-3},
    Unit{"nm", 1e-6},
    Unit{"angstrom", 1e-7},
    Unit{"pm", 1e-9},
    Unit{"millimeter", 1},
    Unit{"millimeters", 1},
    Unit{"millimetre", 1},
    Unit{"millimetres", 1},
    Unit{"meter", 1e3},
    Unit{"meters", 1e3},
    Unit{"metre", 1e3},
    Unit{"metres", 1e3},
    Unit{"centimeter", 10},
    Unit{"centimetre", 10},
    Unit{"micrometer", 1e-3},
    Unit{"micrometers", 1e-3},
    Unit{"micrometre", 1e-3},
    Unit{"micrometres", 1e-3},
    Unit{"micron", 1e-3},
    Unit{"microns", 1e-3},
    Unit{"nanometer", 1e-6},
    Unit{"nanometers", 1e-6},
    Unit{"nanometre", 1e-6},
    Unit{"nanometres", 1e-6},
    Unit{"angstroms", 1e-7},
    Unit{"ang", 1e-7},
    Unit{"a", 1e-7},
    Unit{"picometer", 1e-9},
    Unit{"picometre", 1e-9},
};
constexpr std::array energy_units = {
    Unit{"kev", 1},
    Unit{"ev", 1e-3},
    Unit{"mev", 1e3},
    Unit{"j", 1.0 / 1.602176634e-16},
};
constexpr std::array inverse_units = {
    Unit{"1/angstrom", 1},
    Unit{"angstrom^-1", 1},
    Unit{"1/nm", 0.1},
    Unit{"nm^-1", 0.1},
    Unit{"1/a", 1},
    Unit{"a^-1", 1},
    Unit{"angstrom-1", 1},
    Unit{"a-1", 1},
    Unit{"1/ang", 1},
    Unit{"ang^-1", 1},
    Unit{"1/angstroms", 1},
    Unit{"nm-1", 0.1},
    Unit{"angstrom**-1", 1},
    Unit{"nm**-1", 0.1},
    Unit{"a**-1", 1},
    Unit{"angstroms^-1", 1},
    Unit{"inverseangstrom", 1},
    Unit{"inversenanometer", 0.1},
    Unit{"1/m", 1e-10},
    Unit{"m^-1", 1e-10},
};
constexpr std::array time_units = {
    Unit{"s", 1},       Unit{"ms", 1e-3},    Unit{"us", 1e-6},   Unit{"min", 60},
    Unit{"h", 3600},    Unit{"sec", 1},      Unit{"second", 1},  Unit{"seconds", 1},
    Unit{"minute", 60}, Unit{"minutes", 60}, Unit{"hour", 3600}, Unit{"hours", 3600},
};

std::span<const Unit> units_of(units::Quantity quantity) {
    switch (quantity) {
    case units::Quantity::angle:
        return angle_units;
    case units::Quantity::length:
    case units::Quantity::wavelength:
        return length_units;
    case units::Quantity::energy:
        return energy_units;
    case units::Quantity::inverse_length:
        return inverse_units;
    case units::Quantity::time:
        return time_units;
    }
    return {};
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    std::string result;
    std::size_t begin = 0;
    for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, begin)) {
        result.append(text, begin, at - begin).append(to);
        begin = at + from.size();
    }
    text = result.append(text, begin);
}

/// Lower case, without blanks and braces; Å, µ, superscripts and pyFAI's "2th_deg" endings are
/// spelled out.
std::string simplified(std::string_view unit) {
    std::string text(unit);
    replace_all(text, "\xc3\x85", "angstrom");        // Å, letter
    replace_all(text, "\xe2\x84\xab", "angstrom");    // Å, sign
    replace_all(text, "A\xcc\x8a", "angstrom");       // A with combining ring
    replace_all(text, "\xc2\xb5", "u");               // micro sign
    replace_all(text, "\xce\xbc", "u");               // Greek mu
    replace_all(text, "\xe2\x81\xbb\xc2\xb9", "^-1"); // superscript minus one
    replace_all(text, "\xe2\x88\x92", "-");           // minus sign
    std::string result;
    for (const char c : text)
        if (std::isspace(static_cast<unsigned char>(c)) == 0 && c != '{' && c != '}' && c != '(' &&
            c != ')' && c != '\\' && c != '$')
            result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return result;
}

const Unit* find(units::Quantity quantity, std::string_view unit) {
    const std::string name = simplified(unit);
    // A capital M is mega, not milli: "MeV" and "Mm" are told from "meV" and "mm" by their case.
    if (name == "mev" && unit.find('M') == std::string_view::npos)
        return nullptr;
    if ((name == "mm" || name == "ms" || name == "mrad") &&
        unit.find('M') != std::string_view::npos)
        return nullptr;
    for (const Unit& candidate : units_of(quantity))
        if (candidate.name == name)
            return &candidate;
    return nullptr;
}

} // namespace

std::string canonical_unit(units::Quantity quantity) {
    switch (quantity) {
    case units::Quantity::angle:
        return "deg";
    case units::Quantity::length:
        return "mm";
    case units::Quantity::wavelength:
        return "angstrom";
    case units::Quantity::energy:
        return "keV";
    case units::Quantity::inverse_length:
        return "1/angstrom";
    case units::Quantity::time:
        return "s";
    }
    return "";
}

bool is_unit_of(units::Quantity quantity, std::string_view unit) {
    return find(quantity, unit) != nullptr;
}

std::vector<std::string> accepted_units(units::Quantity quantity) {
    std::vector<std::string> names;
    for (const Unit& unit : units_of(quantity))
        names.emplace_back(unit.name);
    return names;
}

double unit_factor(units::Quantity quantity, std::string_view unit, std::string_view where) {
    const Unit* found = find(quantity, unit);
    if (found == nullptr) {
        std::string message = std::string(where) + ": the unit \"" + std::string(unit) +
                              "\" is not one of the accepted ones:";
        for (const std::string& name : accepted_units(quantity))
            message += " " + name;
        throw Error(message);
    }
    return quantity == units::Quantity::wavelength ? found->factor * 1e7 : found->factor;
}

} // namespace xrdct::units
