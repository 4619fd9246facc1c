// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>

namespace xrdct::maps {

/// The weight that voxel i contributes to a statistic: 1 where `weights` is empty, 0 (the voxel is
/// left out) for one that is not finite and positive.
double weight_at(std::span<const double> weights, std::size_t i);

/// Weighted distribution of a map's values.
struct WeightedSummary {
    std::size_t count = 0;        ///< voxels with a value and a positive weight
    std::size_t present = 0;      ///< voxels with a positive weight, with or without a value
    double share_of_amount = 0.0; ///< weight of the former over that of the latter; NaN: no weight
    double mean = 0.0;            ///< Σ w v / Σ w; NaN when count is 0
    double spread = 0.0;          ///< √(Σ w (v − mean)² / Σ w)
    double median = 0.0;          ///< see weighted_median
    double median_error = 0.0;    ///< unweighted median of the errors counted; NaN: none
    bool uniform = false;         ///< all values equal but for rounding

    double share_of_voxels() const;
};

/// `weights` and `errors` as long as `values`, or empty: 1 each, none. Values that are not finite,
/// weights that are not finite and positive leave the voxel out. @throws Error for other lengths.
WeightedSummary summarise(std::span<const double> values, std::span<const double> weights = {},
                          std::span<const double> errors = {});

/// The value that halves the weight: the smallest one up to which more than half of it lies, the
/// mean of two where exactly half lies up to the first. NaN without a counted value. Voxels are
/// left out as by summarise.
double weighted_median(std::span<const double> values, std::span<const double> weights = {});

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

} // namespace xrdct::maps
