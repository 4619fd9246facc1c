// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::program {

/// What a program wrote and how it ended.
struct ChildOutcome {
    int code = 0;        ///< exit code, 128 + n after signal n; 127: it could not be started
    int start_error = 0; ///< errno of the start; 0: it was started
    bool missing = false, timed_out = false; ///< not found; killed as it took too long
    std::string output, errors;              ///< what it wrote to stdout and stderr
};

/// Where and how long a program runs.
struct ChildOptions {
    std::filesystem::path folder; ///< its working folder; empty: that of this process
    double timeout = 0;           ///< [s], then it is killed; 0: no limit
};

/// Runs a program and waits for its end. `words` are its name, which is sought in PATH unless it
/// holds a slash, and its arguments as they are: no shell sees them. It reads nothing (/dev/null).
/// May be called from several threads. @throws Error when there are no pipes for its output.
ChildOutcome run_child(const std::vector<std::string>& words, const ChildOptions& options = {});

} // namespace xrdct::program
