// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/manual/description.hpp"

#include <string>

namespace xrdct::manual {

/// A script for bash that completes commands, their options and file names. It needs nothing else,
/// such as the package bash-completion.
std::string bash_completion(const ProgramDescription& program);

/// The function `_xrdct` for zsh, with the helps of commands and options.
std::string zsh_completion(const ProgramDescription& program);

} // namespace xrdct::manual
