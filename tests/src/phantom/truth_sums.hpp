// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/simulation.hpp"

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::test {

/// Truth maps by phase and quantity.
using TruthMaps = std::map<std::pair<std::string, std::string>, std::vector<double>>;

inline TruthMaps truth_of(const phantom::Simulation& simulator, double scale = 1) {
    TruthMaps maps;
    for (auto& map : simulator.truth_rows(0, simulator.n_translations(), scale))
        maps[{map.phase, map.quantity}] = std::move(map.values);
    return maps;
}

/// Of the values that are finite.
inline double sum_of(const std::vector<double>& values) {
    double sum = 0;
    for (const double v : values)
        sum += std::isfinite(v) ? v : 0;
    return sum;
}

} // namespace xrdct::test
