// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace xrdct::mpi {

/// Deals the indices 0 … count−1 out to whichever rank asks next: dynamic balance for work of
/// uneven cost. The counter is a one-sided window on rank 0, and no rank waits for another's work.
/// Between nodes some MPI transports need rank 0 to enter MPI now and then for others to make
/// progress; its own calls of next() do, so keep one task below about a second.
///
/// Where MPI has no one-sided communication between these ranks (Debian's OpenMPI over TCP, whose
/// configuration switches osc/pt2pt off) index i goes to rank i modulo the number of ranks.
///
/// Constructor and destructor are collective (also when the stack unwinds: make it inside
/// Communicator::collectively, so that a rank that fails reaches the destructor and then the
/// agreement, as the others do).
class TaskCounter {
  public:
    TaskCounter(const Communicator& communicator, std::size_t count);
    ~TaskCounter();
    TaskCounter(const TaskCounter&) = delete;
    TaskCounter& operator=(const TaskCounter&) = delete;

    /// The next index, or nothing when all are dealt. Not collective.
    std::optional<std::size_t> next();
    /// The next up to `chunk` (at least one) indices, or nothing. Not collective.
    std::optional<BlockRange> next_range(std::size_t chunk);
    /// After this no rank gets any more tasks (this rank, where the deal is fixed): for a rank that
    /// met an error. Not collective.
    void stop();
    /// Whether ranks are served as they ask; the same on all.
    bool is_dynamic() const { return window_ != MPI_WIN_NULL; }

  private:
    MPI_Win window_ = MPI_WIN_NULL;
    std::int64_t* memory_ = nullptr;
    std::int64_t count_;
    std::int64_t own_next_, own_step_; ///< of the fixed deal
};

} // namespace xrdct::mpi
