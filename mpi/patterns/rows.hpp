// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/text.hpp"
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
    // Said where what was found in the header is needed.
    std::string unit_note;       ///< what `unit` was taken from, if it had to be guessed
    std::string unit_question;   ///< why the unit cannot be told from the title
    std::string wavelength_note; ///< likewise of the wavelength
    std::string wavelength_line; ///< a header line with a wavelength that cannot be understood
};

/// The text of a file without a byte order mark; UTF-16 becomes ASCII. Throws Error naming the file
/// where it cannot be read or is empty.
std::string read_text(const std::filesystem::path& path);

/// Lines of a text without their ends (LF, CR LF or CR alone). Throws Error naming the file where
/// it is no text, and the format where it is a known one that is not read.
std::vector<std::string> text_lines(const std::string& text, const std::string& file);

/// Whether a text is that of an XML file.
bool is_xml(const std::string& text);

/// The first scan of a file of PANalytical (.xrdml). Throws Error naming file and element.
Rows read_xrdml_rows(const std::string& text, const std::string& file);

/// Whether a text is a CIF with tags of the powder dictionary.
bool is_powder_cif(const std::string& text);

/// The first measured pattern of a powder CIF. Throws Error naming the file.
Rows read_cif_rows(const std::string& text, const std::string& file);

/// A number as programs write it: 1.5D+03 of Fortran, +1, nan, and what Microsoft's C writes for
/// what is none (1.#QNAN, -1.#IND, 1.#INF).
bool number_from(std::string_view word, double& value);

/// Takes unit, wavelength and distance from a header line, if it states one.
void take_header(const std::string& line, Rows& header);

/// Takes the unit from the titles of the columns, which the last of the header lines with that many
/// titles is, where no unit is known yet: q, Q, qvec, d, dspacing, 2theta, tth, … with or without
/// a unit.
void take_titles(const std::vector<std::string>& header_lines, std::size_t columns, Rows& header);

/// What the title of a column says that it holds.
enum class ColumnRole { unknown, intensity, sigma, variance, weight, other };
ColumnRole role_of_title(const std::string& title);

/// Titles of `columns` columns (at least two) of the last header line that has that many, one of
/// them that of intensities; empty without such a line.
std::vector<std::string> column_titles(const std::vector<std::string>& header_lines,
                                       std::size_t columns);

/// The first bank of a GSAS powder file (a line BANK, then FXYE, FXY, ESD or STD); nothing when the
/// lines are none. Throws Error naming file and line for banks that are no constant-wavelength data
/// or are cut off.
std::optional<Rows> read_gsas_rows(const std::vector<std::string>& lines, const std::string& file);

/// The first range of a text file of Bruker (.uxd: keys that begin with _, then _COUNTS, _CPS,
/// _2THETACOUNTS or _2THETACPS and numbers); nothing when the lines are none. Throws Error naming
/// file and line.
std::optional<Rows> read_uxd_rows(const std::vector<std::string>& lines, const std::string& file);

/// Drops standard deviations that cannot be such (the same in all rows and far from what counts
/// and neighbouring points say, or a second column of intensities) and names others that differ a
/// lot from what neighbouring points scatter by; in `notes`.
void judge_sigma(Rows& rows);

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

bool contains(const std::string& text, std::string_view part);

} // namespace xrdct::patterns::detail
