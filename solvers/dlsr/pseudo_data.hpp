// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// The samples of one ray [channel]; those that are not finite are masked.
struct RaySamples {
    std::span<const float> intensity, variance;
    double ray_variance = 0; ///< factor of the ray
    /// Variance per intensity, times that of the channel; 0: variances are errors that were given.
    double gain = 0;
};

struct PseudoDataCounts {
    double samples = 0, masked = 0, outlying = 0;
    PseudoDataCounts& operator+=(const PseudoDataCounts& other);
};

/// Data with which a fit with factored weights w = 1 / (ray variance × channel variance) gives the
/// fit that the samples ask for: with the model m at the present point
///
///     y' = m + q clip(y − m)        q = 0 where masked, else 1
///
/// has the gradient of Σ q w ρ(y − m) there, and a curvature not less than its: fitting y' and
/// replacing y' in turn lowers the true objective (additive half-quadratic form:
/// Geman and Yang, IEEE Trans. Image Process. 4, 932 (1995); with q = 0 it is the EM algorithm).
/// What remains of an error after a turn is the share of masked and outlying samples among those
/// that determine the unknown.
/// Immutable; shareable by threads.
class PseudoData {
  public:
    /// `channel_variance` [channel]: factors, NaN: channel left out. `threshold`: standard
    /// deviations beyond which residuals cost linearly (Huber's loss); 0: squares. `channel_gain`
    /// [channel]: variance per intensity of counts, 1 where empty. Throws Error for lengths, a
    /// threshold below 0.
    PseudoData(std::vector<double> channel_variance, double threshold,
               std::vector<float> channel_gain = {});

    double threshold() const { return threshold_; }

    /// Data to begin with, without a model: masked samples from the neighbouring rays, else from
    /// the neighbouring channels; with Huber's loss, samples beyond the threshold outside what
    /// their neighbours (next rays, two channels either side) span are put at its end. `row`: rays
    /// next to each other; `out` [ray][channel], 0 in channels left out.
    void start(std::span<const RaySamples> row, std::span<float> out) const;

    /// y' [channel] of a ray, over the model's pattern in `pattern` (anything in channels left
    /// out). `scale`: standard deviations are taken that much larger.
    PseudoDataCounts replace(const RaySamples& ray, double scale, std::span<float> pattern) const;

    /// (y − m) / σ [channel], NaN where masked.
    void residuals(const RaySamples& ray, std::span<const float> calculated,
                   std::span<float> out) const;

    /// True when the sample counts in full: not masked, not beyond the threshold.
    bool counts_in_full(const RaySamples& ray, std::size_t channel, float calculated,
                        double scale) const;

    /// Variance [channel] of what a sample's noise adds to y', 0 where masked.
    void noise_variance(const RaySamples& ray, std::span<float> out) const;

  private:
    bool masked(const RaySamples& ray, std::size_t k) const;
    double factored(const RaySamples& ray, std::size_t k) const;
    double variance(const RaySamples& ray, std::size_t k, double calculated) const;
    double clip(const RaySamples& ray, std::size_t k, double residual, double variance,
                double scale) const;

    std::vector<double> channel_variance_;
    double threshold_;
    std::vector<float> channel_gain_;
};

/// Scale of residuals in standard deviations, not led by the largest tenth: their 90 % quantile
/// over that of a normal distribution, from counts in bins of `width` from 0 up.
double residual_scale(std::span<const double> bins, double width);

} // namespace xrdct::dlsr
