// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/line.hpp"
#include "conditioning/normalisation.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Variances of counted intensities: scale · max(0, value) / pixels; NaN where the value is missing
/// or the channel has no pixel. `values` and `variances` [translation][channel]; `pixels`
/// [channel], or empty: one everywhere.
void counting_variances(std::span<const float> values, std::span<const double> pixels, double scale,
                        std::size_t n_channel, std::span<float> variances);

/// Undoes a counter's dead time in values and variances; `exposure` [translation] in seconds.
/// Returns how many values became NaN because no counter can have counted so many.
std::size_t undo_dead_time(Line& line, std::size_t n_channel, std::span<const double> exposure,
                           double dead_time, DeadTimeModel model);

/// Multiplies every point by its factor [translation].
void apply_flux(Line& line, std::size_t n_channel, std::span<const float> factor);

/// Mean over the channels of a point that are not in `dead` (empty: none is) and not missing. NaN
/// where there is none, and, once dead channels are known, where more than a tenth is missing: a
/// pattern with large gaps has another mean.
double mean_of_usable(std::span<const float> point, std::span<const unsigned char> dead);

/// What a first pass over the stored lines of a scan finds.
class ScanSurvey {
  public:
    ScanSurvey(std::size_t n_translation, std::size_t n_channel);

    /// Line `stored` [translation][channel]; `mean` [translation] gets the means of its points.
    void add(std::size_t stored, std::span<const float> values, std::span<double> mean);

    /// Variance over intensity, from the scatter of channels about the mean of their neighbours.
    double variance_over_intensity() const;
    /// Per channel; see ChannelStatistics.
    std::vector<unsigned char> dead() const { return channels_.dead(); }
    std::vector<double> mean() const { return channels_.mean(); }
    /// Points that are missing throughout, and single missing values in the others.
    std::size_t missing_points() const { return missing_points_; }
    std::size_t missing_values() const { return missing_values_; }

  private:
    std::size_t n_translation_, n_channel_;
    ChannelStatistics channels_;
    std::vector<double> scatter_;
    std::size_t missing_points_ = 0, missing_values_ = 0;
};

} // namespace xrdct::conditioning
