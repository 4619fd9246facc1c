// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <stdexcept>
#include <string>

namespace xrdct::detail {

[[noreturn]] inline void fail_assertion(const char* file, int line, const std::string& message) {
    throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": " + message);
}

} // namespace xrdct::detail

/// States what must hold unless the program itself is wrong, such as sizes that belong together;
/// what a user can mend is an Error. Where XRDCT_ASSERTIONS is defined (CMake option of the same
/// name; on in the presets development and sanitize) a condition that does not hold throws
/// std::logic_error with file, line and message, elsewhere neither of them is evaluated.
#ifdef XRDCT_ASSERTIONS
#define XRDCT_ASSERT(condition, message)                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ::xrdct::detail::fail_assertion(__FILE__, __LINE__, message);                          \
    } while (false)
#else
#define XRDCT_ASSERT(condition, message) static_cast<void>(sizeof(!(condition)) + sizeof(message))
#endif
