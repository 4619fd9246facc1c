// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/commands/simulate_frames.hpp"
#include "phantom/body_design.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::commands {

/// What the command line of `xrdct simulate` says.
struct SimulateOptions {
    phantom::CellDesign cell;
    std::optional<phantom::BodyDesign> body; ///< in place of the cell
    bool transmission = true;                ///< written into the scan
    phantom::ScanDesign scan;
    FrameDetector detector;
    std::string folder = "simulated";
    std::uint64_t memory = 4'000'000'000ULL; ///< for the noise-free scan, over all ranks
    bool frames = false;                     ///< write raw detector frames, too
    bool force = false, json = false;
    std::string unnamed;  ///< phase that the job does not name
    std::string settings; ///< the command as it was given
};

/// False when --help was asked for. Throws Error for what cannot be read and for options that the
/// sample asked for does not have.
bool read_simulate_options(const std::vector<std::string>& arguments, SimulateOptions& options);

} // namespace xrdct::commands
