// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/dlsr.

#include <chrono>

namespace xrdct::dlsr {

/// Of a clock that never goes back.
inline double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace xrdct::dlsr
