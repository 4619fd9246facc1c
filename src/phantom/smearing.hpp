// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/simd.hpp"
#include "phantom/design.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace xrdct::phantom {

/// The simulation's own peak profile: integral of a Thompson–Cox–Hastings pseudo-Voigt of unit
/// area. Coefficients of the width and the mixing after Thompson, Cox & Hastings (1987).
struct PeakShape {
    double fwhm = 0;    ///< degrees
    double lorentz = 0; ///< fraction η

    static PeakShape tch(double gauss_fwhm_squared, double lorentz_fwhm);
    /// ∫_{−∞}^{x} of the peak; x in degrees.
    double cumulative(double x) const;
    /// Mean over [x − width/2, x + width/2], per degree.
    double mean(double x, double width) const {
        return (cumulative(x + 0.5 * width) - cumulative(x - 0.5 * width)) / width;
    }
};

/// Widths of a profile with a crystallite size [Å] (0: none) at a 2θ in degrees; see
/// InstrumentProfile. `variance_removed` [degrees²] is what the Gaussian part has already got
/// elsewhere.
PeakShape instrument_shape(const InstrumentProfile& profile, double size, double wavelength,
                           double two_theta, double variance_removed = 0);

/// Turns line spectra, histograms of line intensity on a fine grid uniform in tan 2θ, into
/// channels. Lines are deposited with the quadratic B-spline, whose variance h²/4 does not depend
/// on the place within a bin and is taken off the profile.
class Smearing {
  public:
    struct Channels {
        std::size_t count;
        double first, width; ///< degrees
    };
    /// The profile of a group of phases on lines that lie up to `margin` degrees outside the
    /// channels.
    Smearing(const Channels& channels, double margin, const InstrumentProfile& profile, double size,
             double wavelength);
    /// One shape for all angles, for broad peaks.
    Smearing(const Channels& channels, double margin, PeakShape shape);
    ~Smearing();
    Smearing(Smearing&&) noexcept;
    Smearing& operator=(Smearing&&) noexcept;
    Smearing(const Smearing&) = delete;
    Smearing& operator=(const Smearing&) = delete;

    std::size_t bins() const { return bins_; }
    /// Position of tan 2θ on the grid, in bins.
    double position(double tan_two_theta) const { return (tan_two_theta - origin_) / step_; }
    double inverse_step() const { return 1 / step_; }
    double origin() const { return origin_; }

    /// Adds the smeared spectra to the channels: `spectra` [n][bins()], `intensity` [n][channels].
    void add(std::size_t n, const float* spectra, float* intensity) const;

    /// Weights of a line at a fraction d (−½ to ½) from bin i, for bins i − 1, i, i + 1 and
    /// nothing.
    using Vector = simd::Float4;
    static Vector weights(float d) {
        constexpr Vector c0{0.125F, 0.75F, 0.125F, 0.0F}, c1{-0.5F, 0.0F, 0.5F, 0.0F},
            c2{0.5F, -1.0F, 0.5F, 0.0F};
        return c0 + d * (c1 + d * c2);
    }
    /// spectrum[i − 1 … i + 2] += weights.
    static void deposit(float* spectrum, int i, Vector weights) {
        Vector v;
        __builtin_memcpy(&v, spectrum + i - 1, sizeof v);
        v += weights;
        __builtin_memcpy(spectrum + i - 1, &v, sizeof v);
    }

  private:
    template <typename ShapeAt>
    void build(const Channels& channels, double margin, double narrowest, double widest,
               const ShapeAt& shape_at);

    struct Matrices;
    std::unique_ptr<const Matrices> matrices_;
    std::size_t channels_ = 0, bins_ = 0;
    double origin_ = 0, step_ = 1; ///< tan 2θ of bin 0 and between bins
};

} // namespace xrdct::phantom
