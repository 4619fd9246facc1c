// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::maps {

/// Mask [y][x] of the voxels of a square map of n × n total intensities that hold matter: those
/// whose local mean (binomial, 3 × 3) stands out from what noise and streaks of the reconstruction
/// leave where nothing is, which the negative local means tell, and whose neighbours do so too; and
/// those above 3 % of the 99th percentile. So light phases are in beside heavy ones, however little
/// they scatter. NaN counts as nothing. All 0 where no value is positive. Throws Error for a
/// length.
std::vector<unsigned char> sample_mask(std::span<const double> total, std::size_t n);

} // namespace xrdct::maps
