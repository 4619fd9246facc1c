// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::commands {

/// The commands of this room; each takes the arguments after its name and returns an exit code.
/// Throws Error.
int command_run(const std::vector<std::string>& arguments);
int command_validate(const std::vector<std::string>& arguments);
int command_info(const std::vector<std::string>& arguments);
int command_integrate(const std::vector<std::string>& arguments);
int command_simulate(const std::vector<std::string>& arguments);
int command_calibrate(const std::vector<std::string>& arguments);
int command_report(const std::vector<std::string>& arguments);
int command_compare(const std::vector<std::string>& arguments);
int command_reference(const std::vector<std::string>& arguments);

} // namespace xrdct::commands
