// SPDX-License-Identifier: BSD-3-Clause
#include "support/discs.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::test {

namespace {

// First and second integral of the chord length 2 √(r² − u²) from −∞.
double area(double u, double r) {
    u = std::clamp(u, -r, r);
    return u * std::sqrt(std::max(0.0, r * r - u * u)) +
           r * r * (std::asin(u / r) + std::asin(1.0));
}
double area_integral(double u, double r) {
    const double v = std::clamp(u, -r, r);
    const double root = std::sqrt(std::max(0.0, r * r - v * v));
    // ∫ v √ = −root³/3;  ∫ asin(v/r) = v asin(v/r) + root
    const double inside =
        -root * root * root / 3 + r * r * (v * std::asin(v / r) + root + v * std::asin(1.0));
    const double at_start = r * r * (std::asin(1.0) * r - r * std::asin(1.0));
    return inside - at_start + (u > r ? (u - r) * area(r, r) : 0);
}

} // namespace

std::vector<double> project_discs(const tomography::ScanGeometry& geometry,
                                  const std::vector<Disc>& discs) {
    const double step = std::abs(geometry.step()), beam = geometry.beam_width;
    std::vector<double> sinogram(geometry.rotation.size() * geometry.translation.size());
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i)
        for (std::size_t j = 0; j < geometry.translation.size(); ++j) {
            const double t =
                geometry.translation_sense * geometry.translation[j] - geometry.axis_offset;
            const double omega = geometry.omega(i);
            double& value = sinogram[i * geometry.translation.size() + j];
            for (const Disc& d : discs) {
                const double u = t - d.x * std::cos(omega) - d.y * std::sin(omega);
                double sum = 0;
                if (beam > 0)
                    sum = (area_integral(u + 0.5 * (step + beam), d.radius) -
                           area_integral(u + 0.5 * (step - beam), d.radius) -
                           area_integral(u - 0.5 * (step - beam), d.radius) +
                           area_integral(u - 0.5 * (step + beam), d.radius)) /
                          (step * beam);
                else
                    sum = (area(u + 0.5 * step, d.radius) - area(u - 0.5 * step, d.radius)) / step;
                value += d.density * sum;
            }
        }
    return sinogram;
}

std::vector<double> image_of_discs(const tomography::ImageGrid& grid,
                                   const std::vector<Disc>& discs, int samples) {
    std::vector<double> image(grid.size());
    for (std::size_t iy = 0; iy < grid.n; ++iy)
        for (std::size_t ix = 0; ix < grid.n; ++ix)
            for (const Disc& d : discs) {
                const double x = grid.coordinate(ix) - d.x, y = grid.coordinate(iy) - d.y;
                const double distance = std::hypot(x, y);
                double& value = image[iy * grid.n + ix];
                if (distance < d.radius - grid.pixel)
                    value += d.density;
                else if (distance < d.radius + grid.pixel) {
                    int inside = 0;
                    for (int a = 0; a < samples; ++a)
                        for (int b = 0; b < samples; ++b)
                            inside +=
                                std::hypot(x + ((a + 0.5) / samples - 0.5) * grid.pixel,
                                           y + ((b + 0.5) / samples - 0.5) * grid.pixel) < d.radius;
                    value += d.density * inside / (samples * samples);
                }
            }
    return image;
}

tomography::ScanGeometry scan(std::size_t rotations, double range, std::size_t translations,
                              double step, bool closed) {
    tomography::ScanGeometry geometry;
    for (std::size_t i = 0; i < rotations; ++i)
        geometry.rotation.push_back(range * static_cast<double>(i) /
                                    static_cast<double>(rotations - (closed ? 1 : 0)));
    for (std::size_t i = 0; i < translations; ++i)
        geometry.translation.push_back(
            (static_cast<double>(i) - 0.5 * static_cast<double>(translations - 1)) * step);
    return geometry;
}

std::vector<double> smooth(const std::vector<double>& image, std::size_t n, double sigma) {
    const int reach = static_cast<int>(std::ceil(4 * sigma));
    std::vector<double> kernel;
    double total = 0;
    for (int k = -reach; k <= reach; ++k) {
        kernel.push_back(std::exp(-0.5 * k * k / (sigma * sigma)));
        total += kernel.back();
    }
    const auto pass = [&](const std::vector<double>& from, std::size_t along, std::size_t across) {
        std::vector<double> to(from.size());
        for (std::size_t a = 0; a < n; ++a)
            for (std::size_t b = 0; b < n; ++b)
                for (int k = -reach; k <= reach; ++k) {
                    const int at = std::clamp(static_cast<int>(b) + k, 0, static_cast<int>(n) - 1);
                    to[a * across + b * along] +=
                        kernel[static_cast<std::size_t>(k + reach)] / total *
                        from[a * across + static_cast<std::size_t>(at) * along];
                }
        return to;
    };
    return pass(pass(image, 1, n), n, 1);
}

} // namespace xrdct::test
