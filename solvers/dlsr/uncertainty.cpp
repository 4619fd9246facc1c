// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/uncertainty.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace xrdct::dlsr {

namespace {

/// SplitMix64 (Steele, Lea and Flood 2014): a counter-like generator, cheap to seed per ray.
struct SplitMix {
    std::uint64_t state;
    std::uint64_t next() {
        std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    /// In (0, 1].
    float uniform() { return (static_cast<float>(next() >> 40) + 1) * 0x1p-24F; }
};

} // namespace

void sample_ray_noise(const rietveld::PatternBasis& basis, std::span<const float> variance,
                      std::uint64_t seed, std::uint64_t ray, std::span<float> noise) {
    SplitMix random{seed * 0xd1342543de82ef95ULL + ray * 0x2545f4914f6cdd1dULL};
    random.next();
    thread_local std::vector<float> channels;
    channels.resize(variance.size());
    for (std::size_t k = 0; k < variance.size(); k += 2) {
        const float radius = std::sqrt(-2 * std::log(random.uniform()));
        const float angle = 2 * std::numbers::pi_v<float> * random.uniform();
        const auto spread = [&](std::size_t i) {
            return variance[i] > 0 ? std::sqrt(variance[i]) : 0.0F;
        };
        channels[k] = spread(k) * radius * std::cos(angle);
        if (k + 1 < variance.size())
            channels[k + 1] = spread(k + 1) * radius * std::sin(angle);
    }
    basis.compress(channels, noise);
}

std::vector<double> smoothed_variance(std::span<const double> squares,
                                      std::span<const double> information,
                                      std::span<const std::size_t> pixels, std::size_t n,
                                      double sigma) {
    if (squares.size() != pixels.size() || information.size() != pixels.size())
        throw Error("DLSR: wrong sizes for variances");
    constexpr float unknown = -1e9F;
    const float reach_of_kind = std::numbers::ln2_v<float>;
    const auto side = static_cast<long>(n), reach = static_cast<long>(std::ceil(2.5 * sigma));
    std::vector<float> kind(n * n, unknown), square(n * n, 0.0F);
    std::vector<double> sorted(information.begin(), information.end());
    double least = 0;
    if (!sorted.empty()) {
        const auto high = sorted.begin() + static_cast<std::ptrdiff_t>(95 * sorted.size() / 100);
        std::nth_element(sorted.begin(), high, sorted.end());
        least = std::max(0.05 * *high, 1e-300);
    }
    for (std::size_t v = 0; v < pixels.size(); ++v)
        if (squares[v] > 0) {
            kind[pixels[v]] = static_cast<float>(std::log(std::max(information[v], least)));
            square[pixels[v]] = static_cast<float>(squares[v]);
        }
    std::vector<float> share(static_cast<std::size_t>(2 * reach + 1));
    for (long d = -reach; d <= reach; ++d)
        share[static_cast<std::size_t>(d + reach)] =
            static_cast<float>(std::exp(-0.5 * static_cast<double>(d * d) / (sigma * sigma)));
    std::vector<double> result(pixels.size(), 0.0);
#pragma omp parallel for schedule(static)
    for (std::size_t v = 0; v < pixels.size(); ++v) {
        const float own = kind[pixels[v]];
        if (own == unknown)
            continue;
        const long x = static_cast<long>(pixels[v]) % side, y = static_cast<long>(pixels[v]) / side;
        const long first = std::max(-reach, -x), last = std::min(reach, side - 1 - x);
        float above = 0, below = 0;
        for (long dy = std::max(-reach, -y); dy <= std::min(reach, side - 1 - y); ++dy) {
            const long line = (y + dy) * side + x;
            float row_above = 0, row_below = 0;
            for (long dx = first; dx <= last; ++dx) {
                const auto i = static_cast<std::size_t>(line + dx);
                const float difference = (kind[i] - own) / reach_of_kind;
                const float inside = std::max(0.0F, 1 - difference * difference);
                const float weight = inside * inside * share[static_cast<std::size_t>(dx + reach)];
                row_above += weight * square[i];
                row_below += weight;
            }
            const float of_row = share[static_cast<std::size_t>(dy + reach)];
            above += of_row * row_above;
            below += of_row * row_below;
        }
        result[v] = static_cast<double>(above / below);
    }
    return result;
}

} // namespace xrdct::dlsr
