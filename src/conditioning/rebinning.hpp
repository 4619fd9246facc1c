// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// One coarse bin: fine bins first, first + 1, … with the part of each that lies inside.
struct CoarseBin {
    std::size_t first = 0;
    std::vector<double> share; ///< in (0, 1]
};

/// Bins `factor` ≥ 1 times as wide as the n given ones, whole or not, from the first on; what is
/// left at the end and makes no whole bin is left out. A factor of 1 gives n bins of one. Throws
/// Error for a factor below 1, one that is not finite or one that leaves no bin.
std::vector<CoarseBin> coarse_bins(std::size_t n, double factor);

/// Mean of `positions` over each bin, weighted with the shares.
std::vector<double> rebin_axis(std::span<const double> positions, std::span<const CoarseBin> bins);

/// Weighted means over a block [rotation][translation][channel] of fine bins → one coarse rotation.
/// Weights are products of shares, times `channel_weight` (pixels per channel; empty: 1). Missing
/// values (NaN) are left out; a coarse value of which less than half the weight is there is NaN.
/// Variances: Σ w² v / (Σ w)², over the same values; neighbouring coarse bins share fine ones when
/// a factor is no whole number, and their errors are then correlated.
class Rebinning {
  public:
    Rebinning(std::vector<CoarseBin> translation, std::vector<CoarseBin> channel,
              std::span<const double> channel_weight);

    std::size_t n_translation() const { return translation_.size(); }
    std::size_t n_channel() const { return channel_.size(); }

    /// Begins a coarse rotation.
    void clear();
    /// Adds one fine line [translation][channel] with its share. `variances` may be empty.
    void add(std::span<const float> values, std::span<const float> variances, std::size_t n_channel,
             double share);
    /// The coarse line; `variances` may be empty.
    void finish(std::span<float> values, std::span<float> variances) const;

  private:
    std::vector<CoarseBin> translation_, channel_;
    std::vector<std::vector<double>> channel_weights_; ///< share × weight, per bin
    std::vector<double> full_;                         ///< weight of a complete bin, per channel
    std::vector<double> sum_, weight_, variance_;
    double rotation_share_ = 0;
};

/// Sums of `values` (pixels) over the bins.
std::vector<double> rebin_sum(std::span<const double> values, std::span<const CoarseBin> bins);

} // namespace xrdct::conditioning
