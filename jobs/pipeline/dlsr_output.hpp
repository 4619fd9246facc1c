// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"
#include "solvers/dlsr/result.hpp"

#include <optional>

namespace xrdct::pipeline {

/// Writes the maps in the layout of the rietveld stage's product, and the diagnostics. `constant`:
/// volume fraction over S V² when it is known. Throws Error naming the stage's group for arrays
/// whose sizes do not fit. Serial.
void write_dlsr_result(hdf5::Group& stage, const dlsr::Result& result,
                       std::optional<double> constant);

} // namespace xrdct::pipeline
