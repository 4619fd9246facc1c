// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "tomography/ramp_filter.hpp"
#include "tomography/scan_geometry.hpp"

namespace xrdct::tomography {

/// Weight of every rotation in ∫ dω over half a turn, in radians, in the order given: half the gaps
/// to both neighbours, with angles taken modulo 180° (so that a repeated end point, or a full turn,
/// shares its weight). Rotations with use[i] = 0 are left out and weigh 0; an empty `use` takes
/// all. Gaps wider than max_gap times the median gap (a missing wedge) count as that much, so that
/// its two edges do not dominate, and all weights are then scaled to add up to π again. Throws
/// Error when nothing is left.
std::vector<double> angular_weights(std::span<const double> rotation_degrees,
                                    std::span<const unsigned char> use = {}, double max_gap = 5);

struct FbpOptions {
    RampFilterOptions filter;
    double max_angular_gap = 5; ///< see angular_weights
    /// Back-project every rotation onto every pixel. By default neighbouring rotations are first
    /// added on a coarser grid along their rays where they lie close enough together: about
    /// twice as fast, with a blur below that of the linear interpolation between samples.
    bool direct = false;
};

/// Filtered back-projection for many channels at once. Index order: sinogram
/// [rotation][translation][channel], image [y][x][channel], channel fastest. The image is in units
/// of the sinogram per mm: f with ∫ f dl = sinogram.
///
/// Half and full turns, closed or half-open, non-uniform and missing rotations. Pixels whose centre
/// lies outside the field of view (field_of_view_mask) are 0. NaN samples are replaced by linear
/// interpolation along the translation between the nearest finite samples of the same projection
/// and channel (beyond the last one: its value); a projection without a finite sample is left out
/// of that channel's angular weights; a channel without any is NaN everywhere.
///
/// Nothing is collective. An object owns its work space: one object per thread.
class FilteredBackProjection {
  public:
    /// Throws Error when geometry, grid or options are not valid.
    FilteredBackProjection(ScanGeometry geometry, ImageGrid grid, FbpOptions options = {});
    ~FilteredBackProjection();
    FilteredBackProjection(FilteredBackProjection&&) noexcept;
    FilteredBackProjection& operator=(FilteredBackProjection&&) noexcept;
    FilteredBackProjection(const FilteredBackProjection&) = delete;
    FilteredBackProjection& operator=(const FilteredBackProjection&) = delete;

    const ScanGeometry& geometry() const;
    const ImageGrid& grid() const;

    /// Reconstructs `channels` channels; the image is overwritten. Throws Error on sizes that do
    /// not match. Channels are worked off in blocks of 32, so a multiple of 32 is best.
    void reconstruct(std::span<const float> sinogram, std::size_t channels, std::span<float> image);

    /// Variance of the reconstructed value for independent samples of the given variance, on the
    /// points of `coarse` (any grid; the variance is smooth, so 8 times coarser pixels cost 1/64
    /// and suffice): Σ_ω Δω² Σ_j g²(ω; s − t_j) V_j, where g is ramp filter ⊗ linear interpolation
    /// and g² is averaged over the place of the point between two samples. NaN variances are
    /// treated as NaN samples. Points outside the field of view: 0.
    void propagate_variance(std::span<const float> variance_sinogram, std::size_t channels,
                            const ImageGrid& coarse, std::span<float> image_variance);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::tomography
