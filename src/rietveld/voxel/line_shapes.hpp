// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: lines of any place and width on an axis, without tables.

#include "rietveld/model/radial_axis.hpp"
#include "rietveld/voxel/simd_rows.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// What a target row gets of a channel-averaged profile: value, and derivatives with respect to
/// position and FWHM [per deg].
struct ShapeFactors {
    float value = 0, position = 0, fwhm = 0;
};

/// Adds Lorentzians and Gaussians of unit area, averaged over every channel, to rows of floats.
/// They are those of channel_averaged_profile(), taper included, in float32: eight channels at a
/// time, 1e-6 of a line's height apart.
class LineShapes {
  public:
    /// Half-width of the profiles in FWHM, beyond which they are zero.
    LineShapes(const RadialAxis& axis, double range);

    /// Adds to `targets` [i] what `factors` [i] say; the rows have padded(channels) floats, of
    /// which those after the channels get numbers that mean nothing. `position` and `fwhm` in deg.
    void add_lorentz(double position, double fwhm, std::span<const ShapeFactors> factors,
                     float* const* targets) const;
    void add_gauss(double position, double fwhm, std::span<const ShapeFactors> factors,
                   float* const* targets) const;

    /// Σ weight ∂²profile / ∂position², ∂position ∂FWHM, ∂FWHM² [per deg²] of a pseudo-Voigt of
    /// unit area, where it is not far below its height; channel averages as values at the middle.
    struct Curvature {
        double position = 0, mixed = 0, fwhm = 0;
    };
    Curvature curvature(double position, double fwhm, double mixing, const float* weight) const;

  private:
    template <std::size_t count>
    void add_lorentz_to(double position, double fwhm, const ShapeFactors* factors,
                        float* const* targets) const;
    void add_gauss_curvature(double position, double fwhm, double part, const float* weight,
                             Curvature& sum) const;
    std::size_t pack_at(double two_theta) const;

    std::size_t n_ = 0, packs_ = 0;
    double range_ = 0;
    double first_ = 0, per_degree_ = 0; ///< guess of a channel's index
    std::vector<double> edges_;
    Rows channels_; ///< middle, what float32 leaves of it, half-width, 1 / (2 π half-width)
};

} // namespace xrdct::rietveld
