#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace xrdct::report {

/// What a table says about a map.
struct MapStatistics {
    std::size_t count = 0;     ///< voxels with a finite value and a positive weight
    double mean = 0.0;         ///< weighted; NaN when count is 0
    double spread = 0.0;       ///< weighted standard deviation over the voxels; NaN when count is 0
    double median_error = 0.0; ///< of the voxels counted; NaN without errors
    bool uniform = false;      ///< all values equal but for rounding: a fixed or global parameter
};

/// `weights` and `errors` as long as `values`, or empty: 1 each, none. Weights that are not finite
/// or not positive leave the voxel out.
/// @throws Error for other lengths.
MapStatistics map_statistics(std::span<const double> values, std::span<const double> weights = {},
                             std::span<const double> errors = {});

/// "2.8651 ± 0.0012": mean and spread with the spread's two leading digits; "–" without voxels.
std::string mean_and_spread(const MapStatistics& statistics);

} // namespace xrdct::report
