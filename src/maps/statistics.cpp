// SPDX-License-Identifier: BSD-3-Clause
#include "maps/statistics.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace xrdct::maps {

namespace {

void check_lengths(std::size_t values, std::size_t weights, std::size_t errors) {
    if ((weights != 0 && weights != values) || (errors != 0 && errors != values))
        throw Error(fmt::format("statistics: {} values with {} weights and {} errors", values,
                                weights, errors));
}

} // namespace

double weight_at(std::span<const double> weights, std::size_t i) {
    if (weights.empty())
        return 1.0;
    return std::isfinite(weights[i]) && weights[i] > 0.0 ? weights[i] : 0.0;
}

double WeightedSummary::share_of_voxels() const {
    return present > 0 ? static_cast<double>(count) / static_cast<double>(present) : nan_value;
}

WeightedSummary summarise(std::span<const double> values, std::span<const double> weights,
                          std::span<const double> errors) {
    check_lengths(values.size(), weights.size(), errors.size());
    WeightedSummary result;
    double sum = 0.0, weighted = 0.0, all = 0.0;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    std::vector<double> counted_errors;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double w = weight_at(weights, i);
        if (w == 0.0)
            continue;
        ++result.present;
        all += w;
        if (!std::isfinite(values[i]))
            continue;
        ++result.count;
        sum += w;
        weighted += w * values[i];
        low = std::min(low, values[i]);
        high = std::max(high, values[i]);
        if (!errors.empty() && std::isfinite(errors[i]))
            counted_errors.push_back(errors[i]);
    }
    result.share_of_amount = all > 0.0 ? sum / all : nan_value;
    result.median_error = midpoint_median(std::move(counted_errors));
    if (result.count == 0) {
        result.mean = result.spread = result.median = nan_value;
        return result;
    }
    result.mean = weighted / sum;
    double squares = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (const double w = weight_at(weights, i); w > 0.0 && std::isfinite(values[i]))
            squares += w * (values[i] - result.mean) * (values[i] - result.mean);
    result.spread = std::sqrt(squares / sum);
    result.median = weighted_median(values, weights);
    result.uniform = high - low <= 1e-9 * std::max(std::abs(low), std::abs(high));
    return result;
}

double weighted_median(std::span<const double> values, std::span<const double> weights) {
    check_lengths(values.size(), weights.size(), 0);
    std::vector<std::pair<double, double>> counted; // value, weight
    double sum = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (const double w = weight_at(weights, i); w > 0.0 && std::isfinite(values[i])) {
            counted.emplace_back(values[i], w);
            sum += w;
        }
    std::sort(counted.begin(), counted.end());
    double below = 0.0;
    for (std::size_t i = 0; i < counted.size(); ++i) {
        below += counted[i].second;
        if (std::abs(below - 0.5 * sum) <= 1e-12 * sum && i + 1 < counted.size())
            return 0.5 * (counted[i].first + counted[i + 1].first);
        if (below > 0.5 * sum)
            return counted[i].first;
    }
    return counted.empty() ? nan_value : counted.back().first;
}

MapStatistics map_statistics(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> errors) {
    check_lengths(values.size(), weights.size(), errors.size());
    MapStatistics result;
    double sum = 0.0, weighted = 0.0;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    std::vector<double> counted_errors;
    const auto weight_of = [&](std::size_t i) {
        const double w = weights.empty() ? 1.0 : weights[i];
        return std::isfinite(values[i]) && std::isfinite(w) && w > 0.0 ? w : 0.0;
    };
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double w = weight_of(i);
        if (w == 0.0)
            continue;
        ++result.count;
        sum += w;
        weighted += w * values[i];
        low = std::min(low, values[i]);
        high = std::max(high, values[i]);
        if (!errors.empty() && std::isfinite(errors[i]))
            counted_errors.push_back(errors[i]);
    }
    result.median_error = nan_value;
    if (result.count == 0) {
        result.mean = result.spread = nan_value;
        return result;
    }
    result.mean = weighted / sum;
    double squares = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (const double w = weight_of(i); w > 0.0)
            squares += w * (values[i] - result.mean) * (values[i] - result.mean);
    result.spread = std::sqrt(squares / sum);
    result.uniform = high - low <= 1e-9 * std::max(std::abs(low), std::abs(high));
    result.median_error = xrdct::median(std::move(counted_errors));
    return result;
}

} // namespace xrdct::maps
