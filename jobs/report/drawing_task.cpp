// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/drawing_task.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace xrdct::report {

void draw_all(std::span<const DrawingTask> tasks, const std::filesystem::path& folder,
              int processes) {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failure_lock;
    const auto work = [&] {
        for (std::size_t i; (i = next++) < tasks.size();) {
            try {
                tasks[i].draw(folder / tasks[i].stem);
            } catch (...) {
                const std::lock_guard lock(failure_lock);
                if (!failure)
                    failure = std::current_exception();
                next = tasks.size();
            }
        }
    };
    const std::size_t wanted =
        processes > 0 ? static_cast<std::size_t>(processes) : std::thread::hardware_concurrency();
    const std::size_t count = std::clamp<std::size_t>(std::min(wanted, tasks.size()), 1, 64);
    {
        std::vector<std::jthread> helpers;
        for (std::size_t i = 1; i < count; ++i)
            helpers.emplace_back(work);
        work();
    }
    if (failure)
        std::rethrow_exception(failure);
}

} // namespace xrdct::report
