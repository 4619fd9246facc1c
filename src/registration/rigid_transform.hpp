// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/units.hpp"

#include <cmath>

namespace xrdct::registration {

/// Where a point p of the reference lies in another image of the same object:
/// q = R(angle) M p + shift. R turns counter-clockwise (from x to y) about the origin of the axes,
/// M mirrors x → −x if `mirrored`. The object of the other image is thus the reference's, mirrored
/// or not, turned by `angle` and then moved by `shift`.
struct RigidTransform {
    double angle = 0;   ///< degrees
    double shift_x = 0; ///< mm
    double shift_y = 0;
    bool mirrored = false;

    struct Point {
        double x, y;
    };
    Point operator()(double x, double y) const {
        const double c = std::cos(radians(angle)), s = std::sin(radians(angle));
        const double mx = mirrored ? -x : x;
        return {c * mx - s * y + shift_x, s * mx + c * y + shift_y};
    }
    /// The point of the reference that lies at (x, y) in the other image.
    Point inverse(double x, double y) const {
        const double c = std::cos(radians(angle)), s = std::sin(radians(angle));
        const double dx = x - shift_x, dy = y - shift_y;
        const double mx = c * dx + s * dy;
        return {mirrored ? -mx : mx, -s * dx + c * dy};
    }
};

} // namespace xrdct::registration
