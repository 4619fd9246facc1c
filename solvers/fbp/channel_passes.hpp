// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>

namespace xrdct::fbp {

/// What decides the memory of a reconstruction.
struct VolumeSize {
    std::uint64_t rays = 0;   ///< rotations · translations
    std::uint64_t pixels = 0; ///< of an image
    std::size_t channels = 0; ///< of the scan, in use
};

/// Bytes of a rank that reconstructs `channels` channels at a time, the program itself included.
std::uint64_t memory_per_rank(const VolumeSize& size, std::size_t channels);

/// Channels that a rank reconstructs at a time under a memory limit [bytes per rank, 0: none]: few,
/// so that a rank's memory falls with the number of ranks, but enough for efficient kernels. 0: not
/// even one fits.
std::size_t channels_per_pass(const VolumeSize& size, int ranks, std::uint64_t limit);

} // namespace xrdct::fbp
