// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::phantom {

/// Counts of non-negative floats in bins 1/1024 wide relative to a power of two (the upper bits of
/// the number): any range, no setting, so that histograms of different shares of the data add up.
class LogHistogram {
  public:
    static constexpr int dropped_bits = 13;
    static constexpr std::size_t size = std::size_t{0x7f800000} >> dropped_bits;

    LogHistogram() : bins_(size, 0) {}

    /// Negative values count as zero, NaN and infinity are left out.
    void add(std::span<const float> values);
    void merge(const LogHistogram& other);

    /// The raw bins, to be summed over ranks (uint64, LogHistogram::size of them).
    std::span<std::uint64_t> bins() { return bins_; }
    std::span<const std::uint64_t> bins() const { return bins_; }
    std::uint64_t total() const;

    /// Value below which the given fraction (0 to 1) of the entries lies, to 0.1 %, interpolated
    /// within its bin. 0 for an empty histogram.
    double quantile(double fraction) const;

  private:
    std::vector<std::uint64_t> bins_;
};

} // namespace xrdct::phantom
