// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::manual {

/// The command, not listed by `xrdct --help`: what an installation needs (man pages, completion).
/// Takes the arguments after its name and returns an exit code. Throws Error.
int command_describe(const std::vector<std::string>& arguments);

} // namespace xrdct::manual
