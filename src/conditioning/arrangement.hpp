// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::conditioning {

/// Which frame belongs to which point of a scan.
struct FrameGrid {
    std::vector<double> rotation;      ///< deg, ascending
    std::vector<double> translation;   ///< mm, ascending, uniform
    std::vector<std::ptrdiff_t> frame; ///< [rotation][translation]; −1: no frame
    std::size_t missing = 0;           ///< points without a frame
    std::vector<std::size_t> unknown;  ///< frames whose position is not a finite number
    std::vector<std::size_t> off_grid; ///< frames whose position lies on no point of the grid
    /// Frames at a point that another frame has: the one that fits the frames before and after it
    /// better, else the earlier one.
    std::vector<std::size_t> repeated;
    double position_spread = 0; ///< standard deviation of the translations about the grid [steps]

    std::size_t n_rotation() const { return rotation.size(); }
    std::size_t n_translation() const { return translation.size(); }
};

/// Sorts frames by their motor positions. The rotations are the clusters of the rotation angles
/// (gaps wider than 0.3 rotation steps part them); the translations are the uniform grid that
/// fits the positions, of which frames may be off by `tolerance` steps. Frames off the grid (motors
/// that jumped) and frames without a position (not finite) are left out and listed; their points
/// stay without a frame. Either axis may be the fast one; the slow one must be stepped. Angles in
/// degrees, positions in mm, one each per frame. Throws Error for vectors of different lengths,
/// fewer than two rotations or translations, and when more than a tenth of the frames have no
/// position or lie on no grid.
FrameGrid arrange_by_position(std::span<const double> rotation, std::span<const double> translation,
                              double tolerance);

/// Frames in the order of their acquisition, the translation being the fast axis; the axes are
/// given. `lost` lists the places in that order (from 0) whose frame is not among the `frames`.
/// Throws Error when frames and places do not match: a frame lost without a word would shift all
/// that follow.
FrameGrid arrange_in_order(std::size_t frames, std::vector<double> rotation,
                           std::vector<double> translation, std::span<const std::size_t> lost);

} // namespace xrdct::conditioning
