// SPDX-License-Identifier: BSD-3-Clause
#include "integration/channel_estimators.hpp"

#include "base/numbers.hpp"
#include "base/simd.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

namespace xrdct::integration {

namespace {

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

/// What is left of a channel between its tails.
struct Trimmed {
    double sum = 0, squares = 0;    ///< of the values kept; squares about `centre`
    double lowest = 0, highest = 0; ///< values kept
    double centre = 0;
};

void add(Trimmed& trimmed, std::span<const float> values) {
    for (const float value : values) {
        const double d = value - trimmed.centre;
        trimmed.sum += value;
        trimmed.squares += d * d;
    }
}

/// By partial sorting of everything.
Trimmed trim_by_selection(std::span<float> values, std::size_t cut) {
    const auto low = values.begin() + static_cast<std::ptrdiff_t>(cut),
               high = values.end() - static_cast<std::ptrdiff_t>(cut);
    Trimmed trimmed;
    if (cut > 0)
        std::nth_element(values.begin(), low, values.end());
    trimmed.lowest = trimmed.centre = *low;
    if (cut > 0)
        std::nth_element(low, high - 1, values.end());
    trimmed.highest = *(high - 1);
    add(trimmed, {low, high});
    return trimmed;
}

constexpr std::size_t smallest_sample = 64, largest_sample = 256;
constexpr std::size_t bracket_room = 1024;

/// Values between two bounds, both included.
struct Bracket {
    float from = 0, to = 0;
    std::size_t size = 0;
    // Stored as bits: what picks elements out moves whole numbers along. Garbage follows the last.
    std::array<std::int32_t, bracket_room + simd::width> bits;
    std::array<float, bracket_room + simd::width> values;

    /// False when there is no room for eight more.
    [[gnu::always_inline]] bool take(simd::Float8 v) {
        const auto inside = (v >= from) & (v <= to);
        const simd::Float8 one = simd::broadcast(1.0F);
        size += simd::store_positive(inside ? one : -one, std::bit_cast<simd::Int8>(v),
                                     values.data() + size, bits.data() + size);
        return size <= bracket_room;
    }
    void unpack() { std::memcpy(values.data(), bits.data(), size * sizeof(float)); }
};

/// The same in one pass over the values: a sample says between which bounds the two quantiles lie,
/// and only what is there is sorted. Nothing when the sample was wrong, or too much is equal.
std::optional<Trimmed> trim_by_sample(std::span<const float> values, std::size_t cut) {
    const std::size_t n = values.size();
    const std::size_t sample_size =
        std::min(smallest_sample << (n >= 1024 ? 1 : 0) << (n >= 4096 ? 1 : 0), largest_sample);
    std::array<float, largest_sample> sample;
    const std::size_t stride = n / sample_size;
    for (std::size_t i = 0; i < sample_size; ++i)
        sample[i] = values[i * stride];
    std::sort(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(sample_size));
    const double part = static_cast<double>(cut) / static_cast<double>(n);
    const double expected = part * static_cast<double>(sample_size);
    const double slack = 2.5 * std::sqrt(expected * (1 - part)) + 1;
    const double first = expected - slack, last = expected + slack;
    if (!(last < 0.5 * static_cast<double>(sample_size) - 1))
        return std::nullopt;
    const auto at = [&](double position) { return static_cast<std::size_t>(position); };
    constexpr float infinity = std::numeric_limits<float>::infinity();
    Bracket low, high;
    low.from = first < 0 ? -infinity : sample[at(first)];
    low.to = sample[at(last)];
    high.from = sample[sample_size - 1 - at(last)];
    high.to = first < 0 ? infinity : sample[sample_size - 1 - at(first)];
    if (!(low.to < high.from))
        return std::nullopt;

    using simd::Double4, simd::Float4;
    Trimmed trimmed;
    trimmed.centre = sample[sample_size / 2];
    Double4 sum{}, squares{};
    simd::Int8 below{}, above{};
    const float centre = sample[sample_size / 2];
    std::size_t i = 0;
    for (; i + simd::width <= n; i += simd::width) {
        const simd::Float8 v = simd::load(values.data() + i);
        below += v < low.from;
        above += v > high.to;
        if (!low.take(v) || !high.take(v))
            return std::nullopt;
        const auto between = (v > low.to) & (v < high.from);
        const simd::Float8 counted = between ? v : simd::broadcast(centre);
        Float4 halves[2];
        std::memcpy(halves, &counted, sizeof counted);
        for (const Float4& half : halves) {
            const Double4 wide = __builtin_convertvector(half, Double4) - trimmed.centre;
            sum += wide;
            squares += wide * wide;
        }
    }
    low.unpack();
    high.unpack();
    std::size_t n_below = 0, n_above = 0, n_between = 0;
    for (std::size_t lane = 0; lane < simd::width; ++lane) {
        n_below += static_cast<std::size_t>(-below[lane]);
        n_above += static_cast<std::size_t>(-above[lane]);
    }
    n_between = i - n_below - n_above - low.size - high.size;
    double shifted = 0;
    for (std::size_t lane = 0; lane < 4; ++lane) {
        shifted += sum[lane];
        trimmed.squares += squares[lane];
    }
    for (; i < n; ++i) {
        const float v = values[i];
        if (v < low.from) {
            ++n_below;
        } else if (v > high.to) {
            ++n_above;
        } else if (v <= low.to) {
            low.values[low.size++] = v;
        } else if (v >= high.from) {
            high.values[high.size++] = v;
        } else {
            const double d = v - trimmed.centre;
            shifted += d;
            trimmed.squares += d * d;
            ++n_between;
        }
    }
    if (n_below > cut || n_below + low.size <= cut || n_above > cut || n_above + high.size <= cut)
        return std::nullopt;
    trimmed.sum = shifted + trimmed.centre * static_cast<double>(n_between);
    const std::span<float> left(low.values.data(), low.size), right(high.values.data(), high.size);
    const std::size_t drop_left = cut - n_below, drop_right = cut - n_above;
    std::nth_element(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(drop_left),
                     left.end());
    std::nth_element(right.begin(), right.end() - static_cast<std::ptrdiff_t>(drop_right) - 1,
                     right.end());
    trimmed.lowest = left[drop_left];
    trimmed.highest = right[right.size() - 1 - drop_right];
    add(trimmed, left.subspan(drop_left));
    add(trimmed, right.first(right.size() - drop_right));
    return trimmed;
}

} // namespace

ChannelEstimate trimmed_mean(std::span<float> values, double fraction) {
    const std::size_t n = values.size();
    if (n == 0)
        return {nan_value, nan_value, 0};
    const double count = static_cast<double>(n);
    const auto cut = std::min(static_cast<std::size_t>(fraction * count), (n - 1) / 2);
    std::optional<Trimmed> found;
    if (n >= 4 * smallest_sample && cut > 0)
        found = trim_by_sample(values, cut);
    const Trimmed trimmed = found ? *found : trim_by_selection(values, cut);
    const double tails = static_cast<double>(cut), kept = count - 2 * tails;
    const double mean = trimmed.sum / kept;
    if (n < 2)
        return {mean, nan_value, kept};
    // Winsorised: the tails are moved to the outermost values kept.
    const double low = trimmed.lowest - trimmed.centre, high = trimmed.highest - trimmed.centre;
    const double first = trimmed.sum - kept * trimmed.centre + tails * (low + high);
    const double second = trimmed.squares + tails * (low * low + high * high);
    const double variance = std::max(second - first * first / count, 0.0) / (count - 1);
    return {mean, std::sqrt(variance / count) / (1 - 2 * tails / count), kept};
}

ChannelEstimate median(std::span<float> values) {
    const std::size_t n = values.size();
    if (n == 0)
        return {nan_value, nan_value, 0};
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
        return {value, nan_value, 1};
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
    const double mean = total > 0 ? sum / total : nan_value;
    if (n < 2)
        return {mean, nan_value, static_cast<double>(n)};
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
    auto result = weighted_mean(values.first(n), weights.first(n));
    // Cut off at `threshold`, a normal distribution looks narrower than it is.
    const double inside = std::erf(threshold / std::sqrt(2.0));
    const double density = std::exp(-0.5 * threshold * threshold) / std::sqrt(2 * pi);
    result.error /= std::sqrt(1 - 2 * threshold * density / inside);
    return result;
}

} // namespace xrdct::integration
