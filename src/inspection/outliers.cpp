// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/outliers.hpp"

#include "base/statistics.hpp"
#include "inspection/lines.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

namespace {

constexpr std::size_t most = 5;

/// The finite values at most `reach` from an index, itself left out.
std::vector<double> beside(std::span<const double> values, std::size_t at, std::size_t reach) {
    std::vector<double> result;
    for (std::size_t k = at > reach ? at - reach : 0; k < std::min(values.size(), at + reach + 1);
         ++k)
        if (k != at && std::isfinite(values[k]))
            result.push_back(values[k]);
    return result;
}

double largest(const std::vector<double>& values) {
    return values.empty() ? 0 : *std::ranges::max_element(values);
}

} // namespace

std::vector<Finding> check_channels(std::span<const double> two_theta,
                                    std::span<const double> pattern, std::span<const double> air) {
    std::vector<Finding> findings;
    // Where a background was subtracted, channels beside each other differ by any factor.
    const auto noise_at = [&](std::size_t k) {
        const std::size_t first = k > 20 ? k - 20 : 0;
        const std::size_t last = std::min(pattern.size(), k + 21);
        return 6 * channel_scatter(finite_values(pattern.subspan(first, last - first)));
    };
    for (std::size_t k = 0; k < pattern.size() && findings.size() < most; ++k) {
        const auto neighbours = beside(pattern, k, 3);
        if (neighbours.size() >= 4 && std::isfinite(pattern[k])) {
            const double least = *std::ranges::min_element(neighbours);
            if (least > 0 && pattern[k] < 0.4 * least && least - pattern[k] > noise_at(k)) {
                findings.push_back({.kind = Kind::channel,
                                    .value = pattern[k] / least,
                                    .position = two_theta[k],
                                    .index = k});
                continue;
            }
        }
        if (air.empty() || !std::isfinite(air[k]))
            continue;
        const auto in_air = beside(air, k, 4);
        if (in_air.size() < 4)
            continue;
        const double usual = midpoint_median(in_air);
        std::vector<double> off;
        for (const double value : in_air)
            off.push_back(std::abs(value - usual));
        const double scatter = 1.4826 * midpoint_median(std::move(off));
        const auto around = beside(pattern, k, 4);
        if (around.size() < 4 || !std::isfinite(pattern[k]))
            continue;
        // Hot: in the air as in the sample, and alone. A line that the outermost rays see is
        // weaker there, and has flanks.
        const double excess = pattern[k] - midpoint_median(around);
        const double in_air_excess = air[k] - usual;
        double flank = largest(beside(air, k, 1)) - usual;
        if (in_air_excess < 0.8 * excess)
            flank = std::max(flank, largest(beside(pattern, k, 1)) - midpoint_median(around));
        if (air[k] > 2 * usual + 8 * scatter && excess > 0.3 * midpoint_median(around) &&
            in_air_excess > 0.5 * excess && flank < 0.15 * in_air_excess)
            findings.push_back(
                {.kind = Kind::channel,
                 .value = usual > 0 ? air[k] / usual : pattern[k] / midpoint_median(around),
                 .position = two_theta[k],
                 .index = k});
    }
    return findings;
}

std::vector<Finding> check_projections(std::span<const double> rotation,
                                       std::span<const double> sums) {
    const std::size_t n = sums.size();
    std::vector<double> ratio(n, Finding::none);
    for (std::size_t i = 0; i < n; ++i) {
        const auto neighbours = beside(sums, i, 2);
        if (std::isfinite(sums[i]) && neighbours.size() >= 2)
            if (const double usual = midpoint_median(neighbours); usual > 0)
                ratio[i] = sums[i] / usual;
    }
    std::vector<double> off;
    for (const double r : finite_values(std::span<const double>(ratio)))
        off.push_back(std::abs(r - 1));
    if (off.size() < 8)
        return {};
    // What all projections scatter by, a spotty sample's say, is no outlier.
    const double limit = std::max(0.2, 8 * 1.4826 * midpoint_median(off));
    std::vector<Finding> findings;
    for (std::size_t i = 0; i < n; ++i)
        if (std::isfinite(ratio[i]) && std::abs(ratio[i] - 1) > limit)
            findings.push_back({.kind = Kind::projection,
                                .value = ratio[i],
                                .limit = limit,
                                .position = rotation[i],
                                .index = i});
    std::ranges::sort(findings, std::ranges::greater{},
                      [](const Finding& f) { return std::abs(f.value - 1); });
    if (findings.size() > most)
        findings.resize(most);
    return findings;
}

} // namespace xrdct::inspection
