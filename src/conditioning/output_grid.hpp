// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "conditioning/line.hpp"
#include "conditioning/outliers.hpp"
#include "conditioning/rebinning.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Indices [begin, end).
struct IndexRange {
    std::size_t begin = 0, end = 0;
    std::size_t size() const { return end - begin; }
};

/// The indices whose values on a monotonic `axis` lie between from and to; without `bounds` {from,
/// to} all of them. Empty where none does.
IndexRange indices_within(std::span<const double> axis, std::span<const double> bounds);

/// The part of `range` whose mirrored places about `centre` lie within it, too. `places` are evenly
/// spaced.
IndexRange symmetric_part(std::span<const double> places, IndexRange range, double centre);

/// The part of a scan that is written and the coarser bins it is summed up in.
struct OutputGrid {
    IndexRange row, translation, channel;
    std::vector<CoarseBin> row_bins, translation_bins, channel_bins; ///< within the ranges
    std::vector<double> rotation, places, two_theta;                 ///< axes of the bins

    /// Makes bins `rows`, `translations` and `channels` times as wide, and their axes, from those
    /// of the whole scan.
    void bin(double rows, double translations, double channels,
             std::span<const double> all_rotation, std::span<const double> all_places,
             std::span<const double> all_two_theta);

    /// Mean over the bins of `plane` [row][translation] of the whole scan: [row bin][translation
    /// bin].
    std::vector<double> rebin_plane(std::span<const double> plane, std::size_t n_translation) const;
};

/// What is done with outliers when a line is cut out.
enum class OutlierUse { leave, weight, mask };

/// Cuts the grid's translations and channels out of `line` and multiplies them by `gain`
/// [translation of the whole scan]; outliers get the value and variance of their weight, or are
/// masked. `values` and `variances` [translation][channel] of the grid.
void cut_line(const Line& line, const OutputGrid& grid, std::size_t n_channel,
              std::span<const float> gain, std::span<const Outlier> outliers, OutlierUse use,
              std::span<float> values, std::span<float> variances);

} // namespace xrdct::conditioning
