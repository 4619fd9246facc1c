// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <vector>

namespace xrdct::conditioning {

/// One rotation of a scan. NaN: missing.
struct Line {
    std::size_t row = 0;          ///< among the rotations that are kept
    std::vector<float> values;    ///< [translation][channel]
    std::vector<float> variances; ///< the same
};

} // namespace xrdct::conditioning
