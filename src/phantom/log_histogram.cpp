// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/log_histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace xrdct::phantom {

void LogHistogram::add(std::span<const float> values) {
    for (const float value : values) {
        if (!std::isfinite(value))
            continue;
        const std::uint32_t bits = value > 0 ? std::bit_cast<std::uint32_t>(value) : 0U;
        ++bins_[bits >> dropped_bits];
    }
}

void LogHistogram::merge(const LogHistogram& other) {
    for (std::size_t i = 0; i < size; ++i)
        bins_[i] += other.bins_[i];
}

std::uint64_t LogHistogram::total() const {
    return std::accumulate(bins_.begin(), bins_.end(), std::uint64_t{0});
}

double LogHistogram::quantile(double fraction) const {
    const auto n = static_cast<double>(total());
    if (n == 0)
        return 0;
    const double rank = std::clamp(fraction, 0.0, 1.0) * n;
    double below = 0;
    for (std::size_t i = 0; i < size; ++i) {
        if (bins_[i] == 0)
            continue;
        const auto count = static_cast<double>(bins_[i]);
        if (below + count >= rank) {
            if (i == 0)
                return 0; // values too small to be told from zero
            const auto edge = [](std::size_t bin) {
                return static_cast<double>(
                    std::bit_cast<float>(static_cast<std::uint32_t>(bin << dropped_bits)));
            };
            const double low = edge(i);
            const double high = i + 1 < size ? edge(i + 1) : low;
            return low + (high - low) * std::clamp((rank - below) / count, 0.0, 1.0);
        }
        below += count;
    }
    return 0;
}

} // namespace xrdct::phantom
