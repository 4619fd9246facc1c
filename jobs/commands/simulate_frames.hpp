// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "integration/detector_geometry.hpp"
#include "mpi/comm/communicator.hpp"
#include "phantom/scan_simulator.hpp"

#include <cstddef>
#include <filesystem>
#include <string>

namespace xrdct::commands {

/// The detector of simulated raw frames.
struct FrameDetector {
    std::size_t pixels = 256;   ///< per side
    double polarization = 0.95; ///< factor; 1: along the fast axis
};

/// A square detector, tilted by some tenths of a degree about all axes, that sees a good quarter of
/// the rings up to the scan's last channel. Its beam distance is the scan's.
integration::DetectorGeometry frame_geometry(const phantom::ScanDesign& scan,
                                             const FrameDetector& detector);

/// Writes the raw frames of a simulated scan: `folder`/line_0000.h5, …, one file per rotation with
/// /entry/data/data [translation, row, column], rotation_angle, translation, transmission; and
/// `folder`/detector.poni. Returns the command that integrates them to the scan's channels.
///
/// A pixel's mean count is scale · y(2θ) · Ω · P/P₀: y the simulated sinogram (four times finer in
/// 2θ), taken at the pixel's centre, Ω its solid angle over that at the PONI, P its polarisation
/// and P₀ = (1 + cos²2θ)/2 the one that y has in it. Pixels beyond the channels count nothing.
/// Collective. Throws Error (agreed).
std::string write_frames(const phantom::ScanSimulator& simulator, double scale,
                         const FrameDetector& detector, const std::filesystem::path& folder,
                         bool force, const mpi::Communicator& world);

} // namespace xrdct::commands
