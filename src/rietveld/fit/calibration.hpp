// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/fit/refinement.hpp"

#include <array>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::rietveld {

/// What relates the lines of a standard to its certified cell.
enum class RadialScale {
    cell,       ///< wavelength and distance are nominal, the cell is refined
    wavelength, ///< the cell is certified
    distance,   ///< the cell is certified; flat detector normal to the beam
    none        ///< the cell is certified, everything else nominal
};

/// Where line intensities come from.
enum class IntensitySource {
    automatic, ///< the structure, or the pattern where the structure's do not fit
    structure,
    extracted ///< Le Bail
};

struct CalibrationOptions {
    RadialScale scale = RadialScale::cell;
    bool refine_zero = false;
    IntensitySource intensities = IntensitySource::automatic;
    double distance = 0; ///< nominal, mm; needed for RadialScale::distance
    std::size_t background_terms = 6;
    /// Relative half-range in which the lines are sought around their nominal places.
    double search = 0.01;
    bool polarisation_corrected = false;
    bool solid_angle_corrected = true;
    bool single_lines = true; ///< fit strong lines alone too, as a check of the widths
};

/// One of U, V, W, X, Y, Z.
struct ProfileTerm {
    std::string name;
    std::string unit;
    double value = 0, esd = 0;
    bool refined = false;
    std::string reason; ///< why it was dropped
};

/// A strong line fitted alone by a pseudo-Voigt.
struct SingleLine {
    crystal::Miller hkl{};
    double two_theta = 0; ///< apparent place in the whole-pattern fit [deg]
    double shift = 0;     ///< place fitted alone minus two_theta [deg]
    double shift_esd = 0; ///< deg
    double fwhm = 0;      ///< fitted alone [deg]
    double fwhm_esd = 0;  ///< deg
    double curve = 0;     ///< FWHM of the whole-pattern fit [deg]
    double deviation() const { return fwhm / curve - 1; }
};

struct CalibratedValue {
    double value = 0, esd = 0;
    bool refined = false;
};

struct Calibration {
    std::array<ProfileTerm, 6> profile;    ///< U, V, W, X, Y, Z; e.s.d. multiplied by GoF where > 1
    CalibratedValue wavelength;            ///< Å
    CalibratedValue distance;              ///< mm; 0: not given
    CalibratedValue zero;                  ///< deg
    std::vector<CalibratedValue> cell;     ///< independent parameters
    double cell_ppm = 0, cell_ppm_esd = 0; ///< volume's cube root against the certificate
    bool extracted = false;                ///< intensities from the pattern
    RefinementResult fit;                  ///< one phase
    std::vector<SingleLine> lines;
    std::vector<std::string> notes;

    InstrumentProfile instrument() const;
    double fwhm(double two_theta) const; ///< deg, at an angle [deg]
    /// Index of the line whose width is farthest from the curve, or −1.
    int worst_line() const;
};

/// Calibrates an instrument with the pattern of a standard whose phase has the certified cell.
/// `axis` has the nominal wavelength; `variance` [n] as for refine(). The profile starts from the
/// widest information the pattern gives and loses, one at a time, the terms it does not determine.
/// Throws Error, in words a user understands, when the calibration is not possible: no line in
/// range, lines not at the nominal places within `search`, no convergence, parameters that the
/// range does not tell apart (wavelength or distance and zero).
Calibration calibrate(const RadialAxis& axis, std::span<const double> intensity,
                      std::span<const double> variance, const crystal::Phase& standard,
                      const CalibrationOptions& options = {});

} // namespace xrdct::rietveld
