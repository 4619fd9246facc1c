// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/scan_simulator.hpp"

#include <filesystem>
#include <string>

namespace xrdct::commands {

/// A job as a user writes it who knows the sample and the instrument, but no result: cells of the
/// CIFs (rough ones where a lattice is more than 2.5 % from its CIF), one size for all phases,
/// peaks as the eye reads them, the instrument file of a calibration, the filling by its name. A
/// phase whose name is `unnamed` is left out.
std::string untold_job(const phantom::ScanSimulator& simulator, const std::string& unnamed);

/// A job that starts at the truth: cells, widths and peaks as simulated, the cell of the secondary
/// cathode phase fixed. For tests of the program, never of what it finds.
std::string told_job(const phantom::ScanSimulator& simulator);

/// The simulated pattern of a standard (CeO2) as `folder`/standard.xye and what a calibration with
/// it finds as `folder`/instrument.toml. Throws Error as rietveld::calibrate().
void write_calibration(const phantom::ScanSimulator& simulator,
                       const std::filesystem::path& folder);

} // namespace xrdct::commands
