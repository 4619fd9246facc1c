// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Factors that bring all points of a scan to the same incident flux.
struct FluxFactors {
    std::vector<float> factor; ///< mean over value; NaN: no flux, to be masked
    std::size_t masked = 0;
    double mean = 0;     ///< of the values that count
    double smallest = 0; ///< over the mean, among the values that count
    double largest = 0;
    double first_to_last = 0; ///< mean of the last tenth over that of the first one, in their order
};

/// `values`: monitor readings or exposure times, one per point. Values that are not finite, not
/// positive or below `limit` times their median mask their point. Throws Error when all are.
FluxFactors flux_factors(std::span<const double> values, double limit);

enum class DeadTimeModel { non_paralysable, paralysable };

struct DeadTimeValue {
    double value;
    double derivative; ///< of the true by the measured counts, for errors
};

/// True counts of a counter that was dead for `dead_time` [s] after each of `counts` in `exposure`
/// [s]: n/(1 − nτ/t), or the smaller root of m = n exp(−nτ/t). NaN where the counter cannot have
/// counted so many (nτ/t ≥ 1, mτ/t > 1/e). Knoll, Radiation Detection and Measurement, ch. 4.
DeadTimeValue correct_dead_time(double counts, double exposure, double dead_time,
                                DeadTimeModel model);

/// Transmitted over incident beam, 1 in air: `transmitted` [rotation][translation] is divided by
/// its own median over the `edge` outermost translations of both sides of each line, or, where
/// these are missing, by that of the neighbouring lines. Values above `1 + 0.05` stay as they are.
std::vector<double> relative_transmission(std::span<const double> transmitted,
                                          std::size_t n_rotation, std::size_t n_translation,
                                          std::size_t edge);

/// Factors that give all projections the same total.
struct ProjectionFactors {
    std::vector<float> factor;    ///< per rotation; 1 where the projection cannot say
    std::vector<double> total;    ///< before; NaN where the projection cannot say
    double spread = 0;            ///< relative standard deviation of the totals (robust)
    std::size_t undetermined = 0; ///< projections of which more than a tenth is missing, or that
                                  ///< hold no intensity
};

/// `sinogram` [rotation][translation], missing points NaN: they are interpolated along the
/// projection. The median total is kept.
ProjectionFactors projection_factors(std::span<const float> sinogram, std::size_t n_rotation,
                                     std::size_t n_translation);

/// Sums up a scan's channels one line at a time, for the channels that never saw anything.
class ChannelStatistics {
  public:
    explicit ChannelStatistics(std::size_t channels);
    /// `line` [translation][channel].
    void add(std::span<const float> line);

    /// Channels that are dead: without a finite value, or constant over the whole scan.
    std::vector<unsigned char> dead() const;
    /// Mean of the finite values; NaN where there is none.
    std::vector<double> mean() const;

  private:
    std::vector<double> sum_;
    std::vector<std::size_t> finite_;
    std::vector<float> low_, high_;
};

} // namespace xrdct::conditioning
