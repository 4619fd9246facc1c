#include "mpi/task_counter.hpp"

#include "mpi/traffic.hpp"

#include <algorithm>

namespace xrdct::mpi {

TaskCounter::TaskCounter(const Communicator& communicator, std::size_t count)
    : count_(static_cast<std::int64_t>(count)) {
    const MPI_Aint bytes = communicator.is_root() ? sizeof(std::int64_t) : 0;
    MPI_Win_allocate(bytes, sizeof(std::int64_t), MPI_INFO_NULL, communicator.handle(), &memory_,
                     &window_);
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
    MPI_Fetch_and_op(&step, &begin, MPI_INT64_T, 0, 0, MPI_SUM, window_);
    MPI_Win_flush(0, window_);
    detail::count_one_sided();
    if (begin >= count_)
        return std::nullopt;
    return BlockRange{static_cast<std::size_t>(begin),
                      static_cast<std::size_t>(std::min(begin + step, count_))};
}

void TaskCounter::stop() {
    std::int64_t ignored = 0;
    MPI_Fetch_and_op(&count_, &ignored, MPI_INT64_T, 0, 0, MPI_REPLACE, window_);
    MPI_Win_flush(0, window_);
}

} // namespace xrdct::mpi
