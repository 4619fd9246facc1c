// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the crystal library: speaks gemmi's types.

#include <gemmi/symmetry.hpp>
#include <string>
#include <vector>

namespace xrdct::crystal {

/// All groups that a Hermann–Mauguin name can mean: none, one, or the origin choices when the name
/// does not say which. Understood are the spellings of databases and journals: "P2(1)/n", "P2_1/c",
/// "P2~1~/n", "P 6_{3}/mmc", "R \bar{3} m", "R-3mH", "Fd-3mS", "F d -3 m (origin choice 2)", and
/// cubic names of before 1983 ("F m 3 m"). `alpha` and `gamma` [deg] of the cell tell hexagonal
/// from rhombohedral axes.
std::vector<const gemmi::SpaceGroup*> groups_of_name(const std::string& name, double alpha,
                                                     double gamma);

} // namespace xrdct::crystal
