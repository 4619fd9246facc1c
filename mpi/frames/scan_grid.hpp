// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/frames/frame_series.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::frames {

/// Which point of a scan each frame belongs to.
struct ScanGrid {
    std::vector<double> rotation;    ///< deg, rising
    std::vector<double> translation; ///< mm, rising
    std::vector<std::size_t>
        point; ///< of each frame: rotation index · translations + translation index
};

/// Evenly spaced nominal positions, "FIRST:STEP:COUNT".
struct RegularAxis {
    double first = 0, step = 0;
    std::size_t count = 0;
    std::vector<double> values() const;
};
/// Throws Error naming `option`.
RegularAxis parse_regular_axis(const std::string& text, const std::string& option);

/// The order in which a scan visits its points.
struct ScanOrder {
    bool rotation_fast = false; ///< rotation changes from frame to frame, else translation
    bool snake = false;         ///< every other line runs backwards
};

/// Error when the frames are not rotations × translations.
ScanGrid regular_grid(const RegularAxis& rotation, const RegularAxis& translation,
                      const ScanOrder& order, std::size_t frames);

/// The grid that positions form, each point visited once and exactly (to 1e-6 of the range);
/// nothing when they form none.
std::optional<ScanGrid> grid_of_positions(const std::vector<double>& rotation,
                                          const std::vector<double>& translation);

/// A table with a line of names (those of FrameVectors; others are ignored) and one line per frame,
/// separated by commas, semicolons or blanks. Replaces the vectors it names. Throws Error naming
/// the file and the line.
void read_positions_table(const std::filesystem::path& path, std::size_t frames,
                          FrameVectors& vectors);

} // namespace xrdct::frames
