// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::inspection {

/// A line seen in a pattern.
struct ObservedLine {
    double position = 0; ///< 2θ [deg], of the highest channel, interpolated
    double height = 0;   ///< above the higher of the two valleys beside it (prominence)
    double width = 0;    ///< deg, at half the height
    std::size_t channel = 0;
};

/// Standard deviation of the scatter between channels, from second differences (finite values);
/// lines do not move its median. 0 for fewer than three.
double channel_scatter(std::span<const double> pattern);

/// The lines of a pattern: maxima that stand out of their valleys by more than `fraction` of the
/// highest one and by more than six times the scatter between channels, and that are narrow
/// compared with the pattern (a halo of glass or liquid is none). `two_theta` [deg] rises;
/// `pattern` of the same length, NaN where missing. Sorted by falling height.
std::vector<ObservedLine> find_lines(std::span<const double> two_theta,
                                     std::span<const double> pattern, double fraction);

/// Lines that a phase of the job has, or a single peak (one spacing).
struct ExpectedPhase {
    std::vector<double> spacing;   ///< d [Å]
    std::vector<double> intensity; ///< relative to the strongest
    /// The cell is that of the structure's file: neither started elsewhere nor refined in voxels.
    bool known = false;
    std::string name = {};
};

/// A peak of the job without a structure.
struct ExpectedPeak {
    double position = 0; ///< 2θ [deg]
    double reach = 0;    ///< deg
};

/// What lines are expected where.
struct Expectation {
    double wavelength = 0; ///< Å
    std::vector<ExpectedPhase> phases;
    std::vector<ExpectedPeak> peaks;
    /// Half the extent of the body over the distance: parallax moves a line by at most this times
    /// sin 2θ cos 2θ [rad].
    double parallax = 0;
};

/// How well the phases explain the lines.
struct Explanation {
    double share = 0; ///< of the strong lines (weight: root of the height), at the wavelength given
    double chance = 0; ///< share that lines anywhere would have
    double factor = 1; ///< of the wavelength, 0.6–1.7, that explains most
    double best_share = 0;
    double best_chance = 0;
};

/// Matches lines of at least a twentieth of the highest one. `range` is that of the pattern [deg].
Explanation explain_lines(std::span<const ObservedLine> lines, const Expectation& expectation,
                          double first, double last);

/// Lines as they would lie if the numbers of the radial axis had another meaning, and the range of
/// the pattern [deg]; no lines where one would lie nowhere.
struct MovedLines {
    std::vector<ObservedLine> lines;
    double first = 0, last = 0;
};

MovedLines move_lines(std::span<const ObservedLine> lines, RadialMeaning meaning, double wavelength,
                      double first, double last);

/// Meanings to try.
inline constexpr std::array other_meanings{RadialMeaning::q_per_angstrom,
                                           RadialMeaning::q_per_nm,
                                           RadialMeaning::angle_as_q_per_angstrom,
                                           RadialMeaning::angle_as_q_per_nm,
                                           RadialMeaning::theta,
                                           RadialMeaning::reversed};

/// The pattern as a body without shoulders of parallax would give it: smoothed by a Gaussian of the
/// largest shift that parallax (as of Expectation) makes. NaN stay.
std::vector<double> without_shoulders(std::span<const double> two_theta,
                                      std::span<const double> pattern, double parallax);

/// A common stretch, shift or another meaning of the axis that brings the lines of the phases whose
/// cell is known to their places, of `lines` as of find_lines() on the pattern without_shoulders():
/// metals lie within some 0.1 % of their files. Nothing where they are in place.
std::vector<Finding> check_stretch(std::span<const ObservedLine> lines,
                                   const Expectation& expectation, double first, double last);

/// Phases of which no line is seen: the median of what their three strongest lines leave room for
/// is less than 1 % of the highest line. `lines`: all down to a thousandth of the highest.
std::vector<Finding> check_presence(std::span<const ObservedLine> lines,
                                    const Expectation& expectation, double first, double last);

/// What lines of the pattern say about wavelength and radial axis, and those that nothing explains:
/// at most five, the highest first. `lines` as of find_lines(). Nothing without phases.
std::vector<Finding> check_lines(std::span<const ObservedLine> lines,
                                 const Expectation& expectation, double first, double last);

} // namespace xrdct::inspection
