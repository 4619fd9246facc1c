// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/redistribution.hpp"

#include <gtest/gtest.h>

namespace xrdct::mpi {
namespace {

float value(std::size_t row, std::size_t column, std::size_t channel) {
    return static_cast<float>(row * 10000 + column * 100 + channel);
}

std::vector<float> make_slab(mpi::SlabShape shape, mpi::BlockRange rows) {
    std::vector<float> slab;
    for (std::size_t r = rows.begin; r < rows.end; ++r)
        for (std::size_t c = 0; c < shape.columns; ++c)
            for (std::size_t k = 0; k < shape.channels; ++k)
                slab.push_back(value(r, c, k));
    return slab;
}

void check(const mpi::Redistribution& redistribution, mpi::SlabShape shape, mpi::ShardOrder order) {
    const auto slab = make_slab(shape, redistribution.own_rows());
    std::vector<float> shard(redistribution.shard_size(), -1);
    redistribution.to_shards(slab, shard);
    const mpi::BlockRange channels = redistribution.own_channels();
    std::size_t wrong = 0;
    for (std::size_t r = 0; r < shape.rows; ++r)
        for (std::size_t c = 0; c < shape.columns; ++c)
            for (std::size_t k = channels.begin; k < channels.end; ++k) {
                const std::size_t position = order == mpi::ShardOrder::row_column
                                                 ? r * shape.columns + c
                                                 : c * shape.rows + r;
                wrong += shard[position * channels.size() + k - channels.begin] == value(r, c, k)
                             ? 0U
                             : 1U;
            }
    EXPECT_EQ(wrong, 0U);
}

TEST(RedistributionTest, MovesSlabsToShards) {
    const auto world = mpi::Communicator::world();
    // With fewer rows or channels than ranks, none at all, and buffers from one position to
    // everything.
    for (const mpi::SlabShape shape : {mpi::SlabShape{7, 5, 13},
                                       {1, 4, 9},
                                       {9, 3, 1},
                                       {2, 1, 2},
                                       {0, 3, 4},
                                       {3, 0, 4},
                                       {3, 4, 0}})
        for (const mpi::ShardOrder order :
             {mpi::ShardOrder::row_column, mpi::ShardOrder::column_row})
            for (const std::size_t buffer :
                 {std::size_t{1}, std::size_t{200}, std::size_t{1} << 20}) {
                const mpi::Redistribution redistribution(world, shape, order, buffer);
                check(redistribution, shape, order);
            }
}

TEST(RedistributionTest, TakesUnequalRanges) {
    const auto world = mpi::Communicator::world();
    const mpi::SlabShape shape{11, 3, 6};
    const auto ranks = static_cast<std::size_t>(world.size());
    // The last rank owns nearly all rows, the first one all channels.
    std::vector<mpi::BlockRange> rows(ranks, {0, 0});
    std::vector<mpi::BlockRange> channels(ranks, {6, 6});
    for (std::size_t r = 0; r < ranks; ++r)
        rows[r] = {std::min<std::size_t>(r, 11),
                   r + 1 == ranks ? 11 : std::min<std::size_t>(r + 1, 11)};
    channels[0] = {0, 6};
    check(mpi::Redistribution(world, shape, rows, channels), shape, mpi::ShardOrder::row_column);
}

TEST(RedistributionTest, RefusesWrongSizesAndRangesOnAllRanks) {
    const auto world = mpi::Communicator::world();
    const mpi::SlabShape shape{4, 2, 3};
    const mpi::Redistribution redistribution(world, shape);
    std::vector<float> slab(redistribution.slab_size() + (world.rank() == 0 ? 1 : 0));
    std::vector<float> shard(redistribution.shard_size());
    EXPECT_THROW(redistribution.to_shards(slab, shard), Error);
    const auto ranks = static_cast<std::size_t>(world.size());
    EXPECT_THROW(mpi::Redistribution(world, shape, block_ranges(5, ranks), block_ranges(3, ranks)),
                 Error);
    EXPECT_THROW(
        mpi::Redistribution(world, shape, block_ranges(4, ranks), block_ranges(3, ranks + 1)),
        Error);
}

} // namespace
} // namespace xrdct::mpi
