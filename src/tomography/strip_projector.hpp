// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "tomography/scan_geometry.hpp"

namespace xrdct::tomography {

struct StripProjectorOptions {
    bool field_of_view_only =
        true; ///< pixels whose centre lies outside the field of view are taken as 0 and left 0
};

/// Strip-integral projector of a flying scan and its exact adjoint, for many channels at once.
///
/// Weight of pixel (x, y) for the ray (ω, t_j), in mm:
///
///     w = pixel² (B_a ⊗ B_b ⊗ B_step ⊗ B_beam)(t_j − axis_offset − s),   a = pixel |cos ω|,  b =
///     pixel |sin ω|,
///
/// with B_w the box of width w and unit area and s = x cos ω + y sin ω: the chord through the
/// square pixel, averaged over the step flown during an exposure and over the box profile of the
/// beam. The weights of one pixel and one rotation add up to pixel² / |step| (as long as the
/// footprint stays on the translation axis); a disc of unit density projects to its chord in mm.
/// Evaluated in closed form (float32, about 1e-6).
///
/// Index order: image [y][x][channel], sinogram [rotation][translation][channel], channel fastest;
/// any number of channels, most efficient in multiples of 256, then 64 (up to 256 share their
/// weights). NaN in the input spreads to all that it touches: missing points are the caller's to
/// weight with 0. Nothing is collective; calls on one object from several threads are safe.
class StripProjector {
  public:
    /// Throws Error when the geometry or the grid is not valid.
    StripProjector(ScanGeometry geometry, ImageGrid grid, StripProjectorOptions options = {});
    ~StripProjector();
    StripProjector(StripProjector&&) noexcept;
    StripProjector& operator=(StripProjector&&) noexcept;
    StripProjector(const StripProjector&) = delete;
    StripProjector& operator=(const StripProjector&) = delete;

    const ScanGeometry& geometry() const;
    const ImageGrid& grid() const;
    std::size_t rays() const; ///< rotations × translations

    /// sinogram = A image; overwrites the sinogram. Throws Error on sizes that do not match.
    void forward(std::span<const float> image, std::size_t channels,
                 std::span<float> sinogram) const;

    /// image = Aᵀ sinogram; overwrites the image. Throws Error on sizes that do not match.
    void adjoint(std::span<const float> sinogram, std::size_t channels,
                 std::span<float> image) const;

    /// One weight [mm] in double precision from the definition: for checks and assembled matrices.
    /// Zero for pixels left out by the field of view.
    double weight(std::size_t i_rotation, std::size_t i_translation, std::size_t iy,
                  std::size_t ix) const;

    /// Half the width [mm] of the footprint at a rotation: the weight is zero where |t_j −
    /// axis_offset − s| exceeds it.
    double half_width(std::size_t i_rotation) const;

    /// Whether a pixel takes part (always, without field_of_view_only).
    bool active(std::size_t iy, std::size_t ix) const;

  private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

} // namespace xrdct::tomography
