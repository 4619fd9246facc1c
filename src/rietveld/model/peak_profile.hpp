// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/radial_axis.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <vector>

namespace xrdct::rietveld {

/// Instrument part of the peak width, Thompson–Cox–Hastings convention (J. Appl. Cryst. 20 (1987)
/// 79):
///   FWHM_G² = U tan²θ + V tan θ + W   [deg²]
///   FWHM_L  = X / cos θ + Y tan θ + Z [deg]
/// (GSAS gives the same quantities in centidegrees, and σ² = FWHM_G² / (8 ln 2) in place of
/// FWHM_G².)
struct InstrumentProfile {
    double u = 0, v = 0, w = 0; ///< deg²
    double x = 0, y = 0, z = 0; ///< deg
};

/// Scherrer constant: FWHM_L [rad] = K λ / (size cos θ).
inline constexpr double scherrer_constant = 0.94;
/// No size broadening.
inline constexpr double infinite_size = std::numeric_limits<double>::infinity();

/// Gaussian and Lorentzian FWHM [deg 2θ] of a line.
struct PeakWidths {
    double gauss = 0;
    double lorentz = 0;
};

/// Widths at Bragg angle `two_theta` [deg]: the instrument's, plus size [Å], FWHM_L += K λ / (size
/// cos θ), and microstrain ε (dimensionless full width of Δd/d over 2, the Stokes–Wilson
/// convention), FWHM_L += 4 ε tan θ. A spread of cells or of depths that is rather Gaussian has its
/// own ε_G: FWHM_G² += (4 ε_G tan θ)². A negative FWHM_G² counts as zero.
PeakWidths peak_widths(const InstrumentProfile& instrument, double two_theta, double wavelength,
                       double size = infinite_size, double microstrain = 0,
                       double gauss_microstrain = 0);

/// The pseudo-Voigt of Thompson, Cox and Hastings that stands for a Voigt function:
/// fwhm⁵ = G⁵ + 2.69269 G⁴L + 2.42843 G³L² + 4.47163 G²L³ + 0.07842 GL⁴ + L⁵,
/// mixing η = 1.36603 q − 0.47719 q² + 0.11116 q³ with q = L / fwhm.
struct PseudoVoigt {
    double fwhm = 0;   ///< deg
    double mixing = 0; ///< η, Lorentzian fraction of the area

    double fwhm_gauss = 0, fwhm_lorentz = 0;     ///< ∂ fwhm / ∂G, ∂ fwhm / ∂L
    double mixing_gauss = 0, mixing_lorentz = 0; ///< ∂η / ∂G, ∂η / ∂L
};
PseudoVoigt pseudo_voigt(const PeakWidths& widths);

/// A line's profile over a run of channels: value, and derivatives with respect to position, fwhm
/// and mixing.
struct ProfileBuffer {
    std::size_t first = 0; ///< first channel touched
    std::vector<double> value, position, fwhm, mixing;
    std::size_t size() const { return value.size(); }
};

/// Half-width, in FWHM, beyond which a profile is zero: at 0.8 of it a smooth (C²) taper begins,
/// before it the values are those of the untruncated, unit-area profile. At 40 FWHM a Lorentzian is
/// at 1.6e-4 of its height.
inline constexpr double default_profile_range = 40;

/// Averages a unit-area pseudo-Voigt at `position` [deg] over every channel within `range` FWHM of
/// it, through the distribution functions of Gaussian and Lorentzian (exact but for the taper).
/// Values in 1/deg. Channels out of range are not in the buffer, which may be empty.
void channel_averaged_profile(const RadialAxis& axis, double position, double fwhm, double mixing,
                              double range, bool derivatives, ProfileBuffer& out);

} // namespace xrdct::rietveld
