// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tomography/depth_projector.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::absorption {

struct ExitRayOptions {
    double two_theta = 0; ///< deg, the one angle that stands for all channels
    /// Nodes of the Gauss-Chebyshev mean over the azimuth χ of half a turn, which the other half
    /// repeats.
    std::size_t azimuths = 8;
    /// +1: the detector lies at large depths, as ScanGeometry has it; −1: on the other side, what a
    /// wrong sense of rotation or translation amounts to.
    int detector_side = 1;
};

/// What the deviation of the diffracted rays makes of their absorption, relative to the rest of the
/// straight ray, for light from depth z of the ray (ω, t):
///
///     A(ω, t, z) = ⟨exp(−√(1 + tan² 2θ) ∫_z μ(s + (z' − z) tan 2θ cos χ, z') dz')⟩_χ
///                  / exp(−∫_z μ(s, z') dz')
///
/// with s the lateral position of the ray, z' up to the detector's side of the sample and χ even
/// over the whole turn (integrated patterns). The sample is taken to be the same above and below
/// the slice. Rays are lines through the middle of their strip; the distance of the detector has no
/// say.
///
/// `mu` [y][x] in 1/mm, interpolated bilinearly and integrated in steps of half a pixel, 0 outside
/// the image. Returns [rotation][translation][layer]. Cost: rotations × azimuths × (4 pixels of the
/// sample). Throws Error for a bad geometry or grid, a map of another size or not finite, an angle
/// outside 0 to 80 degrees, no azimuth, no layer, a side other than ±1.
std::vector<float> exit_ray_factors(const tomography::ScanGeometry& geometry,
                                    const tomography::ImageGrid& grid, std::span<const float> mu,
                                    const tomography::DepthLayers& layers,
                                    const ExitRayOptions& options);

} // namespace xrdct::absorption
