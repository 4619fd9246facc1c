#include "integration/channel_estimators.hpp"

#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace xrdct {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Moments {
    double sum = 0, squares = 0; ///< squares about `centre`
};

Moments moments(std::span<const float> values, double centre) {
    Moments m;
    for (const float value : values) {
        const double d = value - centre;
        m.sum += value;
        m.squares += d * d;
    }
    return m;
}

} // namespace

ChannelEstimate trimmed_mean(std::span<float> values, double fraction) {
    const std::size_t n = values.size();
    if (n == 0)
        return {nan, nan, 0};
    const auto cut =
        std::min(static_cast<std::size_t>(fraction * static_cast<double>(n)), (n - 1) / 2);
    const auto begin = values.begin(), low = begin + static_cast<std::ptrdiff_t>(cut),
               high = values.end() - static_cast<std::ptrdiff_t>(cut);
    double lowest = 0, highest = 0;
    if (cut > 0) {
        std::nth_element(begin, low, values.end());
        std::nth_element(low, high - 1, values.end());
        lowest = *low;
        highest = *(high - 1);
    }
    const std::span<const float> kept(low, high);
    const double m = static_cast<double>(kept.size());
    double sum = 0;
    for (const float value : kept)
        sum += value;
    const double mean = sum / m;
    if (n < 2)
        return {mean, nan, m};
    const double count = static_cast<double>(n), tails = static_cast<double>(cut);
    // Winsorised: the tails are moved to the outermost values kept.
    const double winsorised_mean = (sum + tails * (lowest + highest)) / count;
    double squares = moments(kept, winsorised_mean).squares;
    if (cut > 0)
        squares += tails * ((lowest - winsorised_mean) * (lowest - winsorised_mean) +
                            (highest - winsorised_mean) * (highest - winsorised_mean));
    const double deviation = std::sqrt(squares / (count - 1));
    return {mean, deviation / ((1 - 2 * tails / count) * std::sqrt(count)), m};
}

ChannelEstimate median(std::span<float> values) {
    const std::size_t n = values.size();
    if (n == 0)
        return {nan, nan, 0};
    const auto at = [&](double quantile) {
        const auto k = static_cast<std::size_t>(quantile * static_cast<double>(n - 1) + 0.5);
        std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(k),
                         values.end());
        return static_cast<double>(values[k]);
    };
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(n / 2);
    std::nth_element(values.begin(), middle, values.end());
    double value = *middle;
    if (n % 2 == 0)
        value = 0.5 * (value + static_cast<double>(*std::max_element(values.begin(), middle)));
    if (n < 2)
        return {value, nan, 1};
    const double sigma = 0.5 * (at(0.841345) - at(0.158655));
    return {value, std::sqrt(pi / (2 * static_cast<double>(n))) * sigma, static_cast<double>(n)};
}

ChannelEstimate weighted_mean(std::span<const float> values, std::span<const float> weights) {
    const std::size_t n = values.size();
    double total = 0, sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
        sum += static_cast<double>(values[i]) * weights[i];
        total += weights[i];
    }
    const double mean = total > 0 ? sum / total : nan;
    if (n < 2)
        return {mean, nan, static_cast<double>(n)};
    double squares = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double d = weights[i] * (values[i] - mean);
        squares += d * d;
    }
    const double count = static_cast<double>(n);
    return {mean, std::sqrt(squares * count / (count - 1)) / total, count};
}

ChannelEstimate sigma_clipped_mean(std::span<float> values, std::span<float> weights,
                                   double threshold, int iterations) {
    std::size_t n = values.size();
    for (int iteration = 0; iteration < iterations && n > 2; ++iteration) {
        double sum = 0, total = 0;
        for (std::size_t i = 0; i < n; ++i) {
            sum += static_cast<double>(values[i]) * weights[i];
            total += weights[i];
        }
        const double mean = sum / total;
        const double spread =
            std::sqrt(moments(values.first(n), mean).squares / static_cast<double>(n - 1));
        const double limit = threshold * spread;
        std::size_t kept = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (std::abs(values[i] - mean) <= limit) {
                std::swap(values[i], values[kept]);
                std::swap(weights[i], weights[kept]);
                ++kept;
            }
        if (kept == n || kept < 2)
            break;
        n = kept;
    }
    return weighted_mean(values.first(n), weights.first(n));
}

} // namespace xrdct
