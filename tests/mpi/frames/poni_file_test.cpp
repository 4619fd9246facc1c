// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/poni_file.hpp"

#include "base/error.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::HasSubstr;

namespace {

const std::string first = "# Calibration done at Monday\nDetector: Pilatus2M\nPixelSize1: 0.0002\n"
                          "PixelSize2: 0.0003\nDistance: 0.5\nPoni1: 0.14\nPoni2: 0.12\nRot1: 0.1\n"
                          "Rot2: 0.2\nRot3: 0.3\nWavelength: 1.5e-11\n";
const std::string second = "# Calibration done at Tuesday\nDistance: 0.6\nPoni1: 0.15\n"
                           "Poni2: -0.01\nRot1: -0.1\nRot2: 0.0\nRot3: 1e-9\n";

class Poni : public ::testing::Test {
  protected:
    frames::PoniFile read(const std::string& text) const {
        write_text(folder_ / "a.poni", text);
        return frames::read_poni_file(folder_ / "a.poni");
    }
    std::string error_of(const std::string& text) const {
        try {
            read(text);
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), HasSubstr("a.poni"));
            return error.what();
        }
        return "no error";
    }
    static std::string without(std::string text, const std::string& key) {
        const auto begin = text.find(key + ":");
        return text.erase(begin, text.find('\n', begin) + 1 - begin);
    }
    TemporaryDirectory folder_;
};

} // namespace

TEST_F(Poni, VersionOneLastBlockWins) {
    const auto one = read(first);
    EXPECT_EQ(one.version, 1);
    EXPECT_EQ(one.blocks, 1);
    EXPECT_NEAR(one.geometry.distance, 500, 1e-9);
    EXPECT_NEAR(one.geometry.pixel_1, 0.2, 1e-12);
    EXPECT_NEAR(one.geometry.pixel_2, 0.3, 1e-12);
    EXPECT_NEAR(one.geometry.poni_1, 140, 1e-9);
    EXPECT_NEAR(one.geometry.poni_2, 120, 1e-9);
    EXPECT_EQ(one.geometry.rotation_3, 0.3);
    EXPECT_NEAR(one.geometry.wavelength, 0.15, 1e-12);
    const auto two = read(first + second);
    EXPECT_EQ(two.blocks, 2);
    EXPECT_NEAR(two.geometry.distance, 600, 1e-9);
    EXPECT_NEAR(two.geometry.poni_2, -10, 1e-9);
    EXPECT_EQ(two.geometry.rotation_1, -0.1);
    EXPECT_NEAR(two.geometry.pixel_1, 0.2, 1e-12); // of the block before
    EXPECT_NEAR(two.geometry.wavelength, 0.15, 1e-12);
}

TEST_F(Poni, VersionTwo) {
    const std::string rest = "Distance: 0.1\nPoni1: 0.01\nPoni2: 0.02\nRot1: 0\nRot2: 0\nRot3: 0\n";
    const auto config =
        read("poni_version: 2\nDetector: Detector\nDetector_config: {\"pixel1\": 1e-4, \"pixel2\": "
             "2e-4, \"max_shape\": [30, 40]}\n" +
             rest);
    EXPECT_EQ(config.version, 2);
    EXPECT_NEAR(config.geometry.pixel_2, 0.2, 1e-12);
    EXPECT_EQ(config.geometry.rows, 30U);
    EXPECT_EQ(config.geometry.columns, 40U);
    EXPECT_EQ(config.geometry.wavelength, 0); // none stated
    const auto named = read(
        "poni_version: 2.1\nDetector: Eiger2 CdTe 4M\nDetector_config: {\"orientation\": 3}\n" +
        rest);
    EXPECT_NEAR(named.geometry.pixel_1, 0.075, 1e-12);
    const auto oriented = [&](const std::string& value) {
        return "poni_version: 2.1\nDetector: Eiger4M\nDetector_config: {\"orientation\": " + value +
               "}\n" + rest;
    };
    EXPECT_EQ(named.geometry.orientation, 3);
    EXPECT_EQ(read(oriented("0")).geometry.orientation, 3);
    EXPECT_EQ(read(oriented("2")).geometry.orientation, 2);
    auto saved = read(oriented("4"));
    saved.geometry.rows = saved.geometry.columns = 8;
    EXPECT_EQ(read(frames::poni_text(saved.geometry, "again")).geometry.orientation, 4);
    for (const char* unknown : {"5", "-1", "2.5", "\"up\""})
        EXPECT_THAT(error_of(oriented(unknown)), HasSubstr("orientation"));
    EXPECT_THAT(error_of("poni_version: 2\nDetector: Frelon\nDetector_config: {}\n" + rest),
                HasSubstr("'Frelon'"));
    EXPECT_THAT(error_of("poni_version: 2\nDetector: NexusDetector\nDetector_config: {\"filename\":"
                         " \"my.h5\"}\n" +
                         rest),
                HasSubstr("my.h5"));
    EXPECT_THAT(error_of("poni_version: 2\nDetector: Eiger4M\nDetector_config: {oops\n" + rest),
                HasSubstr("Detector_config"));
    EXPECT_THAT(error_of("poni_version: 7\n" + rest), HasSubstr("poni_version"));
}

TEST_F(Poni, DetectorsAreKnownByTheirWholeName) {
    const auto text = [](const std::string& name) {
        return "poni_version: 2.1\nDetector: " + name +
               "\nDetector_config: {\"orientation\": 3}\nDistance: 0.1\nPoni1: 0.01\nPoni2: "
               "0.02\nRot1: 0\nRot2: 0\nRot3: 0\n";
    };
    const std::pair<const char*, double> known[] = {
        {"Pilatus2M", 0.172},       {"Pilatus 300kw", 0.172},    {"Pilatus CdTe 900kw", 0.172},
        {"Pilatus3 X 2M", 0.172},   {"PilatusCdTe_2M", 0.172},   {"Pilatus", 0.172},
        {"Pilatus4_1M", 0.150},     {"Pilatus4 CdTe 4M", 0.150}, {"Pilatus4 260kw", 0.150},
        {"Pilatus4", 0.150},        {"Eiger 500k", 0.075},       {"Eiger2CdTe_1MW", 0.075},
        {"Eiger2 16M", 0.075},      {"Lambda 750k", 0.055},      {"Maxipix2x2", 0.055},
        {"Perkin detector", 0.200}, {"Dexela 2923", 0.075}};
    for (const auto& [name, pixel] : known)
        EXPECT_NEAR(read(text(name)).geometry.pixel_1, pixel, 1e-12) << name;
    for (const char* unknown : {"Jungfrau 500k", "Pilatus5 1M", "Pilatus 7M", "Eiger9",
                                "Lambda_flatfield", "Pilatus4 XXL"})
        EXPECT_THAT(error_of(text(unknown)), HasSubstr(unknown)) << unknown;
}

TEST_F(Poni, MissingKeysAreNamed) {
    for (const char* key : {"Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3"})
        EXPECT_THAT(error_of(without(first, key)), HasSubstr(std::string(key) + " is missing"));
    // not silently taken from the calibration before
    EXPECT_THAT(error_of(first + without(second, "Rot2")),
                HasSubstr("Rot2 is missing in the last"));
    EXPECT_THAT(error_of(without(without(first, "PixelSize1"), "Detector")),
                HasSubstr("PixelSize1 is missing"));
    EXPECT_THAT(error_of(""), HasSubstr("no calibration"));
    EXPECT_THAT(error_of("# nothing\n"), HasSubstr("no calibration"));
    EXPECT_THAT(error_of("Distance 0.5\n"), HasSubstr("no line"));
    auto broken = first;
    broken.replace(broken.find("0.14"), 4, "far ");
    EXPECT_THAT(error_of(broken), HasSubstr("Poni1 is 'far'"));
    broken = first;
    broken.replace(broken.find("0.5"), 3, "-.5");
    EXPECT_THAT(error_of(broken), HasSubstr("distance"));
}

TEST_F(Poni, WrittenFilesAreRead) {
    auto geometry = read(first + second).geometry;
    geometry.rows = 12;
    geometry.columns = 13;
    const auto back = read(frames::poni_text(geometry, "comment")).geometry;
    EXPECT_EQ(back.rows, 12U);
    EXPECT_NEAR(back.distance, geometry.distance, 1e-12);
    EXPECT_NEAR(back.poni_2, geometry.poni_2, 1e-12);
    EXPECT_EQ(back.rotation_3, geometry.rotation_3);
    EXPECT_NEAR(back.wavelength, geometry.wavelength, 1e-15);
}
