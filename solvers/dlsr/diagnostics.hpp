// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/result.hpp"
#include "solvers/dlsr/scan_data.hpp"

#include <span>

namespace xrdct::dlsr {

/// Residual sinogram, mean patterns, residuals of lines, Rwp and GoF at the operator's point (set
/// with derivatives), into the result. `at` is the model there; `ray_weight` [own ray], 0 leaves a
/// ray out. With a robust loss outlying samples are not in Rwp and GoF. Collective.
void diagnose(const mpi::Communicator& communicator, ScanData& scan, Operator& model,
              const rietveld::PatternModel& at, std::span<const float> ray_weight, Result& result);

} // namespace xrdct::dlsr
