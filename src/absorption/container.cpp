// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/container.hpp"

#include "absorption/can_wall.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Calls each(ray, distance of the ray's middle from the projected centre [mm]).
template <typename Each>
void for_distances(const tomography::ScanGeometry& geometry, double x, double y, Each&& each) {
    const std::size_t n = geometry.translation.size();
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i), centre = x * std::cos(omega) + y * std::sin(omega);
        for (std::size_t j = 0; j < n; ++j)
            each(i * n + j,
                 (static_cast<double>(j) - geometry.origin_index()) * geometry.step() - centre);
    }
}

double mean_chord(const std::vector<double>& offsets, double radius, double s) {
    double sum = 0;
    for (const double offset : offsets)
        sum += chord(radius, s + offset);
    return sum / static_cast<double>(offsets.size());
}

/// Linear regression of the total intensity: what phases and a constant explain is taken out
/// first, of the total and of every column that is tried.
class Regression {
  public:
    Regression(const tomography::ScanGeometry& geometry, const ContainerEvidence& evidence)
        : geometry_(geometry), use_(evidence.total.size(), 1) {
        for (std::size_t i = 0; i < use_.size(); ++i) {
            bool known = std::isfinite(evidence.total[i]);
            for (const auto& amounts : evidence.amounts)
                known = known && std::isfinite(amounts[i]);
            use_[i] = known;
        }
        for (const auto& amounts : evidence.amounts)
            add(std::vector<double>(amounts.begin(), amounts.end()));
        add(std::vector<double>(use_.size(), 1.0));
        total_.assign(evidence.total.begin(), evidence.total.end());
        take_out(total_);
        squares_ = product(total_, total_);
    }

    /// Share of the unexplained squares that a wall of these radii explains beside an even filling
    /// of its bore; negative when it would scatter less than nothing.
    double gain(double outer, double inner, double x, double y) const {
        std::vector<double> wall(use_.size()), bore(use_.size());
        const auto offsets = strip_offsets(std::abs(geometry_.step()), geometry_.beam_width);
        for_distances(geometry_, x, y, [&](std::size_t ray, double s) {
            if (std::abs(s) > outer + std::abs(geometry_.step()) + geometry_.beam_width)
                return;
            bore[ray] = mean_chord(offsets, inner, s);
            wall[ray] = mean_chord(offsets, outer, s) - bore[ray];
        });
        take_out(bore);
        take_out(wall);
        const double bb = product(bore, bore);
        if (bb > 0) {
            const double f = product(bore, wall) / bb, g = product(bore, total_) / bb;
            (void)g;
            for (std::size_t i = 0; i < wall.size(); ++i)
                wall[i] -= f * bore[i];
        }
        const double ww = product(wall, wall), wt = product(wall, total_);
        return ww > 0 && squares_ > 0 ? std::copysign(wt * wt / (ww * squares_), wt) : 0;
    }

    std::size_t rays() const {
        return static_cast<std::size_t>(std::count(use_.begin(), use_.end(), 1));
    }

  private:
    double product(const std::vector<double>& a, const std::vector<double>& b) const {
        double sum = 0;
        for (std::size_t i = 0; i < a.size(); ++i)
            sum += use_[i] ? a[i] * b[i] : 0.0;
        return sum;
    }
    void take_out(std::vector<double>& column) const {
        for (const auto& known : basis_) {
            const double f = product(known, column);
            for (std::size_t i = 0; i < column.size(); ++i)
                column[i] -= f * known[i];
        }
    }
    void add(std::vector<double> column) {
        for (std::size_t i = 0; i < column.size(); ++i)
            column[i] = use_[i] ? column[i] : 0.0;
        const double before = product(column, column);
        take_out(column);
        const double size = product(column, column);
        if (!(size > 1e-10 * before))
            return;
        for (double& value : column)
            value /= std::sqrt(size);
        basis_.push_back(std::move(column));
    }

    const tomography::ScanGeometry& geometry_;
    std::vector<unsigned char> use_;
    std::vector<std::vector<double>> basis_;
    std::vector<double> total_;
    double squares_ = 0;
};

struct Place {
    double x = 0, y = 0, gain = -std::numeric_limits<double>::infinity();
};

/// The best centre within `reach` of a place, on finer and finer grids.
Place best_place(const Regression& regression, double outer, double inner, Place from, double reach,
                 double finest) {
    Place best = from;
    best.gain = regression.gain(outer, inner, from.x, from.y);
    for (double step = reach / 2; step > finest; step /= 2)
        for (int v = -2; v <= 2; ++v)
            for (int u = -2; u <= 2; ++u) {
                const double x = from.x + u * step, y = from.y + v * step;
                if (u == 0 && v == 0)
                    continue;
                const double gain = regression.gain(outer, inner, x, y);
                if (gain > best.gain)
                    best = {x, y, gain};
                if (u == 2 && v == 2)
                    from = best;
            }
    return best;
}

/// Share of what phases leave unexplained that a wall explains where it is clearly seen.
constexpr double clear_gain = 0.05;

} // namespace

std::vector<float> disc_paths(const tomography::ScanGeometry& geometry, double centre_x,
                              double centre_y, double radius) {
    const auto offsets = strip_offsets(std::abs(geometry.step()), geometry.beam_width);
    std::vector<float> paths(geometry.rotation.size() * geometry.translation.size());
    for_distances(geometry, centre_x, centre_y, [&](std::size_t ray, double s) {
        paths[ray] = static_cast<float>(mean_chord(offsets, radius, s));
    });
    return paths;
}

std::vector<double> container_depths(const tomography::ScanGeometry& geometry,
                                     const Container& container) {
    const auto offsets = strip_offsets(std::abs(geometry.step()), geometry.beam_width);
    std::vector<double> depths(geometry.rotation.size() * geometry.translation.size(), 0.0);
    for_distances(geometry, container.centre_x, container.centre_y, [&](std::size_t ray, double s) {
        double through = 0;
        for (const double offset : offsets)
            through += std::exp(-container.mu * (chord(container.outer_radius, s + offset) -
                                                 chord(container.inner_radius, s + offset)));
        depths[ray] = -std::log(through / static_cast<double>(offsets.size()));
    });
    return depths;
}

Circle enclosing_circle(const tomography::ImageGrid& grid, std::span<const unsigned char> mask) {
    Circle circle;
    std::vector<std::pair<double, double>> points;
    for (std::size_t y = 0; y < grid.n; ++y)
        for (std::size_t x = 0; x < grid.n; ++x)
            if (mask[y * grid.n + x])
                points.emplace_back(grid.coordinate(x), grid.coordinate(y));
    if (points.empty())
        return circle;
    circle.x = points.front().first, circle.y = points.front().second;
    // Badoiu and Clarkson: towards the farthest point, less and less.
    for (int k = 1; k <= 2000; ++k) {
        double farthest = -1;
        std::pair<double, double> at;
        for (const auto& point : points)
            if (const double r = std::hypot(point.first - circle.x, point.second - circle.y);
                r > farthest)
                farthest = r, at = point;
        circle.radius = farthest;
        circle.x += (at.first - circle.x) / (k + 1);
        circle.y += (at.second - circle.y) / (k + 1);
    }
    circle.radius += 0.5 * grid.pixel;
    return circle;
}

ContainerPlace find_container(const tomography::ScanGeometry& geometry, const Container& container,
                              const ContainerEvidence& evidence) {
    const double step = std::abs(geometry.step());
    if (evidence.sample_radius > container.inner_radius + 1.5 * step)
        throw Error(
            fmt::format("absorption.container: the sample is {:.3f} mm wide, which does not "
                        "fit into an inner diameter of {:.3f} mm",
                        2 * evidence.sample_radius, 2 * container.inner_radius));
    const Regression regression(geometry, evidence);
    const double play = container.inner_radius - evidence.sample_radius + 2 * step;
    const Place sample{evidence.sample_x, evidence.sample_y, 0};
    const Place best = best_place(regression, container.outer_radius, container.inner_radius,
                                  sample, std::max(play, 4 * step), 0.1 * step);
    // The same wall at other radii; a wall somewhere else is a wall of other radii.
    Place other;
    double factor = 1;
    for (double f = 0.6; f < 1.61; f *= 1.05) {
        const double outer = f * container.outer_radius,
                     inner = outer - (container.outer_radius - container.inner_radius);
        if (std::abs(f - 1) < 0.04 || inner < evidence.sample_radius - 1.5 * step)
            continue;
        const Place place =
            best_place(regression, outer, inner, best, std::max(0.3 * outer, 4 * step), 0.3 * step);
        if (place.gain > other.gain)
            other = place, factor = f;
    }
    if (other.gain > clear_gain && other.gain > 1.3 * best.gain)
        throw Error(fmt::format(
            "absorption.container: its wall is seen at a diameter of about {:.2f} mm in the "
            "scattering that no phase explains, not at {:.2f} mm",
            2 * factor * container.outer_radius, 2 * container.outer_radius));
    ContainerPlace place{container, best.gain > clear_gain};
    place.container.centre_x = place.seen ? best.x : sample.x;
    place.container.centre_y = place.seen ? best.y : sample.y;
    return place;
}

} // namespace xrdct::absorption
