// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// Counts of values as stored, finite ones.
class ValueCounts {
  public:
    ValueCounts();
    void add(float value);

    std::uint64_t values() const { return values_; }
    float largest() const { return largest_; }
    float smallest() const { return smallest_; }
    /// The least one above 0: a count, or what it was scaled to.
    float smallest_positive() const { return smallest_positive_; }
    /// How many have the largest value, exactly.
    std::uint64_t at_largest() const { return at_largest_; }
    /// How many lie between 0.9 of the largest value and that.
    std::uint64_t near_largest() const;

  private:
    std::uint64_t values_ = 0, at_largest_ = 0;
    float largest_ = -std::numeric_limits<float>::infinity();
    float smallest_ = std::numeric_limits<float>::infinity();
    float smallest_positive_ = std::numeric_limits<float>::infinity();
    std::vector<std::uint64_t> histogram_; ///< of positive values, by the leading 16 bits
};

/// What the values of a scan cannot be: all the same, clipped, negative.
std::vector<Finding> check_values(const ValueCounts& counts, std::span<const double> pattern);

/// Projections, translations and channels without data: 0 or NaN throughout. `sinogram`
/// [row][translation] and `pattern` are means, NaN where missing; `rotation` [deg] of the rows.
std::vector<Finding> check_blanks(std::span<const double> rotation, std::span<const float> sinogram,
                                  std::size_t n_translation, std::span<const double> two_theta,
                                  std::span<const double> pattern);

/// Whether a transmission is a fraction: 1 beside the sample and less behind it.
/// [rotation][translation], NaN where missing.
std::vector<Finding> check_transmission(std::span<const float> values, std::size_t n_translation);

} // namespace xrdct::inspection
