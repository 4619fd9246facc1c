// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/task_counter.hpp"

#include "mpi/comm/traffic.hpp"

#include <algorithm>

namespace xrdct::mpi {

TaskCounter::TaskCounter(const Communicator& communicator, std::size_t count)
    : count_(static_cast<std::int64_t>(count)), own_next_(communicator.rank()),
      own_step_(communicator.size()) {
    const MPI_Aint bytes = communicator.is_root() ? sizeof(std::int64_t) : 0;
    MPI_Errhandler handler{};
    MPI_Comm_get_errhandler(communicator.handle(), &handler);
    MPI_Comm_set_errhandler(communicator.handle(), MPI_ERRORS_RETURN);
    const int code = MPI_Win_allocate(bytes, sizeof(std::int64_t), MPI_INFO_NULL,
                                      communicator.handle(), &memory_, &window_);
    MPI_Comm_set_errhandler(communicator.handle(), handler);
    MPI_Errhandler_free(&handler);
    if (communicator.allreduce(static_cast<std::int64_t>(code != MPI_SUCCESS), Reduction::max)) {
        window_ = MPI_WIN_NULL;
        return;
    }
    MPI_Win_lock_all(0, window_);
    if (communicator.is_root()) {
        const std::int64_t zero = 0;
        std::int64_t ignored = 0;
        MPI_Fetch_and_op(&zero, &ignored, MPI_INT64_T, 0, 0, MPI_REPLACE, window_);
        MPI_Win_flush(0, window_);
    }
    communicator.barrier();
}

TaskCounter::~TaskCounter() {
    if (!is_dynamic())
        return;
    MPI_Win_unlock_all(window_);
    MPI_Win_free(&window_);
}

std::optional<std::size_t> TaskCounter::next() {
    const auto range = next_range(1);
    if (!range)
        return std::nullopt;
    return range->begin;
}

std::optional<BlockRange> TaskCounter::next_range(std::size_t chunk) {
    const auto step = static_cast<std::int64_t>(std::max<std::size_t>(chunk, 1));
    std::int64_t begin = 0;
    if (!is_dynamic()) {
        begin = own_next_;
        if (begin >= count_)
            return std::nullopt;
        own_next_ += own_step_;
        return BlockRange{static_cast<std::size_t>(begin), static_cast<std::size_t>(begin + 1)};
    }
    MPI_Fetch_and_op(&step, &begin, MPI_INT64_T, 0, 0, MPI_SUM, window_);
    MPI_Win_flush(0, window_);
    detail::count_one_sided();
    if (begin >= count_)
        return std::nullopt;
    return BlockRange{static_cast<std::size_t>(begin),
                      static_cast<std::size_t>(std::min(begin + step, count_))};
}

void TaskCounter::stop() {
    if (!is_dynamic()) {
        own_next_ = count_;
        return;
    }
    std::int64_t ignored = 0;
    MPI_Fetch_and_op(&count_, &ignored, MPI_INT64_T, 0, 0, MPI_REPLACE, window_);
    MPI_Win_flush(0, window_);
}

} // namespace xrdct::mpi
