// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

namespace xrdct::registration {

/// A regular grid of square pixels; images on it are [y, x], x fastest.
struct PixelGrid {
    std::size_t nx = 0, ny = 0;
    double x0 = 0, y0 = 0; ///< centre of the pixel [0, 0], mm
    double pixel = 1;      ///< mm

    std::size_t size() const { return nx * ny; }
    double x(double i) const { return x0 + i * pixel; }
    double y(double i) const { return y0 + i * pixel; }
    double column(double x_mm) const { return (x_mm - x0) / pixel; }
    double row(double y_mm) const { return (y_mm - y0) / pixel; }
    double centre_x() const { return x(0.5 * (static_cast<double>(nx) - 1)); }
    double centre_y() const { return y(0.5 * (static_cast<double>(ny) - 1)); }
    double extent() const { return static_cast<double>(nx > ny ? nx : ny) * pixel; }
};

} // namespace xrdct::registration
