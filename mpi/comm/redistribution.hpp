// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::mpi {

/// Extents of a three-dimensional array [row][column][channel] spread over ranks.
struct SlabShape {
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::size_t channels = 0;
};

/// How a shard (all rows and columns of some channels) lies in memory; the channels are always
/// fastest.
enum class ShardOrder {
    row_column, ///< [all rows][columns][own channels]
    column_row, ///< [columns][all rows][own channels]
};

/// Moves float32 arrays from slabs, [own rows][columns][all channels], to shards, [all
/// rows][columns][own channels], by all-to-all exchanges in rounds that need `buffer_bytes` at
/// most, on each side, however large the arrays are (one position's channels always fit). A rank
/// may own no rows or no channels.
class Redistribution {
  public:
    static constexpr std::size_t default_buffer_bytes = std::size_t{1} << 20;

    /// Rows and channels cut by block_range over the ranks. Collective (no communication).
    Redistribution(const Communicator& communicator, SlabShape shape,
                   ShardOrder order = ShardOrder::row_column,
                   std::size_t buffer_bytes = default_buffer_bytes);
    /// Any ranges, given for every rank and the same on all ranks; together they cover rows and
    /// channels once, in rank order. Throws Error (on all ranks alike) when they do not. Keeps a
    /// reference to the communicator.
    Redistribution(const Communicator& communicator, SlabShape shape, std::vector<BlockRange> rows,
                   std::vector<BlockRange> channels, ShardOrder order = ShardOrder::row_column,
                   std::size_t buffer_bytes = default_buffer_bytes);

    BlockRange own_rows() const { return rows_[static_cast<std::size_t>(communicator_.rank())]; }
    BlockRange own_channels() const {
        return channels_[static_cast<std::size_t>(communicator_.rank())];
    }
    std::size_t slab_size() const { return own_rows().size() * shape_.columns * shape_.channels; }
    std::size_t shard_size() const { return shape_.rows * shape_.columns * own_channels().size(); }

    /// slab: slab_size() floats, read; shard: shard_size() floats, written. Wrong sizes: Error on
    /// all ranks. Collective.
    void to_shards(std::span<const float> slab, std::span<float> shard) const;

  private:
    template <class Exchange>
    void in_rounds(Exchange&& exchange) const;

    const Communicator& communicator_;
    SlabShape shape_;
    std::vector<BlockRange> rows_;
    std::vector<BlockRange> channels_;
    ShardOrder order_;
    std::size_t buffer_bytes_;
};

} // namespace xrdct::mpi
