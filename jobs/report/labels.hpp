// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/palette.hpp"

#include <string>
#include <string_view>

namespace xrdct::report {

/// Ends the name of a map of standard deviations.
inline constexpr std::string_view errors_suffix = "_errors";

/// How a quantity is named and drawn.
struct Quantity {
    std::string text;     ///< plain UTF-8: "weight fraction", "a", "Rwp"
    std::string enhanced; ///< the same in gnuplot's enhanced syntax: "{/:Italic a}", "R_{wp}"
    std::string html;     ///< the same as escaped HTML: "<i>a</i>", "R<sub>wp</sub>"
    Palette palette = Palette::viridis;
    bool from_zero = false; ///< a colour bar starts at 0
};

/// Known names get their customary form, `<name>_errors` "standard deviation of …"; others are
/// shown with spaces for underscores.
Quantity describe_quantity(std::string_view name);

/// Text for gnuplot's enhanced mode, every character shown as it is.
std::string escape_enhanced(std::string_view text);

/// Place of a quantity among the others of its group: what is looked at first comes first.
int quantity_order(std::string_view name);

/// Units for the eye: "angstrom" → "Å", "deg" → "°", "1/mm" → "mm⁻¹", "g/cm^3" → "g/cm³"; "", "1",
/// "none" and "dimensionless" → "".
std::string display_units(std::string_view units);

/// "label [units]", without brackets when there is no unit; the units are escaped for gnuplot's
/// enhanced mode or for HTML as the label already is.
std::string enhanced_with_units(const std::string& enhanced_label, std::string_view units);
std::string html_with_units(const std::string& html_label, std::string_view units);

/// Name of a stage for headings; unknown ones are returned with a capital letter.
std::string stage_title(std::string_view stage);

} // namespace xrdct::report
