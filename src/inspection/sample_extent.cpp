// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/sample_extent.hpp"

#include "base/statistics.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

std::vector<double> line_weights(std::span<const ObservedLine> lines,
                                 std::span<const double> two_theta) {
    const std::size_t n = two_theta.size();
    std::vector<double> weights(n, 0.0);
    std::vector<unsigned char> near_line(n, 0);
    for (const auto& line : lines)
        for (std::size_t k = 0; k < n; ++k)
            if (std::abs(two_theta[k] - line.position) < 1.5 * line.width)
                near_line[k] = 1;
    for (std::size_t l = 0; l < std::min<std::size_t>(4, lines.size()); ++l) {
        const auto& line = lines[l];
        std::vector<std::size_t> inside, beside;
        for (std::size_t k = 0; k < n; ++k) {
            const double off = std::abs(two_theta[k] - line.position);
            if (off <= 0.5 * line.width || k == line.channel)
                inside.push_back(k);
            else if (near_line[k] == 0 && off < 6 * line.width)
                beside.push_back(k);
        }
        if (beside.size() < 2)
            continue;
        for (const std::size_t k : inside)
            weights[k] += 1;
        for (const std::size_t k : beside)
            weights[k] -= static_cast<double>(inside.size()) / static_cast<double>(beside.size());
    }
    return weights;
}

namespace {

/// Median over the rotations, [translation].
std::vector<double> middle_profile(std::span<const float> sinogram, std::size_t n_translation) {
    const std::size_t n_rotation = sinogram.size() / n_translation;
    std::vector<double> profile;
    for (std::size_t t = 0; t < n_translation; ++t) {
        std::vector<double> column;
        for (std::size_t i = 0; i < n_rotation; ++i)
            column.push_back(sinogram[i * n_translation + t]);
        profile.push_back(midpoint_median(finite_values(std::span<const double>(column))));
    }
    return profile;
}

} // namespace

std::size_t body_extent(std::span<const float> sinogram, std::size_t n_translation) {
    if (n_translation < 8)
        return 0;
    const auto profile = middle_profile(sinogram, n_translation);
    const auto known = finite_values(std::span<const double>(profile));
    if (known.size() < 8)
        return 0;
    const double least = 0.2 * quantile(known, 0.75);
    const auto inside = [&](double value) { return value > least; };
    const auto first = std::ranges::find_if(profile, inside);
    const auto last = std::find_if(profile.rbegin(), profile.rend(), inside).base();
    return first < last ? static_cast<std::size_t>(last - first) : 0;
}

std::vector<Finding> check_distance(std::span<const ObservedLine> lines, double extent,
                                    double distance) {
    constexpr double least_ratio = 0.25;
    std::vector<double> ratios;
    Finding finding{.kind = Kind::distance_lines};
    for (const auto& line : lines) {
        if (line.height < 0.05 * lines.front().height)
            continue;
        const double turn = radians(line.position);
        const double expected =
            degrees(0.87 * extent / distance * std::abs(std::sin(turn) * std::cos(turn)));
        ratios.push_back(line.width / expected);
        if (std::isnan(finding.position)) {
            finding.position = line.position;
            finding.limit = line.width;
        }
    }
    // The median: polymers and small crystallites have broad lines of their own, and a phase may
    // lie near the axis.
    if (ratios.size() < 4)
        return {};
    finding.value = midpoint_median(std::move(ratios));
    if (!(finding.value < least_ratio))
        return {};
    // A detector so near is more often a slip of ten than anything else.
    if (finding.value > 0.05)
        finding.factor = 10;
    return {finding};
}

std::vector<Finding> check_ends(std::span<const float> sinogram, std::size_t n_translation) {
    if (n_translation < 8)
        return {};
    const auto profile = middle_profile(sinogram, n_translation);
    const auto known = finite_values(std::span<const double>(profile));
    if (known.size() < 8)
        return {};
    const double body = midpoint_median(known);
    const double level = quantile(known, 0.75);
    if (!(body > 0 || level > 0))
        return {};
    std::vector<Finding> findings;
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}}) {
        // The outermost ray may graze the body's rim: then the next one has much more.
        const double value = profile[end == 0 ? 0 : n_translation - 1];
        const double next = profile[end == 0 ? 1 : n_translation - 2];
        if (value > 0.5 * level || (value > 0.2 * level && value > 0.6 * next))
            findings.push_back({.kind = Kind::no_air, .value = value / level, .index = end});
    }
    return findings;
}

} // namespace xrdct::inspection
