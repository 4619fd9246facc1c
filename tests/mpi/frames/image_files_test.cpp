// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/frames/frame_series.hpp"
#include "mpi/frames/image.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <bit>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace {

std::string error_of(const std::function<void()>& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

template <typename T>
std::string bytes(const std::vector<T>& values, bool swap = false) {
    std::string text;
    for (const T& value : values) {
        std::string one(sizeof(T), '\0');
        std::memcpy(one.data(), &value, sizeof(T));
        if (swap)
            std::reverse(one.begin(), one.end());
        text += one;
    }
    return text;
}

/// Byte-offset compression by its definition.
std::string packed(const std::vector<std::int32_t>& values) {
    std::string text;
    std::int64_t last = 0;
    for (const std::int64_t value : values) {
        const std::int64_t step = value - last;
        last = value;
        if (std::abs(step) < 128) {
            text += bytes<std::int8_t>({static_cast<std::int8_t>(step)});
        } else if (std::abs(step) < 32768) {
            text += '\x80';
            text += bytes<std::int16_t>({static_cast<std::int16_t>(step)});
        } else if (std::abs(step) < 2147483648) {
            text += std::string("\x80\x00\x80", 3);
            text += bytes<std::int32_t>({static_cast<std::int32_t>(step)});
        } else {
            text += std::string("\x80\x00\x80\x00\x00\x00\x80", 7);
            text += bytes<std::int64_t>({step});
        }
    }
    return text;
}

const std::vector<std::int32_t> counts{0,     1,       -2,         127,         -128, 128,
                                       32767, 1000000, 2147483647, -2147483647, 5,    5};

std::string cbf(const std::vector<std::int32_t>& values, const std::string& md5 = "",
                const std::string& compression = "x-CBF_BYTE_OFFSET") {
    const auto data = packed(values);
    return fmt::format(
               "###CBF: VERSION 1.5\r\n# Detector: PILATUS\r\n# Exposure_time 0.25 s\r\n"
               "--CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: application/octet-stream;\r\n"
               "     conversions=\"{}\"\r\nX-Binary-Size: {}\r\n"
               "X-Binary-Element-Type: \"signed 32-bit integer\"\r\n{}"
               "X-Binary-Size-Fastest-Dimension: 4\r\nX-Binary-Size-Second-Dimension: 3\r\n\r\n",
               compression, data.size(), md5.empty() ? "" : "Content-MD5: " + md5 + "\r\n") +
           "\x0c\x1a\x04\xd5" + data + "\r\n--CIF-BINARY-FORMAT-SECTION----\r\n";
}

std::string edf(const std::string& type, const std::string& data, const std::string& more = "") {
    std::string header = "{\nDataType = " + type + " ;\nDim_1 = 3 ;\nDim_2 = 2 ;\n" + more;
    header.resize(510, ' ');
    return header + "}\n" + data;
}

std::string npy(const std::string& description, const std::string& data) {
    std::string header = description;
    header.resize(117, ' ');
    header += '\n';
    return std::string("\x93NUMPY\x01\x00", 8) + bytes<std::uint16_t>({118}) + header + data;
}

} // namespace

class ImageFiles : public ::testing::Test {
  protected:
    std::filesystem::path put(const std::string& name, const std::string& content) const {
        write_text(folder_ / name, content);
        return folder_ / name;
    }
    TemporaryDirectory folder_;
};

TEST_F(ImageFiles, CbfOfAllStepSizes) {
    frames::FrameHeader header;
    const auto image =
        frames::read_cbf(put("a.cbf", cbf(counts, files::md5_base64(packed(counts)))), &header);
    EXPECT_EQ(image.rows, 3U);
    EXPECT_EQ(image.columns, 4U);
    EXPECT_EQ(image.counts, counts);
    EXPECT_EQ(header.at("Exposure_time"), "0.25 s");
    EXPECT_EQ(header.at("Detector"), "PILATUS");
}

TEST_F(ImageFiles, BadCbf) {
    const auto whole = cbf(counts);
    const auto read = [&](const std::string& text) {
        return error_of([&] { frames::read_cbf(put("bad.cbf", text)); });
    };
    EXPECT_THAT(read("hello"), HasSubstr("no CBF"));
    EXPECT_THAT(read(whole.substr(0, 60)), HasSubstr("no binary section"));
    EXPECT_THAT(read(whole.substr(0, whole.size() - 60)), HasSubstr("cut off"));
    EXPECT_THAT(read(cbf(counts, "AAAAAAAAAAAAAAAAAAAAAA==")), HasSubstr("damaged"));
    EXPECT_THAT(read(cbf(counts, "", "x-CBF_PACKED")), HasSubstr("x-CBF_PACKED"));
    EXPECT_THAT(read(cbf({1, 2, 3})), HasSubstr("end before"));
    EXPECT_THAT(error_of([&] { frames::read_cbf(folder_ / "none.cbf"); }), HasSubstr("none.cbf"));
}

TEST_F(ImageFiles, EdfTypesAndByteOrders) {
    const auto integers = bytes<std::uint16_t>({1, 2, 3, 4, 65535, 6}, true);
    const auto image = frames::read_edf(
        put("a.edf", edf("UnsignedShort", integers, "ByteOrder = HighByteFirst ;\n")));
    EXPECT_EQ(image.rows, 2U);
    EXPECT_EQ(image.columns, 3U);
    EXPECT_THAT(image.counts, ElementsAre(1, 2, 3, 4, 65535, 6));
    EXPECT_LT(image.saturation, 65535);
    const auto real =
        frames::read_edf(put("b.edf", edf("FloatValue", bytes<float>({1, 2, 3, 4, 5, 6.5F}))));
    EXPECT_FALSE(real.integer);
    EXPECT_EQ(real.values.back(), 6.5F);
    const auto large = frames::read_edf(
        put("c.edf", edf("UnsignedLong", bytes<std::uint32_t>({1, 2, 3, 4, 5, 4294967295U}))));
    EXPECT_GT(large.counts.back(), large.saturation);
    // two images in one file
    const auto both =
        put("d.edf", edf("SignedInteger", bytes<std::int32_t>({1, 2, 3, 4, 5, 6})) +
                         edf("SignedInteger", bytes<std::int32_t>({7, 8, 9, 0, 1, 2})));
    frames::Image first;
    EXPECT_EQ(count_edf_images(both, first), 2U);
    EXPECT_EQ(frames::read_edf(both, 1).counts.front(), 7);
    EXPECT_THAT(error_of([&] { frames::read_edf(both, 2); }), HasSubstr("2 images"));
}

TEST_F(ImageFiles, BadEdf) {
    const auto read = [&](const std::string& text) {
        return error_of([&] { frames::read_edf(put("bad.edf", text)); });
    };
    EXPECT_THAT(read(""), HasSubstr("bad.edf"));
    EXPECT_THAT(read("hello"), HasSubstr("no EDF"));
    EXPECT_THAT(read("{ Dim_1 = 3 ;"), HasSubstr("no end"));
    EXPECT_THAT(read(edf("Complex", "")), HasSubstr("'Complex'"));
    EXPECT_THAT(read(edf("FloatValue", "abc")), HasSubstr("cut off"));
    EXPECT_THAT(read(edf("FloatValue", "", "Compression = ZLIB ;\n")), HasSubstr("ZLIB"));
    EXPECT_THAT(read(edf("FloatValue", "", "Dim_1 = -3 ;\n")), HasSubstr("Dim_1"));
}

TEST_F(ImageFiles, NumpyArrays) {
    const auto plain = frames::read_npy(
        put("a.npy", npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2, 3), }",
                         std::string("\0\1\0\0\1\1", 6))));
    EXPECT_THAT(plain.counts, ElementsAre(0, 1, 0, 0, 1, 1));
    const auto turned = frames::read_npy(
        put("b.npy", npy("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }",
                         bytes<std::int16_t>({1, 4, 2, 5, 3, 6}, true))));
    EXPECT_EQ(turned.rows, 2U);
    EXPECT_EQ(turned.columns, 3U);
    EXPECT_THAT(turned.counts, ElementsAre(1, 2, 3, 4, 5, 6));
    const auto read = [&](const std::string& text) {
        return error_of([&] { frames::read_npy(put("bad.npy", text)); });
    };
    EXPECT_THAT(read("hello, this is long"), HasSubstr("no NumPy"));
    EXPECT_THAT(read(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", "abc")),
                HasSubstr("cut off"));
    EXPECT_THAT(read(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "abc")),
                HasSubstr("two-dimensional"));
    EXPECT_THAT(read(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3), }", "abc")),
                HasSubstr("no plain number"));
    EXPECT_THAT(read(npy("{'fortran_order': False, 'shape': (2, 3), }", "abc")),
                HasSubstr("'descr'"));
}

TEST_F(ImageFiles, ImagesOfAnotherShape) {
    const auto name =
        put("m.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }", "abcdef"))
            .string();
    EXPECT_EQ(frames::read_detector_image(name, 2, 3, "mask").pixels(), 6U);
    const auto message = error_of([&] { frames::read_detector_image(name, 3, 2, "mask"); });
    EXPECT_THAT(message, HasSubstr("mask"));
    EXPECT_THAT(message, HasSubstr("2 x 3"));
    EXPECT_THAT(message, HasSubstr("3 x 2"));
    EXPECT_THAT(error_of([&] { frames::read_detector_image("m.tiff", 3, 2, "dark"); }),
                HasSubstr("no such file"));
}

TEST_F(ImageFiles, NamesAreExpandedInNaturalOrder) {
    for (const char* name : {"s_2.cbf", "s_10.cbf", "s_1.cbf", "s_010.cbf", "other.cbf"})
        put(name, "");
    const auto names = frames::expand_names({(folder_ / "s_*.cbf").string()});
    std::vector<std::string> plain;
    for (const auto& name : names)
        plain.push_back(std::filesystem::path(name).filename());
    EXPECT_THAT(plain, ElementsAre("s_1.cbf", "s_2.cbf", "s_010.cbf", "s_10.cbf"));
    EXPECT_THAT(error_of([&] { frames::expand_names({(folder_ / "t_*.cbf").string()}); }),
                HasSubstr("no file fits"));
}
