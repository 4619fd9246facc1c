// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/compare/cells.hpp"

#include <string>
#include <vector>

namespace xrdct::compare {

/// Errors of one map against the truth of a simulated sample. Amounts (density, weight_fraction)
/// count in all voxels that hold crystals in the truth, those without a value as 0; cells, sizes
/// and microstrains in voxels with at least 0.3 of what the phase has where there is much of it
/// (99th percentile of its amount where it is) and with a value.
struct MapError {
    std::string phase, quantity, units;
    std::size_t voxels = 0, possible = 0; ///< compared, and those that could have been
    double mean = 0;                      ///< of the truth
    double bias = 0;                      ///< mean of found − true
    double rms = 0;                       ///< root mean square of found − true
    double median = 0;                    ///< of |found − true|
    double correlation = 0;               ///< NaN where one of them does not vary
};

/// The mass of one phase in the whole sample.
struct WholeError {
    std::string phase;
    double true_fraction = 0, fraction = 0; ///< weight fractions of the crystalline part
    double mass_ratio = 0;                  ///< found over true; NaN without densities
};

struct TruthErrors {
    std::vector<MapError> maps;
    std::vector<WholeError> whole;
    std::vector<std::string> notes;
};

/// @throws Error when the maps are on other axes than the truth's or no phase is in both.
TruthErrors errors_against(const Cell& truth, const Cell& result);

/// A table in plain text, and the same as JSON.
std::string truth_table(const Cell& result, const TruthErrors& errors);
std::string truth_json(const Cell& truth, const std::vector<Cell>& results,
                       const std::vector<TruthErrors>& errors);

} // namespace xrdct::compare
