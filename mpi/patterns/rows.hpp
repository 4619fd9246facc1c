// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/patterns/pattern_file.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What the readers of pattern files share.
namespace xrdct::patterns::detail {

/// Rows as they stand in the file.
struct Rows {
    std::vector<double> position;              ///< in `unit`
    std::vector<double> intensity;             ///< one per row
    std::vector<double> sigma;                 ///< standard deviations: empty, or one per row
    std::vector<std::string> where;            ///< "line 17", "element 16"; one per row
    PatternUnit unit = PatternUnit::automatic; ///< automatic: the file does not say
    double wavelength = 0;                     ///< angstrom; 0: the file does not say
    double distance = 0;                       ///< mm; 0: the file does not say
    std::string format;                        ///< "xy", "xye", "chi", "nexus", …
    std::vector<std::string> notes;
};

/// Columns of numbers: xy, xye, chi, csv, or start, step and end before the intensities. Throws
/// Error naming file and line.
Rows read_text_rows(const std::filesystem::path& path);

/// One pattern of a NeXus or other HDF5 file. Throws Error naming file and dataset.
Rows read_hdf5_rows(const std::filesystem::path& path, const PatternFileOptions& options);

/// The unit that a word names ("2th_deg", "1/nm"), upper or lower case; nothing when it names none.
std::optional<PatternUnit> known_unit(const std::string& text);

/// The unit a header line states, if it states one: column titles of pyFAI and Dioptas, the second
/// line of FIT2D's files.
std::optional<PatternUnit> unit_in_header(const std::string& line);

/// Degrees 2θ of a position; NaN when the wavelength [angstrom] cannot reach it. `distance` [mm] is
/// for radii only.
double two_theta_of(double value, PatternUnit unit, double wavelength, double distance);

/// The unit in messages.
const char* unit_text(PatternUnit unit);

/// ASCII letters as lower case ones.
std::string lower_case(std::string text);
bool contains(const std::string& text, std::string_view part);

} // namespace xrdct::patterns::detail
