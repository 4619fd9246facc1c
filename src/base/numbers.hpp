// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <limits>

namespace xrdct {

/// A value that is not known.
inline constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
/// Of single values of data, maps and volumes.
inline constexpr float missing_value = std::numeric_limits<float>::quiet_NaN();
inline constexpr double infinity = std::numeric_limits<double>::infinity();

} // namespace xrdct
