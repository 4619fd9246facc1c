// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>

namespace xrdct::mpi {

/// What this process has exchanged through Communicator, Redistribution and TaskCounter since it
/// started: payload that leaves or reaches a rank, whatever algorithm carries it. A rank's own part
/// of a gathering or an exchange does not travel and a communicator of one rank exchanges nothing;
/// a reduction of n bytes sends n and receives n, a broadcast sends its bytes on the root and
/// receives them elsewhere. HDF5's and PETSc's own calls are not seen.
struct Traffic {
    std::uint64_t calls = 0;              ///< collective calls of MPI
    std::uint64_t one_sided = 0;          ///< operations on a TaskCounter
    std::uint64_t sent = 0, received = 0; ///< bytes

    Traffic since(const Traffic& earlier) const {
        return {calls - earlier.calls, one_sided - earlier.one_sided, sent - earlier.sent,
                received - earlier.received};
    }
};

/// The counts of this process so far. Not collective.
const Traffic& traffic();

namespace detail {
/// One collective call on a communicator of `ranks`.
void count_call(int ranks, std::uint64_t sent, std::uint64_t received);
void count_one_sided();
} // namespace detail

} // namespace xrdct::mpi
