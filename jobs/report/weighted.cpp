#include "jobs/report/weighted.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

namespace xrdct::report {

namespace {

void check_lengths(std::size_t values, std::size_t weights, std::size_t errors) {
    if ((weights != 0 && weights != values) || (errors != 0 && errors != values))
        throw Error(fmt::format("statistics: {} values with {} weights and {} errors", values,
                                weights, errors));
}

/// The weight of a voxel, 0 for one that is left out.
double weight_at(std::span<const double> weights, std::size_t i) {
    if (weights.empty())
        return 1.0;
    return std::isfinite(weights[i]) && weights[i] > 0.0 ? weights[i] : 0.0;
}

double plain_median(std::vector<double> values) {
    if (values.empty())
        return nan_value;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    if (values.size() % 2 == 1)
        return *middle;
    return 0.5 * (*middle + *std::max_element(values.begin(), middle));
}

} // namespace

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
    result.median_error = plain_median(std::move(counted_errors));
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

std::size_t RadialProfile::filled() const {
    return static_cast<std::size_t>(
        std::count_if(mean.begin(), mean.end(), [](double v) { return std::isfinite(v); }));
}

RadialProfile radial_profile(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> x, std::span<const double> y, double centre_x,
                             double centre_y, double width, std::size_t least) {
    check_lengths(values.size(), weights.size(), 0);
    if (values.size() != x.size() * y.size())
        throw Error(fmt::format("radial profile: {} values do not fill a map of {} by {} pixels",
                                values.size(), y.size(), x.size()));
    if (!(width > 0.0) || !std::isfinite(centre_x) || !std::isfinite(centre_y))
        throw Error(
            fmt::format("radial profile: bins of {} about ({}, {})", width, centre_x, centre_y));
    RadialProfile profile;
    profile.width = width;
    std::vector<double> sum, weighted;
    const auto each = [&](auto&& use) {
        for (std::size_t j = 0; j < y.size(); ++j)
            for (std::size_t i = 0; i < x.size(); ++i) {
                const std::size_t at = j * x.size() + i;
                const double w = weight_at(weights, at);
                if (w > 0.0 && std::isfinite(values[at]))
                    use(static_cast<std::size_t>(std::hypot(x[i] - centre_x, y[j] - centre_y) /
                                                 width),
                        values[at], w);
            }
    };
    each([&](std::size_t bin, double value, double w) {
        if (bin >= sum.size()) {
            sum.resize(bin + 1, 0.0);
            weighted.resize(bin + 1, 0.0);
            profile.count.resize(bin + 1, 0);
        }
        sum[bin] += w;
        weighted[bin] += w * value;
        ++profile.count[bin];
    });
    const std::size_t bins = sum.size();
    std::vector<double> squares(bins, 0.0);
    for (std::size_t b = 0; b < bins; ++b) {
        profile.radius.push_back((static_cast<double>(b) + 0.5) * width);
        profile.mean.push_back(profile.count[b] >= least ? weighted[b] / sum[b] : nan_value);
    }
    each([&](std::size_t bin, double value, double w) {
        squares[bin] += w * (value - profile.mean[bin]) * (value - profile.mean[bin]);
    });
    for (std::size_t b = 0; b < bins; ++b)
        profile.spread.push_back(profile.count[b] >= least ? std::sqrt(squares[b] / sum[b])
                                                           : nan_value);
    return profile;
}

Centre centre_of_mass(std::span<const double> weights, std::span<const double> x,
                      std::span<const double> y) {
    if (weights.size() != x.size() * y.size())
        throw Error(fmt::format("centre of mass: {} values do not fill a map of {} by {} pixels",
                                weights.size(), y.size(), x.size()));
    double sum = 0.0, sum_x = 0.0, sum_y = 0.0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        const double w = weight_at(weights, i);
        sum += w;
        sum_x += w * x[i % x.size()];
        sum_y += w * y[i / x.size()];
    }
    if (!(sum > 0.0))
        return {nan_value, nan_value};
    return {sum_x / sum, sum_y / sum};
}

std::vector<double> filled_outline(std::span<const double> mask, std::size_t columns) {
    if (columns == 0 || mask.size() % columns != 0)
        throw Error(
            fmt::format("outline: {} values do not fill rows of {} pixels", mask.size(), columns));
    const std::size_t rows = mask.size() / columns;
    std::vector<std::size_t> left(rows, columns), right(rows, 0), low(columns, rows),
        high(columns, 0);
    for (std::size_t j = 0; j < rows; ++j)
        for (std::size_t i = 0; i < columns; ++i)
            if (weight_at(mask, j * columns + i) > 0.0) {
                left[j] = std::min(left[j], i);
                right[j] = std::max(right[j], i);
                low[i] = std::min(low[i], j);
                high[i] = std::max(high[i], j);
            }
    std::vector<double> filled(mask.size(), 0.0);
    for (std::size_t j = 0; j < rows; ++j)
        for (std::size_t i = 0; i < columns; ++i)
            if (left[j] <= i && i <= right[j] && low[i] <= j && j <= high[i])
                filled[j * columns + i] = 1.0;
    return filled;
}

std::vector<std::vector<double>>
relative_masses(const std::vector<std::vector<double>>& scales,
                const std::vector<std::vector<double>>& weight_fractions) {
    const std::size_t phases = scales.size();
    if (phases == 0 || weight_fractions.size() != phases)
        return {};
    const std::size_t voxels = scales.front().size();
    for (std::size_t p = 0; p < phases; ++p)
        if (scales[p].size() != voxels || weight_fractions[p].size() != voxels)
            return {};
    const auto has = [&](std::size_t p, std::size_t i) {
        return scales[p][i] > 0.0 && weight_fractions[p][i] > 0.0;
    };
    /// m_q / m_p in the voxels with both, with how many there are.
    const auto ratio = [&](std::size_t p, std::size_t q) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < voxels; ++i)
            if (has(p, i) && has(q, i))
                ratios.push_back(weight_fractions[q][i] * scales[p][i] /
                                 (scales[q][i] * weight_fractions[p][i]));
        const std::size_t count = ratios.size();
        return std::pair{count, plain_median(std::move(ratios))};
    };
    std::vector<double> m(phases, 0.0); // 0: not known yet; never occurring phases stay so
    std::vector<bool> occurs(phases, false);
    for (std::size_t p = 0; p < phases; ++p)
        for (std::size_t i = 0; i < voxels && !occurs[p]; ++i)
            occurs[p] = has(p, i);
    const auto first = std::find(occurs.begin(), occurs.end(), true);
    if (first == occurs.end())
        return {};
    m[static_cast<std::size_t>(first - occurs.begin())] = 1.0;
    for (;;) {
        std::size_t most = 0, next = phases;
        double value = 0.0;
        for (std::size_t q = 0; q < phases; ++q) {
            if (m[q] > 0.0 || !occurs[q])
                continue;
            for (std::size_t p = 0; p < phases; ++p) {
                if (!(m[p] > 0.0))
                    continue;
                const auto [count, found] = ratio(p, q);
                if (count > most) {
                    most = count;
                    next = q;
                    value = m[p] * found;
                }
            }
        }
        if (next == phases)
            break;
        m[next] = value;
    }
    for (std::size_t p = 0; p < phases; ++p)
        if (occurs[p] && !(m[p] > 0.0))
            return {};
    std::vector<std::vector<double>> masses(phases, std::vector<double>(voxels, nan_value));
    for (std::size_t i = 0; i < voxels; ++i) {
        double total = 0.0;
        for (std::size_t p = 0; p < phases; ++p)
            if (has(p, i))
                total += scales[p][i] * m[p];
        for (std::size_t p = 0; p < phases; ++p)
            masses[p][i] = weight_fractions[p][i] * total;
    }
    return masses;
}

} // namespace xrdct::report
