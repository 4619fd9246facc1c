// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/files/checksum.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

namespace xrdct::mpi {
namespace {

// FIPS 180-2, appendix B.
TEST(ChecksumTest, AgreesWithThePublishedDigests) {
    EXPECT_EQ(files::sha256_of_text("abc"),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(files::sha256_of_text(""),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(ChecksumTest, ReadsFilesLargerThanItsBuffer) {
    const test::TemporaryDirectory folder;
    test::write_text(folder / "a", std::string(1000000, 'a'));
    EXPECT_EQ(files::sha256_of_file(folder / "a"),
              "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    const std::string large(3000001, 'x');
    test::write_text(folder / "b", large);
    EXPECT_EQ(files::sha256_of_file(folder / "b"), files::sha256_of_text(large));
}

TEST(ChecksumTest, NamesTheFileThatCannotBeRead) {
    const test::TemporaryDirectory folder;
    for (const auto& path : {folder / "missing.h5", folder.path()})
        try {
            files::sha256_of_file(path);
            FAIL() << path;
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
        }
}

/// Test vectors of RFC 1321, in base 64.
TEST(ChecksumTest, Md5OfBytes) {
    EXPECT_EQ(files::md5_base64(""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    EXPECT_EQ(files::md5_base64("abc"), "kAFQmDzST7DWlj99KOF/cg==");
}

} // namespace
} // namespace xrdct::mpi
