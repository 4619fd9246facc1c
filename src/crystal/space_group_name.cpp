// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/space_group_name.hpp"

#include "base/text.hpp"

#include <fmt/format.h>
#include <initializer_list>
#include <regex>
#include <string_view>
#include <utility>

namespace xrdct::crystal {

namespace {

/// One rule after the other.
std::string replaced(std::string text,
                     std::initializer_list<std::pair<const char*, const char*>> rules) {
    for (const auto& [pattern, by] : rules)
        text = std::regex_replace(text, std::regex(pattern), by);
    return trimmed(text);
}

/// Screw axes, bars and remarks as plain text.
std::string without_markup(const std::string& name) {
    return replaced(
        name,
        {// what stands about a setting, in words, as an extension
         {"[\\(\\[{]?\\s*[Oo]rigin\\s*(?:[Cc]hoice|[Nn]o\\.?)?\\s*([12])\\s*[\\)\\]}]?\\s*$",
          " :$1"},
         {"[\\(\\[{]?\\s*[Hh]ex(agonal)?(\\s*(axes|setting|cell))?\\.?\\s*[\\)\\]}]?\\s*$", " :H"},
         {"[\\(\\[{]?\\s*[Rr]homb(ohedral)?(\\s*(axes|setting|cell))?\\.?\\s*[\\)\\]}]?\\s*$",
          " :R"},
         {"\\s*[\\(\\[]\\s*[Oo]\\s*([12])\\s*[\\)\\]]\\s*$", " :$1"},
         {"\\s*[\\(\\[]\\s*(-?[abc][123])\\s*[\\)\\]]\\s*$", " :$1"},
         {"</?[A-Za-z]+>", "_"},
         {"\\\\(bar|overline)\\s*\\{?\\s*([1346])\\s*\\}?", "-$2"},
         {"(\xCC\x84|\xCC\x85)", "\x01"},
         {"([1346])\x01", "-$1"},
         {"[$\\\\{}~^'\"]", "_"},
         {"([2346])\\(([1-5])\\)", "$1$2"},
         {"([2346])_+([1-5])(_*)", "$1$2"},
         {"\\s*/\\s*", "/"}});
}

/// The number of the group behind its name, "P 21/c (14)", off.
std::string without_number(const std::string& name) {
    static const std::regex number("\\s+[\\(\\[]\\s*([Nn]o\\.?|#)?\\s*[0-9]{1,3}\\s*[\\)\\]]\\s*$");
    return trimmed(std::regex_replace(name, number, ""));
}

/// Suffixes of databases for settings ("F d -3 m Z", "R-3mH") as the extension behind a colon.
std::string with_extension(const std::string& name) {
    if (name.size() < 4 || name.find(':') != std::string::npos)
        return name;
    static const std::regex origin("\\s*[Oo]([12])\\s*$");
    if (std::regex_search(name, origin))
        return std::regex_replace(name, origin, ":$1");
    const std::string base = trimmed(name.substr(0, name.size() - 1), " \t_");
    switch (name.back()) {
    case 'S':
        return base + ":1";
    case 'Z':
        return base + ":2";
    case 'H':
        return base + ":H";
    case 'R':
        return base + ":R";
    default:
        return name;
    }
}

/// Full symbols as short ones: "I 2/b 2/a 2/m" is "I b a m", "F 4/m -3 2/m" is "F m -3 m".
std::string as_short_symbol(const std::string& name) {
    return replaced(
        name, {{"^(\\w)\\s+21?/(\\w)\\s+21?/(\\w)\\s+21?/(\\w)(?=\\s*:|$)", "$1 $2 $3 $4"},
               {"^(\\w)\\s+([46][1-5]?/\\w)\\s+21?/(\\w)\\s+21?/(\\w)(?=\\s*:|$)", "$1 $2 $3 $4"},
               {"^(\\w)\\s+[24][1-3]?/(\\w)\\s+-3(?=\\s|:|$)", "$1 $2 -3"},
               {"-3(\\s+1)?\\s+2/(\\w)", "-3$1 $2"}});
}

/// "F m 3 m" of before 1983 as "F m -3 m"; the name itself if it is no such.
std::string with_inversion_axis(std::string name) {
    const auto axis = name.find('3', 1);
    const auto before = axis == std::string::npos ? axis : name.find_last_not_of(" \t_", axis - 1);
    if (before != std::string::npos && before > 0 &&
        std::string_view("abcdmnABCDMN").find(name[before]) != std::string_view::npos)
        name.insert(axis, 1, '-');
    return name;
}

} // namespace

std::vector<const gemmi::SpaceGroup*> groups_of_name(const std::string& raw, double alpha,
                                                     double gamma) {
    const gemmi::SpaceGroup* first = nullptr;
    std::string name;
    for (int effort = 0; effort < 3 && first == nullptr; ++effort) {
        const std::string plain = effort > 0 ? without_markup(without_number(raw)) : raw;
        const std::string spelled = effort > 1 ? as_short_symbol(plain) : plain;
        const std::string extended = with_extension(spelled);
        // A suffix that the tables do not know is of no choice: "I -4 2 d S".
        for (const std::string& suffixed :
             {spelled, extended, extended.substr(0, extended.find(':'))})
            for (const std::string& candidate : {suffixed, with_inversion_axis(suffixed)})
                if (first == nullptr) {
                    name = candidate;
                    first = gemmi::find_spacegroup_by_name(name, alpha, gamma);
                }
    }
    if (first == nullptr)
        return {};
    // Words such as "{rhombohedral axes}" are copied from tables; the angles of the cell are not.
    const bool hexagonal_cell = alpha == 90 && gamma == 120;
    if ((first->ext == 'R' && hexagonal_cell) ||
        (first->ext == 'H' && alpha == gamma && alpha != 90)) {
        name = fmt::format("{}:{}", first->hm, first->ext == 'R' ? 'H' : 'R');
        first = gemmi::find_spacegroup_by_name(name, alpha, gamma);
    }
    std::vector<const gemmi::SpaceGroup*> groups{first};
    if (name.find(':') == std::string::npos && (first->ext == '1' || first->ext == '2'))
        for (const gemmi::SpaceGroup& other : gemmi::spacegroup_tables::main)
            if (&other != first && other.number == first->number &&
                std::string_view(other.hm) == first->hm)
                groups.push_back(&other);
    return groups;
}

} // namespace xrdct::crystal
