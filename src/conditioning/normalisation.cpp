// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/normalisation.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::conditioning {

FluxFactors flux_factors(std::span<const double> values, double limit) {
    std::vector<double> positive;
    for (const double value : values)
        if (std::isfinite(value) && value > 0)
            positive.push_back(value);
    if (positive.empty())
        throw Error("no value is positive");
    const double least = limit * median(positive);
    FluxFactors result;
    result.factor.resize(values.size());
    std::vector<double> counted;
    const auto counts = [&](double value) {
        return std::isfinite(value) && value > 0 && value >= least;
    };
    for (const double value : values)
        if (counts(value))
            counted.push_back(value);
    for (const double value : counted)
        result.mean += value / static_cast<double>(counted.size());
    result.smallest = *std::ranges::min_element(counted) / result.mean;
    result.largest = *std::ranges::max_element(counted) / result.mean;
    const auto tenth = static_cast<std::ptrdiff_t>(std::max<std::size_t>(1, counted.size() / 10));
    result.first_to_last = median<double>({counted.end() - tenth, counted.end()}) /
                           median<double>({counted.begin(), counted.begin() + tenth});
    for (std::size_t i = 0; i < values.size(); ++i) {
        const bool good = counts(values[i]);
        result.factor[i] = static_cast<float>(good ? result.mean / values[i] : nan_value);
        result.masked += good ? 0 : 1;
    }
    return result;
}

DeadTimeValue correct_dead_time(double counts, double exposure, double dead_time,
                                DeadTimeModel model) {
    const double lost = counts * dead_time / exposure;
    if (std::isnan(lost))
        return {nan_value, nan_value};
    if (model == DeadTimeModel::non_paralysable) {
        if (lost >= 1)
            return {nan_value, nan_value};
        const double live = 1 - lost;
        return {counts / live, 1 / (live * live)};
    }
    if (lost > std::exp(-1.0))
        return {nan_value, nan_value};
    if (lost <= 0)
        return {counts, 1};
    // Newton on x exp(−x) = lost from below; it converges monotonically up to the maximum.
    double x = lost;
    for (int i = 0; i < 60; ++i) {
        const double slope = (1 - x) * std::exp(-x);
        if (!(slope > 1e-12))
            break;
        const double step = (lost - x * std::exp(-x)) / slope;
        x = std::min(1.0, x + step);
        if (std::abs(step) < 1e-14)
            break;
    }
    return {x * exposure / dead_time, std::exp(x) / std::max(1 - x, 1e-6)};
}

std::vector<double> relative_transmission(std::span<const double> transmitted,
                                          std::size_t n_rotation, std::size_t n_translation,
                                          std::size_t edge) {
    std::vector<double> level(n_rotation, nan_value), known;
    for (std::size_t i = 0; i < n_rotation; ++i) {
        std::vector<double> outer;
        for (std::size_t t = 0; t < n_translation; ++t)
            if (t < edge || t + edge >= n_translation)
                if (const double value = transmitted[i * n_translation + t];
                    std::isfinite(value) && value > 0)
                    outer.push_back(value);
        level[i] = median(std::move(outer));
        if (std::isfinite(level[i]))
            known.push_back(level[i]);
    }
    if (known.empty())
        throw Error("the transmitted beam has no positive value at the edges of the lines");
    std::vector<double> result(transmitted.size());
    double last = median(known);
    for (std::size_t i = 0; i < n_rotation; ++i) {
        if (std::isfinite(level[i]))
            last = level[i];
        for (std::size_t t = 0; t < n_translation; ++t) {
            const double value = transmitted[i * n_translation + t] / last;
            result[i * n_translation + t] = value > 0 ? value : nan_value;
        }
    }
    return result;
}

ProjectionFactors projection_factors(std::span<const float> sinogram, std::size_t n_rotation,
                                     std::size_t n_translation) {
    ProjectionFactors result;
    std::vector<double> known;
    for (std::size_t i = 0; i < n_rotation; ++i) {
        const auto line = sinogram.subspan(i * n_translation, n_translation);
        double total = 0;
        std::size_t missing = 0;
        std::ptrdiff_t last = -1;
        for (std::size_t t = 0; t < n_translation; ++t) {
            if (!std::isfinite(line[t])) {
                ++missing;
                continue;
            }
            total += line[t];
            // Trapezia over the gap before this point; beyond the outermost points nothing.
            const auto gap = static_cast<double>(static_cast<std::ptrdiff_t>(t) - last - 1);
            if (last >= 0 && gap > 0)
                total += 0.5 * gap *
                         (static_cast<double>(line[static_cast<std::size_t>(last)]) +
                          static_cast<double>(line[t]));
            last = static_cast<std::ptrdiff_t>(t);
        }
        if (10 * missing > n_translation || !(total > 0))
            total = nan_value;
        result.total.push_back(total);
        if (std::isfinite(total))
            known.push_back(total);
        else
            ++result.undetermined;
    }
    if (known.empty())
        throw Error("no projection has an intensity to scale by");
    const double target = median(known);
    std::vector<double> deviations;
    deviations.reserve(known.size());
    for (const double total : known)
        deviations.push_back(std::abs(total / target - 1));
    result.spread = 1.4826 * median(std::move(deviations));
    for (const double total : result.total)
        result.factor.push_back(static_cast<float>(std::isfinite(total) ? target / total : 1.0));
    return result;
}

ChannelStatistics::ChannelStatistics(std::size_t channels)
    : sum_(channels, 0), finite_(channels, 0),
      low_(channels, std::numeric_limits<float>::infinity()),
      high_(channels, -std::numeric_limits<float>::infinity()) {}

void ChannelStatistics::add(std::span<const float> line) {
    const std::size_t n = sum_.size();
    for (std::size_t begin = 0; begin < line.size(); begin += n)
        for (std::size_t k = 0; k < n; ++k) {
            const float value = line[begin + k];
            if (std::isnan(value))
                continue;
            sum_[k] += value;
            ++finite_[k];
            low_[k] = std::min(low_[k], value);
            high_[k] = std::max(high_[k], value);
        }
}

std::vector<unsigned char> ChannelStatistics::dead() const {
    std::vector<unsigned char> dead(sum_.size());
    for (std::size_t k = 0; k < dead.size(); ++k)
        dead[k] = finite_[k] == 0 || !(low_[k] < high_[k]) ? 1 : 0;
    return dead;
}

std::vector<double> ChannelStatistics::mean() const {
    std::vector<double> mean(sum_.size());
    for (std::size_t k = 0; k < mean.size(); ++k)
        mean[k] = finite_[k] > 0 ? sum_[k] / static_cast<double>(finite_[k]) : nan_value;
    return mean;
}

} // namespace xrdct::conditioning
