// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/fillings.hpp"

#include "base/text.hpp"

namespace xrdct::crystal {

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
    for (const Filling& filling : fillings())
        if (lower_case(filling.name) == lower_case(name))
            return &filling;
    return nullptr;
}

} // namespace xrdct::crystal
