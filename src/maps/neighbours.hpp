// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to src/maps.

#include <algorithm>
#include <cstddef>
#include <vector>

namespace xrdct::maps {

/// How many of the eight neighbours of a voxel are set in a mask [y][x].
inline int neighbours(const std::vector<unsigned char>& mask, std::size_t ny, std::size_t nx,
                      std::size_t y, std::size_t x) {
    int count = 0;
    for (std::size_t v = y > 0 ? y - 1 : 0; v <= std::min(y + 1, ny - 1); ++v)
        for (std::size_t u = x > 0 ? x - 1 : 0; u <= std::min(x + 1, nx - 1); ++u)
            count += (v != y || u != x) && mask[v * nx + u];
    return count;
}

} // namespace xrdct::maps
