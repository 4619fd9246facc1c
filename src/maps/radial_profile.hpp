// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::maps {

/// Azimuthal averages of a map.
struct RadialProfile {
    double width = 0.0;         ///< of the bins, units of the axes; bin i is [i, i + 1) · width
    std::vector<double> radius; ///< centres of the bins, ascending from width / 2
    std::vector<double> mean;   ///< weighted; NaN where a bin has fewer than `least` voxels
    std::vector<double> spread; ///< weighted standard deviation within the bin; NaN likewise
    std::vector<std::size_t> count; ///< voxels with a value and a positive weight

    std::size_t filled() const; ///< bins with a mean
};

/// `values` [y, x] with x fastest, `weights` likewise or empty: 1 each; axes in the same unit.
/// The bins reach as far as the farthest voxel that counts. @throws Error for lengths that do not
/// match, or a width that is not positive.
RadialProfile radial_profile(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> x, std::span<const double> y, double centre_x,
                             double centre_y, double width, std::size_t least = 3);

/// Centre of mass (x, y) of a map; weights that are not finite and positive count as none. NaN, NaN
/// when nothing counts.
struct Centre {
    double x = 0.0, y = 0.0;
};
Centre centre_of_mass(std::span<const double> weights, std::span<const double> x,
                      std::span<const double> y);

/// A mask [row, column] with what its outline encloses: pixels that lie between others of the mask
/// in their row and in their column become 1. Gaps on one side of a sample (an empty core, a loose
/// winding) do not move the centre of what is returned.
std::vector<double> filled_outline(std::span<const double> mask, std::size_t columns);

} // namespace xrdct::maps
