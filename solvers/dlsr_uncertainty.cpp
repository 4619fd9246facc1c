#include "solvers/dlsr_uncertainty.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace xrdct {

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

void sample_ray_noise(const PatternBasis& basis, std::span<const float> variance,
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
                                      std::span<const double> expected,
                                      std::span<const std::size_t> pixels, std::size_t n,
                                      double sigma) {
    if (squares.size() != pixels.size() || expected.size() != pixels.size())
        throw Error("DLSR: wrong sizes for variances");
    std::vector<double> above(n * n, 0.0), below(n * n, 0.0);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        if (expected[v] > 0) {
            above[pixels[v]] = squares[v] / expected[v];
            below[pixels[v]] = 1;
        }
    const auto reach = static_cast<long>(std::ceil(3 * sigma));
    const auto side = static_cast<long>(n);
    const auto blur = [&](std::vector<double>& map) {
        std::vector<double> across(map.size(), 0.0);
        for (const long stride : {1L, side}) {
            std::fill(across.begin(), across.end(), 0.0);
            for (long y = 0; y < side; ++y)
                for (long x = 0; x < side; ++x) {
                    const long along = stride == 1 ? x : y;
                    double sum = 0;
                    for (long d = std::max(-reach, -along); d <= std::min(reach, side - 1 - along);
                         ++d)
                        sum += std::exp(-0.5 * static_cast<double>(d * d) / (sigma * sigma)) *
                               map[static_cast<std::size_t>(y * side + x + d * stride)];
                    across[static_cast<std::size_t>(y * side + x)] = sum;
                }
            map = across;
        }
    };
    blur(above);
    blur(below);
    std::vector<double> result(pixels.size(), 0.0);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        if (below[pixels[v]] > 0)
            result[v] = expected[v] * above[pixels[v]] / below[pixels[v]];
    return result;
}

} // namespace xrdct
