// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/pattern_model.hpp"

#include <array>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// A line at the current parameters, with what its derivatives need.
struct CalculatedLine {
    double inverse_d_squared = 0;     ///< 1/d² [Å⁻²]
    double bragg = 0;                 ///< Bragg angle 2θ [deg]
    double bragg_slope = 0;           ///< ∂2θ / ∂(1/d²) [deg Å²]
    double bragg_wavelength = 0;      ///< ∂2θ / ∂λ at fixed d [deg/Å]
    double position = 0;              ///< apparent 2θ [deg]
    double position_slope = 0;        ///< per deg of Bragg angle
    double position_displacement = 0; ///< deg per mm
    double intensity = 0;             ///< m|F|² LP exp(−B/(2d²))
    double intensity_slope = 0;       ///< per deg of Bragg angle, at fixed d
    PseudoVoigt profile;
    double gauss = 0;                        ///< FWHM_G [deg]
    double fwhm_slope = 0, mixing_slope = 0; ///< per deg of Bragg angle
    double tangent = 0, cosine = 0;          ///< of θ
    bool gauss_floored = false, lorentz_floored = false;
    std::vector<double> cell_slope; ///< ∂(1/d²) / ∂ independent cell parameter
};

/// Reciprocal metric of a cell given by its independent parameters, and how 1/d² follows them.
class ReciprocalMetric {
  public:
    ReciprocalMetric() = default;
    explicit ReciprocalMetric(const PhaseModel& phase);
    /// Sets the independent parameters [Å, deg]; false for an impossible cell.
    bool set(std::span<const double> values);
    std::size_t size() const { return coefficient_.size(); }
    /// 1/d² [Å⁻²]; `slope` [size()]: derivatives with respect to the independent parameters, or
    /// nullptr.
    double inverse_d_squared(const crystal::Miller& hkl, double* slope) const;

  private:
    // The six cell parameters are linear in the independent ones, with coefficients 0 and 1.
    std::array<double, 6> offset_{};
    std::vector<std::array<double, 6>> coefficient_;
    std::array<double, 6> reciprocal_{};              ///< 11 22 33 23 13 12
    std::vector<std::array<double, 6>> metric_slope_; ///< ∂G / ∂ independent parameter
};

/// Places, intensities and widths of a phase's lines for one wavelength. Refers to the model: keep
/// it alive.
class LineCalculator {
  public:
    /// `width_floor` [deg]: least Gaussian FWHM.
    LineCalculator(const PatternModel& model, const PhaseModel& phase, double wavelength,
                   double width_floor);
    /// False when the line cannot be reached by the wavelength or the cell is impossible.
    bool calculate(const crystal::PowderLine& line, CalculatedLine& out) const;
    /// The same for a line of spacing 1/inverse_d and Σ m|F|² `intensity`; cell_slope is left
    /// alone.
    bool calculate_at(double inverse_d, double intensity, CalculatedLine& out) const;

  private:
    const PatternModel& model_;
    const PhaseModel& phase_;
    double wavelength_ = 0;
    double width_floor_ = 0;
    InstrumentProfile instrument_;
    ReciprocalMetric metric_;
    bool valid_ = false;
};

/// Least Gaussian FWHM [deg] that calculated lines get: a twentieth of the mean channel.
inline double width_floor(const RadialAxis& axis) {
    const auto edges = axis.edges();
    return 0.05 * (edges.back() - edges.front()) / static_cast<double>(axis.size());
}

/// Wavelength [Å] of a model, or that of the axis where the model has none.
inline double model_wavelength(const RadialAxis& axis, const PatternModel& model) {
    return model.wavelength.value > 0 ? model.wavelength.value : axis.wavelength();
}

} // namespace xrdct::rietveld
