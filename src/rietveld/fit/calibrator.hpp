// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the calibration.

#include "rietveld/fit/calibration.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::rietveld {

/// FWHM [deg] that an instrument's profile gives a line.
inline double line_fwhm(const InstrumentProfile& profile, double two_theta, double wavelength) {
    return pseudo_voigt(peak_widths(profile, two_theta, wavelength)).fwhm;
}

/// The fit, with a judgement of whether it is one at all.
class Calibrator {
  public:
    Calibrator(const RadialAxis& axis, std::span<const double> intensity,
               std::span<const double> variance, const crystal::Phase& standard,
               const CalibrationOptions& options)
        : axis_(axis), intensity_(intensity), variance_(variance), standard_(standard),
          options_(options) {}

    Calibration run();

  private:
    PatternModel start_model() const;
    double find_ratio(PatternModel& model) const;
    void apply_scale(PatternModel& model, double ratio) const;
    RefinementResult fit(const PatternModel& model) const;
    double unexplained(const RefinementResult& result) const;
    void check(const RefinementResult& result) const;
    void choose_intensities(const PatternModel& model);
    void start_profile(PatternModel& model);
    /// The least significant profile term, if one is to be dropped, and why.
    struct Dropped {
        std::size_t term = 6;
        std::string reason;
    };
    Dropped least_significant(PatternModel& model) const;
    void drop(PatternModel& model, std::size_t term, const std::string& reason);
    void reduce_profile(PatternModel& model);
    void note_correlations();
    void note_vanishing_width();
    void find_foreign_peaks();
    /// A line's surroundings without the rest of the calculated pattern.
    struct Window {
        std::size_t first = 0, last = 0; ///< channels
        PseudoVoigt shape;               ///< of the line in the whole-pattern fit
        std::vector<double> net, variance;
    };
    std::vector<std::size_t> strong_lines() const;
    std::optional<Window> cut_window(const PatternLine& line) const;
    std::optional<SingleLine> fit_single_line(const PatternLine& line, const Window& window) const;
    void fit_single_lines();
    void explain_shifts();
    void collect();

    RadialAxis axis_;
    std::span<const double> intensity_, variance_;
    crystal::Phase standard_;
    CalibrationOptions options_;
    Calibration result_;
};

} // namespace xrdct::rietveld
