// SPDX-License-Identifier: BSD-3-Clause
#include "base/unit_names.hpp"
#include "base/units.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

using units::Quantity;

/// A number of a header line and the unit that stands behind or before it, if one does.
struct HeaderNumber {
    double value;
    std::string unit;
};

/// A word without the brackets and punctuation around it.
std::string bare(std::string word) {
    const auto is_edge = [](char c) {
        return std::string("()[]{},;:=\"'").find(c) != std::string::npos;
    };
    while (!word.empty() && is_edge(word.back()))
        word.pop_back();
    while (!word.empty() && is_edge(word.front()))
        word.erase(0, 1);
    return word;
}

std::vector<std::string> words_of(const std::string& text, const char* separators) {
    std::vector<std::string> words;
    for (std::size_t at = 0; (at = text.find_first_not_of(separators, at)) != std::string::npos;) {
        const auto end = std::min(text.find_first_of(separators, at), text.size());
        words.push_back(text.substr(at, end - at));
        at = end;
    }
    return words;
}

/// "# Wavelength: 1.6e-11 m", "Wavelength (A) 0.4", "wavelength=0.4A": the first positive number
/// after a word of a header line. Nothing when the line has no such word or number.
std::optional<HeaderNumber> header_number(const std::string& line, std::string_view word,
                                          Quantity quantity) {
    const auto at = lower_case(line).find(word);
    if (at == std::string::npos)
        return std::nullopt;
    // "wavelength1" is another name of it.
    auto begin = at + word.size();
    while (begin < line.size() &&
           (std::isalnum(static_cast<unsigned char>(line[begin])) != 0 || line[begin] == '_'))
        ++begin;
    std::string before;
    for (const auto& part : words_of(line.substr(begin), " \t()[]{}=:,;\"'")) {
        double value = 0;
        const char* last = part.data() + part.size();
        const auto [end, code] = std::from_chars(part.data(), last, value);
        const bool is_number = code == std::errc{} && value > 0 && end != part.data();
        const bool is_inverse = part.starts_with("1/");
        if (!is_number || is_inverse) {
            if (before.empty() && units::is_unit_of(quantity, part))
                before = part;
            continue;
        }
        HeaderNumber found{value, std::string(end, last)};
        if (found.unit.empty()) {
            const auto behind = words_of(line.substr(line.find(part, begin) + part.size()), " \t");
            found.unit = behind.empty() ? "" : bare(behind.front());
        }
        if (!units::is_unit_of(quantity, found.unit))
            found.unit = before;
        return found;
    }
    return std::nullopt;
}

/// Wavelength [angstrom] without a unit: below 1e-8 it can only be metres (2e-11 m), and between
/// 0.05 and 5 it is taken for angstrom (250 to 2.5 keV).
std::optional<double> plausible_wavelength(double value, const char*& unit) {
    if (value < 1e-8) {
        unit = "m";
        return 1e10 * value;
    }
    unit = "angstrom";
    return value >= 0.05 && value <= 5 ? std::optional(value) : std::nullopt;
}

std::string short_line(const std::string& line) {
    return line.size() > 60 ? line.substr(0, 60) + "…" : line;
}

void take_wavelength(const std::string& line, Rows& header) {
    auto number = header_number(line, "wavelength", Quantity::wavelength);
    // Short words may mean something else: with a unit, or at the beginning of the line.
    if (!number)
        number = header_number(line, "lambda", Quantity::wavelength);
    if (!number && lower_case(line).starts_with("wl1"))
        number = header_number(line, "wl1", Quantity::wavelength);
    if (!number || (number->unit.empty() && !contains(lower_case(line), "wavelength") &&
                    !lower_case(line).starts_with("wl1")))
        return;
    if (!number->unit.empty()) {
        header.wavelength =
            number->value * units::unit_factor(Quantity::wavelength, number->unit, "header");
        header.wavelength_note.clear();
        return;
    }
    // One with a unit counts more.
    if (header.wavelength > 0 && header.wavelength_note.empty())
        return;
    const char* unit = "";
    if (const auto value = plausible_wavelength(number->value, unit)) {
        header.wavelength = *value;
        header.wavelength_note =
            fmt::format("the wavelength of '{}' is taken for {}", short_line(line), unit);
    } else {
        header.wavelength_line = short_line(line);
    }
}

/// "energy: 40 keV" of the beam; not thresholds of detectors.
void take_energy(const std::string& line, Rows& header) {
    if (header.wavelength > 0 || contains(lower_case(line), "threshold"))
        return;
    const auto number = header_number(line, "energy", Quantity::energy);
    if (number && !number->unit.empty())
        header.wavelength = wavelength_from_energy(
            number->value * units::unit_factor(Quantity::energy, number->unit, "header"));
}

/// What the title of the first column names.
enum class TitleQuantity { none, q, d, two_theta, theta, sine_over_wavelength };

TitleQuantity quantity_of_title(const std::string& title) {
    auto text = lower_case(title);
    if (contains(text, "sin") && (contains(text, "lambda") || contains(text, "λ")))
        return TitleQuantity::sine_over_wavelength;
    for (const auto* two_theta : {"2theta", "2-theta", "two_theta", "twotheta", "tth", "2th", "2θ"})
        if (contains(text, two_theta))
            return TitleQuantity::two_theta;
    for (const auto* angstrom : {"å", "Å"})
        for (auto at = text.find(angstrom); at != std::string::npos; at = text.find(angstrom))
            text.replace(at, std::string(angstrom).size(), " ");
    const auto words = words_of(text, " \t_-./\\()[]{}|^'\"*:=+");
    if (words.empty())
        return TitleQuantity::none;
    const auto has = [&](std::initializer_list<const char*> names) {
        return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
            return std::find(names.begin(), names.end(), word) != names.end();
        });
    };
    if (has({"q", "qvec", "qvector", "qabs", "qmod", "qval", "qvals", "qvalue",
             "scatteringvector"}) ||
        contains(text, "momentum transfer") || contains(text, "scattering vector") ||
        contains(text, "wave vector") || contains(text, "wavevector"))
        return TitleQuantity::q;
    if (has({"dspacing", "dspace", "dvalue", "dval", "dhkl"}) || words.front() == "d")
        return TitleQuantity::d;
    if (has({"theta", "th", "θ"}))
        return TitleQuantity::theta;
    return TitleQuantity::none;
}

/// Whether a title can be that of intensities: I, I(Q), counts, DSM_Int, yobs.
bool is_intensity_title(const std::string& title) {
    for (const auto& word : words_of(lower_case(title), " \t_-./\\()[]{}|^'\"*:=+"))
        for (const auto* known : {"int", "count", "cps", "yobs", "iobs", "obs", "signal", "det"})
            if (word == "i" || word == "y" || word == "s" || word == "f" || word.starts_with(known))
                return true;
    return false;
}

bool names_nanometre(const std::string& text) {
    const auto low = lower_case(text);
    return contains(low, "nm") || contains(low, "nano");
}

bool names_angstrom(const std::string& text) {
    const auto low = lower_case(text);
    for (const auto* name : {"angstrom", "å", "Å", "a^-1", "a-1", "1/a", "a⁻¹", "ang"})
        if (contains(low, name))
            return true;
    return false;
}

/// The titles of the columns in a line; a unit in brackets belongs to the title before it. Several
/// words are one title where tabs, commas or two blanks separate titles and so make `columns`.
std::vector<std::string> titles_of(std::string line, std::size_t columns) {
    line.erase(0, line.find_first_not_of("#!;/'* \t"));
    if (line.starts_with("L ")) // SPEC
        line.erase(0, 2);
    const bool tabs = contains(line, "\t"), commas = contains(line, ",") || contains(line, ";");
    if (!tabs && !commas) {
        auto wide = line;
        for (auto at = wide.find("  "); at != std::string::npos; at = wide.find("  ", at + 2))
            wide.replace(at, 2, "\t\t");
        auto titles = words_of(wide, "\t");
        for (auto& title : titles)
            title.erase(0, title.find_first_not_of(' '));
        if (titles.size() == columns)
            return titles;
    }
    std::vector<std::string> titles;
    for (const auto& word : words_of(line, tabs ? "\t" : commas ? ",;" : " ")) {
        const auto first = word.find_first_not_of(' ');
        if (first == std::string::npos)
            continue;
        if (!titles.empty() && std::string("([/").find(word[first]) != std::string::npos)
            titles.back() += " " + word;
        else
            titles.push_back(word.substr(first));
    }
    return titles;
}

} // namespace

void take_header(const std::string& line, Rows& header) {
    if (const auto unit = unit_in_header(line))
        header.unit = *unit;
    take_wavelength(line, header);
    take_energy(line, header);
    if (const auto number = header_number(line, "distance", Quantity::length);
        number && !number->unit.empty())
        header.distance = number->value * units::unit_factor(Quantity::length, number->unit, "");
}

void take_titles(const std::vector<std::string>& header_lines, std::size_t columns, Rows& header) {
    if (header.unit != PatternUnit::automatic)
        return;
    for (auto line = header_lines.rbegin(); line != header_lines.rend(); ++line) {
        const auto titles = titles_of(*line, columns);
        // Above the line next to the numbers there may be sentences of as many words.
        if (titles.size() != columns || columns < 2 ||
            (line != header_lines.rbegin() && !is_intensity_title(titles[1])))
            continue;
        const auto& title = titles.front();
        switch (quantity_of_title(title)) {
        case TitleQuantity::none:
            continue;
        case TitleQuantity::two_theta:
            header.unit = PatternUnit::two_theta;
            return;
        case TitleQuantity::theta:
            if (!is_intensity_title(titles[1]))
                continue;
            header.unit_question = fmt::format(
                "the first column is called '{}', which may be theta or 2theta; if it is 2theta, "
                "say so (pattern.unit = \"deg\")",
                title);
            return;
        case TitleQuantity::sine_over_wavelength:
            header.unit_question = fmt::format(
                "the first column is called '{}', which is no position that is read; write "
                "q = 4 pi sin(theta)/lambda or 2theta",
                title);
            return;
        case TitleQuantity::d:
            if (!is_intensity_title(titles[1]))
                continue;
            header.unit = PatternUnit::d_spacing;
            if (!names_angstrom(title))
                header.unit_note = fmt::format("the first column is called '{}'; it is taken for "
                                               "d in angstrom (pattern.unit)",
                                               title);
            return;
        case TitleQuantity::q:
            header.unit =
                names_nanometre(title) ? PatternUnit::q_inverse_nanometre : PatternUnit::q;
            if (!names_nanometre(title) && !names_angstrom(title))
                header.unit_note = fmt::format("the first column is called '{}'; it is taken for "
                                               "q in 1/angstrom (pattern.unit)",
                                               title);
            return;
        }
    }
}

ColumnRole role_of_title(const std::string& title) {
    const auto text = lower_case(title);
    const auto has = [&](std::initializer_list<const char*> parts) {
        return std::any_of(parts.begin(), parts.end(),
                           [&](const char* part) { return contains(text, part); });
    };
    if (has({"calc", "bkg", "backg", "diff", "fit", "model", "relative", "monitor", "epoch"}))
        return ColumnRole::other;
    if (has({"sigma", "esd", "e.s.d", "std", "err", "uncert", "σ"}) || text == "sig" ||
        text == "di")
        return ColumnRole::sigma;
    if (has({"varian"}) || text == "var")
        return ColumnRole::variance;
    if (has({"weight"}) || text == "wt" || text == "w")
        return ColumnRole::weight;
    return is_intensity_title(title) ? ColumnRole::intensity : ColumnRole::unknown;
}

std::vector<std::string> column_titles(const std::vector<std::string>& header_lines,
                                       std::size_t columns) {
    for (auto line = header_lines.rbegin(); line != header_lines.rend(); ++line) {
        auto titles = titles_of(*line, columns);
        if (titles.size() != columns)
            continue;
        for (auto& title : titles)
            title = bare(title);
        if (std::any_of(titles.begin() + 1, titles.end(), [](const std::string& title) {
                return role_of_title(title) == ColumnRole::intensity;
            }))
            return titles;
    }
    return {};
}

} // namespace xrdct::patterns::detail
