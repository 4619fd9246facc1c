// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/unit_cell.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <cmath>
#include <fmt/format.h>

namespace xrdct::crystal {

namespace {

/// Exact at 90°, so that rectangular cells carry no rounding noise in their cross terms.
double cosine(double angle) {
    return angle == 90.0 ? 0.0 : std::cos(radians(angle));
}

double volume_factor(const UnitCell& cell) {
    const double ca = cosine(cell.alpha), cb = cosine(cell.beta), cg = cosine(cell.gamma);
    return 1 - ca * ca - cb * cb - cg * cg + 2 * ca * cb * cg;
}

} // namespace

double UnitCell::volume() const {
    return a * b * c * std::sqrt(volume_factor(*this));
}

double UnitCell::inverse_d_squared(const Miller& hkl) const {
    const double ca = cosine(alpha), cb = cosine(beta), cg = cosine(gamma);
    const double h = hkl[0] / a, k = hkl[1] / b, l = hkl[2] / c;
    // International Tables C, table 1.1.
    const double sum = h * h * (1 - ca * ca) + k * k * (1 - cb * cb) + l * l * (1 - cg * cg) +
                       2 * h * k * (ca * cb - cg) + 2 * k * l * (cb * cg - ca) +
                       2 * h * l * (ca * cg - cb);
    return sum / volume_factor(*this);
}

std::string_view to_string(CrystalSystem system) {
    switch (system) {
    case CrystalSystem::triclinic:
        return "triclinic";
    case CrystalSystem::monoclinic:
        return "monoclinic";
    case CrystalSystem::orthorhombic:
        return "orthorhombic";
    case CrystalSystem::tetragonal:
        return "tetragonal";
    case CrystalSystem::trigonal_rhombohedral:
        return "rhombohedral";
    case CrystalSystem::hexagonal:
        return "hexagonal";
    case CrystalSystem::cubic:
        return "cubic";
    }
    throw Error("unknown crystal system");
}

std::string_view to_string(CellParameter parameter) {
    constexpr std::array<std::string_view, 6> names{"a", "b", "c", "alpha", "beta", "gamma"};
    return names.at(static_cast<std::size_t>(parameter));
}

std::vector<CellParameter> independent_parameters(CrystalSystem system, char unique_axis) {
    using enum CellParameter;
    switch (system) {
    case CrystalSystem::triclinic:
        return {a, b, c, alpha, beta, gamma};
    case CrystalSystem::monoclinic:
        if (unique_axis == 'a')
            return {a, b, c, alpha};
        if (unique_axis == 'b')
            return {a, b, c, beta};
        if (unique_axis == 'c')
            return {a, b, c, gamma};
        throw Error(fmt::format("unique axis '{}' is none of a, b, c", unique_axis));
    case CrystalSystem::orthorhombic:
        return {a, b, c};
    case CrystalSystem::tetragonal:
    case CrystalSystem::hexagonal:
        return {a, c};
    case CrystalSystem::trigonal_rhombohedral:
        return {a, alpha};
    case CrystalSystem::cubic:
        return {a};
    }
    throw Error("unknown crystal system");
}

UnitCell cell_from_independent(CrystalSystem system, std::span<const double> values,
                               char unique_axis) {
    const auto parameters = independent_parameters(system, unique_axis);
    if (values.size() != parameters.size())
        throw Error(fmt::format("a {} cell has {} independent parameters, {} were given",
                                to_string(system), parameters.size(), values.size()));
    UnitCell cell;
    for (std::size_t i = 0; i < values.size(); ++i) {
        switch (parameters[i]) {
        case CellParameter::a:
            cell.a = values[i];
            break;
        case CellParameter::b:
            cell.b = values[i];
            break;
        case CellParameter::c:
            cell.c = values[i];
            break;
        case CellParameter::alpha:
            cell.alpha = values[i];
            break;
        case CellParameter::beta:
            cell.beta = values[i];
            break;
        case CellParameter::gamma:
            cell.gamma = values[i];
            break;
        }
    }
    switch (system) {
    case CrystalSystem::cubic:
        cell.b = cell.c = cell.a;
        break;
    case CrystalSystem::tetragonal:
        cell.b = cell.a;
        break;
    case CrystalSystem::hexagonal:
        cell.b = cell.a;
        cell.gamma = 120;
        break;
    case CrystalSystem::trigonal_rhombohedral:
        cell.b = cell.c = cell.a;
        cell.beta = cell.gamma = cell.alpha;
        break;
    default:
        break;
    }
    return cell;
}

} // namespace xrdct::crystal
