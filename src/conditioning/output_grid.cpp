// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/output_grid.hpp"

#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::conditioning {

IndexRange indices_within(std::span<const double> axis, std::span<const double> bounds) {
    IndexRange range{0, axis.size()};
    if (bounds.empty())
        return range;
    const double slack = 1e-9 * (1 + std::abs(bounds[0]) + std::abs(bounds[1]));
    const auto inside = [&](std::size_t i) {
        return axis[i] >= bounds[0] - slack && axis[i] <= bounds[1] + slack;
    };
    while (range.begin < range.end && !inside(range.begin))
        ++range.begin;
    while (range.end > range.begin && !inside(range.end - 1))
        --range.end;
    return range;
}

IndexRange symmetric_part(std::span<const double> places, IndexRange range, double centre) {
    const double slack = 0.5001 * std::abs(places[1] - places[0]);
    const double reach =
        std::min(std::abs(places[range.begin] - centre), std::abs(places[range.end - 1] - centre));
    while (range.begin < range.end && std::abs(places[range.begin] - centre) > reach + slack)
        ++range.begin;
    while (range.end > range.begin && std::abs(places[range.end - 1] - centre) > reach + slack)
        --range.end;
    return range;
}

void OutputGrid::bin(double rows, double translations, double channels,
                     std::span<const double> all_rotation, std::span<const double> all_places,
                     std::span<const double> all_two_theta) {
    row_bins = coarse_bins(row.size(), rows);
    translation_bins = coarse_bins(translation.size(), translations);
    channel_bins = coarse_bins(channel.size(), channels);
    const auto part = [](std::span<const double> axis, IndexRange range) {
        return axis.subspan(range.begin, range.size());
    };
    rotation = rebin_axis(part(all_rotation, row), row_bins);
    places = rebin_axis(part(all_places, translation), translation_bins);
    two_theta = rebin_axis(part(all_two_theta, channel), channel_bins);
}

std::vector<double> OutputGrid::rebin_plane(std::span<const double> plane,
                                            std::size_t n_translation) const {
    Rebinning rebinning(translation_bins, coarse_bins(1, 1), {});
    std::vector<double> result;
    std::vector<float> line(translation.size()), out(translation_bins.size());
    for (const auto& bin : row_bins) {
        rebinning.clear();
        for (std::size_t i = 0; i < bin.share.size(); ++i) {
            const std::size_t from = (row.begin + bin.first + i) * n_translation;
            for (std::size_t t = 0; t < line.size(); ++t)
                line[t] = static_cast<float>(plane[from + translation.begin + t]);
            rebinning.add(line, {}, 1, bin.share[i]);
        }
        rebinning.finish(out, {});
        result.insert(result.end(), out.begin(), out.end());
    }
    return result;
}

void cut_line(const Line& line, const OutputGrid& grid, std::size_t n_channel,
              std::span<const float> gains, std::span<const Outlier> outliers, OutlierUse use,
              std::span<float> values, std::span<float> variances) {
    const std::size_t width = grid.translation.size(), depth = grid.channel.size();
    for (std::size_t t = 0; t < width; ++t) {
        const float gain = gains[grid.translation.begin + t];
        const std::size_t from = (grid.translation.begin + t) * n_channel + grid.channel.begin;
        for (std::size_t k = 0; k < depth; ++k) {
            values[t * depth + k] = gain * line.values[from + k];
            variances[t * depth + k] = gain * gain * line.variances[from + k];
        }
    }
    if (use == OutlierUse::leave)
        return;
    for (const auto& spot : outliers) {
        if (spot.translation < grid.translation.begin || spot.translation >= grid.translation.end ||
            spot.channel < grid.channel.begin || spot.channel >= grid.channel.end)
            continue;
        const std::size_t at =
            (spot.translation - grid.translation.begin) * depth + spot.channel - grid.channel.begin;
        if (use == OutlierUse::mask) {
            values[at] = variances[at] = missing_value;
            continue;
        }
        const float gain = gains[spot.translation];
        const auto weighted = down_weight(spot);
        values[at] = gain * weighted.value;
        variances[at] = gain * gain * weighted.variance;
    }
}

} // namespace xrdct::conditioning
