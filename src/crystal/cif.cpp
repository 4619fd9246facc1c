// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/formula.hpp"
#include "crystal/phase.hpp"
#include "crystal/structure.hpp"
#include "crystal/symmetry.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <fmt/format.h>
#include <gemmi/cif.hpp>
#include <gemmi/elem.hpp>
#include <gemmi/it92.hpp>
#include <gemmi/numb.hpp>
#include <gemmi/unitcell.hpp>
#include <map>
#include <optional>

namespace xrdct::crystal {

namespace {

constexpr double special_position_tolerance = 0.2; ///< Å; coordinates are listed to a few digits
constexpr double density_tolerance = 0.03;

using gemmi::El;

/// One listed site, coordinates as written.
struct Site {
    std::string label;
    El element = El::X;
    gemmi::Fractional position;
    double occupancy = 1;
    double u_iso = 0;
};

double number(const std::string& text, double missing = NAN) {
    return gemmi::cif::is_null(text) ? missing : gemmi::cif::as_number(text, missing);
}

double number_of_tag(const gemmi::cif::Block& block, const char* tag) {
    const std::string* value = block.find_value(tag);
    return value == nullptr ? NAN : number(*value);
}

/// Leading letters of "Ni2+", "O2-", "Co1_a".
std::string letters(const std::string& text) {
    std::size_t n = 0;
    while (n < text.size() && std::isalpha(static_cast<unsigned char>(text[n])) != 0)
        ++n;
    return text.substr(0, n);
}

El element_of_symbol(const std::string& symbol) {
    const std::string name = letters(symbol);
    return name.empty() || name.size() > 2 ? El::X : gemmi::find_element(name.c_str());
}

/// Labels are freer than type symbols: "OW1" is oxygen, "Cmet" carbon … but "Xx1" is nothing.
El element_of_label(const std::string& label) {
    const std::string name = letters(label);
    if (name.empty())
        return El::X;
    if (name.size() >= 2 && std::islower(static_cast<unsigned char>(name[1])) != 0)
        return gemmi::find_element(name.substr(0, 2).c_str());
    if (name.size() == 2 && gemmi::find_element(name.c_str()) != El::X)
        return gemmi::find_element(name.c_str());
    return gemmi::find_element(name.substr(0, 1).c_str());
}

/// The element of an atom by its type symbol or, where there is none, by its label.
El checked_element(const std::optional<std::string>& symbol, const std::string& label,
                   const std::string& source) {
    const El element = symbol ? element_of_symbol(*symbol) : element_of_label(label);
    if (element == El::X)
        throw Error(fmt::format("{}: atom \"{}\": unknown element \"{}\"", source, label,
                                symbol ? *symbol : letters(label)));
    if (!gemmi::IT92<double>::has(element))
        throw Error(fmt::format("{}: atom \"{}\": element {} has no scattering factor", source,
                                label, gemmi::element_name(element)));
    return element;
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
            gemmi::SMat33<double> u{number(row[1]),    number(row[2]),    number(row[3]),
                                    number(row[4], 0), number(row[5], 0), number(row[6], 0)};
            const double value = cell.calculate_u_eq(u) * to_u;
            if (std::isfinite(value))
                equivalent_u.emplace(row.str(0), value);
        }
    }
    return equivalent_u;
}

std::vector<Site> read_sites(gemmi::cif::Block& block, const gemmi::UnitCell& cell,
                             const std::string& source, std::vector<std::string>& warnings) {
    enum { label, symbol, x, y, z, u_iso, b_iso, occupancy, count };
    gemmi::cif::Table table =
        block.find("_atom_site_", {"label", "?type_symbol", "fract_x", "fract_y", "fract_z",
                                   "?U_iso_or_equiv", "?B_iso_or_equiv", "?occupancy"});
    static_assert(count == 8);

    const auto equivalent_u = equivalent_displacements(block, cell);
    std::vector<Site> sites;
    bool negative_u = false;
    for (auto row : table) {
        Site site;
        site.label = row.str(label);
        site.element = checked_element(
            row.has2(symbol) ? std::optional(row.str(symbol)) : std::nullopt, site.label, source);
        site.position = {number(row[x]), number(row[y]), number(row[z])};
        if (!std::isfinite(site.position.x + site.position.y + site.position.z)) {
            warnings.push_back(
                fmt::format("atom \"{}\" has no coordinates and was left out", site.label));
            continue;
        }
        if (row.has(occupancy))
            site.occupancy = number(row[occupancy], 1.0);
        if (site.occupancy < 0 || site.occupancy > 1.05)
            throw Error(fmt::format("{}: atom \"{}\": occupancy {} is not between 0 and 1", source,
                                    site.label, site.occupancy));
        double u = NAN;
        if (row.has(u_iso))
            u = number(row[u_iso]);
        if (!std::isfinite(u) && row.has(b_iso))
            u = number(row[b_iso]) / gemmi::u_to_b();
        if (!std::isfinite(u))
            if (const auto found = equivalent_u.find(site.label); found != equivalent_u.end())
                u = found->second;
        negative_u |= u < 0;
        site.u_iso = std::isfinite(u) ? u : 0.0;
        sites.push_back(std::move(site));
    }
    if (negative_u)
        warnings.emplace_back("a negative displacement parameter was read and used as it is");
    if (sites.empty())
        throw Error(fmt::format(
            "{}: no atoms: expected the loop _atom_site_label, _atom_site_fract_x, …", source));
    return sites;
}

/// All atoms of the unit cell. Images of a site that fall together are one atom; the site is
/// first moved to the mean of its coinciding images, so that 0.3333 becomes 1/3.
std::vector<Atom> expand(const std::vector<Site>& sites, const gemmi::GroupOps& operations,
                         const gemmi::UnitCell& cell, const std::vector<El>& elements) {
    const double tolerance = special_position_tolerance * special_position_tolerance;
    std::vector<Atom> atoms;
    for (const Site& site : sites) {
        const auto image = [&](const gemmi::Op& op, const gemmi::Fractional& p) {
            const auto q = op.apply_to_xyz({p.x, p.y, p.z});
            return gemmi::Fractional(q[0], q[1], q[2]);
        };
        gemmi::Vec3 shift(0, 0, 0);
        int n_coinciding = 0;
        for (const gemmi::Op& op : operations) {
            const gemmi::Fractional q = image(op, site.position);
            if (cell.distance_sq(q, site.position) < tolerance) {
                shift += gemmi::Fractional(q - site.position).wrap_to_zero();
                ++n_coinciding;
            }
        }
        gemmi::Fractional centre = site.position;
        centre += shift * (1.0 / n_coinciding);

        const auto species = static_cast<int>(
            std::find(elements.begin(), elements.end(), site.element) - elements.begin());
        const std::size_t first = atoms.size();
        for (const gemmi::Op& op : operations) {
            const gemmi::Fractional q = image(op, centre).wrap_to_unit();
            const bool known = std::any_of(
                atoms.begin() + static_cast<std::ptrdiff_t>(first), atoms.end(),
                [&](const Atom& a) {
                    return cell.distance_sq(q, gemmi::Fractional(a.x, a.y, a.z)) < tolerance;
                });
            if (!known)
                atoms.push_back({species, q.x, q.y, q.z, site.occupancy, site.u_iso});
        }
    }
    return atoms;
}

double mass_of(const std::vector<Atom>& atoms, const std::vector<El>& elements) {
    double mass = 0;
    for (const Atom& atom : atoms)
        mass += atom.occupancy * gemmi::molecular_weight(elements[atom.species]);
    return mass;
}

/// What the file says of its density, to judge a structure by.
struct StatedDensity {
    double density = NAN;      ///< g/cm³
    double formula_mass = NAN; ///< Z M [u]
    double formula_no_h = NAN; ///< the same without hydrogen
    std::string formula_text;
    std::vector<FormulaPart> formula; ///< empty: not given

    /// "" if all is well; else what differs, for the user.
    std::string complaint(double mass, double volume) const {
        const double found = mass / volume * atomic_mass_g_per_cm3;
        if (std::isfinite(density)) {
            if (std::abs(found / density - 1) <= density_tolerance)
                return {};
            return fmt::format("the density of the structure is {:.3f} g/cm³, but "
                               "_exptl_crystal_density_diffrn is {:.3f}",
                               found, density);
        }
        if (std::isfinite(formula_mass) && std::abs(mass / formula_mass - 1) > density_tolerance &&
            std::abs(mass / formula_no_h - 1) > density_tolerance)
            return fmt::format("the unit cell holds {:.2f} u, but {} and _cell_formula_units_Z "
                               "make {:.2f} u",
                               mass, formula_text, formula_mass);
        return {};
    }
};

StatedDensity read_stated_density(const gemmi::cif::Block& block) {
    StatedDensity stated;
    stated.density = number_of_tag(block, "_exptl_crystal_density_diffrn");
    if (stated.density <= 0)
        stated.density = NAN;
    const double z = number_of_tag(block, "_cell_formula_units_Z");
    const bool has_z = std::isfinite(z) && z > 0;
    for (const char* tag : {"_chemical_formula_sum", "_chemical_formula_structural"})
        if (const std::string* value = block.find_value(tag)) {
            const std::string text = gemmi::cif::as_string(*value);
            if (auto formula = parse_formula(text)) {
                stated.formula = std::move(*formula);
                if (has_z) {
                    stated.formula_mass = z * crystal::mass_of(stated.formula);
                    stated.formula_no_h = stated.formula_mass;
                    for (const auto& part : stated.formula)
                        if (part.atomic_number == 1)
                            stated.formula_no_h -= z * part.count * part.mass;
                    stated.formula_text = fmt::format("{} \"{}\"", tag, text);
                }
                break;
            }
        }
    const double weight = number_of_tag(block, "_chemical_formula_weight");
    if (!std::isfinite(stated.formula_mass) && has_z && weight > 0) {
        stated.formula_mass = stated.formula_no_h = z * weight;
        stated.formula_text = "_chemical_formula_weight";
    }
    return stated;
}

/// Whether the atoms have the proportions of the formula, hydrogen apart.
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

/// Shortest distance [Å] between atoms of different places.
double closest_approach(const std::vector<Atom>& atoms, const gemmi::UnitCell& cell) {
    double closest = std::min({cell.a, cell.b, cell.c});
    closest *= closest;
    for (std::size_t i = 0; i < atoms.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
            const double d =
                cell.distance_sq(gemmi::Fractional(atoms[i].x, atoms[i].y, atoms[i].z),
                                 gemmi::Fractional(atoms[j].x, atoms[j].y, atoms[j].z));
            if (d > special_position_tolerance * special_position_tolerance)
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
    if (std::min({cell.a, cell.b, cell.c}) <= 0 || !angles || !(cell.volume() > 0))
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

gemmi::cif::Document parse(std::string_view text, const std::string& source) {
    gemmi::cif::Document document;
    try {
        document = gemmi::cif::read_memory(text.data(), text.size(), source.c_str());
    } catch (const std::exception& e) {
        throw Error(fmt::format("{}: not a CIF: {}", source, e.what()));
    }
    if (document.blocks.empty())
        throw Error(fmt::format("{}: not a CIF: it holds no data block", source));
    return document;
}

/// The first block with a structure: files may begin with one of publication data only.
gemmi::cif::Block& structure_block(gemmi::cif::Document& document) {
    for (gemmi::cif::Block& candidate : document.blocks)
        if (candidate.find_value("_cell_length_a") != nullptr &&
            candidate.find_values("_atom_site_fract_x").length() > 0)
            return candidate;
    return document.blocks.front();
}

/// The structure as a space group that the file may mean makes it.
struct Trial {
    const SymmetryCandidate* candidate;
    LatticeSymmetry lattice;
    UnitCell cell;
    std::vector<Atom> atoms;
    std::string complaint;   ///< what the file says of its density and this is not
    bool proportions = true; ///< those of the chemical formula
    double room = 0;         ///< shortest distance between atoms [Å]
};

Trial try_candidate(const SymmetryCandidate& candidate, const UnitCell& listed,
                    const std::vector<Site>& sites, const std::vector<El>& elements,
                    const std::string& source, std::vector<std::string>& warnings) {
    Trial trial{&candidate, lattice_symmetry(candidate.operations, source), {}, {}, {}};
    trial.cell = checked_cell(listed, trial.lattice, candidate.name, source, warnings);
    trial.atoms = expand(sites, candidate.operations, gemmi_cell(trial.cell), elements);
    return trial;
}

/// Where the name leaves the origin open, the wrong choice gives a wrong content of the cell or
/// squeezes atoms together. What the file says of its content decides; else the structure with more
/// room does. `decided_by` takes the reason, in words.
bool better(const Trial& trial, const Trial& best, const char*& decided_by) {
    if (best.complaint.empty() != trial.complaint.empty()) {
        decided_by = "which gives the stated density";
        return trial.complaint.empty();
    }
    if (best.proportions != trial.proportions) {
        decided_by = "which gives the chemical formula";
        return trial.proportions;
    }
    decided_by = "which keeps the atoms further apart; check the density";
    return trial.room > 1.01 * best.room ||
           (trial.room > 0.99 * best.room && trial.atoms.size() < best.atoms.size());
}

} // namespace

Phase Phase::from_cif_text(std::string_view text, const std::string& source, std::string name) {
    gemmi::cif::Document document = parse(text, source);
    gemmi::cif::Block& block = structure_block(document);
    auto structure = std::make_shared<Structure>();
    Structure& s = *structure;
    s.source = source;
    s.name = name.empty() ? block.name : std::move(name);
    const UnitCell listed = read_cell(block, source);
    auto symmetry = read_symmetry(block, listed.alpha, listed.gamma, source);
    s.warnings = std::move(symmetry.warnings);
    const auto sites = read_sites(block, gemmi_cell(listed), source, s.warnings);
    for (const Site& site : sites)
        if (std::find(s.elements.begin(), s.elements.end(), site.element) == s.elements.end())
            s.elements.push_back(site.element);
    const StatedDensity stated = read_stated_density(block);

    const bool open = symmetry.candidates.size() > 1;
    std::optional<Trial> best;
    const char* decided_by = "";
    for (const SymmetryCandidate& candidate : symmetry.candidates) {
        std::vector<std::string> warnings;
        Trial trial = try_candidate(candidate, listed, sites, s.elements, source, warnings);
        trial.complaint = stated.complaint(mass_of(trial.atoms, s.elements), trial.cell.volume());
        if (open) {
            trial.proportions =
                stated.formula.empty() || has_proportions(trial.atoms, s.elements, stated.formula);
            trial.room = closest_approach(trial.atoms, gemmi_cell(trial.cell));
        }
        if (!best)
            s.warnings.insert(s.warnings.end(), warnings.begin(), warnings.end());
        if (!best || better(trial, *best, decided_by))
            best = std::move(trial);
    }
    if (open)
        s.warnings.push_back(fmt::format("the space-group name leaves the origin open and no "
                                         "operators are given: {} was taken, {}",
                                         best->candidate->name, decided_by));
    if (!best->complaint.empty())
        throw Error(fmt::format("{}: {} (space group {}); check the origin choice, the symmetry "
                                "operators and the occupancies",
                                source, best->complaint, best->candidate->name));
    s.lattice = best->lattice;
    s.cell = best->cell;
    s.operations = best->candidate->operations;
    s.space_group = best->candidate->name;
    s.atoms = std::move(best->atoms);
    s.mass = mass_of(s.atoms, s.elements);
    if (!(s.mass > 0))
        throw Error(fmt::format("{}: every site is empty (occupancy 0)", source));
    s.composition = composition_of(s.atoms, s.elements);
    return Phase(std::move(structure));
}

} // namespace xrdct::crystal
