// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/resolution.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Finalizer of SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/// Width of one response, in voxels.
double width_at(std::span<const double> response, std::size_t impulse, double sign,
                std::span<const std::size_t> pixels, std::size_t n, std::size_t spacing) {
    const double peak = sign * response[impulse];
    const auto reach = static_cast<double>(spacing) / 2;
    if (!(peak > 0))
        return 2 * reach;
    const auto x0 = static_cast<double>(pixels[impulse] % n),
               y0 = static_cast<double>(pixels[impulse] / n);
    const auto bins = static_cast<std::size_t>(std::lround(2 * reach)) + 1; // half voxels
    std::vector<double> value(bins, 0.0), distance(bins, 0.0), count(bins, 0.0);
    for (std::size_t v = 0; v < pixels.size(); ++v) {
        const double d = std::hypot(static_cast<double>(pixels[v] % n) - x0,
                                    static_cast<double>(pixels[v] / n) - y0);
        const auto bin = static_cast<std::size_t>(std::lround(2 * d));
        if (bin >= bins)
            continue;
        value[bin] += sign * response[v] / peak;
        distance[bin] += d;
        count[bin] += 1;
    }
    double before = 0, at = 1;
    bool alone = true;
    for (std::size_t b = 1; b < bins; ++b) {
        if (count[b] == 0)
            continue;
        alone = false;
        const double d = distance[b] / count[b], mean = value[b] / count[b];
        if (mean <= 0.5)
            return std::max(1.0, 2 * (before + (d - before) * (at - 0.5) / (at - mean)));
        before = d;
        at = mean;
    }
    return alone ? 1 : 2 * reach;
}

} // namespace

Impulses choose_impulses(std::span<const std::size_t> pixels, std::span<const double> information,
                         std::size_t n, std::size_t spacing, std::size_t number) {
    if (information.size() != pixels.size() || n == 0 || spacing < 2)
        throw Error(fmt::format("DLSR: {} voxels with information for {}, impulses every {} voxels",
                                information.size(), pixels.size(), spacing));
    const std::size_t shift_x = mix(2 * number) % spacing, shift_y = mix(2 * number + 1) % spacing;
    const std::size_t cells = n / spacing + 2, quarter = (spacing + 2) / 4;
    std::vector<std::size_t> best(cells * cells, pixels.size());
    for (std::size_t v = 0; v < pixels.size(); ++v) {
        const std::size_t x = pixels[v] % n + shift_x, y = pixels[v] / n + shift_y;
        const auto in_middle = [&](std::size_t i) {
            return i % spacing >= quarter && i % spacing < spacing - quarter;
        };
        if (!(information[v] > 0) || !in_middle(x) || !in_middle(y))
            continue;
        auto& taken = best[y / spacing * cells + x / spacing];
        if (taken == pixels.size() || information[v] > information[taken])
            taken = v;
    }
    Impulses result;
    for (const std::size_t v : best)
        if (v < pixels.size()) {
            result.voxel.push_back(v);
            result.sign.push_back(mix(pixels[v] + 0x10000 * number) & 1 ? 1 : -1);
        }
    return result;
}

double response_width(std::span<const double> response, const Impulses& impulses,
                      std::span<const std::size_t> pixels, std::size_t n, std::size_t spacing) {
    if (response.size() != pixels.size())
        throw Error(
            fmt::format("DLSR: responses of {} voxels for {}", response.size(), pixels.size()));
    std::vector<double> widths;
    for (std::size_t i = 0; i < impulses.voxel.size(); ++i)
        widths.push_back(
            width_at(response, impulses.voxel[i], impulses.sign[i], pixels, n, spacing));
    if (widths.empty())
        return 0;
    const auto middle = widths.begin() + static_cast<std::ptrdiff_t>(widths.size() / 2);
    std::nth_element(widths.begin(), middle, widths.end());
    return *middle;
}

} // namespace xrdct::dlsr
