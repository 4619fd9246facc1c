// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/decomposition.hpp"
#include "mpi/comm/node_team.hpp"

#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

using namespace xrdct;
using namespace xrdct::mpi;

namespace {

const Communicator& world() {
    static const Communicator communicator = Communicator::world();
    return communicator;
}
std::size_t ranks() {
    return static_cast<std::size_t>(world().size());
}

TEST(NodeTeam, SizesAndNumber) {
    for (const std::size_t most : {1U, 2U, 3U, 99U}) {
        const NodeTeam team(world(), most);
        EXPECT_LE(team.size(), most);
        EXPECT_LT(team.rank(), team.size());
        EXPECT_EQ(team.teams(), (ranks() + most - 1) / most); // all on this machine
        const auto sizes = world().allgather(team.rank() == 0 ? team.size() : 0);
        EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}), ranks());
    }
}

TEST(NodeTeam, MembersSeeOneMemory) {
    const NodeTeam team(world(), 2);
    SharedArray<int> numbers;
    numbers.resize(team, 1000);
    for (const int number : numbers)
        ASSERT_EQ(number, 0);
    for (int round = 1; round < 4; ++round) {
        team.barrier(); // all have read
        team.run_and_sync([&] {
            const auto [begin, end] = team.share(numbers.size());
            for (std::size_t i = begin; i < end; ++i)
                numbers[i] = round * static_cast<int>(i);
        });
        for (std::size_t i = 0; i < numbers.size(); ++i)
            ASSERT_EQ(numbers[i], round * static_cast<int>(i));
    }
    const std::vector<double> values{1, 2, 3};
    const SharedArray<double> copy(team, values);
    EXPECT_EQ(std::vector<double>(copy.begin(), copy.end()), values);
    const SharedArray<double> none(team, std::span<const double>());
    EXPECT_TRUE(none.empty());
    // Larger than a page, and gone with its last owner.
    for (int i = 0; i < 50; ++i) {
        SharedArray<double> large;
        large.resize(team, 1 << 20);
        team.run_and_sync([&] {
            const auto [begin, end] = team.share(large.size());
            std::fill(large.begin() + begin, large.begin() + end, 1.0);
        });
        ASSERT_EQ(large[(1 << 20) - 1], 1.0);
    }
}

TEST(NodeTeam, SharesCoverEverythingOnce) {
    const NodeTeam team(world());
    for (const std::size_t n : {0U, 1U, 15U, 16U, 17U, 1000U}) {
        SharedArray<int> touched;
        touched.resize(team, n + 1);
        team.run_and_sync([&] {
            const auto [begin, end] = team.share(n);
            for (std::size_t i = begin; i < end; ++i)
                ++touched[i];
        });
        for (std::size_t i = 0; i < n; ++i)
            ASSERT_EQ(touched[i], 1);
        ASSERT_EQ(touched[n], 0);
    }
}

TEST(NodeTeam, GathersAndSums) {
    for (const std::size_t most : {1U, 2U, 99U})
        for (const std::size_t n : {1U, 5U, 1000U}) {
            const NodeTeam team(world(), most);
            const auto own = block_range(n, ranks(), static_cast<std::size_t>(world().rank()));
            SharedArray<double> whole;
            whole.resize(team, n);
            for (int round = 0; round < 3; ++round) {
                std::vector<double> part;
                for (std::size_t i = own.begin; i < own.end; ++i)
                    part.push_back(10.0 * round + static_cast<double>(i));
                team.gather(part, whole.span());
                for (std::size_t i = 0; i < n; ++i)
                    ASSERT_EQ(whole[i], 10.0 * round + static_cast<double>(i));
            }
            SharedArray<float> sums;
            sums.resize(team, n);
            team.run_and_sync([&] {
                if (team.rank() == 0)
                    std::fill(sums.begin(), sums.end(), 2.0F);
            });
            team.sum(sums.span());
            for (const float sum : sums)
                ASSERT_EQ(sum, 2.0F * static_cast<float>(team.teams()));
            EXPECT_THROW(team.gather(std::vector<double>(own.size() + 1), whole.span()), Error);
        }
}

TEST(NodeTeam, AnErrorOfOneIsThatOfAll) {
    const NodeTeam team(world());
    const auto work = [&] {
        team.run_and_sync([&] {
            if (team.rank() + 1 == team.size())
                throw Error("the last member fails");
        });
    };
    EXPECT_THROW(work(), Error);
    EXPECT_THROW((void)team.allocate(std::size_t{1} << 62), std::exception);
    SharedArray<int> numbers; // and the team goes on
    numbers.resize(team, 10);
    EXPECT_EQ(numbers[9], 0);
}

TEST(NodeTeam, AloneNeedsNobody) {
    const SharedMemoryTeam& team = SharedMemoryTeam::single();
    EXPECT_EQ(team.size(), 1U);
    SharedArray<float> numbers;
    numbers.resize(team, 33);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(numbers.data()) % 64, 0U);
    numbers[32] = 1;
    numbers.resize(team, 33);
    EXPECT_EQ(numbers[32], 1); // as it was
    numbers.resize(team, 34);
    EXPECT_EQ(numbers[32], 0);
}

} // namespace
