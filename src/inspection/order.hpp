// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// How alike projections are after what all have in common is taken off.
struct Likeness {
    double neighbours = 0;  ///< mean correlation of neighbouring projections
    double all = 0;         ///< root mean square of the correlations of all pairs, noise taken off
    double all_squared = 0; ///< its square, which noise may make negative
    double noise = 0;       ///< mean square of a correlation that chance makes
    std::size_t pairs = 0, near_pairs = 0;
};

/// `rows` are the indices of the projections (rising), `sinogram` [row][translation] their summed
/// intensities, NaN where missing.
Likeness compare_projections(std::span<const std::size_t> rows, std::span<const float> sinogram,
                             std::size_t n_translation);

/// Whether the projections are in another order than their angles say: neighbours are then no more
/// alike than any two. Nothing where the noise hides what tells.
std::vector<Finding> judge(const Likeness& likeness);

/// Single projections that are like none of their neighbours, but like another one elsewhere.
/// All projections of a scan: `rotation` [deg], `sinogram` [rotation][translation].
std::vector<Finding> check_places(std::span<const double> rotation, std::span<const float> sinogram,
                                  std::size_t n_translation);

/// Whether angles half a turn apart are so in truth, and if not whether they would be in another
/// unit (gradians) or as twice or half of what they say. Compares what is left of the projections
/// after the mean, so that round bodies tell, too. Projections of a scan at about equal steps:
/// `rotation` [deg], monotonic, `sinogram` [rotation][translation].
std::vector<Finding> check_angle_scale(std::span<const double> rotation,
                                       std::span<const float> sinogram, std::size_t n_translation);

} // namespace xrdct::inspection
