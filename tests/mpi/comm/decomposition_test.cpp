// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"

#include <gtest/gtest.h>

namespace xrdct::mpi {
namespace {

TEST(BlockRangeTest, CoversEveryIndexOnceWithBalancedParts) {
    for (const std::size_t n : {0U, 1U, 2U, 5U, 7U, 100U, 101U})
        for (const std::size_t parts : {1U, 2U, 3U, 4U, 7U, 150U}) {
            std::size_t next = 0;
            std::size_t smallest = n;
            std::size_t largest = 0;
            for (std::size_t part = 0; part < parts; ++part) {
                const mpi::BlockRange range = block_range(n, parts, part);
                EXPECT_EQ(range.begin, next);
                next = range.end;
                smallest = std::min(smallest, range.size());
                largest = std::max(largest, range.size());
            }
            EXPECT_EQ(next, n);
            EXPECT_LE(largest - smallest, 1U);
        }
}

TEST(BlockRangeTest, RefusesPartsThatDoNotExist) {
    EXPECT_THROW(block_range(5, 2, 2), Error);
    EXPECT_THROW(block_range(5, 0, 0), Error);
}

TEST(SplitRangeTest, PiecesAreNoLargerThanAskedFor) {
    const auto pieces = split_range({10, 27}, 5);
    ASSERT_EQ(pieces.size(), 4U);
    EXPECT_EQ(pieces.front().begin, 10U);
    EXPECT_EQ(pieces.back().end, 27U);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        EXPECT_LE(pieces[i].size(), 5U);
        EXPECT_GE(pieces[i].size(), 4U);
        if (i > 0) {
            EXPECT_EQ(pieces[i].begin, pieces[i - 1].end);
        }
    }
    EXPECT_TRUE(split_range({4, 4}, 5).empty());
    EXPECT_EQ(split_range({0, 3}, 0).size(), 3U);
}

} // namespace
} // namespace xrdct::mpi
