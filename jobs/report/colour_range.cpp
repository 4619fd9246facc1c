// SPDX-License-Identifier: BSD-3-Clause
#include "base/statistics.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/picture_axes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace xrdct::report {

ColourRange robust_range(std::span<const double> values, bool from_zero, double minimum_width) {
    const std::vector<double> sorted = finite_sorted(values);
    if (sorted.empty())
        return {0.0, 1.0};
    ColourRange range{interpolated_quantile<double>(sorted, 0.01),
                      interpolated_quantile<double>(sorted, 0.99)};
    if (from_zero && range.low >= 0.0) {
        range.low = 0.0;
        // A phase in a few voxels only (a tab, a foil) would lie above the 99 % of all voxels: the
        // voxels that hold most of the sum count, unless they stand out so far that they must be
        // failures.
        const double sum = std::accumulate(sorted.begin(), sorted.end(), 0.0,
                                           [](double s, double v) { return s + std::max(v, 0.0); });
        double partial = 0.0, bulk = 0.0;
        for (const double v : sorted) {
            partial += std::max(v, 0.0);
            bulk = v;
            if (partial >= 0.95 * sum)
                break;
        }
        range.high =
            std::max(range.high, range.high > 0.0 ? std::min(bulk, 20.0 * range.high) : bulk);
    }
    const double least =
        std::max({minimum_width, 1e-4 * std::abs(interpolated_quantile<double>(sorted, 0.5)),
                  std::numeric_limits<double>::min()});
    if (range.high - range.low < least) {
        if (range.low == 0.0 && range.high == 0.0)
            return {from_zero ? 0.0 : -0.5, from_zero ? 1.0 : 0.5};
        const double middle = 0.5 * (range.low + range.high);
        range = {middle - 0.5 * least, middle + 0.5 * least};
    }
    return range;
}

ColourRange weighted_range(std::span<const double> values, std::span<const double> weights,
                           double minimum_width) {
    std::vector<std::pair<double, double>> sorted;
    double total = 0.0;
    for (std::size_t i = 0; i < std::min(values.size(), weights.size()); ++i)
        if (std::isfinite(values[i]) && std::isfinite(weights[i]) && weights[i] > 0.0) {
            sorted.emplace_back(values[i], weights[i]);
            total += weights[i];
        }
    if (sorted.empty())
        return robust_range(values, false, minimum_width);
    std::sort(sorted.begin(), sorted.end());
    // What is left reaches from the 1 % to the 99 % of the weight.
    std::vector<double> bulk;
    double sum = 0.0;
    for (const auto& [value, weight] : sorted) {
        sum += weight;
        if (sum >= 0.01 * total && sum - weight <= 0.99 * total)
            bulk.push_back(value);
    }
    const ColourRange range{bulk.front(), bulk.back()};
    if (range.high - range.low >=
        std::max(minimum_width, 1e-4 * std::abs(interpolated_quantile<double>(bulk, 0.5))))
        return range;
    return robust_range(bulk, false, minimum_width);
}

ColourRange symmetric_range(std::span<const double> values, double least, double share) {
    std::vector<double> magnitudes;
    for (const double v : values)
        if (std::isfinite(v))
            magnitudes.push_back(std::abs(v));
    double bound = magnitudes.empty() ? 0.0 : lower_quantile(magnitudes, share);
    if (!(bound > least))
        bound = std::max(magnitudes.empty() ? 0.0 : std::ranges::max(magnitudes), least);
    return {-bound, bound};
}

} // namespace xrdct::report
