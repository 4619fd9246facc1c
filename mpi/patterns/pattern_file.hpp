// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "rietveld/model/radial_axis.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::patterns {

/// What the radial column of a pattern means.
enum class PatternUnit {
    automatic, ///< as the file says; a text file that says nothing is in degrees 2θ
    two_theta, ///< deg
    two_theta_radian,
    q, ///< 1/Å
    q_inverse_nanometre,
    d_spacing, ///< Å
    radius,    ///< mm
};

/// Reads a unit as users write it ("deg", "2theta", "rad", "1/angstrom", "1/nm", "d", "mm", …).
/// Throws Error for an unknown one, naming `where` and the nearest known one.
PatternUnit parse_radial_unit(const std::string& text, const std::string& where);

/// How a pattern file is read; what is given here wins over what the file says.
struct PatternFileOptions {
    PatternUnit unit = PatternUnit::automatic;
    double wavelength = 0; ///< Å; 0: from the file
    double distance = 0;   ///< mm, for a radius; 0: from the file
    std::string
        intensity; ///< dataset of an HDF5 file; empty: the default signal (@default, @signal)
    double minimum = 0, maximum = 180; ///< range kept [deg 2θ]
};

/// One powder pattern.
struct PatternFile {
    std::filesystem::path path;
    rietveld::RadialAxis axis;      ///< channels kept, ascending, with the wavelength
    std::vector<double> intensity;  ///< [n]; NaN: missing
    std::vector<double> variance;   ///< [n], or empty: the file has no errors
    std::string format;             ///< "xy", "xye", "chi", "nexus", …
    std::vector<std::string> notes; ///< what was left out or assumed, in words
};

/// Reads a pattern by its content and extension: two or three columns of text (xy, xye, dat, prn,
/// txt, csv; comments begin with # ! / ' or ; and header lines of any text may come first), a
/// FIT2D/pyFAI .chi, a fixed-step list (one line start, step, end [deg], then intensities), a GSAS
/// bank, a file of PANalytical (.xrdml) or Bruker (.uxd), a powder CIF, or an HDF5/NeXus file with
/// an NXdata of one axis. Unsorted rows are sorted with a note; rows with a non-finite intensity
/// stay as NaN. Throws Error naming the file and line or dataset: missing, empty, no numbers, wrong
/// number of columns, repeated or out-of-range positions, no wavelength, fewer than ten channels in
/// range.
PatternFile read_pattern(const std::filesystem::path& path, const PatternFileOptions& options = {});

} // namespace xrdct::patterns
