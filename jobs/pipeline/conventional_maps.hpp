// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "solvers/dlsr/setup.hpp"

#include <string>
#include <vector>

namespace xrdct::pipeline {

/// Reads what the DLSR starts from out of the rietveld stage's product: its maps, and the model as
/// refined on the mean pattern, but for the widths of the phases, which are the job's (found on
/// voxels they hold what parallax has done to them). `wavelength` [Å]; `notes` takes the warnings
/// of the structures. Throws Error when the product is missing or was made with other settings.
dlsr::ConventionalMaps read_conventional_maps(const settings::Job& job, double wavelength,
                                              std::vector<std::string>& notes);

} // namespace xrdct::pipeline
