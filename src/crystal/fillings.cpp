// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/fillings.hpp"

#include "base/text.hpp"

namespace xrdct::crystal {

namespace {

const Filling* find_named(const std::vector<Filling>& list, std::string_view name) {
    for (const Filling& one : list)
        if (lower_case(one.name) == lower_case(name))
            return &one;
    return nullptr;
}

} // namespace

const std::vector<Filling>& fillings() {
    // LP30 is 1 mol/l LiPF6 in ethylene carbonate and dimethyl carbonate, 1:1 by mass: a litre of
    // 1300 g holds 152 g of the salt and 574 g (6.52 and 6.37 mol) of each.
    static const std::vector<Filling> known = {
        {"LP30", "C38.67H64.3O38.67LiPF6", 1.30},
        {"polyethylene", "C2H4", 0.94},
        {"polypropylene", "C3H6", 0.90},
        {"PVDF", "C2H2F2", 1.78},
        {"water", "H2O", 0.998},
    };
    return known;
}

const Filling* find_filling(std::string_view name) {
    return find_named(fillings(), name);
}

const std::vector<Filling>& container_materials() {
    // Borosilicate glass 3.3 (ISO 3585): 81 % SiO2, 13 % B2O3, 4 % Na2O, 2 % Al2O3 by mass.
    static const std::vector<Filling> known = {
        {"glass", "Si1.348B0.373Na0.129Al0.039O3.379", 2.23},
        {"quartz", "SiO2", 2.20},
        {"Kapton", "C22H10N2O5", 1.42},
        {"PEEK", "C19H12O3", 1.30},
        {"PMMA", "C5H8O2", 1.18},
        {"polyethylene", "C2H4", 0.94},
        {"polypropylene", "C3H6", 0.90},
    };
    return known;
}

const Filling* find_container_material(std::string_view name) {
    return find_named(container_materials(), name);
}

} // namespace xrdct::crystal
