// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::integration {

/// What an estimator makes of the pixels of one channel.
struct ChannelEstimate {
    double value = 0;
    double error = 0; ///< one standard deviation of `value`
    double kept = 0;  ///< pixels that count in `value`
};

/// Mean of what is left when floor(fraction · n) of the smallest and as many of the largest values
/// are cut off, 0 ≤ fraction < ½. The error is that of Tukey & McLaughlin (1963): the standard
/// deviation of the winsorised values over (1 − 2 cut/n) √n. Reorders `values`. n = 0: value and
/// error NaN.
ChannelEstimate trimmed_mean(std::span<float> values, double fraction);

/// Median (the mean of the middle two of an even number). Error: √(π/2n) times half the distance of
/// the 15.87 % and 84.13 % quantiles. Reorders `values`; `kept` is n.
ChannelEstimate median(std::span<float> values);

/// Mean of the values within `threshold` standard deviations of the mean, repeated until none is
/// taken off or `iterations` times. The mean and its counting error are ratios of sums,
/// Σ values·weights / Σ weights. Error: scatter of the kept values, √(Σ w² (v − m)² n/(n − 1)) / Σ
/// w, over the standard deviation of a standard normal distribution cut off at the threshold.
/// Reorders `values` and `weights` alike, those kept first.
ChannelEstimate sigma_clipped_mean(std::span<float> values, std::span<float> weights,
                                   double threshold, int iterations);

/// Ratio of sums with the error from the scatter, as sigma_clipped_mean without clipping.
ChannelEstimate weighted_mean(std::span<const float> values, std::span<const float> weights);

} // namespace xrdct::integration
