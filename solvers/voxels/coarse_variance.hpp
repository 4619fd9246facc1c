// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::voxels {

/// Variances that are known on pixels larger than those of an image, both grids square and about
/// the same centre, interpolated to its voxels. A neighbour outside the field of view (variance 0)
/// does not count.
class CoarseVariance {
  public:
    /// `n` coarse pixels per side of size `pixel` [mm].
    CoarseVariance(std::size_t n, double pixel, std::size_t channels)
        : n_(n), pixel_(pixel), channels_(channels) {}

    /// Place of a row or column of the image at x [mm]: the lower coarse index and the fraction
    /// towards the next.
    std::pair<std::size_t, double> place(double x) const;

    /// Coarse rows that the image's row at y [mm] lies between: the first and how many, 1 or 2.
    std::pair<std::size_t, std::size_t> rows(double y) const;
    /// Interpolates these rows [row][coarse x][channel] to y; result [coarse x][channel].
    void row_at(double y, std::span<const float> rows, std::vector<float>& out) const;
    /// Interpolates such a result to the column at x [mm]; `out` [channel].
    void column_at(double x, std::span<const float> row, std::span<float> out) const;

  private:
    std::size_t n_;
    double pixel_;
    std::size_t channels_;
};

} // namespace xrdct::voxels
