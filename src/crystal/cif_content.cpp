// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/cif_content.hpp"

#include "base/units.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gemmi/numb.hpp>
#include <map>

namespace xrdct::crystal {

namespace {

using gemmi::El;

constexpr double density_tolerance = 0.03;
constexpr double hydrogen_mass = 1.008; ///< u

double number_of_tag(const gemmi::cif::Block& block, const char* tag) {
    const std::string* value = block.find_value(tag);
    return value == nullptr ? NAN : gemmi::cif::as_number(gemmi::cif::as_string(*value));
}

bool agrees(double mass, double stated) {
    return std::abs(mass / stated - 1) <= density_tolerance;
}

/// Number and mass of the hydrogen, and how much more the other atoms could bind.
struct Hydrogen {
    double count = 0;
    double mass = 0;
    double room = 0;
};

Hydrogen hydrogen_of(const std::vector<Atom>& atoms, const std::vector<El>& elements) {
    Hydrogen hydrogen;
    for (const Atom& atom : atoms) {
        const gemmi::Element element(elements[static_cast<std::size_t>(atom.species)]);
        if (element.atomic_number() == 1) {
            hydrogen.count += atom.occupancy;
            hydrogen.mass += atom.occupancy * element.weight();
        } else if (element.elem == El::C || element.elem == El::N || element.elem == El::B) {
            hydrogen.room += 4 * atom.occupancy;
        } else if (element.elem == El::O) {
            hydrogen.room += 3 * atom.occupancy;
        }
    }
    return hydrogen;
}

/// Hydrogen and the rest of a formula unit [u].
struct FormulaMass {
    double hydrogen = 0, rest = 0, n_hydrogen = 0;
};

FormulaMass parts_of(const std::vector<FormulaPart>& formula) {
    FormulaMass parts;
    for (const FormulaPart& part : formula) {
        const bool is_hydrogen = part.atomic_number == 1;
        (is_hydrogen ? parts.hydrogen : parts.rest) += part.count * part.mass;
        parts.n_hydrogen += is_hydrogen ? part.count : 0;
    }
    return parts;
}

/// Whether all counts are multiples of Z: programs that calculate structures write what the whole
/// cell holds as the sum, and Z besides.
bool counts_whole_cell(const std::vector<FormulaPart>& formula, double z) {
    return z > 1 && std::all_of(formula.begin(), formula.end(), [&](const FormulaPart& part) {
               const double n = part.count / z;
               return n >= 0.999 && std::abs(n - std::round(n)) < 1e-6;
           });
}

} // namespace

double mass_of(const std::vector<Atom>& atoms, const std::vector<El>& elements) {
    double mass = 0;
    for (const Atom& atom : atoms)
        mass += atom.occupancy *
                gemmi::molecular_weight(elements[static_cast<std::size_t>(atom.species)]);
    return mass;
}

StatedContent::Judgement StatedContent::judge(const CellContent& content,
                                              const std::vector<El>& elements,
                                              double volume) const {
    const double mass = mass_of(content.atoms, elements);
    const Hydrogen hydrogen = hydrogen_of(content.atoms, elements);
    const FormulaMass unit = parts_of(formula);
    const bool knows_hydrogen = !formula.empty() && unit.rest > 0;
    const double attached = hydrogen_mass * content.attached_hydrogens;
    // Agreement with a mass that counts all hydrogen, of which `rest` is without.
    const auto explained = [&](double stated, double rest) {
        if (agrees(mass, stated) || agrees(mass + attached, stated))
            return true;
        if (std::isfinite(rest))
            return agrees(mass - hydrogen.mass, rest);
        const double missing = (stated - mass) / hydrogen_mass;
        return hydrogen.count == 0 && missing > 0 && missing <= hydrogen.room;
    };
    const double by_density = density * volume / atomic_mass_g_per_cm3;
    const double rest_by_density =
        knows_hydrogen ? by_density * unit.rest / (unit.rest + unit.hydrogen) : NAN;
    const bool density_holds = std::isfinite(density) && explained(by_density, rest_by_density);
    const bool per_unit = std::isfinite(formula_mass) && explained(formula_mass, formula_no_h);
    const bool per_cell = !per_unit && whole_cell_z > 0 &&
                          explained(formula_mass / whole_cell_z, formula_no_h / whole_cell_z);
    const bool formula_holds = per_unit || per_cell;
    const bool twice = std::isfinite(density) && content.repeated_mass > 0 &&
                       agrees(mass + content.repeated_mass, by_density);

    Judgement judgement;
    if (per_cell)
        judgement.notes.push_back(fmt::format("{} is read as the content of the whole cell, not of "
                                              "one of {:g} formula units",
                                              formula_text, whole_cell_z));
    const std::string density_differs =
        fmt::format("the density of the structure is {:.3f} g/cm³, but "
                    "_exptl_crystal_density_diffrn is {:.3f}",
                    mass / volume * atomic_mass_g_per_cm3, density);
    const std::string formula_differs =
        fmt::format("the unit cell holds {:.2f} u, but {} and _cell_formula_units_Z make {:.2f} u",
                    mass, formula_text, formula_mass);
    if (twice && !density_holds) {
        judgement.notes.push_back(density_differs + ", which counts the atoms listed once more");
    } else if (std::isfinite(density) && !density_holds) {
        (formula_holds ? judgement.notes.emplace_back() : judgement.complaint) = density_differs;
    } else if (std::isfinite(formula_mass) && !formula_holds) {
        (density_holds ? judgement.notes.emplace_back() : judgement.complaint) = formula_differs;
    }
    double expected = hydrogen.count + content.attached_hydrogens;
    if (knows_hydrogen)
        expected = unit.n_hydrogen * (mass - hydrogen.mass) / unit.rest;
    if (const double missing = expected - hydrogen.count; missing > std::max(0.1, 0.02 * expected))
        judgement.notes.push_back(fmt::format(
            "{:.4g} of {:.4g} hydrogen atoms that the {} into the cell have no "
            "positions; density and intensities are without them",
            missing, expected, knows_hydrogen ? "formula puts" : "attached hydrogens put"));
    else if (!knows_hydrogen && density_holds && !agrees(mass, by_density))
        judgement.notes.push_back(density_differs + ", as if hydrogen had been counted that has no "
                                                    "positions");
    return judgement;
}

StatedContent read_stated_content(const gemmi::cif::Block& block) {
    StatedContent stated;
    stated.density = number_of_tag(block, "_exptl_crystal_density_diffrn");
    if (!(stated.density > 0))
        stated.density = NAN;
    const double z = number_of_tag(block, "_cell_formula_units_Z");
    const bool has_z = std::isfinite(z) && z > 0;
    for (const char* tag : {"_chemical_formula_sum", "_chemical_formula_structural"})
        if (const std::string* value = block.find_value(tag)) {
            const std::string text = gemmi::cif::as_string(*value);
            auto formula = parse_formula(text);
            if (!formula)
                continue;
            stated.formula = std::move(*formula);
            if (has_z) {
                const FormulaMass parts = parts_of(stated.formula);
                stated.formula_mass = z * (parts.hydrogen + parts.rest);
                stated.formula_no_h = z * parts.rest;
                stated.whole_cell_z = counts_whole_cell(stated.formula, z) ? z : 0;
                stated.formula_text = fmt::format("{} \"{}\"", tag, text);
            }
            break;
        }
    const double weight = number_of_tag(block, "_chemical_formula_weight");
    if (!std::isfinite(stated.formula_mass) && has_z && weight > 0) {
        stated.formula_mass = z * weight;
        stated.formula_text = "_chemical_formula_weight";
    }
    return stated;
}

bool has_proportions(const std::vector<Atom>& atoms, const std::vector<El>& elements,
                     const std::vector<FormulaPart>& formula) {
    std::map<int, double> found, stated;
    double n_found = 0, n_stated = 0;
    for (const Atom& atom : atoms) {
        const int z =
            gemmi::Element(elements[static_cast<std::size_t>(atom.species)]).atomic_number();
        if (z > 1) {
            found[z] += atom.occupancy;
            n_found += atom.occupancy;
        }
    }
    for (const auto& part : formula)
        if (part.atomic_number > 1) {
            stated[part.atomic_number] += part.count;
            n_stated += part.count;
        }
    if (n_found <= 0 || n_stated <= 0)
        return true;
    for (const auto& [z, n] : stated)
        found.try_emplace(z, 0.0);
    return std::all_of(found.begin(), found.end(), [&](const auto& entry) {
        const auto it = stated.find(entry.first);
        const double expected = it == stated.end() ? 0 : it->second / n_stated;
        return std::abs(entry.second / n_found - expected) < 0.03;
    });
}

} // namespace xrdct::crystal
