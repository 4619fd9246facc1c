// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::test {

/// What a process left behind.
struct ProcessResult {
    int exit_code = -1; ///< 128 + signal when it was killed
    bool timed_out = false;
    std::string output; ///< stdout
    std::string errors; ///< stderr
    double seconds = 0;
};

/// Runs a command to its end, or kills (SIGKILL) its whole process group after `timeout` seconds
/// or, ten times a second and more, as soon as `kill_when` says so.
ProcessResult run_process(const std::vector<std::string>& command, double timeout = 60,
                          const std::filesystem::path& folder = {},
                          const std::function<bool()>& kill_when = {});

/// Runs the program under test (environment variable XRDCT_PROGRAM) with arguments; `ranks` > 0:
/// under mpirun (environment variable XRDCT_MPIRUN, words separated by '|').
ProcessResult run_xrdct(const std::vector<std::string>& arguments, int ranks = 0,
                        double timeout = 60, const std::filesystem::path& folder = {},
                        const std::function<bool()>& kill_when = {});

} // namespace xrdct::test
