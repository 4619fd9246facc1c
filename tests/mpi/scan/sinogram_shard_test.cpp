// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "support/mpi_support.hpp"
#include "support/sample_scan.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace xrdct::mpi {
namespace {

using hdf5::Storage;
using test::SampleScan;
using testing::HasSubstr;
using testing::ThrowsMessage;

class SinogramShardTest : public testing::Test {
  protected:
    void write(const SampleScan& scan) {
        world_.barrier();
        if (world_.is_root())
            scan.write(path_);
        world_.barrier();
    }
    void expect_shard(const scan::SinogramFile& file, const SampleScan& scan,
                      mpi::BlockRange block) {
        const mpi::BlockRange own = scan::SinogramFile::own_channels(block, world_);
        std::vector<float> shard(scan.n_rotation * scan.n_translation * own.size(), -1);
        file.read_channel_shard(world_, block, shard);
        std::size_t i = 0;
        std::size_t wrong = 0;
        for (std::size_t r = 0; r < scan.n_rotation; ++r)
            for (std::size_t t = 0; t < scan.n_translation; ++t)
                for (std::size_t k = own.begin; k < own.end; ++k)
                    wrong += shard[i++] == static_cast<float>(SampleScan::value(r, t, k)) ? 0U : 1U;
        EXPECT_EQ(wrong, 0U);
        EXPECT_EQ(world_.allreduce(static_cast<std::int64_t>(own.size()), mpi::Reduction::sum),
                  static_cast<std::int64_t>(block.size()));
    }
    mpi::Communicator world_ = mpi::Communicator::world();
    test::SharedTemporaryDirectory folder_{world_};
    std::filesystem::path path_ = folder_ / "scan.nxs";
};

TEST_F(SinogramShardTest, EveryAxisOrderAndStorage) {
    const std::array<std::array<int, 3>, 6> orders = {
        {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}};
    for (const auto& order : orders)
        for (const Storage& storage :
             {Storage{}, Storage{{2, 3, 4}, 0, false}, Storage{{5, 7, 5}, 2, true}}) {
            SampleScan scan;
            scan.order = order;
            scan.storage = storage;
            write(scan);
            {
                const auto file = scan::SinogramFile::open(path_, {}, &world_);
                expect_shard(file, scan, {0, 11});
                expect_shard(file, scan, {3, 9});
                // Fewer channels than ranks, and none.
                expect_shard(file, scan, {4, 5});
                expect_shard(file, scan, {4, 4});
            }
            const auto serial = scan::SinogramFile::open(path_);
            expect_shard(serial, scan, {2, 11});
        }
}

TEST_F(SinogramShardTest, FewerRowsThanRanks) {
    for (const std::array<int, 3>& order : {std::array{0, 1, 2}, {1, 0, 2}}) {
        SampleScan scan;
        scan.n_rotation = 1;
        scan.n_translation = 2;
        scan.order = order;
        write(scan);
        expect_shard(scan::SinogramFile::open(path_, {}, &world_), scan, {0, 11});
    }
}

TEST_F(SinogramShardTest, ErrorsAreTheSameOnAllRanks) {
    const SampleScan scan;
    write(scan);
    {
        const auto file = scan::SinogramFile::open(path_, {}, &world_);
        std::vector<float> shard(scan.n_rotation * scan.n_translation *
                                 scan::SinogramFile::own_channels({0, 11}, world_).size());
        EXPECT_THROW(file.read_channel_shard(world_, {0, 12}, shard), Error);
        // One rank's memory is too small.
        EXPECT_THROW(
            file.read_channel_shard(
                world_, {0, 11}, std::span(shard).first(shard.size() - (world_.is_root() ? 1 : 0))),
            Error);
        expect_shard(file, scan, {0, 11});
    }
    // An infinity that only the rank with the last rotation reads.
    world_.barrier();
    if (world_.is_root()) {
        const double infinite = std::numeric_limits<double>::infinity();
        hdf5::File::open(path_, hdf5::Access::read_write)
            .root()
            .open_dataset("/entry/data/intensity")
            .write(hdf5::Selection{{4, 6, 10}, {1, 1, 1}}, std::span<const double>(&infinite, 1));
    }
    world_.barrier();
    {
        const auto file = scan::SinogramFile::open(path_, {}, &world_);
        std::vector<float> shard(scan.n_rotation * scan.n_translation *
                                 scan::SinogramFile::own_channels({0, 11}, world_).size());
        EXPECT_THAT(
            [&] {
                file.read_channel_shard(world_, {0, 11}, shard);
            },
            ThrowsMessage<Error>(
                HasSubstr("infinite value at rotation 4, translation 6, channel 10")));
    }
    world_.barrier();
    if (world_.is_root()) {
        const std::string content = test::read_text(path_);
        test::write_text(path_, content.substr(0, content.size() / 2));
    }
    world_.barrier();
    EXPECT_THAT([&] { scan::SinogramFile::open(path_, {}, &world_); },
                ThrowsMessage<Error>(HasSubstr("scan.nxs: is ")));
    scan::SinogramSource wrong;
    wrong.distance = -1;
    write(scan);
    EXPECT_THAT([&] { scan::SinogramFile::open(path_, wrong, &world_); },
                ThrowsMessage<Error>(HasSubstr("distance must be positive")));
}

} // namespace
} // namespace xrdct::mpi
