// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/decomposition.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <string>

namespace xrdct::mpi {

BlockRange block_range(std::size_t n, std::size_t parts, std::size_t part) {
    if (part >= parts)
        throw Error("part " + std::to_string(part) + " of " + std::to_string(parts) +
                    " does not exist");
    const std::size_t base = n / parts;
    const std::size_t larger = n % parts;
    const std::size_t begin = part * base + std::min(part, larger);
    return {begin, begin + base + (part < larger ? 1 : 0)};
}

std::vector<BlockRange> block_ranges(std::size_t n, std::size_t parts) {
    std::vector<BlockRange> ranges(parts);
    for (std::size_t part = 0; part < parts; ++part)
        ranges[part] = block_range(n, parts, part);
    return ranges;
}

std::vector<BlockRange> split_range(BlockRange range, std::size_t largest) {
    largest = std::max<std::size_t>(largest, 1);
    const std::size_t pieces = (range.size() + largest - 1) / largest;
    std::vector<BlockRange> result = block_ranges(range.size(), pieces);
    for (BlockRange& piece : result) {
        piece.begin += range.begin;
        piece.end += range.begin;
    }
    return result;
}

} // namespace xrdct::mpi
