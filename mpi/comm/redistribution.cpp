// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/redistribution.hpp"

#include "mpi/comm/traffic.hpp"

#include <algorithm>
#include <climits>
#include <string>
#include <utility>

namespace xrdct::mpi {

namespace {

bool covers(const std::vector<BlockRange>& ranges, std::size_t n) {
    std::size_t next = 0;
    for (const BlockRange& range : ranges) {
        if (range.begin != next || range.end < range.begin)
            return false;
        next = range.end;
    }
    return next == n;
}

} // namespace

Redistribution::Redistribution(const Communicator& communicator, SlabShape shape, ShardOrder order,
                               std::size_t buffer_bytes)
    : Redistribution(communicator, shape,
                     block_ranges(shape.rows, static_cast<std::size_t>(communicator.size())),
                     block_ranges(shape.channels, static_cast<std::size_t>(communicator.size())),
                     order, buffer_bytes) {}

Redistribution::Redistribution(const Communicator& communicator, SlabShape shape,
                               std::vector<BlockRange> rows, std::vector<BlockRange> channels,
                               ShardOrder order, std::size_t buffer_bytes)
    : communicator_(communicator), shape_(shape), rows_(std::move(rows)),
      channels_(std::move(channels)), order_(order),
      buffer_bytes_(std::clamp<std::size_t>(buffer_bytes, 1, std::size_t{1} << 30)) {
    const auto ranks = static_cast<std::size_t>(communicator.size());
    if (rows_.size() != ranks || channels_.size() != ranks || !covers(rows_, shape.rows) ||
        !covers(channels_, shape.channels))
        throw Error("the ranges of a redistribution must cover rows and channels once, in the "
                    "order of the ranks");
}

template <class Exchange>
void Redistribution::in_rounds(Exchange&& exchange) const {
    // A position is one (row, column); ranks send the positions of their rows in order, the same
    // number in each round.
    std::size_t max_rows = 0;
    std::size_t max_channels = 0;
    for (const BlockRange& range : rows_)
        max_rows = std::max(max_rows, range.size());
    for (const BlockRange& range : channels_)
        max_channels = std::max(max_channels, range.size());
    const std::size_t position_bytes =
        sizeof(float) * std::max(shape_.channels, max_channels * rows_.size());
    if (position_bytes == 0)
        return;
    const std::size_t per_round = std::max<std::size_t>(1, buffer_bytes_ / position_bytes);
    const std::size_t max_positions = max_rows * shape_.columns;
    for (std::size_t begin = 0; begin < max_positions; begin += per_round) {
        std::vector<BlockRange> positions(rows_.size());
        for (std::size_t r = 0; r < rows_.size(); ++r) {
            const std::size_t n = rows_[r].size() * shape_.columns;
            positions[r] = {std::min(begin, n), std::min(begin + per_round, n)};
        }
        exchange(positions);
    }
}

void Redistribution::to_shards(std::span<const float> slab, std::span<float> shard) const {
    std::optional<std::string> error;
    if (slab.size() != slab_size() || shard.size() != shard_size())
        error = "redistribution: a slab or shard has the wrong size";
    communicator_.agree(error);

    const auto me = static_cast<std::size_t>(communicator_.rank());
    const std::size_t own_channels_n = channels_[me].size();
    const std::size_t row_stride =
        order_ == ShardOrder::row_column ? shape_.columns * own_channels_n : own_channels_n;
    const std::size_t column_stride =
        order_ == ShardOrder::row_column ? own_channels_n : shape_.rows * own_channels_n;
    const std::size_t ranks = rows_.size();
    std::vector<float> send;
    std::vector<float> receive;
    std::vector<int> send_count(ranks), send_at(ranks), receive_count(ranks), receive_at(ranks);
    in_rounds([&](const std::vector<BlockRange>& positions) {
        std::size_t sent = 0;
        std::size_t received = 0;
        for (std::size_t r = 0; r < ranks; ++r) {
            send_at[r] = static_cast<int>(sent);
            send_count[r] = static_cast<int>(positions[me].size() * channels_[r].size());
            sent += static_cast<std::size_t>(send_count[r]);
            receive_at[r] = static_cast<int>(received);
            receive_count[r] = static_cast<int>(positions[r].size() * own_channels_n);
            received += static_cast<std::size_t>(receive_count[r]);
        }
        send.resize(sent);
        receive.resize(received);
        for (std::size_t r = 0; r < ranks; ++r) {
            float* out = send.data() + send_at[r];
            for (std::size_t p = positions[me].begin; p < positions[me].end; ++p)
                out = std::copy_n(slab.data() + p * shape_.channels + channels_[r].begin,
                                  channels_[r].size(), out);
        }
        MPI_Alltoallv(send.data(), send_count.data(), send_at.data(), MPI_FLOAT, receive.data(),
                      receive_count.data(), receive_at.data(), MPI_FLOAT, communicator_.handle());
        detail::count_call(
            communicator_.size(), sizeof(float) * (sent - static_cast<std::size_t>(send_count[me])),
            sizeof(float) * (received - static_cast<std::size_t>(receive_count[me])));
        for (std::size_t r = 0; r < ranks; ++r) {
            const float* in = receive.data() + receive_at[r];
            for (std::size_t p = positions[r].begin; p < positions[r].end; ++p) {
                const std::size_t row = rows_[r].begin + p / shape_.columns;
                const std::size_t column = p % shape_.columns;
                std::copy_n(in, own_channels_n,
                            shard.data() + row * row_stride + column * column_stride);
                in += own_channels_n;
            }
        }
    });
}

} // namespace xrdct::mpi
