// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace xrdct::crystal {

/// A material without lines of its own that fills samples, known by a name.
struct Filling {
    std::string name;
    std::string formula; ///< for mass_attenuation()
    double density;      ///< g/cm³ at room temperature
};

/// All that the program knows: electrolytes, polymers, water.
const std::vector<Filling>& fillings();

/// The one of that name in any case; null: there is none.
const Filling* find_filling(std::string_view name);

/// Materials of tubes that hold samples: glasses and polymers.
const std::vector<Filling>& container_materials();

/// The one of that name in any case; null: there is none.
const Filling* find_container_material(std::string_view name);

} // namespace xrdct::crystal
