// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/cif_content.hpp"
#include "crystal/cif_document.hpp"
#include "crystal/cif_sites.hpp"
#include "crystal/phase.hpp"
#include "crystal/structure.hpp"
#include "crystal/symmetry.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <gemmi/cifdoc.hpp>
#include <gemmi/elem.hpp>
#include <gemmi/numb.hpp>
#include <gemmi/unitcell.hpp>
#include <map>
#include <optional>

namespace xrdct::crystal {

namespace {

constexpr double shortest_cell = 0.5, longest_cell = 1e4; ///< Å
constexpr double densest = 50;                            ///< g/cm³; osmium has 22.6
constexpr double different_places = 0.2;                  ///< Å; closer atoms share a place

using gemmi::El;

double number(const std::string& text, double missing = NAN) {
    return gemmi::cif::is_null(text) ? missing
                                     : gemmi::cif::as_number(gemmi::cif::as_string(text), missing);
}

/// Shortest distance [Å] between atoms of different places.
double closest_approach(const std::vector<Atom>& atoms, const gemmi::UnitCell& cell) {
    double closest = std::min({cell.a, cell.b, cell.c});
    closest *= closest;
    for (std::size_t i = 0; i < atoms.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            const double d =
                cell.distance_sq(gemmi::Fractional(atoms[i].x, atoms[i].y, atoms[i].z),
                                 gemmi::Fractional(atoms[j].x, atoms[j].y, atoms[j].z));
            if (d > different_places * different_places)
                closest = std::min(closest, d);
        }
    return std::sqrt(closest);
}

UnitCell read_cell(gemmi::cif::Block& block, const std::string& source) {
    UnitCell cell;
    struct Item {
        const char* tag;
        double* value;
        double missing;
    };
    for (const Item& item :
         {Item{"_cell_length_a", &cell.a, NAN}, Item{"_cell_length_b", &cell.b, NAN},
          Item{"_cell_length_c", &cell.c, NAN}, Item{"_cell_angle_alpha", &cell.alpha, 90},
          Item{"_cell_angle_beta", &cell.beta, 90}, Item{"_cell_angle_gamma", &cell.gamma, 90}}) {
        const std::string* text = block.find_value(item.tag);
        double value = item.missing;
        if (text != nullptr && !gemmi::cif::is_null(*text)) {
            value = number(*text);
            if (!std::isfinite(value))
                throw Error(fmt::format("{}: {} is \"{}\", a number was expected", source, item.tag,
                                        *text));
        }
        if (!std::isfinite(value))
            throw Error(fmt::format("{}: no unit cell: {} is missing", source, item.tag));
        *item.value = value;
    }
    const bool angles = std::min({cell.alpha, cell.beta, cell.gamma}) > 0 &&
                        std::max({cell.alpha, cell.beta, cell.gamma}) < 180;
    if (!(std::min({cell.a, cell.b, cell.c}) >= shortest_cell) ||
        !(std::max({cell.a, cell.b, cell.c}) <= longest_cell) || !angles || !(cell.volume() > 0))
        throw Error(fmt::format("{}: impossible unit cell {} {} {} Å, {} {} {}°", source, cell.a,
                                cell.b, cell.c, cell.alpha, cell.beta, cell.gamma));
    return cell;
}

UnitCell checked_cell(const UnitCell& cell, LatticeSymmetry lattice, const std::string& group,
                      const std::string& source, std::vector<std::string>& warnings) {
    const UnitCell ideal = symmetrised(cell, lattice);
    const double lengths = std::max({std::abs(cell.a / ideal.a - 1), std::abs(cell.b / ideal.b - 1),
                                     std::abs(cell.c / ideal.c - 1)});
    const double angles =
        std::max({std::abs(cell.alpha - ideal.alpha), std::abs(cell.beta - ideal.beta),
                  std::abs(cell.gamma - ideal.gamma)});
    if (lengths > 5e-3 || angles > 0.3)
        throw Error(
            fmt::format("{}: the cell {} {} {} Å, {} {} {}° does not fit the {} symmetry of "
                        "space group {}",
                        source, cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma,
                        to_string(lattice.system), group));
    if (lengths > 1e-6 || angles > 1e-6)
        warnings.push_back(fmt::format("the cell was made {} as space group {} asks for",
                                       to_string(lattice.system), group));
    return ideal;
}

gemmi::UnitCell gemmi_cell(const UnitCell& cell) {
    gemmi::UnitCell g;
    g.set(cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma);
    return g;
}

std::vector<ElementCount> composition_of(const std::vector<Atom>& atoms,
                                         const std::vector<El>& elements) {
    std::map<int, ElementCount> counts;
    for (const Atom& atom : atoms) {
        const gemmi::Element element(elements[static_cast<std::size_t>(atom.species)]);
        const int z = element.atomic_number();
        auto [it, inserted] = counts.try_emplace(z, ElementCount{z, gemmi::Element(z).name(), 0});
        it->second.count += atom.occupancy;
    }
    std::vector<ElementCount> composition;
    for (auto& [z, entry] : counts)
        composition.push_back(std::move(entry));
    return composition;
}

/// The structure as a space group that the file may mean makes it.
struct Trial {
    const SymmetryCandidate* candidate;
    LatticeSymmetry lattice;
    UnitCell cell;
    CellContent content;
    StatedContent::Judgement judgement;
    std::vector<std::string> warnings;
    bool proportions = true; ///< those of the chemical formula
    double room = 0;         ///< shortest distance between atoms [Å]

    /// What speaks against it: places with more than one atom, a content that is not the stated.
    std::string complaint() const {
        return content.fault.empty() ? judgement.complaint : content.fault;
    }
};

/// What the trials have in common.
struct Listed {
    UnitCell cell;
    std::vector<Site> sites;
    std::vector<El> elements;
    StatedContent stated;
    std::string source;
};

Trial try_candidate(const SymmetryCandidate& candidate, const Listed& listed, bool one_of_several) {
    Trial trial{&candidate, lattice_symmetry(candidate.operations, listed.source), {}, {}, {}, {}};
    trial.cell =
        checked_cell(listed.cell, trial.lattice, candidate.name, listed.source, trial.warnings);
    const auto cell = gemmi_cell(trial.cell);
    trial.content = expand(listed.sites, candidate.operations, cell, listed.elements);
    trial.judgement = listed.stated.judge(trial.content, listed.elements, trial.cell.volume());
    for (const auto* list : {&trial.content.warnings, &trial.judgement.notes})
        trial.warnings.insert(trial.warnings.end(), list->begin(), list->end());
    if (one_of_several) {
        trial.proportions =
            listed.stated.formula.empty() ||
            has_proportions(trial.content.atoms, listed.elements, listed.stated.formula);
        trial.room = closest_approach(trial.content.atoms, cell);
    }
    return trial;
}

/// Where the name leaves the origin open, the wrong choice gives a wrong content of the cell or
/// squeezes atoms together. What the file says of its content decides; else the structure with more
/// room does. `decided_by` takes the reason, in words.
bool better(const Trial& trial, const Trial& best, const char*& decided_by) {
    if (best.complaint().empty() != trial.complaint().empty()) {
        decided_by = "which gives the stated density";
        if (!best.content.fault.empty() || !trial.content.fault.empty())
            decided_by = "which puts no atoms onto others";
        return trial.complaint().empty();
    }
    if (best.proportions != trial.proportions) {
        decided_by = "which gives the chemical formula";
        return trial.proportions;
    }
    decided_by = "which keeps the atoms further apart; check the density";
    return trial.room > 1.01 * best.room ||
           (trial.room > 0.99 * best.room &&
            trial.content.atoms.size() < best.content.atoms.size());
}

/// The trial of the group that fits best; why is added to `warnings` where there are several.
Trial best_trial(const std::vector<SymmetryCandidate>& candidates, const Listed& listed,
                 std::vector<std::string>& warnings) {
    const bool open = candidates.size() > 1;
    std::optional<Trial> best;
    const char* decided_by = "";
    for (const SymmetryCandidate& candidate : candidates) {
        Trial trial = try_candidate(candidate, listed, open);
        if (!best || better(trial, *best, decided_by))
            best = std::move(trial);
    }
    warnings.insert(warnings.end(), best->warnings.begin(), best->warnings.end());
    if (open)
        warnings.push_back(fmt::format("the space-group name leaves the origin open and no "
                                       "operators are given: {} was taken, {}",
                                       best->candidate->name, decided_by));
    if (!best->content.fault.empty())
        throw Error(fmt::format("{}: {} (space group {}); check coordinates and occupancies",
                                listed.source, best->content.fault, best->candidate->name));
    if (!best->judgement.complaint.empty())
        throw Error(fmt::format("{}: {} (space group {}); check the origin choice, the symmetry "
                                "operators and the occupancies, or take out the tag if it is "
                                "wrong",
                                listed.source, best->judgement.complaint, best->candidate->name));
    return std::move(*best);
}

} // namespace

Phase Phase::from_cif_text(std::string_view text, const std::string& source, std::string name,
                           const std::string& block_name) {
    auto structure = std::make_shared<Structure>();
    Structure& s = *structure;
    gemmi::cif::Document document = parse_cif(text, source, s.warnings);
    gemmi::cif::Block& block = structure_block(document, block_name, source, s.warnings);
    s.source = source;
    s.name = name.empty() ? block.name : std::move(name);
    Listed listed;
    listed.source = source;
    listed.cell = read_cell(block, source);
    listed.stated = read_stated_content(block);
    auto symmetry = read_symmetry(block, listed.cell.alpha, listed.cell.gamma, source);
    s.warnings.insert(s.warnings.end(), symmetry.warnings.begin(), symmetry.warnings.end());
    listed.sites =
        read_sites(block, gemmi_cell(listed.cell), listed.stated.formula, source, s.warnings);
    for (const Site& site : listed.sites)
        if (std::find(s.elements.begin(), s.elements.end(), site.element) == s.elements.end())
            s.elements.push_back(site.element);
    listed.elements = s.elements;
    Trial best = best_trial(symmetry.candidates, listed, s.warnings);
    s.lattice = best.lattice;
    s.cell = best.cell;
    s.operations = best.candidate->operations;
    s.space_group = best.candidate->name;
    s.atoms = std::move(best.content.atoms);
    s.mass = mass_of(s.atoms, s.elements);
    if (!(s.mass > 0))
        throw Error(fmt::format("{}: every site is empty (occupancy 0)", source));
    s.composition = composition_of(s.atoms, s.elements);
    const double density = s.mass / s.cell.volume() * atomic_mass_g_per_cm3;
    if (density > densest)
        s.warnings.push_back(fmt::format("the density would be {:.4g} g/cm³, more than any solid "
                                         "has; are the cell lengths in Å?",
                                         density));
    return Phase(std::move(structure));
}

} // namespace xrdct::crystal
