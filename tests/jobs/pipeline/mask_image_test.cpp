// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/mask_image.hpp"

#include "base/error.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

namespace {

using namespace xrdct;
using testing::HasSubstr;

std::string message_of(const std::filesystem::path& path, std::size_t ny, std::size_t nx) {
    try {
        pipeline::read_mask_image(path, ny, nx);
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

void write(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

TEST(MaskImage, ComesBackAndLooksLikeTheMap) {
    const test::TemporaryDirectory folder;
    const std::vector<unsigned char> mask{1, 0, 0, 0, 1, 1}; // [y][x], 2 × 3
    const auto path = folder / "mask.pgm";
    pipeline::write_mask_image(path, mask, 2, 3);
    EXPECT_EQ(pipeline::read_mask_image(path, 2, 3), mask);
    // The upper line of the image is the row of highest y.
    std::ifstream file(path, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text.substr(text.size() - 6), std::string("\0\xff\xff\xff\0\0", 6));
}

TEST(MaskImage, WhatEditorsWrite) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "mask.pgm";
    write(path, "P2\n# made by an editor\n3 2\n15\n0 15 9\n15 0 7\n");
    EXPECT_EQ(pipeline::read_mask_image(path, 2, 3),
              (std::vector<unsigned char>{1, 0, 0, 0, 1, 1}));
    write(path, std::string("P5 1 2 65535\n") + std::string("\xff\xff\x10\x00", 4));
    EXPECT_EQ(pipeline::read_mask_image(path, 2, 1), (std::vector<unsigned char>{0, 1}));
}

TEST(MaskImage, SaysWhatIsWrong) {
    const test::TemporaryDirectory folder;
    const auto path = folder / "mask.pgm";
    EXPECT_THAT(message_of(path, 2, 3), HasSubstr("no such file"));
    write(path, "P6\n3 2\n255\n");
    EXPECT_THAT(message_of(path, 2, 3), HasSubstr("PGM"));
    write(path, "P5\n4 2\n255\n12345678");
    EXPECT_THAT(message_of(path, 2, 3), HasSubstr("4 x 2"));
    write(path, "P5\n3 2\n255\n123");
    EXPECT_THAT(message_of(path, 2, 3), HasSubstr("cut off"));
    write(path, "P5\n3 x\n255\n123456");
    EXPECT_THAT(message_of(path, 2, 3), HasSubstr("height"));
}

} // namespace
