// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/cif_sites.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "crystal/cif_elements.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <gemmi/numb.hpp>
#include <map>
#include <optional>

namespace xrdct::crystal {

namespace {

enum Column {
    x,
    y,
    z,
    label,
    symbol,
    u_iso,
    b_iso,
    occupancy,
    calc_flag,
    multiplicity,
    site_multiplicity,
    attached,
    n_columns
};

/// A coordinate as listed.
struct Coordinate {
    enum class Kind { number, unknown, dot, nonsense };
    Kind kind = Kind::nonsense;
    double value = 0;
    int digits = 0; ///< behind the point
};

/// "1/3" and the like.
std::optional<double> fraction(const std::string& text) {
    const auto slash = text.find('/');
    if (slash == std::string::npos)
        return std::nullopt;
    const auto above = finite_number(text.substr(0, slash));
    const auto below = finite_number(text.substr(slash + 1));
    if (!above || !below || *below == 0)
        return std::nullopt;
    return *above / *below;
}

Coordinate read_coordinate(const std::string& raw) {
    if (raw == "?" || raw == ".")
        return {raw == "?" ? Coordinate::Kind::unknown : Coordinate::Kind::dot, 0, 0};
    const std::string text = trimmed(gemmi::cif::as_string(raw));
    if (const auto value = fraction(text))
        return {Coordinate::Kind::number, *value, 0};
    const double value = gemmi::cif::as_number(text);
    if (!std::isfinite(value))
        return {};
    int digits = 0;
    if (const auto point = text.find('.'); point != std::string::npos)
        while (point + 1 + static_cast<std::size_t>(digits) < text.size() &&
               std::isdigit(static_cast<unsigned char>(
                   text[point + 1 + static_cast<std::size_t>(digits)])) != 0)
            ++digits;
    if (const auto power = text.find_first_of("eE"); power != std::string::npos)
        digits -= static_cast<int>(finite_number(text.substr(power + 1)).value_or(0));
    return {Coordinate::Kind::number, value, std::clamp(digits, 0, 12)};
}

double number_or(const std::string& text, double missing) {
    return gemmi::cif::is_null(text) ? missing : gemmi::cif::as_number(text, missing);
}

/// A row of the atom list.
struct Row {
    std::string label;
    std::optional<std::string> symbol;
    std::array<Coordinate, 3> place;
    std::array<std::string, n_columns> text; ///< empty: not given

    bool has(Coordinate::Kind kind) const {
        return std::any_of(place.begin(), place.end(),
                           [&](const Coordinate& c) { return c.kind == kind; });
    }
    double value(Column column, double missing) const {
        return text[column].empty() ? missing : number_or(text[column], missing);
    }
    /// Whether anything but the place is known by number.
    bool has_other_numbers() const {
        return std::isfinite(value(u_iso, NAN)) || std::isfinite(value(b_iso, NAN)) ||
               std::isfinite(value(multiplicity, NAN)) ||
               std::isfinite(value(site_multiplicity, NAN));
    }
};

std::vector<Row> read_rows(gemmi::cif::Block& block) {
    gemmi::cif::Table table =
        block.find("_atom_site_",
                   {"fract_x", "fract_y", "fract_z", "?label", "?type_symbol", "?U_iso_or_equiv",
                    "?B_iso_or_equiv", "?occupancy", "?calc_flag", "?symmetry_multiplicity",
                    "?site_symmetry_multiplicity", "?attached_hydrogens"});
    std::vector<Row> rows;
    for (auto row : table) {
        Row& r = rows.emplace_back();
        for (int c = 0; c < n_columns; ++c)
            if (row.has(static_cast<std::size_t>(c)))
                r.text[static_cast<std::size_t>(c)] = row[c];
        for (int axis = 0; axis < 3; ++axis)
            r.place[static_cast<std::size_t>(axis)] = read_coordinate(row[axis]);
        if (row.has2(symbol) && !trimmed(row.str(symbol)).empty())
            r.symbol = trimmed(row.str(symbol));
        if (row.has2(label))
            r.label = trimmed(row.str(label));
        if (r.label.empty() && r.symbol)
            r.label = *r.symbol;
    }
    return rows;
}

/// Whether the file writes 0 as "." and 0.5 as ".5", as the ICSD did.
bool writes_bare_zeros(const std::vector<Row>& rows) {
    return std::any_of(rows.begin(), rows.end(), [](const Row& row) {
        const bool point_first =
            std::any_of(row.text.begin(), row.text.begin() + 3, [](const std::string& text) {
                return text.size() > 1 && (text[0] == '.' || text.starts_with("-."));
            });
        return point_first || (row.has(Coordinate::Kind::dot) && row.has(Coordinate::Kind::number));
    });
}

/// U_eq [Å²] of the sites with anisotropic displacement parameters, by label.
std::map<std::string, double> equivalent_displacements(gemmi::cif::Block& block,
                                                       const gemmi::UnitCell& cell) {
    std::map<std::string, double> equivalent_u;
    for (const auto& [prefix, to_u] :
         {std::pair{"U_", 1.0}, std::pair{"B_", 1.0 / gemmi::u_to_b()}}) {
        const std::string p = prefix;
        for (auto row : block.find("_atom_site_aniso_", {"label", p + "11", p + "22", p + "33",
                                                         p + "12", p + "13", p + "23"})) {
            gemmi::SMat33<double> u{number_or(row[1], NAN), number_or(row[2], NAN),
                                    number_or(row[3], NAN), number_or(row[4], 0),
                                    number_or(row[5], 0),   number_or(row[6], 0)};
            const double value = cell.calculate_u_eq(u) * to_u;
            if (std::isfinite(value))
                equivalent_u.emplace(row.str(0), value);
        }
    }
    return equivalent_u;
}

/// The unit of the last digit of every coordinate. Programs drop zeros at the end, so that 0.5 is
/// as good as the longest coordinate of the list; only rounded twelfths, 0.33 or 0.1667, are not.
void set_units(std::vector<Site>& sites, const std::vector<std::array<Coordinate, 3>>& places) {
    int most = 0;
    for (const auto& place : places)
        for (const Coordinate& coordinate : place)
            most = std::max(most, coordinate.digits);
    for (std::size_t i = 0; i < sites.size(); ++i)
        for (std::size_t axis = 0; axis < 3; ++axis) {
            const Coordinate& c = places[i][axis];
            const double twelfth = std::round(12 * c.value);
            const double own = std::pow(10.0, -c.digits);
            const bool rounded = c.digits >= 2 && std::fmod(std::abs(twelfth), 3) != 0 &&
                                 std::abs(c.value - twelfth / 12) <= own;
            sites[i].unit[axis] = rounded ? own : std::pow(10.0, -most);
        }
}

/// Which rows have no place, for what reason.
struct LeftOut {
    std::vector<std::string> unknown, dummies;
    bool bare_zeros = false;

    void add_warnings(std::vector<std::string>& warnings) const {
        for (const auto& name : unknown)
            warnings.push_back(
                fmt::format("atom \"{}\" has no coordinates and was left out", name));
        if (!dummies.empty())
            warnings.push_back(
                fmt::format("dummies, which stand for atoms without a place, were left out: {}",
                            fmt::join(dummies, ", ")));
        if (bare_zeros)
            warnings.emplace_back("coordinates written as \".\" were read as 0");
    }
};

/// Whether a row says by a flag, or as the ICSD did by hydrogen at -1 -1 -1, that it has no place.
bool is_dummy(const Row& row) {
    const bool flagged = gemmi::cif::as_string(row.text[calc_flag]) == "dum";
    const auto& name = row.symbol ? *row.symbol : row.label;
    const bool hydrogen =
        !name.empty() && (name[0] == 'H' || name[0] == 'D') &&
        (name.size() < 2 || std::islower(static_cast<unsigned char>(name[1])) == 0);
    return flagged ||
           (hydrogen && std::all_of(row.place.begin(), row.place.end(), [](const Coordinate& c) {
                return c.kind == Coordinate::Kind::number && c.value == -1;
            }));
}

/// The rows whose atoms have a place, their coordinates understood.
std::vector<Row> rows_with_place(std::vector<Row> rows, const std::string& source,
                                 LeftOut& left_out) {
    const bool bare_zeros = writes_bare_zeros(rows);
    std::vector<Row> kept;
    for (Row& row : rows) {
        if (is_dummy(row)) {
            left_out.dummies.push_back(row.label);
            continue;
        }
        if (row.has(Coordinate::Kind::unknown) ||
            (row.has(Coordinate::Kind::dot) && !bare_zeros && !row.has_other_numbers())) {
            left_out.unknown.push_back(row.label);
            continue;
        }
        for (std::size_t axis = 0; axis < 3; ++axis) {
            Coordinate& c = row.place[axis];
            if (c.kind == Coordinate::Kind::nonsense)
                throw Error(fmt::format("{}: atom \"{}\": coordinate {} is \"{}\", a number was "
                                        "expected",
                                        source, row.label, "xyz"[axis],
                                        gemmi::cif::as_string(row.text[axis])));
            left_out.bare_zeros |= c.kind == Coordinate::Kind::dot;
            c.kind = Coordinate::Kind::number;
        }
        kept.push_back(std::move(row));
    }
    return kept;
}

[[noreturn]] void refuse_empty_list(gemmi::cif::Block& block, bool has_rows,
                                    const std::string& source) {
    if (has_rows)
        throw Error(
            fmt::format("{}: the file has no atomic coordinates, a cell only: the atom list "
                        "names no place",
                        source));
    if (block.find_values("_atom_site_Cartn_x").length() > 0)
        throw Error(fmt::format("{}: the atoms have Cartesian coordinates, fractional ones "
                                "(_atom_site_fract_x, …) are needed",
                                source));
    throw Error(fmt::format("{}: no atoms: expected the loop _atom_site_label, "
                            "_atom_site_fract_x, …",
                            source));
}

double checked_occupancy(const Row& row, const std::string& source) {
    const auto& text = row.text[occupancy];
    if (text.empty() || gemmi::cif::is_null(text))
        return 1;
    const double value = gemmi::cif::as_number(gemmi::cif::as_string(text));
    if (!std::isfinite(value))
        throw Error(fmt::format("{}: atom \"{}\": occupancy \"{}\" is no number", source, row.label,
                                gemmi::cif::as_string(text)));
    if (value < 0 || value > 1.05)
        throw Error(fmt::format("{}: atom \"{}\": occupancy {} is not between 0 and 1", source,
                                row.label, value));
    return value;
}

/// An element of a site and the part of the site that it takes.
struct Species {
    std::optional<std::string> symbol;
    double share = 1;
};

/// What a type symbol names. The Pauling File mixes elements in it, "0.8Nb + 0.2Zr", or gives a
/// share, "0.9Li"; a whole number in front is that of an isotope.
std::vector<Species> species_of(const Row& row, const std::string& source) {
    if (!row.symbol)
        return {Species{}};
    std::vector<Species> list;
    const std::string& text = *row.symbol;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(" + ", begin), text.size());
        const std::string part = trimmed(std::string_view(text).substr(begin, end - begin));
        const auto number =
            part.substr(0, std::min(part.find_first_not_of("0123456789."), part.size()));
        const bool is_share = number.find('.') != std::string::npos;
        list.push_back({is_share ? trimmed(part.substr(number.size())) : part, 1});
        if (is_share)
            list.back().share = finite_number(number).value_or(NAN);
        else if (list.size() > 1 || end < text.size())
            list.back().share = NAN;
        begin = end + 3;
    }
    for (const Species& one : list)
        if (!(one.share >= 0 && one.share <= 1.05))
            throw Error(fmt::format("{}: atom \"{}\": type \"{}\": a share between 0 and 1 was "
                                    "expected before every element",
                                    source, row.label, text));
    return list;
}

int stated_multiplicity(const Row& row) {
    const double value = row.value(site_multiplicity, row.value(multiplicity, 0));
    return value > 0 && value <= 192 && value == std::round(value) ? static_cast<int>(value) : 0;
}

} // namespace

std::vector<Site> read_sites(gemmi::cif::Block& block, const gemmi::UnitCell& cell,
                             const std::vector<FormulaPart>& formula, const std::string& source,
                             std::vector<std::string>& warnings) {
    LeftOut left_out;
    auto all_rows = read_rows(block);
    const bool any_rows = !all_rows.empty();
    const auto rows = rows_with_place(std::move(all_rows), source, left_out);
    if (rows.empty())
        refuse_empty_list(block, any_rows, source);

    std::vector<std::string> labels;
    for (const Row& row : rows)
        labels.push_back(row.label);
    ElementReader elements(formula, labels);
    const auto equivalent_u = equivalent_displacements(block, cell);
    std::vector<Site> sites;
    std::vector<std::array<Coordinate, 3>> places;
    bool negative_u = false;
    for (const Row& row : rows) {
        Site site;
        site.label = row.label;
        site.position = {row.place[0].value, row.place[1].value, row.place[2].value};
        const double whole = checked_occupancy(row, source);
        double u = row.value(u_iso, NAN);
        if (!std::isfinite(u))
            u = row.value(b_iso, NAN) / gemmi::u_to_b();
        if (!std::isfinite(u))
            if (const auto found = equivalent_u.find(site.label); found != equivalent_u.end())
                u = found->second;
        negative_u |= u < 0;
        site.u_iso = std::isfinite(u) ? u : 0.0;
        site.multiplicity = stated_multiplicity(row);
        site.attached_hydrogens = std::max(0.0, row.value(attached, 0));
        for (const Species& species : species_of(row, source)) {
            site.element = elements.element(species.symbol, row.label, source);
            site.occupancy = whole * species.share;
            sites.push_back(site);
            places.push_back(row.place);
        }
    }
    set_units(sites, places);
    left_out.add_warnings(warnings);
    for (auto& warning : elements.warnings())
        warnings.push_back(std::move(warning));
    if (negative_u)
        warnings.emplace_back("a negative displacement parameter was read and used as it is");
    return sites;
}

} // namespace xrdct::crystal
