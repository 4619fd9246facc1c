// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/nexus/product_file.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <csignal>

namespace xrdct::mpi {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;
using Existing = nexus::ProductFile::Existing;

class ProductFileTest : public testing::Test {
  protected:
    void write(double value, Existing existing) {
        auto product = nexus::ProductFile::create(path_, existing);
        product.root().write_scalar("x", value);
        product.commit();
    }
    double read() {
        return hdf5::File::open(path_, hdf5::Access::read_only)
            .root()
            .open_dataset("x")
            .read_scalar();
    }
    test::TemporaryDirectory folder_;
    std::filesystem::path path_ = folder_ / "fbp.nxs";
};

TEST_F(ProductFileTest, AppearsWhenCommitted) {
    {
        auto product = nexus::ProductFile::create(path_, Existing::refuse);
        product.root().write_scalar("x", 3.0);
        EXPECT_FALSE(std::filesystem::exists(path_));
        EXPECT_TRUE(std::filesystem::exists(product.temporary_path()));
        product.commit();
        EXPECT_EQ(test::list_folder(folder_.path()), "fbp.nxs");
    }
    EXPECT_EQ(test::list_folder(folder_.path()), "fbp.nxs");
    EXPECT_DOUBLE_EQ(read(), 3.0);
}

TEST_F(ProductFileTest, LeavesNothingWithoutCommit) {
    try {
        auto product = nexus::ProductFile::create(path_, Existing::refuse);
        auto group = product.root().create_group("entry");
        throw Error("the stage failed");
    } catch (const Error&) {
    }
    EXPECT_EQ(test::list_folder(folder_.path()), "");
}

TEST_F(ProductFileTest, RefusesOrReplacesAnExistingFile) {
    write(1, Existing::refuse);
    EXPECT_THAT([&] { nexus::ProductFile::create(path_, Existing::refuse); },
                ThrowsMessage<Error>(HasSubstr("fbp.nxs: exists already")));
    {
        auto product = nexus::ProductFile::create(path_, Existing::replace);
        product.root().write_scalar("x", 2.0);
        EXPECT_DOUBLE_EQ(read(), 1.0);
    }
    EXPECT_DOUBLE_EQ(read(), 1.0);
    write(2, Existing::replace);
    EXPECT_DOUBLE_EQ(read(), 2.0);
    EXPECT_EQ(test::list_folder(folder_.path()), "fbp.nxs");
}

TEST_F(ProductFileTest, DoesNotOverwriteAFileThatAppearedMeanwhile) {
    auto product = nexus::ProductFile::create(path_, Existing::refuse);
    test::write_text(path_, "someone else's");
    EXPECT_THAT([&] { product.commit(); }, ThrowsMessage<Error>(HasSubstr("exists already")));
    EXPECT_EQ(test::list_folder(folder_.path()), "fbp.nxs");
    EXPECT_EQ(test::read_text(path_), "someone else's");
}

TEST_F(ProductFileTest, IsNotDisturbedByTheRemainsOfAKilledRun) {
    const auto remains = path_.string() + ".tmp-host-1234-5678";
    test::write_text(remains, "half a file");
    write(1, Existing::refuse);
    EXPECT_DOUBLE_EQ(read(), 1.0);
    EXPECT_EQ(test::read_text(remains), "half a file");
}

TEST_F(ProductFileTest, SaysWhyItCannotBeMade) {
    EXPECT_THAT([&] { nexus::ProductFile::create(folder_ / "none/fbp.nxs", Existing::refuse); },
                ThrowsMessage<Error>(HasSubstr("there is no folder")));
    std::filesystem::create_directory(path_);
    EXPECT_THAT([&] { nexus::ProductFile::create(path_, Existing::replace); },
                ThrowsMessage<Error>(HasSubstr("is a folder")));
}

TEST_F(ProductFileTest, CommitTellsOfObjectsLeftOpenAndLeavesNothing) {
    auto product = nexus::ProductFile::create(path_, Existing::refuse);
    const auto root = product.root();
    EXPECT_THAT([&] { product.commit(); }, ThrowsMessage<Error>(HasSubstr("still open")));
    EXPECT_EQ(test::list_folder(folder_.path()), "");
}

// Contiguous and compressed data: too large, and ending within a few blocks of the last free one.
TEST_F(ProductFileTest, AFullDiskIsAnErrorAndLeavesNothing) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    test::TinyFileSystem tiny(24 * mib);
    if (!tiny.available())
        GTEST_SKIP() << tiny.reason();
    const auto path = tiny.path() / "fbp.nxs";
    std::vector<double> noise(7 * mib / sizeof(double));
    std::uint64_t state = 1;
    for (double& value : noise) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        value = static_cast<double>(state >> 11) * static_cast<double>(state >> 7);
    }
    int failed = 0;
    int succeeded = 0;
    std::vector<std::size_t> fillers = {0, 9 * mib, 23 * mib, 24 * mib};
    for (std::size_t kib = 0; kib <= 128; kib += 16)
        fillers.push_back(mib + kib * 1024 - 64 * 1024);
    for (const auto& storage :
         {hdf5::Storage{}, hdf5::Storage{{1 << 12}, 0, true}, hdf5::Storage{{1 << 14}, 1, true}})
        for (const std::size_t filler : fillers) {
            test::write_text(tiny.path() / "filler", std::string(filler, 'x'));
            bool written = true;
            try {
                auto product = nexus::ProductFile::create(path, Existing::refuse);
                for (int i = 0; i < 20; ++i)
                    product.root().write_array("group" + std::to_string(i) + "/x", {64},
                                               std::span<const double>(noise.data(), 64));
                product.root().write_array("x", {noise.size()}, std::span<const double>(noise),
                                           storage);
                product.commit();
            } catch (const Error& error) {
                written = false;
                EXPECT_THAT(error.what(), HasSubstr("fbp.nxs"));
                EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
            }
            ++(written ? succeeded : failed);
            EXPECT_EQ(test::list_folder(tiny.path()), written ? "fbp.nxs filler" : "filler")
                << filler;
            if (written) {
                EXPECT_EQ(hdf5::File::open(path, hdf5::Access::read_only)
                              .root()
                              .open_dataset("x")
                              .read_all<double>(),
                          noise);
                std::filesystem::remove(path);
            }
        }
    EXPECT_GE(failed, 9);
    EXPECT_GE(succeeded, 3);
}

// A write that fails although there is space: a limit on the size of files.
TEST_F(ProductFileTest, AWriteErrorLeavesNothing) {
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old_limit{};
    getrlimit(RLIMIT_FSIZE, &old_limit);
    const rlimit limit{1 << 20, old_limit.rlim_max};
    const std::vector<float> values(5 << 20, 1.5F);
    for (const auto& storage : {hdf5::Storage{}, hdf5::Storage{{1 << 16}, 0, true}}) {
        auto product = nexus::ProductFile::create(path_, Existing::refuse);
        setrlimit(RLIMIT_FSIZE, &limit);
        EXPECT_THAT(
            [&] {
                product.root().write_array("x", {values.size()}, std::span<const float>(values),
                                           storage);
                product.commit();
            },
            ThrowsMessage<Error>(HasSubstr("File too large")));
        setrlimit(RLIMIT_FSIZE, &old_limit);
        // Even with the disk well again nothing half-written can be delivered.
        EXPECT_THROW(product.commit(), Error);
        EXPECT_EQ(test::list_folder(folder_.path()), "");
    }
    std::signal(SIGXFSZ, old_handler);
}

} // namespace
} // namespace xrdct::mpi
