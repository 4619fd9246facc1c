// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"

#include <string>
#include <vector>

namespace xrdct::report {

/// Where fewer of the fitted voxels converged the maps show the optimiser, not the object.
inline constexpr double min_converged_share = 0.5;
/// Both together say that the model misses what was measured: a GoF of 3 is misfit of three times
/// the noise, which counts of a million reach with maps that are right, and an Rwp of 30 % weak
/// data reach with a GoF of 1.
inline constexpr double max_gof = 3, max_rwp = 0.3;
/// Below it the variances of the data cannot be right, and e.s.d. are too large by its inverse.
inline constexpr double min_gof = 0.3;

/// What the numbers of an analysis say of its own worth.
struct Verdict {
    std::vector<std::string> faults; ///< why the result cannot be trusted; empty: it can
    std::vector<std::string> doubts; ///< what to look at
    std::string fits, amounts, cells;

    bool trusted() const { return faults.empty(); }
};

/// Looks at the main stage of the analysis; nothing but empty texts when it has none.
Verdict judge(const Analysis& analysis);

/// Five lines for the end of a run: fits, amounts, cells, doubts, what to do next.
std::vector<std::string> verdict_lines(const Verdict& verdict, const std::string& folder);

} // namespace xrdct::report
