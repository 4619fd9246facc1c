// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/steadiness.hpp"

#include "base/statistics.hpp"
#include "inspection/projections.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

namespace {

/// Median of the finite ones of [first, last); NaN without any.
double middle_of(const std::vector<double>& values, std::size_t first, std::size_t last) {
    const auto known = finite_values(
        std::span<const double>(values).subspan(first, std::min(last, values.size()) - first));
    return known.empty() ? Finding::none : midpoint_median(known);
}

/// Sums half a turn apart, each the median of three.
void check_sums(std::span<const double> rotation, std::span<const float> sinogram,
                std::size_t n_translation, std::vector<Finding>& findings) {
    const std::size_t n = rotation.size();
    std::vector<double> sums, steps;
    for (std::size_t i = 0; i < n; ++i)
        sums.push_back(mean_value(sinogram.subspan(i * n_translation, n_translation)));
    for (std::size_t i = 1; i < n; ++i)
        steps.push_back(std::abs(rotation[i] - rotation[i - 1]));
    const double step = midpoint_median(std::move(steps));
    Finding worst{.kind = Kind::drift, .value = 1};
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i + 1; j < n; ++j) {
            if (std::abs(std::remainder(rotation[j] - rotation[i] - 180, 360.0)) > 1.5 * step)
                continue;
            const double one = middle_of(sums, i > 0 ? i - 1 : 0, i + 2);
            const double other = middle_of(sums, j > 0 ? j - 1 : 0, j + 2);
            if (!(one > 0) || !(other > 0))
                continue;
            const double ratio = other / one;
            if (std::abs(std::log(ratio)) > std::abs(std::log(worst.value))) {
                worst.value = ratio;
                worst.position = rotation[j];
                worst.limit = rotation[i];
                worst.index = j;
            }
        }
    if (std::abs(std::log(worst.value)) > std::log(1.15))
        findings.push_back(worst);
}

/// A lasting step of the centre of mass between neighbours.
void check_centres(std::span<const double> rotation, std::span<const float> sinogram,
                   std::size_t n_translation, std::vector<Finding>& findings) {
    constexpr std::size_t window = 4;
    const std::size_t n = rotation.size();
    std::vector<double> centres;
    for (const Row& row : prepared_rows(sinogram, n_translation)) {
        double centre = row.empty() ? Finding::none : 0;
        for (std::size_t t = 0; t < row.size(); ++t)
            centre += static_cast<double>(t) * row[t];
        centres.push_back(centre);
    }
    // Extrapolated from both sides to the middle, so that a steady motion leaves nothing.
    std::vector<double> steps(n, Finding::none);
    for (std::size_t i = 2 * window; i + 2 * window <= n; ++i) {
        const double a = middle_of(centres, i - 2 * window, i - window),
                     b = middle_of(centres, i - window, i), c = middle_of(centres, i, i + window),
                     d = middle_of(centres, i + window, i + 2 * window);
        steps[i] = (c - 0.5 * (d - c)) - (b + 0.5 * (b - a));
    }
    std::vector<double> sizes;
    for (const double value : finite_values(std::span<const double>(steps)))
        sizes.push_back(std::abs(value));
    if (sizes.size() < 8)
        return;
    const double limit = std::max(1.0, 8 * 1.4826 * midpoint_median(sizes));
    std::size_t at = n;
    for (std::size_t i = 0; i < n; ++i)
        if (std::isfinite(steps[i]) && std::abs(steps[i]) > limit &&
            (at == n || std::abs(steps[i]) > std::abs(steps[at])))
            at = i;
    if (at < n)
        findings.push_back({.kind = Kind::moved,
                            .value = steps[at],
                            .limit = limit,
                            .position = rotation[at],
                            .index = at});
}

} // namespace

std::vector<Finding> check_steadiness(std::span<const double> rotation,
                                      std::span<const float> sinogram, std::size_t n_translation) {
    std::vector<Finding> findings;
    if (rotation.size() < 16 || n_translation < 8)
        return findings;
    check_sums(rotation, sinogram, n_translation, findings);
    check_centres(rotation, sinogram, n_translation, findings);
    return findings;
}

} // namespace xrdct::inspection
