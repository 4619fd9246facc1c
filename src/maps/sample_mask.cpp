// SPDX-License-Identifier: BSD-3-Clause
#include "maps/sample_mask.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "maps/neighbours.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::maps {

namespace {

/// Parts of the 99th percentile: what is certainly sample, and less than which is not looked for.
constexpr double certain = 0.03, least = 1e-3;
/// Standard deviations of the local means where nothing is.
constexpr double significance = 4;
/// A median of so few negative values tells nothing.
constexpr std::size_t few = 8;

std::vector<double> local_means(const std::vector<double>& map, std::size_t n) {
    const auto pass = [n](const std::vector<double>& in, std::size_t line, std::size_t step) {
        std::vector<double> out(in.size());
        for (std::size_t l = 0; l < n; ++l)
            for (std::size_t i = 0; i < n; ++i) {
                const double* at = &in[l * line + i * step];
                const double before = i > 0 ? *(at - step) : *at,
                             after = i + 1 < n ? at[step] : *at;
                out[l * line + i * step] = 0.25 * (before + 2 * *at + after);
            }
        return out;
    };
    return pass(pass(map, n, 1), 1, n);
}

/// Standard deviation of values about 0 from those below it: the others may be of the sample.
double spread_of_nothing(const std::vector<double>& values) {
    std::vector<double> below;
    for (const double value : values)
        if (value < 0)
            below.push_back(-value);
    return below.size() < few ? 0 : 1.4826 * median(std::move(below));
}

} // namespace

std::vector<unsigned char> sample_mask(std::span<const double> total, std::size_t n) {
    if (total.size() != n * n)
        throw Error(fmt::format("sample mask: a map of {} voxels for {} × {}", total.size(), n, n));
    std::vector<double> values(total.begin(), total.end()), positive;
    for (double& value : values) {
        value = std::isfinite(value) ? value : 0;
        if (value > 0)
            positive.push_back(value);
    }
    std::vector<unsigned char> mask(values.size(), 0);
    if (positive.empty())
        return mask;
    const double high = lower_quantile(std::move(positive), 0.99);
    const auto means = local_means(values, n);
    const double threshold =
        std::clamp(significance * spread_of_nothing(means), least * high, certain * high);
    std::vector<unsigned char> above(values.size());
    for (std::size_t i = 0; i < above.size(); ++i)
        above[i] = means[i] > threshold;
    for (std::size_t i = 0; i < mask.size(); ++i)
        mask[i] =
            values[i] > certain * high || (above[i] && neighbours(above, n, n, i / n, i % n) >= 2);
    return mask;
}

} // namespace xrdct::maps
