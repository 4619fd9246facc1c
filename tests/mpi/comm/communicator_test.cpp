// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <numeric>
#include <stdexcept>

namespace xrdct::mpi {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

class CommunicatorTest : public testing::Test {
  protected:
    mpi::Communicator world_ = mpi::Communicator::world();
    int rank_ = world_.rank();
    int size_ = world_.size();
};

TEST_F(CommunicatorTest, KnowsItsRanks) {
    EXPECT_TRUE(mpi::Environment::initialized());
    EXPECT_THROW(mpi::Environment(), Error);
    EXPECT_EQ(mpi::Communicator::self().size(), 1);
    const auto copy = world_.duplicate();
    EXPECT_EQ(copy.rank(), rank_);
    EXPECT_NE(copy.handle(), world_.handle());
    const auto parts = world_.split(rank_ % 2, -rank_);
    EXPECT_EQ(parts.size(), rank_ % 2 == 0 ? (size_ + 1) / 2 : size_ / 2);
    // The key turns the order round.
    EXPECT_EQ(parts.rank(), parts.size() - 1 - rank_ / 2);
    EXPECT_EQ(world_.split_shared().size(), size_);
    EXPECT_THROW(world_.split(rank_ == 0 ? -1 : 0, 0), Error);
}

TEST_F(CommunicatorTest, MovesItsHandle) {
    auto first = world_.duplicate();
    const auto handle = first.handle();
    auto second = std::move(first);
    EXPECT_EQ(second.handle(), handle);
    second = world_.duplicate();
    EXPECT_EQ(second.allreduce(1.0, mpi::Reduction::sum), size_);
}

TEST_F(CommunicatorTest, Broadcasts) {
    const int root = size_ - 1;
    double value = rank_;
    world_.broadcast(value, root);
    EXPECT_EQ(value, root);
    std::vector<float> values;
    if (rank_ == root)
        values.assign(3, 2.5F);
    world_.broadcast(values, root);
    EXPECT_EQ(values, std::vector<float>(3, 2.5F));
    std::string text = rank_ == root ? "Å and µ" : "something longer than that";
    world_.broadcast(text, root);
    EXPECT_EQ(text, "Å and µ");
    std::vector<std::string> texts;
    if (rank_ == root)
        texts = {"a", "", "ccc"};
    world_.broadcast(texts, root);
    EXPECT_EQ(texts, (std::vector<std::string>{"a", "", "ccc"}));
}

TEST_F(CommunicatorTest, Reduces) {
    const double n = size_;
    EXPECT_EQ(world_.allreduce(rank_ + 1.0, mpi::Reduction::sum), n * (n + 1) / 2);
    EXPECT_EQ(world_.allreduce(std::int64_t{rank_}, mpi::Reduction::max), size_ - 1);
    EXPECT_EQ(world_.allreduce(static_cast<float>(rank_ + 1), mpi::Reduction::min), 1.0F);
    std::vector<double> values = {1.0 * rank_, 1.0};
    world_.allreduce(std::span<double>(values), mpi::Reduction::sum);
    EXPECT_EQ(values[0], n * (n - 1) / 2);
    EXPECT_EQ(values[1], n);
    std::vector<float> on_root = {1, 2};
    world_.reduce(std::span<float>(on_root), mpi::Reduction::sum);
    EXPECT_EQ(on_root[1], rank_ == 0 ? 2 * static_cast<float>(size_) : 2);
}

TEST_F(CommunicatorTest, GathersAndScattersUnequalParts) {
    std::vector<std::int32_t> own(static_cast<std::size_t>(rank_), rank_);
    std::vector<std::int32_t> expected;
    std::vector<std::size_t> counts;
    for (int r = 0; r < size_; ++r) {
        counts.push_back(static_cast<std::size_t>(r));
        expected.insert(expected.end(), static_cast<std::size_t>(r), r);
    }
    EXPECT_EQ(world_.allgather(own), expected);
    const auto gathered = world_.gather(own, size_ - 1);
    EXPECT_EQ(gathered, rank_ == size_ - 1 ? expected : std::vector<std::int32_t>{});
    EXPECT_EQ(world_.scatter(std::span<const std::int32_t>(expected), counts), own);
    EXPECT_THROW(world_.scatter(std::span<const std::int32_t>(expected).first(0),
                                std::vector<std::size_t>(counts.size(), 1)),
                 Error);
    const auto texts = world_.gather(std::string(static_cast<std::size_t>(rank_), 'x'));
    if (rank_ == 0) {
        ASSERT_EQ(texts.size(), static_cast<std::size_t>(size_));
        EXPECT_EQ(texts.back(), std::string(static_cast<std::size_t>(size_ - 1), 'x'));
    }
}

TEST_F(CommunicatorTest, NothingHappensWhenAllAgree) {
    world_.agree(std::nullopt);
    EXPECT_EQ(world_.collectively([&] { return rank_; }), rank_);
    EXPECT_EQ(*world_.collectively([&] { return std::make_unique<int>(7); }), 7);
}

TEST_F(CommunicatorTest, AFailureOnOneRankIsAFailureOnAll) {
    for (int failing = 0; failing < size_; ++failing) {
        const std::string expected = size_ == 1
                                         ? "no such file"
                                         : "no such file (on rank " + std::to_string(failing) +
                                               " of " + std::to_string(size_) + ")";
        EXPECT_THAT(
            [&] {
                world_.collectively([&] {
                    if (rank_ == failing)
                        throw Error("no such file");
                });
            },
            ThrowsMessage<Error>(testing::StrEq(expected)));
    }
    // Every rank fails in its own way: the lowest one speaks, and what all met is not blamed on
    // one.
    EXPECT_THAT([&] { world_.agree("failure " + std::to_string(rank_)); },
                ThrowsMessage<Error>(testing::StrEq("failure 0")));
}

TEST_F(CommunicatorTest, UnforeseenErrorsAreAgreedOnToo) {
    const auto last = [&](auto&& work) {
        return [this, work] {
            world_.collectively([&] {
                if (rank_ == size_ - 1)
                    work();
            });
        };
    };
    EXPECT_THAT(last([] { throw std::bad_alloc(); }),
                ThrowsMessage<Error>(StartsWith("out of memory")));
    EXPECT_THAT(last([] { throw std::out_of_range("index 5"); }),
                ThrowsMessage<Error>(StartsWith("unexpected error: index 5")));
    EXPECT_THAT(last([] { throw 7; }), ThrowsMessage<Error>(StartsWith("unexpected error")));
}

} // namespace
} // namespace xrdct::mpi
