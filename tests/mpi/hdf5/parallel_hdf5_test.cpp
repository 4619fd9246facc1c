// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/nexus/nexus.hpp"
#include "mpi/nexus/product_file.hpp"
#include "support/mpi_support.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>

#include <optional>

namespace xrdct::mpi {
namespace {

using hdf5::Access;
using hdf5::ElementType;
using hdf5::File;
using hdf5::Selection;
using hdf5::Storage;
using hdf5::Transfer;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;
using testing::ThrowsMessage;

class ParallelHdf5Test : public testing::Test {
  protected:
    mpi::Communicator world_ = mpi::Communicator::world();
    test::SharedTemporaryDirectory folder_{world_};
    std::filesystem::path path_ = folder_ / "volume.nxs";
    const hdf5::Shape shape_{6, 5, 9};

    static float value(std::size_t i) { return static_cast<float>(i) * 0.5F; }

    /// This rank's channels (last axis) of the whole array.
    std::pair<Selection, std::vector<float>> own_share() const {
        const auto range = block_range(shape_[2], static_cast<std::size_t>(world_.size()),
                                       static_cast<std::size_t>(world_.rank()));
        const Selection selection{{0, 0, range.begin}, {shape_[0], shape_[1], range.size()}};
        std::vector<float> values;
        for (std::size_t i = 0; i < shape_[0] * shape_[1]; ++i)
            for (std::size_t k = range.begin; k < range.end; ++k)
                values.push_back(value(i * shape_[2] + k));
        return {selection, values};
    }
    std::size_t count_wrong(const std::vector<float>& all) const {
        std::size_t wrong = 0;
        for (std::size_t i = 0; i < all.size(); ++i)
            wrong += all[i] == value(i) ? 0U : 1U;
        return wrong;
    }
};

TEST_F(ParallelHdf5Test, WritesSharesTogether) {
    for (const ElementType type : {ElementType::float32, ElementType::float64, ElementType::int16})
        for (const Storage& storage : {Storage{}, Storage{{2, 5, 4}, 0, false},
                                       Storage{{6, 5, 2}, 2, true}, Storage{{1, 2, 9}, 2, false}}) {
            {
                auto file = File::open(path_, Access::create, &world_);
                auto dataset = file.root().create_dataset("entry/volume", type, shape_, storage);
                auto [selection, values] = own_share();
                if (type == ElementType::int16)
                    for (float& v : values)
                        v *= 2;
                dataset.write(selection, std::span<const float>(values), Transfer::collective);
            }
            world_.barrier();
            // Each rank reads all of it, alone and then together with the others.
            std::vector<float> all(6 * 5 * 9);
            const auto halve = [&] {
                if (type == ElementType::int16)
                    for (float& v : all)
                        v /= 2;
            };
            File::open(path_, Access::read_only)
                .root()
                .open_dataset("entry/volume")
                .read(std::span(all));
            halve();
            EXPECT_EQ(count_wrong(all), 0U);
            std::fill(all.begin(), all.end(), -1.0F);
            {
                const auto dataset = File::open(path_, Access::read_only, &world_)
                                         .root()
                                         .open_dataset("entry/volume");
                dataset.read(std::span(all), Transfer::collective);
                halve();
                EXPECT_EQ(count_wrong(all), 0U);
                // Independent: one rank alone.
                if (world_.rank() == world_.size() - 1) {
                    std::vector<float> line(9);
                    dataset.read(Selection{{1, 2, 0}, {1, 1, 9}}, std::span(line));
                    EXPECT_EQ(line[3] / (type == ElementType::int16 ? 2 : 1),
                              value((1 * 5 + 2) * 9 + 3));
                }
            }
            world_.barrier();
        }
}

TEST_F(ParallelHdf5Test, RootWritesSmallThingsForAll) {
    {
        auto file = File::open(path_, Access::create, &world_);
        auto root = file.root();
        std::string time = nexus::now_utc();
        world_.broadcast(time);
        nexus::write_root(root, "0.1.0", "abc", time);
        auto entry = nexus::require_class(root, "entry", "NXentry");
        entry.write_string("title", "written by " + std::to_string(world_.size()));
        entry.write_strings("names", {"a", "bcd"});
        auto data = nexus::require_data(entry, "maps", "a", {"y", "x"});
        const std::vector<double> values = {1, 2, 3, 4, 5, 6};
        nexus::write_map(data, "a", values, 2, 3, {"angstrom", ""});
        nexus::write_axis(data, "x", std::vector<double>{0, 1, 2}, {"mm", "x"});
        nexus::write_value(entry, "ranks", std::int64_t{world_.size()});
        nexus::write_value(entry, "seconds", 1.5, {"s", ""});
        nexus::set_default(data);
        root.create_soft_link("entry/link", "/entry/maps/a");
    }
    world_.barrier();
    const auto root = File::open(path_, Access::read_only).root();
    EXPECT_EQ(root.open_dataset("entry/title").read_string(),
              "written by " + std::to_string(world_.size()));
    EXPECT_EQ(root.open_dataset("entry/names").read_strings().at(1), "bcd");
    EXPECT_EQ(nexus::read_map(nexus::default_data(root).value(), "a").values.at(4), 5);
    EXPECT_EQ(root.open_dataset("entry/link").read_all<double>().at(5), 6);
    EXPECT_EQ(nexus::read_value(root.open_group("entry"), "ranks"), world_.size());
}

TEST_F(ParallelHdf5Test, ABadFileFailsOnAllRanks) {
    const auto fails = [&](const std::string& what) {
        EXPECT_THAT([&] { File::open(path_, Access::read_only, &world_); },
                    ThrowsMessage<Error>(AllOf(HasSubstr("volume.nxs"), HasSubstr(what))));
        world_.barrier();
    };
    fails("no such file");
    if (world_.is_root())
        test::write_text(path_, "text");
    world_.barrier();
    fails("is not an HDF5 file");
    if (world_.is_root()) {
        File::open(path_, Access::create)
            .root()
            .write_array("x", {1000}, std::span<const float>(std::vector<float>(1000)));
        const std::string content = test::read_text(path_);
        test::write_text(path_, content.substr(0, content.size() - 100));
    }
    world_.barrier();
    fails("is truncated");
    EXPECT_THAT([&] { File::open(folder_ / "none/x.nxs", Access::create, &world_); },
                ThrowsMessage<Error>(HasSubstr("cannot be created")));
}

TEST_F(ParallelHdf5Test, AWrongSelectionOnOneRankFailsOnAll) {
    auto file = File::open(path_, Access::create, &world_);
    auto dataset = file.root().create_dataset("d", ElementType::float32, {10});
    const bool last = world_.rank() == world_.size() - 1;
    const std::vector<float> values(last ? 3 : 0);
    EXPECT_THAT(
        [&] {
            dataset.write(Selection{{last ? 8U : 0U}, {values.size()}},
                          std::span<const float>(values), Transfer::collective);
        },
        ThrowsMessage<Error>(HasSubstr("/d: the selection [3] at [8] leaves the shape [10]")));
}

TEST_F(ParallelHdf5Test, AProductAppearsWhenAllAreDone) {
    {
        auto product =
            nexus::ProductFile::create(path_, nexus::ProductFile::Existing::refuse, &world_);
        {
            auto dataset = product.root().create_dataset("v", ElementType::float32, shape_,
                                                         Storage{{3, 5, 4}, 1, true});
            const auto [selection, values] = own_share();
            dataset.write(selection, std::span<const float>(values), Transfer::collective);
        }
        EXPECT_FALSE(std::filesystem::exists(path_));
        product.commit();
    }
    EXPECT_EQ(test::list_folder(folder_.path()), "volume.nxs");
    EXPECT_EQ(count_wrong(
                  File::open(path_, Access::read_only).root().open_dataset("v").read_all<float>()),
              0U);
    world_.barrier();
    EXPECT_THAT(
        [&] { nexus::ProductFile::create(path_, nexus::ProductFile::Existing::refuse, &world_); },
        ThrowsMessage<Error>(StartsWith((path_.string() + ": exists already").c_str())));
}

TEST_F(ParallelHdf5Test, AProductOfAFailedStageVanishes) {
    EXPECT_THROW(
        {
            auto product =
                nexus::ProductFile::create(path_, nexus::ProductFile::Existing::refuse, &world_);
            auto dataset = product.root().create_dataset("v", ElementType::float32, shape_);
            world_.collectively([&] {
                if (world_.rank() == world_.size() - 1)
                    throw Error("this rank's share failed");
            });
        },
        Error);
    world_.barrier();
    EXPECT_EQ(test::list_folder(folder_.path()), "");
}

// All the ways a write can meet a full disk: in the data, compressed or not, and in what is flushed
// at the end.
TEST_F(ParallelHdf5Test, AFullDiskIsAnErrorOnAllRanksAndLeavesNothing) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    std::optional<test::TinyFileSystem> tiny;
    std::string where;
    std::string reason;
    if (world_.is_root()) {
        tiny.emplace(24 * mib);
        reason = tiny->reason();
        where = tiny->path().string();
    }
    world_.broadcast(reason);
    world_.broadcast(where);
    if (!reason.empty())
        GTEST_SKIP() << reason;
    const std::filesystem::path path = std::filesystem::path(where) / "fbp.nxs";
    const hdf5::Shape shape{64, 64, 256};
    const auto range = block_range(256, static_cast<std::size_t>(world_.size()),
                                   static_cast<std::size_t>(world_.rank()));
    std::vector<float> noise(64 * 64 * range.size());
    std::uint32_t state = 1;
    for (float& v : noise)
        v = static_cast<float>(state = state * 1664525U + 1013904223U);
    const std::vector<double> map(64 * 64, 1.0);
    int failed = 0;
    int succeeded = 0;
    for (const std::size_t filler :
         {std::size_t{0}, 3 * mib, 4 * mib - (64 << 10), 4 * mib - (32 << 10), 4 * mib, 7 * mib,
          8 * mib, 8 * mib + (32 << 10), 23 * mib, 24 * mib})
        for (const Storage& storage :
             {Storage{}, Storage{{16, 16, 32}, 0, false}, Storage{{16, 16, 32}, 1, true}}) {
            if (world_.is_root())
                test::write_text(std::filesystem::path(where) / "filler", std::string(filler, 'x'));
            world_.barrier();
            bool written = true;
            try {
                auto product =
                    nexus::ProductFile::create(path, nexus::ProductFile::Existing::refuse, &world_);
                {
                    auto root = product.root();
                    auto entry = nexus::require_class(root, "entry", "NXentry");
                    nexus::write_map(entry, "map", map, 64, 64);
                    auto dataset = root.create_dataset("v", ElementType::float32, shape, storage);
                    dataset.write(Selection{{0, 0, range.begin}, {64, 64, range.size()}},
                                  std::span<const float>(noise), Transfer::collective);
                }
                product.commit();
            } catch (const Error& error) {
                written = false;
                EXPECT_THAT(error.what(), HasSubstr("fbp.nxs"));
                EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
            }
            ++(written ? succeeded : failed);
            world_.barrier();
            EXPECT_EQ(test::list_folder(where), written ? "fbp.nxs filler" : "filler");
            world_.barrier();
            if (written && world_.is_root()) {
                EXPECT_EQ(File::open(path, Access::read_only)
                              .root()
                              .open_dataset("v")
                              .read_all<float>()
                              .size(),
                          64U * 64U * 256U);
                std::filesystem::remove(path);
            }
            world_.barrier();
        }
    EXPECT_GE(failed, 12);
    EXPECT_GE(succeeded, 3);
    world_.barrier();
}

// A write that fails although there is space: a limit on the size of files.
TEST_F(ParallelHdf5Test, AWriteErrorIsAnErrorOnAllRanksAndLeavesNothing) {
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old_limit{};
    getrlimit(RLIMIT_FSIZE, &old_limit);
    const rlimit limit{17 << 20, old_limit.rlim_max};
    const auto range = block_range(10 << 20, static_cast<std::size_t>(world_.size()),
                                   static_cast<std::size_t>(world_.rank()));
    const std::vector<float> values(range.size(), 1.5F);
    for (const Storage& storage : {Storage{}, Storage{{1 << 18}, 0, false}}) {
        std::string message;
        {
            auto product =
                nexus::ProductFile::create(path_, nexus::ProductFile::Existing::refuse, &world_);
            auto dataset =
                product.root().create_dataset("v", ElementType::float32, {10 << 20}, storage);
            setrlimit(RLIMIT_FSIZE, &limit);
            try {
                dataset.write(Selection{{range.begin}, {range.size()}},
                              std::span<const float>(values), Transfer::collective);
            } catch (const Error& error) {
                message = error.what();
            }
            setrlimit(RLIMIT_FSIZE, &old_limit);
        }
        EXPECT_THAT(message, HasSubstr("/v: writing failed"));
        world_.barrier();
        EXPECT_EQ(test::list_folder(folder_.path()), "");
        world_.barrier();
    }
    std::signal(SIGXFSZ, old_handler);
}

// The limit of the shell is there from the beginning, and when the file is closed: it is met before
// HDF5 meets it.
TEST_F(ParallelHdf5Test, ALimitOfTheSizeOfFilesIsMetBeforeWriting) {
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old_limit{};
    getrlimit(RLIMIT_FSIZE, &old_limit);
    const auto range = block_range(10 << 20, static_cast<std::size_t>(world_.size()),
                                   static_cast<std::size_t>(world_.rank()));
    const std::vector<float> values(range.size(), 1.5F);
    for (const auto& [megabytes, storage] :
         {std::pair{rlim_t{1}, Storage{}}, {17, Storage{}}, {17, Storage{{1 << 18}, 1, false}}}) {
        const rlimit limit{megabytes << 20, old_limit.rlim_max};
        std::string message;
        setrlimit(RLIMIT_FSIZE, &limit);
        try {
            auto product =
                nexus::ProductFile::create(path_, nexus::ProductFile::Existing::refuse, &world_);
            auto dataset =
                product.root().create_dataset("v", ElementType::float32, {10 << 20}, storage);
            world_.collectively([&] {
                dataset.write(Selection{{range.begin}, {range.size()}},
                              std::span<const float>(values), Transfer::collective);
            });
        } catch (const Error& error) {
            message = error.what();
        }
        setrlimit(RLIMIT_FSIZE, &old_limit);
        EXPECT_THAT(message, HasSubstr("the limit is " + std::to_string(megabytes) + " MiB"));
        world_.barrier();
        EXPECT_EQ(test::list_folder(folder_.path()), "");
        world_.barrier();
    }
    std::signal(SIGXFSZ, old_handler);
}

} // namespace
} // namespace xrdct::mpi
