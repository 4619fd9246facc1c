// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdexcept>
#include <string>

namespace xrdct {

/// The one exception of the project: something a user can act on. The message names the file,
/// dataset or setting at fault and what was expected; it ends up on the terminal as it is.
class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& message) : std::runtime_error(message) {}
};

} // namespace xrdct
