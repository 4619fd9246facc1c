// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/files/checksum.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <span>
#include <string>

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

TEST(Base64, MatchesTheStandardsVectors) { // RFC 4648, section 10
    const auto encoded = [](const std::string& text) {
        return files::base64(std::as_bytes(std::span(text)));
    };
    EXPECT_EQ(encoded(""), "");
    EXPECT_EQ(encoded("f"), "Zg==");
    EXPECT_EQ(encoded("fo"), "Zm8=");
    EXPECT_EQ(encoded("foo"), "Zm9v");
    EXPECT_EQ(encoded("foob"), "Zm9vYg==");
    EXPECT_EQ(encoded("fooba"), "Zm9vYmE=");
    EXPECT_EQ(encoded("foobar"), "Zm9vYmFy");
    EXPECT_EQ(encoded(std::string("\xFB\xFF\xFE\x00", 4)), "+//+AA==");
}

/// Test vectors of RFC 1321, in base 64.
TEST(ChecksumTest, Md5OfBytes) {
    EXPECT_EQ(files::md5_base64(""), "1B2M2Y8AsgTpgAmY7PhCfg==");
    EXPECT_EQ(files::md5_base64("abc"), "kAFQmDzST7DWlj99KOF/cg==");
}

} // namespace
} // namespace xrdct::mpi
