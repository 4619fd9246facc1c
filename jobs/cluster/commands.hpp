// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::cluster {

/// The commands of this room; each takes the arguments after its name and returns an exit code.
/// Throws Error.
int command_submit(const std::vector<std::string>& arguments);
int command_jobs(const std::vector<std::string>& arguments);
int command_status(const std::vector<std::string>& arguments);
int command_watch(const std::vector<std::string>& arguments);
int command_cancel(const std::vector<std::string>& arguments);
int command_logs(const std::vector<std::string>& arguments);

} // namespace xrdct::cluster
