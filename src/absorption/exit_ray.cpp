// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/exit_ray.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// The map with room around it, so that every point of the sample's disc has four neighbours.
class Sample {
  public:
    Sample(const tomography::ImageGrid& grid, std::span<const float> mu)
        : inverse_(1 / grid.pixel) {
        for (std::size_t i = 0; i < mu.size(); ++i)
            if (mu[i] != 0)
                radius_ = std::max(
                    radius_, std::hypot(grid.coordinate(i % grid.n), grid.coordinate(i / grid.n)));
        if (radius_ == 0)
            return;
        radius_ += grid.pixel * std::numbers::sqrt2;
        const auto reach = static_cast<std::size_t>(std::ceil(radius_ * inverse_)) + 2;
        const std::size_t half = (grid.n + 1) / 2, room = reach > half ? reach - half : 0;
        n_ = grid.n + 2 * room;
        middle_ = 0.5 * (static_cast<double>(n_) - 1);
        values_.assign(n_ * n_, 0.0F);
        for (std::size_t y = 0; y < grid.n; ++y)
            std::copy_n(mu.data() + y * grid.n, grid.n, values_.data() + (y + room) * n_ + room);
    }

    double radius() const { return radius_; } ///< mm, beyond which μ is 0

    /// out[i] = μ at (x + i dx, y + i dy) [mm], all within the radius.
    void row(double x, double y, double dx, double dy, std::span<float> out) const {
        double column = x * inverse_ + middle_, line = y * inverse_ + middle_;
        for (float& value : out) {
            const auto ix = static_cast<std::size_t>(column), iy = static_cast<std::size_t>(line);
            const auto fx = static_cast<float>(column - static_cast<double>(ix)),
                       fy = static_cast<float>(line - static_cast<double>(iy));
            const float* lower = values_.data() + iy * n_ + ix;
            const float* upper = lower + n_;
            const float a = lower[0] + fx * (lower[1] - lower[0]),
                        b = upper[0] + fx * (upper[1] - upper[0]);
            value = a + fy * (b - a);
            column += dx * inverse_;
            line += dy * inverse_;
        }
    }

  private:
    double inverse_ = 1, radius_ = 0, middle_ = 0;
    std::size_t n_ = 0;
    std::vector<float> values_;
};

/// Layers from the detector's side inwards: their depths towards the detector and their numbers.
struct Node {
    double depth = 0;
    std::size_t layer = 0;
};

/// Integrals ∫ μ dz along lines of one slope, from the detector's side inwards. A line keeps its
/// u = s − slope · depth.
class LineIntegrals {
  public:
    LineIntegrals(const Sample& sample, std::vector<Node> nodes, double first, double last,
                  double pixel, int side)
        : sample_(sample), nodes_(std::move(nodes)), first_(first), step_(0.5 * pixel),
          side_(side) {
        sums_.resize(static_cast<std::size_t>(std::ceil((last - first) / step_)) + 2);
        row_.resize(sums_.size());
    }

    /// Calls each(node, at) with `at(u)` the integral from the node's depth to the detector.
    template <class Each>
    void along(double omega, double slope, Each&& each) {
        const double cosine = std::cos(omega), sine = std::sin(omega), radius = sample_.radius();
        std::fill(sums_.begin(), sums_.end(), 0.0);
        std::size_t next = 0;
        const auto pass = [&](double part, std::size_t begin, std::size_t end) {
            each(nodes_[next++], [&, part, begin, end](double u) {
                const double place = (u - first_) / step_;
                const auto i = static_cast<std::size_t>(place);
                const double f = place - static_cast<double>(i);
                const auto value = [&](std::size_t k) {
                    return sums_[k] + (k >= begin && k < end ? part * row_[k] : 0.0);
                };
                return (1 - f) * value(i) + f * value(i + 1);
            });
        };
        const auto rows = static_cast<std::size_t>(std::ceil(2 * radius / step_));
        for (std::size_t k = 0; k < rows; ++k) {
            const double upper = radius - static_cast<double>(k) * step_;
            while (next < nodes_.size() && nodes_[next].depth >= upper)
                pass(0, 0, 0);
            if (next == nodes_.size())
                return;
            const double depth = upper - 0.5 * step_;
            const double square = radius * radius - depth * depth;
            const double chord = square > 0 ? std::sqrt(square) : 0;
            const double centre = -slope * depth;
            const auto most = static_cast<double>(sums_.size());
            const auto begin = static_cast<std::size_t>(
                           std::clamp(std::ceil((centre - chord - first_) / step_), 0.0, most)),
                       end = static_cast<std::size_t>(
                           std::clamp(std::floor((centre + chord - first_) / step_) + 1,
                                      static_cast<double>(begin), most));
            const double z = side_ * depth,
                         s = first_ + static_cast<double>(begin) * step_ + slope * depth;
            sample_.row(s * cosine - z * sine, s * sine + z * cosine, step_ * cosine, step_ * sine,
                        std::span<float>(row_).subspan(begin, end - begin));
            while (next < nodes_.size() && nodes_[next].depth >= upper - step_)
                pass(upper - nodes_[next].depth, begin, end);
            for (std::size_t i = begin; i < end; ++i)
                sums_[i] += step_ * row_[i];
        }
        while (next < nodes_.size())
            pass(0, 0, 0);
    }

  private:
    const Sample& sample_;
    std::vector<Node> nodes_;
    double first_, step_;
    int side_;
    std::vector<double> sums_;
    std::vector<float> row_;
};

void check(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
           std::span<const float> mu, const tomography::DepthLayers& layers,
           const ExitRayOptions& options) {
    geometry.validate();
    grid.validate();
    if (mu.size() != grid.size())
        throw Error(fmt::format("exit rays: {} attenuation coefficients for {} pixels", mu.size(),
                                grid.size()));
    if (!std::all_of(mu.begin(), mu.end(), [](float value) { return std::isfinite(value); }))
        throw Error("exit rays: an attenuation coefficient is not finite");
    if (!(options.two_theta >= 0 && options.two_theta <= 80))
        throw Error(
            fmt::format("exit rays: 2theta is {} deg, expected 0 to 80", options.two_theta));
    if (options.azimuths == 0 || layers.count == 0)
        throw Error("exit rays: there must be at least one azimuth and one layer");
    if (options.detector_side != 1 && options.detector_side != -1)
        throw Error("exit rays: the detector's side must be 1 or -1");
}

} // namespace

std::vector<float> exit_ray_factors(const tomography::ScanGeometry& geometry,
                                    const tomography::ImageGrid& grid, std::span<const float> mu,
                                    const tomography::DepthLayers& layers,
                                    const ExitRayOptions& options) {
    check(geometry, grid, mu, layers, options);
    const std::size_t translations = geometry.translation.size();
    std::vector<float> factors(geometry.rotation.size() * translations * layers.count, 1.0F);
    const Sample sample(grid, mu);
    const double tangent = std::tan(options.two_theta * std::numbers::pi / 180);
    if (sample.radius() == 0 || tangent == 0)
        return factors;

    std::vector<double> lateral(translations);
    for (std::size_t j = 0; j < translations; ++j)
        lateral[j] = (static_cast<double>(j) - geometry.origin_index()) * geometry.step();
    std::vector<Node> nodes;
    double deepest = 0;
    for (std::size_t l = 0; l < layers.count; ++l) {
        nodes.push_back({options.detector_side * layers.depth(l), l});
        deepest = std::max(deepest, std::abs(nodes.back().depth));
    }
    std::stable_sort(nodes.begin(), nodes.end(),
                     [](const Node& a, const Node& b) { return a.depth > b.depth; });
    const auto [least, most] = std::minmax_element(lateral.begin(), lateral.end());
    // One grid for all slopes: what interpolation between lines does cancels in the ratio.
    const double margin = tangent * deepest + grid.pixel;
    LineIntegrals lines(sample, nodes, *least - margin, *most + margin, grid.pixel,
                        options.detector_side);

    const double length = std::sqrt(1 + tangent * tangent);
    std::vector<double> straight(translations * layers.count), sums(straight.size());
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i);
        lines.along(omega, 0, [&](const Node& node, auto&& at) {
            for (std::size_t j = 0; j < translations; ++j)
                straight[j * layers.count + node.layer] = at(lateral[j]);
        });
        std::fill(sums.begin(), sums.end(), 0.0);
        for (std::size_t k = 0; k < options.azimuths; ++k) {
            const double chi = std::numbers::pi * (static_cast<double>(k) + 0.5) /
                               static_cast<double>(options.azimuths);
            const double slope = tangent * std::cos(chi);
            lines.along(omega, slope, [&](const Node& node, auto&& at) {
                for (std::size_t j = 0; j < translations; ++j) {
                    const std::size_t place = j * layers.count + node.layer;
                    sums[place] +=
                        std::exp(straight[place] - length * at(lateral[j] - slope * node.depth));
                }
            });
        }
        for (std::size_t p = 0; p < sums.size(); ++p)
            factors[i * sums.size() + p] =
                static_cast<float>(sums[p] / static_cast<double>(options.azimuths));
    }
    return factors;
}

} // namespace xrdct::absorption
