// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

#include <Eigen/Core>

namespace xrdct::dlsr {

/// Eigen counts with signed numbers.
inline Eigen::Index index(std::size_t i) {
    return static_cast<Eigen::Index>(i);
}

} // namespace xrdct::dlsr
