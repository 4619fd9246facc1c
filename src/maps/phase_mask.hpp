// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::maps {

/// Where a phase is taken to exist.
struct PhaseMaskOptions {
    double smoothing = 1.5;  ///< standard deviation [voxels] of the local means that are judged
    double significance = 5; ///< least local scale / e.s.d. of a core voxel
    double fraction = 0.08;  ///< least local scale of a core voxel, of its own 95th percentile
    int growth = 1;          ///< voxels by which the cores are grown: borders are partly filled
};

/// Mask [y][x] of a phase from the maps of its scale and e.s.d. (NaN: not fitted): voxels where
/// the local mean of the scale is significant and not small beside the phase's own high values,
/// without those that fewer than two of their eight neighbours support (noise), grown by a border,
/// within `sample` (0: not fitted). Empty where the phase is nowhere significant. Throws Error for
/// lengths.
std::vector<unsigned char> phase_mask(std::span<const double> scale, std::span<const double> esd,
                                      std::size_t ny, std::size_t nx,
                                      std::span<const unsigned char> sample,
                                      const PhaseMaskOptions& options = {});

} // namespace xrdct::maps
