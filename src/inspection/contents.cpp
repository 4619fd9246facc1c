// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/contents.hpp"

#include "base/statistics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace xrdct::inspection {

namespace {

/// Of a positive value: steps of less than one percent.
std::size_t bin_of(float value) {
    return std::bit_cast<std::uint32_t>(value) >> 16;
}

} // namespace

ValueCounts::ValueCounts() : histogram_(1U << 15, 0) {}

void ValueCounts::add(float value) {
    ++values_;
    smallest_ = std::min(smallest_, value);
    if (value > largest_) {
        largest_ = value;
        at_largest_ = 0;
    }
    if (value == largest_)
        ++at_largest_;
    if (value > 0) {
        smallest_positive_ = std::min(smallest_positive_, value);
        ++histogram_[bin_of(value)];
    }
}

std::uint64_t ValueCounts::near_largest() const {
    if (!(largest_ > 0))
        return 0;
    std::uint64_t sum = 0;
    for (std::size_t bin = bin_of(0.9F * largest_); bin <= bin_of(largest_); ++bin)
        sum += histogram_[bin];
    return sum - at_largest_;
}

std::vector<Finding> check_values(const ValueCounts& counts, std::span<const double> pattern) {
    if (counts.values() == 0 || counts.smallest() == counts.largest())
        return {{.kind = Kind::no_signal,
                 .severity = Severity::error,
                 .value = counts.values() == 0 ? Finding::none : counts.largest()}};
    std::vector<Finding> findings;
    // A tail of counts thins out towards its end; with few counts the same one is met often.
    if (counts.at_largest() >= 20 && counts.at_largest() > 2 * counts.near_largest() &&
        counts.largest() > 50 * counts.smallest_positive())
        findings.push_back({.kind = Kind::saturated,
                            .value = static_cast<double>(counts.at_largest()),
                            .position = counts.largest()});
    const auto known = finite_values(pattern);
    if (known.size() >= 20) {
        const double low = quantile(known, 0.1), high = quantile(known, 0.99);
        const double limit = high > 0 ? -0.05 * high : 0;
        if (low < limit) {
            const auto below = std::ranges::count_if(known, [](double v) { return v < 0; });
            findings.push_back(
                {.kind = Kind::negative,
                 .value = static_cast<double>(below) / static_cast<double>(known.size())});
        }
    }
    return findings;
}

namespace {

enum class Blank { no, zero, missing };

/// Of `count` values `stride` apart.
Blank blank(std::span<const float> values, std::size_t first, std::size_t count,
            std::size_t stride) {
    bool zero = false;
    for (std::size_t i = 0; i < count; ++i) {
        const float value = values[first + i * stride];
        if (value != 0 && std::isfinite(value))
            return Blank::no;
        zero = zero || value == 0;
    }
    return zero ? Blank::zero : Blank::missing;
}

struct Blanks {
    std::size_t zeros = 0, missing = 0, first = 0;

    void add(Blank what, std::size_t index) {
        if (what == Blank::no)
            return;
        if (zeros + missing == 0)
            first = index;
        (what == Blank::zero ? zeros : missing) += 1;
    }
};

} // namespace

std::vector<Finding> check_blanks(std::span<const double> rotation, std::span<const float> sinogram,
                                  std::size_t n_translation, std::span<const double> two_theta,
                                  std::span<const double> pattern) {
    std::vector<Finding> findings;
    const std::size_t n = rotation.size();
    Blanks projections, rays, channels;
    for (std::size_t i = 0; i < n; ++i)
        projections.add(blank(sinogram, i * n_translation, n_translation, 1), i);
    const auto share = [](std::size_t part, std::size_t all) {
        return static_cast<double>(part) / static_cast<double>(all);
    };
    // Single ones that are masked are what xrdct condition leaves.
    if (projections.zeros > 0 || share(projections.missing, n) > 0.05)
        findings.push_back({.kind = Kind::empty_projections,
                            .value = share(projections.zeros + projections.missing, n),
                            .limit = share(projections.zeros, n),
                            .position = rotation[projections.first],
                            .index = projections.first});
    std::vector<Blank> columns;
    for (std::size_t t = 0; t < n_translation; ++t)
        columns.push_back(blank(sinogram, t, n, n_translation));
    // Air may have no counts.
    const auto inside = [](Blank b) { return b == Blank::no; };
    const auto first = std::ranges::find_if(columns, inside) - columns.begin();
    const auto last =
        std::find_if(columns.rbegin(), columns.rend(), inside).base() - columns.begin();
    for (auto t = first; t < last; ++t)
        rays.add(columns[static_cast<std::size_t>(t)], static_cast<std::size_t>(t));
    if (rays.zeros + rays.missing > 0)
        findings.push_back({.kind = Kind::empty_rays,
                            .value = static_cast<double>(rays.zeros + rays.missing),
                            .limit = static_cast<double>(rays.zeros),
                            .index = rays.first});
    for (std::size_t k = 0; k < pattern.size(); ++k)
        if (pattern[k] == 0)
            channels.add(Blank::zero, k);
    if (share(channels.zeros, std::max<std::size_t>(1, pattern.size())) > 0.03)
        findings.push_back({.kind = Kind::empty_channels,
                            .value = share(channels.zeros, pattern.size()),
                            .position = channels.first < two_theta.size()
                                            ? two_theta[channels.first]
                                            : Finding::none,
                            .index = channels.first});
    return findings;
}

std::vector<Finding> check_transmission(std::span<const float> values, std::size_t n_translation) {
    if (n_translation < 8)
        return {};
    std::vector<float> ends, all;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (std::isfinite(values[i])) {
            all.push_back(values[i]);
            const std::size_t t = i % n_translation;
            if (t == 0 || t + 1 == n_translation)
                ends.push_back(values[i]);
        }
    if (all.size() < 20 || ends.empty())
        return {};
    const double end = median(ends), low = quantile(all, 0.05), high = quantile(all, 0.95);
    const auto finding = [&](double factor) {
        return std::vector<Finding>{{.kind = Kind::transmission,
                                     .severity = Severity::error,
                                     .value = low,
                                     .limit = high,
                                     .factor = factor,
                                     .position = end}};
    };
    if (high > 15 && high < 150 && low >= 0)
        return finding(0.01);
    // Behind the sample there is more than beside it: the logarithm, or the inverse.
    if (low > -0.05 && end < 0.3 && high > end + 0.02)
        return finding(0);
    if (high > 1.2 && end < 0.5 * (1 + high) && low > 0.5)
        return finding(-1);
    if (high > 1.2 || low < -0.05)
        return finding(Finding::none);
    return {};
}

} // namespace xrdct::inspection
