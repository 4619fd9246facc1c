// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// How projections half a turn apart agree. Misfits are mean squared differences of projections
/// (less their lowest level, of sum 1) over their mean square; NaN without a pair.
struct HalfTurn {
    std::size_t pairs = 0;      ///< half a turn apart
    std::size_t near_pairs = 0; ///< one step apart
    std::size_t n_translation = 0;
    double mirrored = Finding::none;   ///< half a turn apart, one mirrored about the best axis
    double straight = Finding::none;   ///< the same, shifted instead of mirrored
    double neighbours = Finding::none; ///< of projections one step apart: what noise and step cost
    double neighbours_mirrored = Finding::none; ///< the same, one mirrored about the best axis
    double unrelated =
        Finding::none; ///< 60 or 90 degrees apart (the larger), one mirrored about its best axis:
                       ///< what two projections of this body differ by
};

/// `rotation` [deg] of the projections given, `sinogram` [rotation][translation] of summed
/// intensities, NaN where missing; `step` [deg] is that of the scan.
HalfTurn compare_half_turn(std::span<const double> rotation, std::span<const float> sinogram,
                           std::size_t n_translation, double step);

/// What the comparison means: nothing where the body is too round or the scan too noisy to tell.
std::vector<Finding> judge(const HalfTurn& comparison);

/// Whether the axes of a sinogram [rotation][translation] are exchanged. A body in air has ends
/// without intensity along the translations, and the same sum in all projections.
std::vector<Finding> check_axes(std::span<const float> sinogram, std::size_t n_translation);

} // namespace xrdct::inspection
