// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/outliers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace xrdct::conditioning {

namespace {

constexpr std::size_t block = 256; ///< channels worked on together; their extremes stay in cache
constexpr float infinite = std::numeric_limits<float>::infinity();

/// Extremes and sums of the neighbours, per channel of a block.
struct Neighbourhood {
    alignas(64) std::array<float, block> high1, high2, high3, low1, low2, low3, sum, variance,
        count;

    void clear() {
        high1.fill(-infinite);
        high2.fill(-infinite);
        high3.fill(-infinite);
        low1.fill(infinite);
        low2.fill(infinite);
        low3.fill(infinite);
        sum.fill(0);
        variance.fill(0);
        count.fill(0);
    }
    void add(const float* values, const float* variances, std::size_t n) {
        for (std::size_t k = 0; k < n; ++k) {
            const float v = values[k];
            const bool there = v == v;
            float up = there ? v : -infinite, down = there ? v : infinite;
            sum[k] += there ? v : 0;
            const float s = variances[k];
            variance[k] += there && s == s ? s : 0;
            count[k] += there ? 1 : 0;
            float swap = std::min(high1[k], up);
            high1[k] = std::max(high1[k], up);
            up = swap;
            swap = std::min(high2[k], up);
            high2[k] = std::max(high2[k], up);
            high3[k] = std::max(high3[k], swap);
            swap = std::max(low1[k], down);
            low1[k] = std::min(low1[k], down);
            down = swap;
            swap = std::max(low2[k], down);
            low2[k] = std::min(low2[k], down);
            low3[k] = std::min(low3[k], swap);
        }
    }
};

struct Neighbour {
    const float* values;
    const float* variances;
    std::ptrdiff_t side; ///< translations on either side
};

std::vector<Neighbour> find_neighbours(std::span<const float* const> lines,
                                       std::span<const float* const> variances, std::size_t own,
                                       std::size_t line_size, double motion) {
    std::vector<Neighbour> neighbours;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const bool empty = std::all_of(lines[i], lines[i] + line_size,
                                       [](float value) { return std::isnan(value); });
        if (i == own || empty)
            continue;
        const auto apart = static_cast<double>(i > own ? i - own : own - i);
        neighbours.push_back({lines[i], variances[i],
                              std::max<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(
                                                              std::ceil(motion * apart - 1e-6)))});
    }
    return neighbours;
}

/// What the channels of one translation are, against their neighbours.
struct Judgement {
    // Excess over the neighbours in standard deviations, signed; 0: within their range.
    std::vector<float> excess, expected, noise, limit;
    const OutlierOptions& options;
    const float threshold, fraction;

    Judgement(std::size_t n_channel, const OutlierOptions& chosen)
        : excess(n_channel), expected(n_channel), noise(n_channel), limit(n_channel),
          options(chosen), threshold(static_cast<float>(options.threshold)),
          fraction(static_cast<float>(options.range_fraction)) {}

    /// n channels from `begin` on; `rank` neighbours are set aside. True: one is out.
    bool judge(const Neighbourhood& near, std::size_t rank, const float* values,
               const float* own_variance, std::size_t begin, std::size_t n) {
        bool any = false;
        const auto& high = rank == 3 ? near.high3 : rank == 2 ? near.high2 : near.high1;
        const auto& low = rank == 3 ? near.low3 : rank == 2 ? near.low2 : near.low1;
        for (std::size_t k = 0; k < n; ++k) {
            const float y = values[k];
            excess[begin + k] = 0;
            if (y != y || near.count[k] < 8)
                continue;
            const float rest = near.count[k] - 6;
            const float mean = (near.sum[k] - near.high1[k] - near.high2[k] - near.high3[k] -
                                near.low1[k] - near.low2[k] - near.low3[k]) /
                               rest;
            const float typical = near.variance[k] / near.count[k];
            const float mine = own_variance[k];
            const float sigma = std::sqrt(std::max(mine == mine ? mine : 0, typical));
            const float range = fraction * (high[k] - low[k]);
            const float above = y - high[k], below = low[k] - y;
            expected[begin + k] = mean;
            noise[begin + k] = std::sqrt(std::max(typical, 0.0F));
            float out = 0;
            if (above > range)
                out = above;
            else if (options.low && below > range)
                out = -below;
            if (out == 0)
                continue;
            // Without any noise (a simulated scan, zero counts around) the range decides.
            excess[begin + k] = sigma > 0 ? out / sigma : std::copysign(infinite, out);
            limit[begin + k] = threshold * sigma + (out > 0 ? high[k] - mean : mean - low[k]);
            any = any || std::abs(excess[begin + k]) > threshold;
        }
        return any;
    }

    /// Channels that are out, and those beside them that belong to them.
    std::vector<unsigned char> flags() const;
};

std::vector<unsigned char> Judgement::flags() const {
    const std::size_t n_channel = excess.size();
    std::vector<unsigned char> flagged(n_channel, 0);
    for (std::size_t k = 0; k < n_channel; ++k) {
        if (!(std::abs(excess[k]) > threshold) || flagged[k])
            continue;
        flagged[k] = 1;
        const auto belongs = [&](std::size_t j) {
            return !flagged[j] && std::abs(excess[j]) > 0.5F * threshold &&
                   (excess[j] > 0) == (excess[k] > 0);
        };
        for (std::size_t j = k; j-- > 0 && belongs(j);)
            flagged[j] = 1;
        for (std::size_t j = k + 1; j < n_channel && belongs(j); ++j)
            flagged[j] = 1;
    }
    return flagged;
}

} // namespace

std::vector<Outlier> find_outliers(std::span<const float* const> lines,
                                   std::span<const float* const> variances, std::size_t own,
                                   std::size_t n_translation, std::size_t n_channel,
                                   const OutlierOptions& options) {
    const auto last = static_cast<std::ptrdiff_t>(n_translation) - 1;
    const float* values = lines[own];
    const float* own_variance = variances[own];
    const auto neighbours =
        find_neighbours(lines, variances, own, n_translation * n_channel, options.motion);
    // A concentric edge has one bright value in every neighbouring line: no more may be set aside.
    const std::size_t rank = std::min<std::size_t>(3, neighbours.size());
    std::vector<Outlier> found;
    if (rank == 0)
        return found;
    Neighbourhood near;
    Judgement judgement(n_channel, options);
    for (std::ptrdiff_t t = 0; t <= last; ++t) {
        bool any = false;
        for (std::size_t begin = 0; begin < n_channel; begin += block) {
            const std::size_t n = std::min(block, n_channel - begin);
            near.clear();
            for (const auto& line : neighbours)
                for (std::ptrdiff_t at = std::max<std::ptrdiff_t>(0, t - line.side);
                     at <= std::min(last, t + line.side); ++at) {
                    const std::size_t offset = static_cast<std::size_t>(at) * n_channel + begin;
                    near.add(line.values + offset, line.variances + offset, n);
                }
            const std::size_t offset = static_cast<std::size_t>(t) * n_channel + begin;
            any |= judgement.judge(near, rank, values + offset, own_variance + offset, begin, n);
        }
        if (!any)
            continue;
        const auto flagged = judgement.flags();
        for (std::size_t k = 0; k < n_channel; ++k) {
            if (!flagged[k])
                continue;
            Outlier one;
            one.translation = static_cast<std::uint32_t>(t);
            one.channel = static_cast<std::uint32_t>(k);
            one.observed = values[static_cast<std::size_t>(t) * n_channel + k];
            one.expected = judgement.expected[k];
            one.noise = judgement.noise[k];
            const float deviation = std::abs(one.observed - one.expected);
            const float part =
                deviation > 0 ? std::min(1.0F, judgement.limit[k] / deviation) : 1.0F;
            one.weight = part * part;
            found.push_back(one);
        }
    }
    return found;
}

WeightedValue down_weight(const Outlier& outlier) {
    const float value = outlier.expected + outlier.weight * (outlier.observed - outlier.expected);
    return {value, outlier.noise * outlier.noise / std::max(outlier.weight, 1e-6F)};
}

} // namespace xrdct::conditioning
