// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/scan_simulator.hpp"

#include <filesystem>
#include <string>

namespace xrdct::commands {

/// What a job has beside the simulated scan.
struct SampleKnowledge {
    std::string unnamed;        ///< phase that the untold job leaves out
    bool transmission = true;   ///< the scan holds it
    bool body = false;          ///< no cell: no can
    std::string filling;        ///< formula or name of what does not diffract; empty: nothing
    double filling_density = 0; ///< g/cm³ of the sample; 0: that of the filling's name
};

/// A job as a user writes it who knows the sample and the instrument, but no result: cells of the
/// CIFs (rough ones where a lattice is more than 2.5 % from its CIF), one size for all phases,
/// peaks as the eye reads them, the instrument file of a calibration, the filling. Which phases
/// have maps of cell, size and microstrain is known.
std::string untold_job(const phantom::Simulation& simulator, const SampleKnowledge& known);

/// A job that starts at the truth: cells, widths and peaks as simulated, the cell of the secondary
/// cathode phase fixed. For tests of the program, never of what it finds.
std::string told_job(const phantom::Simulation& simulator, const SampleKnowledge& known);

/// The simulated pattern of a standard (CeO2) as `folder`/standard.xye and what a calibration with
/// it finds as `folder`/instrument.toml. Throws Error as rietveld::calibrate().
void write_calibration(const phantom::Simulation& simulator, const std::filesystem::path& folder);

} // namespace xrdct::commands
