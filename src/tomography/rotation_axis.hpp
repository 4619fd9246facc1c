// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>

#include "tomography/scan_geometry.hpp"

namespace xrdct::tomography {

struct AxisEstimate {
    double offset = 0;      ///< mm, as ScanGeometry::axis_offset
    double uncertainty = 0; ///< mm, one standard deviation, from the scatter of the projections
    std::size_t used = 0;   ///< projections, or pairs of projections, that entered
    bool valid = false;
};

struct AxisResult {
    AxisEstimate centre_of_mass; ///< sinusoid through the centres of mass of the projections
    AxisEstimate mirror; ///< registration of projections half a turn apart, one of them mirrored
    bool agree = false;  ///< both valid and closer than 3 combined standard deviations + 0.1 step
    double offset = 0; ///< mm, the one to use: the less uncertain when both agree, else mirror when
                       ///< valid, else the centre of mass
};

/// Finds the translation at which the rotation axis is hit from one sinogram
/// [rotation][translation] (channels summed), NaN where missing. `geometry.axis_offset` is ignored.
/// A background that is constant along a projection is removed (median of the outermost samples).
/// Centre of mass: projections with missing samples are interpolated, and left out when more than a
/// tenth is missing; least squares with rejection of outliers. Mirror: pairs of rotations half a
/// turn apart, or, when there is none, pairs off it by a few rotation steps, extrapolated to half a
/// turn; without such pairs the estimate is not valid. Throws Error when neither can be made.
AxisResult find_axis_offset(const ScanGeometry& geometry, std::span<const float> sinogram);

} // namespace xrdct::tomography
