// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/unit_cell.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::phantom {

/// Range of March coefficients that the quadratures below are made for.
inline constexpr double min_texture = 0.2, largest_texture = 5;

/// What a March–Dollase texture about an axis N makes of the mean of a ring, by direct quadrature:
///
///     M(ψ, θ) = 1/2π ∫ dχ 1/2π ∫ dφ (r² cos²β + sin²β / r)^(−3/2)
///     cos α = cos θ sin ψ cos χ − sin θ cos ψ      cos β = cos α cos δ + sin α sin δ cos φ
///
/// with ψ between N and the beam, diffraction vectors at their true angle (90° + θ from the beam)
/// and δ between the reflection and the direction that is preferred. Angles by their cosines and
/// sines. The mean of M over the sphere of N is 1. Throws Error for an r outside the range.
double ring_texture(double r, double cos_psi, double sin_theta, double cos_delta);

/// cos δ (0 to 1) of a reflection and 0 0 1 in a hexagonal cell: l / (c |h*|), the same for all
/// equivalent reflections.
double cos_to_basal_normal(const crystal::UnitCell& cell, const crystal::Miller& hkl);

/// The factors of a phase's lines at equal steps of ψ from 0 to 90°, to be interpolated linearly.
class TextureTable {
  public:
    struct Line {
        double sin_theta, cos_delta;
    };
    /// Lines are padded with factors 1 to `padded`.
    TextureTable(double r, std::span<const Line> lines, std::size_t padded);

    /// Values [padded] at the step below ψ [rad] and their change up to the next one; `part` of it
    /// has been gone.
    struct Place {
        const float* value;
        const float* slope;
        float part;
    };
    Place at(float psi) const;

  private:
    std::size_t padded_;
    std::vector<float> table_; ///< [step][value, slope][line]
};

} // namespace xrdct::phantom
