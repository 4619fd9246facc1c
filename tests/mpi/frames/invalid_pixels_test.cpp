// SPDX-License-Identifier: BSD-3-Clause
// Which pixels have no value: marks in EDF headers and in frames of floats, the detector's mask and
// limit in NeXus files; and the blocks of EDF files.
#include "base/error.hpp"
#include "mpi/frames/detector_facts.hpp"
#include "mpi/frames/image.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>
#include <cstring>
#include <random>

#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace {

template <typename T>
std::string raw(const std::vector<T>& values) {
    std::string text(values.size() * sizeof(T), '\0');
    std::memcpy(text.data(), values.data(), text.size());
    return text;
}

std::string block(const std::string& keys, const std::string& data,
                  const std::string& line_end = "\n") {
    std::string header = "{" + line_end + keys;
    header.resize(512 - 1 - line_end.size(), ' ');
    return header + "}" + line_end + data;
}

const std::string size_keys = "Dim_1 = 3 ;\nDim_2 = 1 ;\n";

class InvalidPixels : public ::testing::Test {
  protected:
    std::filesystem::path put(const std::string& content) const {
        write_text(folder_ / "a.edf", content);
        return folder_ / "a.edf";
    }
    TemporaryDirectory folder_;
};

TEST_F(InvalidPixels, GeneralBlockOfAnEdfFile) {
    const auto data = raw<std::uint16_t>({1, 2, 3}), more = raw<std::uint16_t>({4, 5, 6});
    const std::string general = "EDF_DataFormatVersion = 2.40 ;\nByteOrder = LowByteFirst ;\n"
                                "DataType = UnsignedShort ;\nTitle = powder ;\n";
    const auto path =
        put(block(general, "") +
            block("EDF_DataBlockID = 1.Image.Psd ;\n" + size_keys, data + std::string(506, '\0')) +
            block(size_keys + "EDF_BinarySize = 6 ;\n", more));
    frames::Image first;
    // The first image is padded, as its header does not say.
    EXPECT_EQ(frames::read_edf(path).counts, (std::vector<std::int32_t>{1, 2, 3}));
    const auto padded =
        put(block(general, "") +
            block("EDF_BinarySize = 512 ;\n" + size_keys, data + std::string(506, '\0')) +
            block("DataType = SignedShort ;\n" + size_keys, more));
    EXPECT_EQ(frames::count_edf_images(padded, first), 2U);
    frames::FrameHeader header;
    EXPECT_THAT(frames::read_edf(padded, 1, &header).counts, ElementsAre(4, 5, 6));
    EXPECT_EQ(header.at("Title"), "powder");
    EXPECT_EQ(frames::read_edf_headers(padded).size(), 2U);
}

TEST_F(InvalidPixels, ErrorBlocksAreNoFrames) {
    const auto data = raw<float>({1, 2, 3}), errors = raw<float>({0.1F, 0.2F, 0.3F});
    const auto path = put(
        block("EDF_DataBlockID = 1.Image.Psd ;\nDataType = FloatIEEE32 ;\n" + size_keys, data) +
        block("EDF_DataBlockID = 1.Image.Error ;\nDataType = FloatIEEE32 ;\n" + size_keys, errors));
    frames::Image first;
    EXPECT_EQ(frames::count_edf_images(path, first), 1U);
    EXPECT_FALSE(first.integer);
}

TEST_F(InvalidPixels, SpellingsOfEdfHeaders) {
    const auto image = frames::read_edf(
        put(block("byteorder = HIGHBYTEFIRST ;\r\nDATATYPE = UNSIGNEDSHORT ;\r\nDIM_1 = 3 ;\r\n"
                  "DIM_2 = 1 ;\r\n",
                  std::string("\0\1\0\2\0\3", 6), "\r\n")));
    EXPECT_THAT(image.counts, ElementsAre(1, 2, 3));
}

TEST_F(InvalidPixels, DummiesOfEdfHeaders) {
    const auto floats = [&](const std::string& keys, const std::vector<float>& values) {
        return frames::read_edf(put(block("DataType = Float ;\n" + size_keys + keys, raw(values))))
            .values;
    };
    const auto marked = floats("Dummy = -10 ;\nDDummy = 0.1 ;\n", {-10.05F, 5, -9});
    EXPECT_TRUE(std::isnan(marked[0]));
    EXPECT_EQ(marked[2], -9);
    EXPECT_TRUE(std::isnan(floats("Dummy = 4.2e9 ;\n", {4.2e9F, 1, 2})[0]));
    EXPECT_EQ(floats("Dummy = 0 ;\n", {0, 1, 2})[0], 0); // none
    const auto counts =
        frames::read_edf(put(block("DataType = UnsignedShort ;\nDummy = 65000 ;\n" + size_keys,
                                   raw<std::uint16_t>({65000, 1, 2}))));
    EXPECT_THAT(counts.counts, ElementsAre(-1, 1, 2));
}

TEST(NegativeValues, MarksAndNoise) {
    std::mt19937 generator(7);
    std::normal_distribution<float> noise(0, 3), flat(1, 0.05F);
    std::vector<float> values(4000);
    for (auto& value : values)
        value = 20 + noise(generator);
    EXPECT_EQ(frames::detail::negative_values(values).number, 0U);
    for (std::size_t i = 0; i < values.size(); i += 20)
        values[i] = i % 40 == 0 ? -1.0F : -2.0F;
    const auto pilatus = frames::detail::negative_values(values);
    EXPECT_EQ(pilatus.number, 200U);
    EXPECT_EQ(pilatus.lowest, -2);
    EXPECT_FALSE(pilatus.noise);
    for (std::size_t i = 0; i < values.size(); i += 20)
        values[i] /= flat(generator);
    EXPECT_FALSE(frames::detail::negative_values(values).noise);
    // A dark was subtracted; a mark lies far below.
    for (auto& value : values)
        value = noise(generator);
    EXPECT_TRUE(frames::detail::negative_values(values).noise);
    values[100] = -1e9F;
    const auto both = frames::detail::negative_values(values);
    EXPECT_TRUE(both.noise);
    EXPECT_LT(both.floor, -10);
    EXPECT_GT(both.floor, -1e8);
}

class DetectorFacts : public ::testing::Test {
  protected:
    DetectorFacts() : file_(hdf5::File::open(folder_ / "a.nxs", hdf5::Access::create)) {}
    hdf5::Group group(const std::string& path, const char* nx_class) {
        auto made = file_.root().require_group(path);
        made.set_attribute("NX_class", nx_class);
        return made;
    }
    static void frames_in(auto&& group) {
        const std::vector<std::int32_t> values(2 * 2 * 3, 1);
        group.write_array("data", {2, 2, 3}, std::span<const std::int32_t>(values));
    }
    static void mask_in(hdf5::Group& group, const hdf5::Shape& shape, std::int32_t bad = 8,
                        const std::string& name = "pixel_mask") {
        std::vector<std::int32_t> values(hdf5::Selection{shape, shape}.size(), 0);
        values[1] = bad;
        group.write_array(name, shape, std::span<const std::int32_t>(values));
    }
    frames::detail::DetectorFacts facts(const std::string& path = "/entry/data/data") const {
        return frames::detail::detector_facts(file_.root(), file_.root().open_dataset(path));
    }
    TemporaryDirectory folder_;
    hdf5::File file_;
};

TEST_F(DetectorFacts, BesideTheFrames) {
    auto detector = group("/entry/instrument/lambda", "NXdetector");
    frames_in(detector);
    mask_in(detector, {1, 2, 3});
    detector.write_scalar("saturation_value", std::int64_t{4095});
    const auto found = facts("/entry/instrument/lambda/data");
    EXPECT_THAT(found.mask, ElementsAre(0, 8, 0, 0, 0, 0));
    EXPECT_EQ(found.limit, 4094);
    EXPECT_THAT(found.notes, ElementsAre(HasSubstr("/entry/instrument/lambda/pixel_mask, 1 pixel"),
                                         HasSubstr("saturation_value")));
}

TEST_F(DetectorFacts, ElsewhereInTheEntry) {
    frames_in(group("/entry/data", "NXdata"));
    EXPECT_THAT(facts().notes, IsEmpty());
    auto specific = file_.root().require_group("/entry/instrument/detector/detectorSpecific");
    mask_in(specific, {2, 3});
    auto detector = group("/entry/instrument/detector", "NXdetector");
    detector.write_scalar("bit_depth_image", std::int64_t{16});
    detector.write_scalar("bit_depth_readout", std::int64_t{12});
    EXPECT_EQ(facts().mask.size(), 6U);
    EXPECT_EQ(facts().limit, 65534);
}

TEST_F(DetectorFacts, OfSeveralDetectorsTheOneThatTheFramesAreLinkedFrom) {
    for (const char* name : {"a", "b"}) {
        auto detector = group(std::string("/entry/instrument/") + name, "NXdetector");
        frames_in(detector);
        mask_in(detector, {2, 3}, name[0]);
    }
    group("/entry/data", "NXdata").create_soft_link("data", "/entry/instrument/b/data");
    EXPECT_THAT(facts().mask, ElementsAre(0, 'b', 0, 0, 0, 0));
    frames_in(group("/entry/other", "NXdata"));
    const auto unknown = facts("/entry/other/data");
    EXPECT_THAT(unknown.mask, IsEmpty());
    EXPECT_THAT(unknown.notes,
                ElementsAre(AllOf(HasSubstr("/entry/instrument/a"), HasSubstr("cannot be told"))));
}

TEST_F(DetectorFacts, AMaskThatDoesNotFitIsNamed) {
    auto detector = group("/entry/instrument/detector", "NXdetector");
    frames_in(group("/entry/data", "NXdata"));
    mask_in(detector, {3, 3});
    EXPECT_THAT(facts().mask, IsEmpty());
    EXPECT_THAT(facts().notes, ElementsAre(AllOf(HasSubstr("pixel_mask"), HasSubstr("not used"))));
}

TEST_F(DetectorFacts, TheFillValueOfTheFrames) {
    auto data = group("/entry/data", "NXdata");
    frames_in(data);
    auto images = file_.root().open_dataset("/entry/data/data");
    EXPECT_FALSE(facts().fill.has_value());
    images.set_attribute("_FillValue", 0.0);
    EXPECT_FALSE(facts().fill.has_value()); // of programs that fill nothing
    images.set_attribute("missing_value", std::int64_t{77777});
    EXPECT_EQ(facts().fill, 77777);
    EXPECT_THAT(facts().notes, ElementsAre(HasSubstr("missing_value")));
}

TEST(PixelTypes, TheLargestNumberIsNoValue) {
    frames::Image image;
    image.rows = 1;
    image.columns = 2;
    const unsigned char bytes[] = {255, 254};
    frames::detail::set_samples(image, bytes, frames::detail::PixelType::u8, false);
    EXPECT_EQ(image.saturation, 254);
    const std::int16_t numbers[] = {32767, 32766};
    frames::detail::set_samples(image, reinterpret_cast<const unsigned char*>(numbers),
                                frames::detail::PixelType::i16, false);
    EXPECT_EQ(image.saturation, 32766);
}

} // namespace
