// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/phase.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/structure.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <memory>
#include <xraylib.h>

namespace xrdct::crystal {

namespace {

double value_of(const UnitCell& cell, CellParameter parameter) {
    const std::array<double, 6> values{cell.a, cell.b, cell.c, cell.alpha, cell.beta, cell.gamma};
    return values[static_cast<std::size_t>(parameter)];
}

} // namespace

UnitCell symmetrised(const UnitCell& cell, LatticeSymmetry lattice) {
    std::vector<double> values;
    for (CellParameter p : independent_parameters(lattice.system, lattice.unique_axis))
        values.push_back(value_of(cell, p));
    return cell_from_independent(lattice.system, values, lattice.unique_axis);
}

const std::string& Phase::name() const {
    return structure_->name;
}
const UnitCell& Phase::cell() const {
    return structure_->cell;
}
CrystalSystem Phase::crystal_system() const {
    return structure_->lattice.system;
}
char Phase::unique_axis() const {
    return structure_->lattice.unique_axis;
}
std::vector<CellParameter> Phase::free_parameters() const {
    return independent_parameters(structure_->lattice.system, structure_->lattice.unique_axis);
}
const std::string& Phase::space_group() const {
    return structure_->space_group;
}
const std::vector<ElementCount>& Phase::composition() const {
    return structure_->composition;
}
double Phase::cell_mass() const {
    return structure_->mass;
}
double Phase::density() const {
    return structure_->mass / structure_->cell.volume() * atomic_mass_g_per_cm3;
}
const std::vector<std::string>& Phase::warnings() const {
    return structure_->warnings;
}

Phase Phase::with_cell(const UnitCell& cell) const {
    auto structure = std::make_shared<Structure>(*structure_);
    structure->cell = symmetrised(cell, structure->lattice);
    const UnitCell& c = structure->cell;
    if (!(std::min({c.a, c.b, c.c}) > 0) || !(c.volume() > 0))
        throw Error(fmt::format("phase {}: impossible unit cell {} {} {} Å, {} {} {}°", name(), c.a,
                                c.b, c.c, c.alpha, c.beta, c.gamma));
    return Phase(std::move(structure));
}

Phase Phase::with_name(std::string name) const {
    auto structure = std::make_shared<Structure>(*structure_);
    structure->name = std::move(name);
    return Phase(std::move(structure));
}

double Phase::mass_attenuation(double energy) const {
    const Structure& s = *structure_;
    double sum = 0;
    for (const Atom& atom : s.atoms) {
        const gemmi::Element element(s.elements[static_cast<std::size_t>(atom.species)]);
        xrl_error* error = nullptr;
        const double value = CS_Total(element.atomic_number(), energy, &error);
        if (error != nullptr) {
            const std::unique_ptr<xrl_error, decltype(&xrl_error_free)> owner(error,
                                                                              &xrl_error_free);
            throw Error(fmt::format("phase {}: attenuation of {} at {} keV: {}", s.name,
                                    element.name(), energy, error->message));
        }
        sum += atom.occupancy * element.weight() * value;
    }
    return sum / s.mass;
}

} // namespace xrdct::crystal
