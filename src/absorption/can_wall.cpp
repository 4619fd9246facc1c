// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/can_wall.hpp"

#include "absorption/golden_section.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Middle between the outermost places where a projection crosses 0.4 of its maximum [index].
std::optional<double> middle_of_edges(std::span<const float> projection) {
    float highest = 0;
    for (const float value : projection)
        if (std::isfinite(value))
            highest = std::max(highest, value);
    const float level = 0.4F * highest;
    std::optional<double> first, last;
    for (std::size_t j = 0; j + 1 < projection.size(); ++j) {
        const float a = projection[j], b = projection[j + 1];
        if (!(std::isfinite(a) && std::isfinite(b)) || (a > level) == (b > level))
            continue;
        const double at = static_cast<double>(j) + (level - a) / (b - a);
        if (!first)
            first = at;
        last = at;
    }
    if (!first || *first == *last)
        return {};
    return 0.5 * (*first + *last);
}

} // namespace

void check_can_wall(const CanWall& wall) {
    if (!(wall.constant > 0) || wall.misfit > 0.25)
        throw Error(
            fmt::format("absorption: the reference phase is no homogeneous can wall (misfit {:.0f} "
                        "%); calibrate by a plateau, a measured transmission or a given constant",
                        100 * wall.misfit));
}

std::vector<double> strip_offsets(double step, double beam) {
    constexpr std::size_t n = 24;
    std::vector<double> all;
    const std::size_t m = beam > 0 ? n : 1;
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < m; ++j)
            all.push_back(step * ((static_cast<double>(i) + 0.5) / n - 0.5) +
                          (m > 1 ? beam * ((static_cast<double>(j) + 0.5) / n - 0.5) : 0.0));
    std::sort(all.begin(), all.end());
    // Neighbours are merged to save work.
    std::vector<double> merged;
    for (auto from = all.begin(); from != all.end(); from += static_cast<std::ptrdiff_t>(m))
        merged.push_back(std::accumulate(from, from + static_cast<std::ptrdiff_t>(m), 0.0) /
                         static_cast<double>(m));
    return merged;
}

StripMeans strip_means(const std::vector<double>& offsets, double outer, double inner, double mu,
                       double s) {
    double length = 0, through = 0, seen = 0;
    for (const double offset : offsets) {
        const double path = chord(outer, s + offset) - chord(inner, s + offset);
        const double t = std::exp(-mu * path);
        length += path;
        through += t;
        seen += path * t;
    }
    const auto n = static_cast<double>(offsets.size());
    length /= n, through /= n, seen /= n;
    if (!(length > 0))
        return {};
    return {length, through / std::exp(-mu * length), seen / (length * through)};
}

MeanProfile::MeanProfile(const tomography::ScanGeometry& geometry, std::span<const float> amounts)
    : offsets_(strip_offsets(std::abs(geometry.step()), geometry.beam_width)),
      step_(std::abs(geometry.step())) {
    const std::size_t rotations = geometry.rotation.size(),
                      translations = geometry.translation.size();
    const double origin = geometry.origin_index();
    const auto lateral = [&](std::size_t j) {
        return (static_cast<double>(j) - origin) * geometry.step();
    };
    // The middle between the outer edges of a projection: x cos ω + y sin ω; normal equations
    // of the two. Edges do not depend on the absorption inside.
    double cc = 0, cs = 0, ss = 0, bc = 0, bs = 0;
    for (std::size_t i = 0; i < rotations; ++i) {
        const auto middle = middle_of_edges(amounts.subspan(i * translations, translations));
        if (!middle)
            continue;
        const double at = (*middle - origin) * geometry.step();
        const double omega = geometry.omega(i), c = std::cos(omega), s = std::sin(omega);
        cc += c * c, cs += c * s, ss += s * s;
        bc += c * at, bs += s * at;
    }
    const double determinant = cc * ss - cs * cs;
    if (determinant > 1e-6 * (cc * cc + ss * ss)) {
        centre_x_ = (bc * ss - bs * cs) / determinant;
        centre_y_ = (bs * cc - bc * cs) / determinant;
    }
    const double bin = 0.25 * step_;
    std::vector<double> place;
    distance_.resize(rotations * translations);
    for (std::size_t i = 0; i < rotations; ++i) {
        const double omega = geometry.omega(i);
        const double centre = centre_x_ * std::cos(omega) + centre_y_ * std::sin(omega);
        for (std::size_t j = 0; j < translations; ++j) {
            const double r = std::abs(lateral(j) - centre);
            distance_[i * translations + j] = r;
            const auto k = static_cast<std::size_t>(r / bin);
            if (k >= place.size()) {
                place.resize(k + 1, 0.0);
                weight_.resize(k + 1, 0.0);
            }
            place[k] += r;
            weight_[k] += 1;
        }
    }
    radius_.resize(place.size());
    for (std::size_t k = 0; k < place.size(); ++k)
        radius_[k] = weight_[k] > 0 ? place[k] / weight_[k] : (static_cast<double>(k) + 0.5) * bin;
    set(amounts);
}

void MeanProfile::set(std::span<const float> amounts) {
    const double bin = 0.25 * step_;
    mean_.assign(radius_.size(), 0.0);
    std::vector<double> count(radius_.size(), 0.0);
    for (std::size_t i = 0; i < amounts.size(); ++i)
        if (std::isfinite(amounts[i])) {
            const auto k = static_cast<std::size_t>(distance_[i] / bin);
            mean_[k] += amounts[i];
            count[k] += 1;
        }
    highest_ = 0;
    outermost_ = at_highest_ = 0;
    seen_ = 0;
    for (std::size_t k = 0; k < mean_.size(); ++k) {
        mean_[k] = count[k] > 0 ? mean_[k] / count[k] : 0;
        if (mean_[k] > highest_) {
            highest_ = mean_[k];
            at_highest_ = radius_[k];
        }
    }
    for (std::size_t k = 0; k < mean_.size(); ++k) {
        seen_ += count[k] > 0 && mean_[k] > 0.05 * highest_;
        if (mean_[k] > 0.3 * highest_)
            outermost_ = radius_[k];
    }
}

void MeanProfile::check_seen() const {
    if (!(highest_ > 0) || seen_ < 8)
        throw Error("absorption: the reference phase is seen by too few rays to calibrate with");
}

double MeanProfile::path_in(const CanWall& wall, std::size_t ray) const {
    double sum = 0;
    for (const double offset : offsets_)
        sum += chord(wall.outer_radius, distance_[ray] + offset) -
               chord(wall.inner_radius, distance_[ray] + offset);
    return sum / static_cast<double>(offsets_.size());
}

CanWall MeanProfile::fit(double constant, std::optional<CanWall> start) const {
    CanWall fit;
    fit.centre_x = centre_x_;
    fit.centre_y = centre_y_;
    double factor = 0, residual = 0, square = 0;
    const auto cost = [&](double outer, double wall) {
        double mm = 0, my = 0, yy = 0;
        for (std::size_t k = 0; k < radius_.size(); ++k) {
            if (weight_[k] == 0)
                continue;
            double model = 0;
            for (const double offset : offsets_)
                model += chord(outer, radius_[k] + offset) -
                         chord(std::max(0.0, outer - wall), radius_[k] + offset);
            model /= static_cast<double>(offsets_.size());
            const double w = weight_[k] / (mean_[k] * mean_[k] + 2.5e-3 * highest_ * highest_);
            mm += w * model * model;
            my += w * model * mean_[k];
            yy += w * mean_[k] * mean_[k];
        }
        factor = constant > 0 ? 1 / constant : (mm > 0 ? my / mm : 0);
        residual = yy - 2 * factor * my + factor * factor * mm;
        square = yy;
        return residual;
    };
    double outer = start ? start->outer_radius : outermost_;
    double wall = start ? start->outer_radius - start->inner_radius
                        : std::max(step_, outermost_ - at_highest_);
    double range = start ? 0.3 * step_ : 2 * step_, range_wall = start ? 0.3 * wall : 0.8 * wall;
    for (int round = 0; round < 8; ++round) {
        outer = golden_section([&](double u) { return cost(u, wall); }, outer - range,
                               outer + range, 12);
        wall = golden_section([&](double u) { return cost(outer, u); },
                              std::max(1e-3 * step_, wall - range_wall), wall + range_wall, 12);
        range *= 0.6;
        range_wall *= 0.6;
    }
    cost(outer, wall);
    fit.outer_radius = outer;
    fit.inner_radius = std::max(0.0, outer - wall);
    fit.constant = factor > 0 ? 1 / factor : 0;
    fit.misfit = square > 0 ? std::sqrt(std::max(0.0, residual) / square) : 1;
    return fit;
}

} // namespace xrdct::absorption
