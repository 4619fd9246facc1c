// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <vector>

namespace xrdct::mpi {

/// Half-open range of indices.
struct BlockRange {
    std::size_t begin = 0;
    std::size_t end = 0;

    std::size_t size() const { return end - begin; }
    bool empty() const { return begin == end; }
    bool contains(std::size_t i) const { return begin <= i && i < end; }
    bool operator==(const BlockRange&) const = default;
};

/// Part `part` of n indices cut into `parts` contiguous ranges whose sizes differ by one at most,
/// the larger ones first. With more parts than indices the last ones are empty. Throws Error unless
/// 0 <= part < parts.
BlockRange block_range(std::size_t n, std::size_t parts, std::size_t part);

/// All parts of block_range in order.
std::vector<BlockRange> block_ranges(std::size_t n, std::size_t parts);

/// [range.begin, range.end) cut into pieces of at most `largest` indices (at least one), balanced.
std::vector<BlockRange> split_range(BlockRange range, std::size_t largest);

} // namespace xrdct::mpi
