// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::conditioning {

struct OutlierOptions {
    double threshold = 6; ///< standard deviations beyond the neighbours
    /// Rotations on either side that a point is compared with.
    std::size_t rotation_reach = 2;
    /// Steps by which the outermost part of the sample moves from one rotation to the next: half
    /// the number of translations times the rotation step in radians. The neighbourhood grows with
    /// it.
    double motion = 1;
    /// A point must leave the range of its neighbours by at least this part of it.
    double range_fraction = 0.5;
    bool low = true; ///< seek values that are too low, too
};

/// One value that does not belong: single-crystal reflection, zinger, dropout.
struct Outlier {
    std::uint32_t translation = 0;
    std::uint32_t channel = 0;
    float observed = 0;
    float expected = 0; ///< trimmed mean of the neighbours
    float noise = 0;    ///< standard deviation of one value there
    float weight = 0;   ///< (limit / deviation)² ≤ 1, what is left of it; see down_weight
};

/// Finds the values of one line that none of the neighbouring lines account for. `lines` are 2 h +
/// 1 lines [translation][channel] about the middle one, h = options.rotation_reach; nullptr beyond
/// the ends of the scan; `variances` alike. NaN: missing.
///
/// A value is compared with those of the same channel in the neighbouring rotations, within as many
/// translations as the sample can move in between. The three largest and smallest neighbours are
/// set aside; a value is out when it exceeds the third largest (or falls below the third smallest)
/// both by `threshold` standard deviations and by range_fraction times the distance between the
/// two, so that neither noise nor sharp structure of the sample is taken for it. Adjacent channels
/// of one that is out belong to it down to half the threshold. Points with fewer than eight
/// neighbours are passed over. Sorted by translation, then channel.
std::vector<Outlier> find_outliers(std::span<const float* const> lines,
                                   std::span<const float* const> variances, std::size_t own,
                                   std::size_t n_translation, std::size_t n_channel,
                                   const OutlierOptions& options);

/// Value and variance with the outlier's weight: expected + weight (observed − expected), and the
/// noise's variance over the weight.
struct WeightedValue {
    float value, variance;
};
WeightedValue down_weight(const Outlier& outlier);

} // namespace xrdct::conditioning
