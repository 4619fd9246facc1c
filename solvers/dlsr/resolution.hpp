// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// Unit impulses in a map, well apart, and how far a linear operator spreads them.
struct Impulses {
    std::vector<std::size_t> voxel; ///< indices into the part's pixels
    std::vector<double> sign; ///< +1 or −1, so that what reaches a neighbour's place averages
};

/// One voxel in each cell of a square grid `spacing` voxels wide, of the voxels in the middle of
/// the cell (half its width) the one of most `information` (> 0; others are not taken). `pixels`
/// [voxel] of a part on an n × n map, `information` [voxel]. `number` shifts grid and signs: maps
/// that share a solution have different ones. Throws Error for wrong lengths, a spacing below 2.
Impulses choose_impulses(std::span<const std::size_t> pixels, std::span<const double> information,
                         std::size_t n, std::size_t spacing, std::size_t number);

/// Median over the impulses of the width (FWHM, in voxels) of their responses: twice the distance
/// at which the mean over the part's voxels at that distance falls to half of what is at the
/// impulse, at least 1. `response` [voxel]. Widths are followed up to `spacing`, which is the
/// answer for wider ones; 0 without impulses.
double response_width(std::span<const double> response, const Impulses& impulses,
                      std::span<const std::size_t> pixels, std::size_t n, std::size_t spacing);

} // namespace xrdct::dlsr
