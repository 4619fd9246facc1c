// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/absorption_product.hpp"
#include "jobs/pipeline/dlsr_stage.hpp"
#include "jobs/pipeline/map_output.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/pipeline/solver_options.hpp"
#include "jobs/pipeline/stage.hpp"
#include "jobs/report/verdict.hpp"

#include <string>
#include <vector>

namespace xrdct::pipeline {

struct RunSummary {
    std::vector<StageSummary> stages;
    std::vector<double> peak_memory; ///< bytes per rank
    std::vector<std::string> notes; ///< what a user should know: warnings of phases, masked rays, …
    double seconds = 0;
    report::Verdict verdict; ///< on the root only
};

/// Runs the stages of a job. Collective; every rank passes the same job and options. Throws the
/// same Error on all ranks; finished products stay, nothing unfinished is left under a final name.
RunSummary run_job(const settings::Job& job, const RunOptions& options,
                   const mpi::Communicator& communicator);

} // namespace xrdct::pipeline
