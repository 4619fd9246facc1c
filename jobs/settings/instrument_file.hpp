// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/peak_profile.hpp"

#include <array>
#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::settings {

/// What a calibration with a powder standard found, as it is kept in a file (TOML).
struct InstrumentFile {
    rietveld::InstrumentProfile profile;
    rietveld::InstrumentProfile profile_errors; ///< e.s.d.; 0: not refined
    double wavelength = 0;                      ///< Å
    double wavelength_error = 0;
    double distance = 0; ///< mm; 0: not stated
    double distance_error = 0;
    double zero = 0; ///< deg, added to every line's 2θ
    double zero_error = 0;
    /// Which of them was calibrated: "wavelength", "distance", "zero"; empty: the wavelength is
    /// nominal and the cell was refined.
    std::vector<std::string> calibrated;

    std::string standard;            ///< name of the standard or of its CIF
    std::string standard_source;     ///< where its cell is from
    std::array<double, 6> cell{};    ///< certified: a, b, c [Å], alpha, beta, gamma [deg]
    double cell_deviation = 0;       ///< refined over certified cell minus 1 [ppm]; 0: fixed
    double cell_deviation_error = 0; ///< ppm; 0: fixed
    double two_theta_min = 0, two_theta_max = 0; ///< deg, range of the fit
    std::vector<double> excluded;                ///< deg, from, to, from, to, …
    std::vector<double> two_theta;               ///< deg, angles of `fwhm`
    std::vector<double> fwhm;                    ///< deg
    double largest_width_deviation = 0;          ///< of lines fitted alone, relative
    std::string intensities;                     ///< "structure" or "extracted"
    double rwp = 0, gof = 0, r_bragg = 0;

    std::string program; ///< with its version and revision
    std::string date;    ///< ISO 8601, UTC
    std::string pattern; ///< file that was fitted
    std::string pattern_sha256;
};

/// The file as text.
std::string to_toml(const InstrumentFile& instrument);

/// Writes it under a temporary name and renames it. Throws Error naming the file when it exists
/// (unless `force`) or cannot be written.
void write_instrument_file(const std::filesystem::path& path, const InstrumentFile& instrument,
                           bool force = false);

/// Reads it. Throws Error naming file and key: no such file, a syntax error, an unknown key (with
/// the nearest known one), a missing one, a value out of range.
InstrumentFile read_instrument_file(const std::filesystem::path& path);

} // namespace xrdct::settings
