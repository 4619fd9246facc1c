// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::pattern {

/// The command; takes the arguments after its name and returns an exit code. Throws Error.
int command_rietveld(const std::vector<std::string>& arguments);

} // namespace xrdct::pattern
