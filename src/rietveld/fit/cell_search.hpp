// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"

#include <span>

namespace xrdct::rietveld {

/// Looks for the cells of phases with refined cells (and positive scale freedom) within ± `range`
/// of the model's, and sets them. Per phase a grid over its independent lengths is scored by the
/// square-rooted, background-free data under the strong lines (a square root keeps one strong
/// foreign peak from deciding); the best few cells compete in a joint non-negative least-squares
/// fit with all other phases, placed greedily, then revised in turn until nothing changes; of cells
/// that do nearly as well, the one nearest the start wins. `intensity`, `weights` [n]: weight 0
/// leaves a channel out. Angles are not searched.
void search_cells(const PatternCalculator& calculator, std::span<const double> intensity,
                  std::span<const double> weights, double range, PatternModel& model);

} // namespace xrdct::rietveld
