// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/fbp/channel_passes.hpp"

#include <algorithm>

namespace xrdct::fbp {

namespace {

/// Memory of a rank before it holds any data: program, MPI, HDF5, plans, exchange buffers.
constexpr std::uint64_t base_memory = 110'000'000;
constexpr std::uint64_t exchange_memory = std::uint64_t{64} << 20;

} // namespace

std::uint64_t memory_per_rank(const VolumeSize& size, std::size_t channels) {
    // Shard, its variances, the slab it is read into and the exchange's copies, the image; filtered
    // projections of 32 channels. Agrees with the peaks measured at 8, 32 and 64 channels within 20
    // %, from above.
    return base_memory + exchange_memory + 4 * channels * (4 * size.rays + size.pixels) +
           4 * 32 * size.rays;
}

std::size_t channels_per_pass(const VolumeSize& size, int ranks, std::uint64_t limit) {
    const std::size_t share =
        (size.channels + static_cast<std::size_t>(ranks) - 1) / static_cast<std::size_t>(ranks);
    // The ranks hold about 128 channels together, so that a rank's share of the memory falls with
    // their number; few channels at a time make inefficient kernels.
    const std::size_t wanted = std::max<std::size_t>(8, 128 / static_cast<std::size_t>(ranks));
    std::size_t channels = std::min(wanted, std::max<std::size_t>(share, 1));
    if (limit == 0)
        return channels;
    while (channels > 1 && memory_per_rank(size, channels) > limit)
        channels -= channels > 8 ? 8 - (8 - channels % 8) % 8 : 1;
    return memory_per_rank(size, channels) > limit ? 0 : channels;
}

} // namespace xrdct::fbp
