// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/cif_elements.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <gemmi/it92.hpp>

namespace xrdct::crystal {

namespace {

using gemmi::El;

bool is_letter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
}
bool is_digit(char c) {
    return std::isdigit(static_cast<unsigned char>(c)) != 0;
}
bool is_lower(char c) {
    return std::islower(static_cast<unsigned char>(c)) != 0;
}

/// "(OH)1", "18O" and "*O2" begin with a letter for us.
std::string from_first_letter(const std::string& text) {
    return {std::find_if(text.begin(), text.end(), is_letter), text.end()};
}

/// Leading letters of "Ni2+", "O2-", "Co1_a".
std::string leading_letters(const std::string& text) {
    return {text.begin(), std::find_if_not(text.begin(), text.end(), is_letter)};
}

std::string upper_case(std::string text) {
    for (char& c : text)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return text;
}

El usable(El element) {
    return gemmi::IT92<double>::has(element) ? element : El::X;
}

/// The length of "H", "H2", "D2" … at the begin of a text, 0 if there is none.
std::size_t hydrogen_at(std::string_view text) {
    if (text.empty() || (text[0] != 'H' && text[0] != 'D'))
        return 0;
    return text.size() > 1 && is_digit(text[1]) ? 2 : 1;
}

/// The heavy atom of a group that a type symbol names, such as "OH2", "H2O", "OH-", "Wat", "NH4+",
/// "CH3"; X for no such group.
El heavy_atom_of_group(const std::string& symbol) {
    const std::string text = upper_case(symbol);
    if (text.starts_with("WAT"))
        return El::O;
    const std::size_t before = hydrogen_at(text);
    std::string_view rest = std::string_view(text).substr(before);
    if (rest.empty() || (rest[0] != 'O' && rest[0] != 'N' && rest[0] != 'C'))
        return El::X;
    const char heavy = rest[0];
    rest.remove_prefix(1);
    const std::size_t behind = hydrogen_at(rest);
    const bool counted = before == 2 || behind == 2;
    rest.remove_prefix(behind);
    // "HO" is holmium, "Cd2+" cadmium and "ND" neodymium; their groups say how many hydrogens.
    const bool an_element =
        usable(gemmi::find_element(text.substr(0, 2).c_str())) != El::X &&
        (!counted || is_lower(symbol[1]) || text.find_first_of("+-") != std::string::npos);
    if (before + behind == 0 || (before != 2 && an_element) ||
        std::any_of(rest.begin(), rest.end(), is_letter))
        return El::X;
    return heavy == 'O' ? El::O : heavy == 'N' ? El::N : El::C;
}

/// "Nb,Zr", "Fe/Co": two elements and nothing else.
bool names_several(const std::string& text) {
    const auto mark = text.find_first_of(",/");
    if (mark == std::string::npos)
        return false;
    const auto is_symbol = [](const std::string& part) {
        return !part.empty() && part.size() <= 2 && part == leading_letters(part) &&
               !is_lower(part[0]) && usable(gemmi::find_element(part.c_str())) != El::X;
    };
    const std::string rest = from_first_letter(text.substr(mark + 1));
    return is_symbol(text.substr(0, mark)) && is_symbol(leading_letters(rest));
}

} // namespace

ElementReader::ElementReader(const std::vector<FormulaPart>& formula,
                             const std::vector<std::string>& labels) {
    for (const FormulaPart& part : formula)
        formula_.insert(part.atomic_number);
    hydrogen_is_listed_ = std::any_of(labels.begin(), labels.end(), [](const std::string& label) {
        const std::string text = upper_case(from_first_letter(label));
        return leading_letters(text) == "H" && !text.starts_with("H2O") && !text.starts_with("H3O");
    });
}

bool ElementReader::in_formula(El element) const {
    return element != El::X && formula_.contains(gemmi::Element(element).atomic_number());
}

El ElementReader::element_of_symbol(const std::string& symbol, const std::string& label) {
    const std::string text = from_first_letter(symbol);
    if (const El heavy = heavy_atom_of_group(text); heavy != El::X) {
        groups_.push_back(fmt::format("{} ({})", label, symbol));
        return heavy;
    }
    std::string name = leading_letters(text);
    // Neutral valence states of the International Tables: "Cval", "Sival", "Siva".
    for (const char* valence : {"val", "va"})
        if (name.size() > 2 && name.ends_with(valence))
            name.resize(name.size() - std::string_view(valence).size());
    return name.empty() || name.size() > 2 ? El::X : gemmi::find_element(name.c_str());
}

El ElementReader::choose(const std::string& name, const std::string& label) {
    const bool longer = name.size() >= 2;
    const bool capital = longer && !is_lower(name[1]);
    const El one = usable(gemmi::find_element(name.substr(0, 1).c_str()));
    El two = longer ? usable(gemmi::find_element(name.substr(0, 2).c_str())) : El::X;
    const auto said = [&](El element) {
        return fmt::format("{} ({})", label, gemmi::element_name(element));
    };
    if (in_formula(two) && !(capital && name.size() > 2 && in_formula(one)))
        return two;
    if (in_formula(one))
        return one;
    // "Cm" and "Cf" are carbon of methyl and of CF3 rather than curium and californium.
    if (two != El::X && gemmi::Element(two).atomic_number() >= 96)
        two = El::X;
    El chosen = El::X;
    const bool common = one == El::H || one == El::C || one == El::N || one == El::O;
    if (two != El::X && (!capital || name.size() == 2)) {
        chosen = capital && one == El::H ? one : two;
        if (capital && one != El::X && formula_.empty())
            ambiguous_.push_back(said(chosen));
    } else if (!longer || capital || common) {
        chosen = one;
    }
    if (chosen != El::X && !formula_.empty())
        foreign_.push_back(said(chosen));
    return chosen;
}

El ElementReader::element_of_label(const std::string& label) {
    const std::string text = from_first_letter(label);
    const std::string upper = upper_case(text);
    const bool water =
        upper.starts_with("H2O") || upper.starts_with("D2O") || upper.starts_with("H3O");
    if (upper.starts_with("WAT") || (water && !hydrogen_is_listed_)) {
        groups_.push_back(label);
        return El::O;
    }
    const std::string name = leading_letters(text);
    return name.empty() ? El::X : choose(name, label);
}

El ElementReader::element(const std::optional<std::string>& symbol, const std::string& label,
                          const std::string& source) {
    const std::string& text = symbol ? *symbol : label;
    if (names_several(text))
        throw Error(fmt::format("{}: atom \"{}\": \"{}\" names several elements without their "
                                "shares; a row for each with its occupancy was expected",
                                source, label, text));
    const El element = symbol ? element_of_symbol(*symbol, label) : element_of_label(label);
    if (element == El::X)
        throw Error(fmt::format("{}: atom \"{}\": unknown element \"{}\"", source, label,
                                symbol ? *symbol : leading_letters(from_first_letter(label))));
    if (usable(element) == El::X)
        throw Error(fmt::format("{}: atom \"{}\": element {} has no scattering factor", source,
                                label, gemmi::element_name(element)));
    return element;
}

std::vector<std::string> ElementReader::warnings() const {
    std::vector<std::string> list;
    if (!groups_.empty())
        list.push_back(fmt::format("water or another group with hydrogen is on {}; the hydrogen is "
                                   "in neither density nor intensities",
                                   fmt::join(groups_, ", ")));
    if (!ambiguous_.empty())
        list.push_back(fmt::format("no type symbols and no formula: labels were read as {}; "
                                   "_atom_site_type_symbol would make it certain",
                                   fmt::join(ambiguous_, ", ")));
    if (!foreign_.empty())
        list.push_back(fmt::format("labels were read as elements that the chemical formula does "
                                   "not have: {}",
                                   fmt::join(foreign_, ", ")));
    return list;
}

} // namespace xrdct::crystal
