// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/task_counter.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace xrdct::mpi {
namespace {

TEST(TaskCounterTest, DealsEveryTaskOnce) {
    const auto world = mpi::Communicator::world();
    for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{1000}})
        for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, std::size_t{5000}}) {
            std::vector<std::int64_t> taken(n, 0);
            {
                mpi::TaskCounter tasks(world, n);
                while (const auto range = tasks.next_range(chunk)) {
                    EXPECT_FALSE(range->empty());
                    for (std::size_t i = range->begin; i < range->end; ++i)
                        ++taken.at(i);
                }
                EXPECT_FALSE(tasks.next());
            }
            world.allreduce(std::span<std::int64_t>(taken), mpi::Reduction::sum);
            for (std::size_t i = 0; i < n; ++i)
                EXPECT_EQ(taken[i], 1) << i;
        }
}

TEST(TaskCounterTest, ARankThatIsBusyGetsFewer) {
    const auto world = mpi::Communicator::world();
    std::int64_t own = 0;
    {
        mpi::TaskCounter tasks(world, 60);
        if (!tasks.is_dynamic())
            GTEST_SKIP() << "no one-sided communication: the deal is fixed";
        while (tasks.next()) {
            ++own;
            std::this_thread::sleep_for(std::chrono::milliseconds(world.rank() == 0 ? 40 : 2));
        }
    }
    EXPECT_EQ(world.allreduce(own, mpi::Reduction::sum), 60);
    if (world.size() > 1) {
        // An equal deal would give 60 / size.
        const auto slow =
            world.allreduce(world.rank() == 0 ? own : std::int64_t{0}, mpi::Reduction::sum);
        EXPECT_LT(slow, 60 / world.size());
    }
}

TEST(TaskCounterTest, StopEndsTheDealForAllAndAnErrorPasses) {
    const auto world = mpi::Communicator::world();
    // Dealt out evenly, the other ranks end with their own share.
    const std::size_t n = mpi::TaskCounter(world, 1).is_dynamic() ? 1000000000 : 3000;
    EXPECT_THROW(world.collectively([&] {
        mpi::TaskCounter tasks(world, n);
        while (const auto task = tasks.next())
            if (*task == 500) {
                tasks.stop();
                throw Error("voxel 500 is broken");
            }
    }),
                 Error);
}

} // namespace
} // namespace xrdct::mpi
