// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter: lines of any place and width on an axis, without tables.

#include "rietveld/model/radial_axis.hpp"
#include "rietveld/voxel/simd_rows.hpp"

#include <array>
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
/// They are those of channel_averaged_profile(), taper included, within 2e-5 of a line's height.
///
/// Far from a line, where eight channels see hardly more than a cubic of it, a Lorentzian is added
/// as such cubics, for eight times eight channels at once; all lines share them.
class LineShapes {
  public:
    /// Half-width of the profiles in FWHM, beyond which they are zero.
    LineShapes(const RadialAxis& axis, double range);

    /// Coefficients of the cubics [target · 4 + power][pack of eight channels].
    class FarField {
      public:
        FarField(const LineShapes& shapes, std::size_t targets)
            : rows_(4 * targets, shapes.packs_), targets_(targets) {}

      private:
        friend class LineShapes;
        Rows rows_;
        std::size_t targets_ = 0;
    };

    /// Adds to `targets` [i], or there and to `far`, what `factors` [i] say; the rows have
    /// padded(channels) floats, of which those after the channels get numbers that mean nothing.
    /// `position` and `fwhm` in deg. With `far`, as many factors as it has targets.
    void add_lorentz(double position, double fwhm, std::span<const ShapeFactors> factors,
                     float* const* targets, FarField* far = nullptr) const;
    void add_gauss(double position, double fwhm, std::span<const ShapeFactors> factors,
                   float* const* targets) const;
    /// Adds the cubics to the targets and clears them.
    void add_far(FarField& far, float* const* targets) const;

    /// Σ weight ∂²profile / ∂position², ∂position ∂FWHM, ∂FWHM² [per deg²] of a pseudo-Voigt of
    /// unit area, where it is not far below its height; channel averages as values at the middle.
    struct Curvature {
        double position = 0, mixed = 0, fwhm = 0;
    };
    Curvature curvature(double position, double fwhm, double mixing, const float* weight) const;

  private:
    struct Place;
    struct Parts;
    template <std::size_t count>
    void add_lorentz_to(const Place& at, const Parts& parts, const ShapeFactors* factors,
                        float* const* targets) const;
    template <std::size_t count>
    void add_far_to(const Place& at, const Parts& parts, const ShapeFactors* factors,
                    float* const* moments) const;
    template <bool near_centre, std::size_t count>
    void add_packs(const Place& at, std::size_t begin, std::size_t end, const ShapeFactors* factors,
                   float* const* targets) const;
    template <std::size_t count>
    void add_tapered(const Place& at, std::size_t begin, std::size_t end,
                     const ShapeFactors* factors, float* const* targets) const;
    void add_sharp_gauss(double position, double fwhm, std::span<const ShapeFactors> factors,
                         float* const* targets) const;
    static Pack used_lanes(std::size_t lane, const Parts& parts);
    Parts parts_of(Place& at, bool far) const;
    std::size_t pack_at(double two_theta) const;
    std::size_t channel_at(double two_theta) const;
    bool reaches(double position, double reach) const {
        return position + reach >= edges_.front() && position - reach <= edges_.back();
    }

    std::size_t n_ = 0, packs_ = 0;
    double range_ = 0;
    double first_ = 0, per_degree_ = 0; ///< guess of a channel's index
    std::vector<double> edges_;
    Rows channels_; ///< middle, what float32 leaves of it, half-width, 1 / (2 π half-width), offset
                    ///< from the middle of its pack
    Rows coarse_; ///< [pack] middle, what float32 leaves of it, half-width of a channel
};

} // namespace xrdct::rietveld
