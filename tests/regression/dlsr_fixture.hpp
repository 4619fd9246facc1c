// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::test {

/// One of the jobs of a simulated cell.
struct SimulatedJob {
    const char* file;    ///< in its folder
    const char* results; ///< where it writes
};
inline constexpr SimulatedJob untold_job{"job.toml", "results"}, ///< knows nothing of the truth
    told_job{"job_with_truth.toml", "results_told"};             ///< starts at it

/// A small simulated cell (36 × 36 voxels) with its conventional results, made once; every run of
/// the dlsr stage has a results folder of its own.
class DlsrTest : public ::testing::Test {
  protected:
    static void SetUpTestSuite();
    /// The cell and its conventional results by a job, which is that of all later runs.
    static void set_up(const SimulatedJob& job);
    static void TearDownTestSuite();

    static const std::filesystem::path& cell();
    /// A new results folder with the conventional products.
    static std::filesystem::path new_results(const std::string& name);

    /// Settings under which the fit is well determined and quick: smooth amounts, too, so that the
    /// solution is one point and runs can be compared to a fraction of an e.s.d.
    static std::vector<std::string> quick();

    /// Runs the dlsr stage of the cell's job into `results` with more arguments.
    static ProcessResult run_dlsr(const std::filesystem::path& results,
                                  const std::vector<std::string>& more, int ranks = 2,
                                  const std::function<bool()>& kill_when = {});

    /// The run ended in time with exit code 1 and one message that contains all of `words`.
    static void expect_one_error(const ProcessResult& run, const std::vector<std::string>& words);
};

} // namespace xrdct::test
