// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <limits>
#include <string>

namespace xrdct::inspection {

/// What a look at a scan has found.
enum class Kind {
    energy,            ///< photon energy [keV] outside 5–300 keV
    distance,          ///< distance [mm] that no experiment has
    distance_body,     ///< distance [mm] not well beyond the range of translations (limit) [mm]
    distance_lines,    ///< width of lines over what parallax makes at least, median; limit: width
                       ///< [deg] of the strongest, position: its 2θ [deg]
    translation_range, ///< range of translations [mm] that no experiment has
    beam_width,        ///< beam width over translation step
    two_theta_range,   ///< smallest lattice spacing measured [Å]
    rotation_range,    ///< range of rotations [deg]
    rotation_gap,      ///< largest range of directions without a projection [deg], modulo 180
    rotation_spacing,  ///< smallest step over the median step; index: of the second rotation
    axes_swapped,      ///< the axis of rotations behaves as one of translations
    not_mirrored,      ///< misfit of projections half a turn apart, 0 (mirrored) to 1 (unrelated)
    turn_mistaken,     ///< projections half a turn apart are alike, not mirrored
    zigzag,            ///< misfit of neighbouring projections over that with one mirrored
    order,             ///< likeness of neighbours over that of any two projections
    misplaced,         ///< likeness to the neighbours, limit: usual one; index; factor: how many;
                       ///< position: rotation [deg] where it fits
    angle_scale,       ///< likeness of projections half a turn apart over that of neighbours;
                       ///< factor: of the angles that makes it `limit`
    drift,             ///< intensity over that half a turn apart; index, position [deg] of the one,
                       ///< limit: rotation [deg] of the other
    senses,            ///< standard deviations by which lines move as with one reversed sense
    moved,             ///< lasting step of the centre of mass [translation steps]; index, position
                       ///< [deg]
    no_signal,         ///< the one value that all intensities have; NaN: none is finite
    saturated,         ///< number of intensities with the largest value; position: that value
    negative,          ///< share of channels with a negative mean
    empty_projections, ///< share of projections without data, limit: that of zeros; index, position
                       ///< [deg] of the first
    empty_rays,        ///< number of translations inside without data, limit: of zeros; index of
                       ///< the first
    empty_channels, ///< share of channels that are 0 everywhere; index, position 2θ [deg] of the
                    ///< first
    transmission,   ///< values from `value` to `limit`, `position` at the ends; factor: 0.01
                    ///< percent, 0 logarithm, -1 inverse
    no_air,         ///< line intensity at an end over that of the body; index: 0 or 1, which end
    lines_unexplained, ///< share of the strong lines that phases explain; factor: of the
                       ///< wavelength that explains `limit` of them
    radial_axis,       ///< the same where another meaning of the radial axis explains the lines
    stretch,           ///< agreement (1: all) of the lines of phases with known cells, limit: with
                       ///< a stretch (factor of the wavelength) or a shift (position [deg 2θ]) of
                       ///< all; index: number of phases
    phase_absent,      ///< room for its strongest line over the strongest of all; index: phase
    strange_line,      ///< height over that of the strongest line; position: 2θ [deg]; limit: what
                       ///< phases that have a line there leave room for, NaN: no phase has
    channel,           ///< intensity over that of its neighbours; index, position: 2θ [deg]
    projection,        ///< the same of a projection; index, position: rotation [deg]
};

enum class Severity {
    warning, ///< doubt: may be right, the user should look
    error    ///< no experiment gives this
};

/// Another meaning that the numbers of a radial axis may have.
enum class RadialMeaning {
    as_given,
    q_per_angstrom,          ///< numbers are Q [1/Å]
    q_per_nm,                ///< numbers are Q [1/nm]
    angle_as_q_per_angstrom, ///< numbers are 2θ [deg], taken for Q [1/Å]
    angle_as_q_per_nm,       ///< the same, for Q [1/nm]
    theta,                   ///< numbers are θ [deg]
    reversed                 ///< the axis runs the other way
};

/// One finding. What its numbers mean is said at its kind.
struct Finding {
    static constexpr double none = std::numeric_limits<double>::quiet_NaN();

    Kind kind{};
    Severity severity = Severity::warning;
    double value = none;
    double limit = none;
    double factor = none; ///< what the number as stored would have to be multiplied by to make
                          ///< sense; NaN: unknown
    double position = none;
    std::size_t index = 0;
    RadialMeaning meaning = RadialMeaning::as_given;
};

} // namespace xrdct::inspection
