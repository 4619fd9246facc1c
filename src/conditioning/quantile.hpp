// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

namespace xrdct::conditioning {

/// The value below which `part` of the values lie (no interpolation); NaN when there is none. The
/// values must not hold NaN.
inline double quantile(std::vector<double> values, double part) {
    if (values.empty())
        return std::numeric_limits<double>::quiet_NaN();
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(
                                         part * static_cast<double>(values.size() - 1) + 0.5);
    std::ranges::nth_element(values, at);
    return *at;
}

inline double median(std::vector<double> values) {
    return quantile(std::move(values), 0.5);
}

} // namespace xrdct::conditioning
