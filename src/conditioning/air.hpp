// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/line.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Air scatter per channel; empty: none is known.
struct AirScatter {
    std::vector<double> pattern; ///< NaN: dead channel
    std::vector<double> variance;

    bool empty() const { return pattern.empty(); }
};

/// Sets dead channels of a line [translation][channel] to NaN and subtracts the air scatter, times
/// `transmission` [translation] where that is not empty. Variances of the air's pattern are added.
void subtract_air(Line& line, const AirScatter& air, std::span<const unsigned char> dead,
                  std::span<const double> transmission);

/// The mean pattern of the outermost translations of a scan, which see air only.
class EdgeAir {
  public:
    /// `sinogram` [row][translation] of mean intensities; the `edge` outermost translations of
    /// either side enter but for points that stick out by more than six (robust) standard
    /// deviations. Throws Error when all of them are missing.
    EdgeAir(std::span<const float> sinogram, std::size_t n_translation, std::size_t n_channel,
            std::size_t edge);

    /// Adds the edges of the line of a row.
    void add(std::size_t row, const Line& line);
    AirScatter result(std::span<const unsigned char> dead) const;

    std::size_t used() const { return used_; }         ///< points
    std::size_t left_out() const { return left_out_; } ///< points that stick out
    double level() const { return level_; }            ///< median of the edges
    double median_inside() const { return median_inside_; }

  private:
    bool at_edge(std::size_t t) const { return t < edge_ || t + edge_ >= n_translation_; }

    std::span<const float> sinogram_;
    std::size_t n_translation_, n_channel_, edge_;
    double level_ = 0, limit_ = 0, median_inside_ = 0;
    std::vector<double> sum_, variance_, count_; ///< [channel]
    std::size_t used_ = 0, left_out_ = 0;
};

} // namespace xrdct::conditioning
