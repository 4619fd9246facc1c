// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "solvers/dlsr/options.hpp"

namespace xrdct::pipeline {

/// What a job asks of the DLSR.
dlsr::Options dlsr_options(const settings::Job& job);

} // namespace xrdct::pipeline
