// SPDX-License-Identifier: BSD-3-Clause
#include "maps/radial_profile.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "maps/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace xrdct::maps {

std::size_t RadialProfile::filled() const {
    return static_cast<std::size_t>(
        std::count_if(mean.begin(), mean.end(), [](double v) { return std::isfinite(v); }));
}

RadialProfile radial_profile(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> x, std::span<const double> y, double centre_x,
                             double centre_y, double width, std::size_t least) {
    if (!weights.empty() && weights.size() != values.size())
        throw Error(fmt::format("radial profile: {} values with {} weights", values.size(),
                                weights.size()));
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

} // namespace xrdct::maps
