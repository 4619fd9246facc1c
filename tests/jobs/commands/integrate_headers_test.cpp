// SPDX-License-Identifier: BSD-3-Clause
// Motor positions from the headers of CBF and EDF frames, through integrate and condition.

#include "cell_fixture.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>
#include <cstdint>
#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace {

constexpr int side = 20;

/// `counts` everywhere, as 16-bit numbers.
std::string edf(int counts, const std::string& header_lines) {
    std::string header = "{\nByteOrder = LowByteFirst ;\nDataType = UnsignedShort ;\nDim_1 = 20 "
                         ";\nDim_2 = 20 ;\n" +
                         header_lines;
    header.resize(1022, ' ');
    std::string data;
    for (int i = 0; i < side * side; ++i) {
        data += static_cast<char>(counts & 255);
        data += static_cast<char>(counts >> 8);
    }
    return header + "}\n" + data;
}

/// The same in one compressed section: the first difference in two bytes, all others 0.
std::string cbf(int counts, const std::string& header_lines, int rows = side) {
    std::string data = "\x80";
    data += static_cast<char>(counts & 255);
    data += static_cast<char>(counts >> 8);
    data.append(static_cast<std::size_t>(side * rows - 1), '\0');
    return "###CBF: VERSION 1.5\r\n_array_data.header_contents\r\n;\r\n# Detector: PILATUS\r\n" +
           header_lines +
           ";\r\n_array_data.data\r\n;\r\n--CIF-BINARY-FORMAT-SECTION--\r\nContent-Type: "
           "application/octet-stream;\r\n     conversions=\"x-CBF_BYTE_OFFSET\"\r\n"
           "X-Binary-Size: " +
           std::to_string(data.size()) +
           "\r\nX-Binary-Element-Type: \"signed 32-bit integer\"\r\n"
           "X-Binary-Size-Fastest-Dimension: 20\r\nX-Binary-Size-Second-Dimension: " +
           std::to_string(rows) + "\r\n\r\n" + std::string("\x0c\x1a\x04\xd5", 4) + data +
           "\r\n--CIF-BINARY-FORMAT-SECTION----\r\n";
}

class Headers : public ::testing::Test {
  protected:
    void SetUp() override {
        write_text(folder() / "a.poni", "PixelSize1: 2e-4\nPixelSize2: 2e-4\nDistance: 0.1\nPoni1: "
                                        "0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: "
                                        "2e-11\n");
    }
    const std::filesystem::path& folder() const { return folder_.path(); }
    ProcessResult run(const std::string& frames, const std::vector<std::string>& more,
                      int ranks = 0) const {
        std::vector<std::string> arguments{"integrate",  frames,     "--poni",
                                           "a.poni",     "--output", "out.nxs",
                                           "--channels", "12",       "--no-solid-angle"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, ranks, 60, folder());
    }
    void expect_failure(const std::vector<std::string>& words, const std::string& frames,
                        const std::vector<std::string>& more, int ranks = 0) const {
        const auto result = run(frames, more, ranks);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        EXPECT_FALSE(std::filesystem::exists(folder() / "out.nxs"));
    }
    std::vector<double> values(const char* file, const std::string& dataset) const {
        return hdf5::File::open(folder() / file, hdf5::Access::read_only)
            .root()
            .open_dataset(dataset)
            .read_all<double>();
    }

    /// Frame i of a zigzag scan of 6 rotations and 10 translations has 100 + i counts. Frame 17 is
    /// not there, frame 25 has no translation, frame 33 none that is a number, and at frame 44 the
    /// motor jumped.
    void write_zigzag() const {
        for (int i = 0; i < 60; ++i) {
            if (i == 17)
                continue;
            const int r = i / 10, t = r % 2 == 0 ? i % 10 : 9 - i % 10;
            // encoders scatter
            const double angle = 30.0 * r + 1e-3 * (i % 3), place = 0.1 * t + 2e-4 * (i % 4);
            std::string lines =
                "# Exposure_time 0.5 s\r\n# Start_angle " + std::to_string(angle) + " deg.\r\n";
            if (i != 25)
                lines += "# samx = " +
                         (i == 33   ? std::string("unknown")
                          : i == 44 ? std::string("7.7")
                                    : std::to_string(place)) +
                         "\r\n";
            write_text(folder() / ("f_" + std::to_string(100 + i) + ".cbf"), cbf(100 + i, lines));
        }
    }

  private:
    TemporaryDirectory folder_;
};

/// A frame of floats, 10 everywhere but -1 in every tenth pixel and 7 in another one.
TEST_F(Headers, MarksInFramesOfFloats) {
    std::string header = "{\nByteOrder = LowByteFirst ;\nDataType = FloatValue ;\nDim_1 = 20 "
                         ";\nDim_2 = 20 ;\n";
    header.resize(1022, ' ');
    std::vector<float> pixels(side * side, 10);
    for (std::size_t i = 0; i < pixels.size(); i += 10) {
        pixels[i] = -1;
        pixels[i + 5] = 7;
    }
    write_text(folder() / "f.edf", header + "}\n" +
                                       std::string(reinterpret_cast<const char*>(pixels.data()),
                                                   sizeof(float) * pixels.size()));
    const auto mean_and_invalid = [&](const std::vector<std::string>& more) {
        std::vector<std::string> arguments{"integrate", "f.edf",    "--poni",  "a.poni",
                                           "--output",  "out.nxs",  "--force", "--channels",
                                           "1",         "--errors", "scatter", "--no-solid-angle"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const auto result = run_xrdct(arguments, 0, 60, folder());
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        return std::pair{values("out.nxs", "entry/patterns/intensity").front(),
                         values("out.nxs", "entry/patterns/invalid_pixels").front()};
    };
    const auto close = [](double mean, double invalid) {
        return ::testing::Pair(::testing::DoubleNear(mean, 1e-5), invalid);
    };
    EXPECT_THAT(mean_and_invalid({}), close((320 * 10 + 40 * 7) / 360.0, 40));
    EXPECT_THAT(mean_and_invalid({"--negative", "measured"}),
                close((320 * 10 + 40 * 7 - 40) / 400.0, 0));
    EXPECT_THAT(mean_and_invalid({"--dummy", "7.2:0.5"}), close(10, 80));
    EXPECT_THAT(mean_and_invalid({"--saturation", "8"}), close(7, 360));
    std::filesystem::remove(folder() / "out.nxs");
    expect_failure({"--dummy", "'7:x'"}, "f.edf", {"--dummy", "7:x"});
    expect_failure({"--negative", "honest"}, "f.edf", {"--negative", "honest"});
}

TEST_F(Headers, MotorsOfEDFFramesMakeASinogram) {
    for (int i = 0; i < 12; ++i)
        write_text(folder() / ("f_" + std::to_string(i) + ".edf"),
                   edf(100 + i,
                       "motor_mne = rot samy  samz ;\nmotor_pos = " + std::to_string(45 * (i / 3)) +
                           " " + std::to_string(1500 - 250 * (i % 3)) +
                           " 3 ;\ncounter_mne = sec mon ;\ncounter_pos = 0.2 " +
                           std::to_string(9000 + i) + " ;\n"));
    const auto result = run("f_*.edf",
                            {"--rotation-angle-header", "rot", "--translation-header", "samy:um",
                             "--monitor-header", "mon"},
                            2);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors, AllOf(HasSubstr("sinogram, 4 rotations x 3 translations"),
                                     HasSubstr("rotation_angle is read from header key 'rot'\n")));
    const auto scan = scan::SinogramFile::open(folder() / "out.nxs");
    EXPECT_EQ(scan.metadata().rotation, (std::vector<double>{0, 45, 90, 135}));
    EXPECT_EQ(scan.metadata().translation, (std::vector<double>{1, 1.25, 1.5}));
    EXPECT_EQ(scan.read_monitor()[0], 9002); // translations fell
    std::vector<float> line(3 * 12);
    scan.read_rows({1, 2}, {0, 12}, line);
    EXPECT_FLOAT_EQ(line[0], 105);
}

TEST_F(Headers, LostFramesAndMotorsThatJumpBecomeMaskedPoints) {
    write_zigzag();
    const auto result =
        run("f_*.cbf", {"--rotation-angle-header", "Start_angle", "--translation-header", "samx",
                        "--exposure-time-header", "Exposure_time"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors,
                AllOf(HasSubstr("f_117.cbf"), HasSubstr("frame 17 is masked"),
                      HasSubstr("translation is read from header key 'samx'; it is not known for 3 "
                                "of 60 frames, the first: f_117.cbf"),
                      HasSubstr("rotation_angle is read from header key 'Start_angle'; it is not "
                                "known for 1 of 60"),
                      HasSubstr("form no exact grid"), HasSubstr("(patterns)")));
    const auto places = values("out.nxs", "entry/patterns/translation");
    for (std::size_t i = 0; i < 60; ++i)
        EXPECT_EQ(std::isnan(places[i]), i == 17 || i == 25 || i == 33) << i;
    EXPECT_NEAR(places[1], 0.1002, 1e-9);
    EXPECT_EQ(values("out.nxs", "entry/patterns/exposure_time")[3], 0.5);

    write_text(folder() / "condition.toml",
               "[input]\nfile = 'out.nxs'\n[normalise]\nexposure = 'off'\n[channels]\ndead = "
               "false\n[axis]\noffset = 0.45\ncentre = false\n[spots]\nmethod = "
               "'off'\n[stripes]\nmethod = 'off'\n[scaling]\nmethod = 'off'\n");
    const auto arranged =
        run_xrdct({"condition", (folder() / "condition.toml").string(), "--no-pictures"}, 0, 60);
    ASSERT_EQ(arranged.exit_code, 0) << arranged.errors;
    EXPECT_THAT(arranged.errors, AllOf(HasSubstr("3 frames left out, whose position is not known: "
                                                 "17, 25, 33"),
                                       HasSubstr("1 frame left out, whose position is on no point "
                                                 "of the grid: 44")));
    const auto scan = scan::SinogramFile::open(folder() / "conditioned" / "condition.nxs");
    ASSERT_EQ(scan.metadata().n_rotation(), 6U);
    ASSERT_EQ(scan.metadata().n_translation(), 10U);
    std::vector<float> line(10 * 12);
    for (std::size_t r = 0; r < 6; ++r) {
        scan.read_rows({r, r + 1}, {0, 12}, line);
        for (std::size_t t = 0; t < 10; ++t) {
            const std::size_t i = 10 * r + (r % 2 == 0 ? t : 9 - t);
            if (i == 17 || i == 25 || i == 33 || i == 44)
                EXPECT_TRUE(std::isnan(line[12 * t])) << i;
            else
                EXPECT_FLOAT_EQ(line[12 * t], static_cast<float>(100 + i)) << i;
        }
    }
}

TEST_F(Headers, WhatDoesNotFitIsNamed) {
    write_zigzag();
    const std::vector<std::string> angle{"--rotation-angle-header", "Start_angle"};
    const auto with = [&](std::vector<std::string> more) {
        more.insert(more.begin(), angle.begin(), angle.end());
        return more;
    };
    expect_failure({"translation of no frame", "'samz'", "f_100.cbf", "nearest is 'samx'"},
                   "f_*.cbf", with({"--translation-header", "samz"}), 2);
    expect_failure({"'samx:furlong'", "furlong"}, "f_*.cbf",
                   with({"--translation-header", "samx:furlong"}));
    // a length is no angle
    expect_failure({"f_100.cbf", "'Exposure_time'", "deg"}, "f_*.cbf",
                   {"--rotation-angle-header", "Exposure_time", "--translation-header", "samx"});
    expect_failure(
        {"--translation-header", "not both"}, "f_*.cbf",
        {"--translation-header", "samx", "--rotations", "0:30:6", "--translations", "0:0.1:10"});
    expect_failure({"--translation-header", "not both"}, "f_*.cbf",
                   with({"--translation-header", "samx", "--translation-dataset", "x"}));
    auto file = hdf5::File::open(folder() / "scan.h5", hdf5::Access::create);
    const std::vector<std::int32_t> counts(4 * side * side, 7);
    file.root()
        .create_group("entry/data")
        .write_array("data", {4, side, side}, std::span<const std::int32_t>(counts));
    file.close();
    expect_failure({"scan.h5", "CBF and EDF"}, "scan.h5", with({"--translation-header", "samx"}));
}

TEST_F(Headers, FramesThatDoNotFitAreMaskedAndNamed) {
    const auto name = [&](int i) { return folder() / ("f_" + std::to_string(i) + ".cbf"); };
    for (int i = 0; i < 8; ++i)
        write_text(name(i), cbf(100 + i, "# rot " + std::to_string(i) + "\r\n"));
    const auto expect = [&](const std::vector<std::size_t>& masked,
                            const std::vector<std::string>& words) {
        const auto result = run("f_*.cbf", {"--force", "--rotation-angle-header", "rot"}, 2);
        ASSERT_EQ(result.exit_code, 0) << result.errors;
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        const auto intensity = values("out.nxs", "entry/patterns/intensity");
        ASSERT_EQ(intensity.size(), 8 * 12U);
        for (std::size_t i = 0; i < 8; ++i)
            if (std::ranges::find(masked, i) != masked.end())
                EXPECT_TRUE(std::isnan(intensity[12 * i])) << i;
            else
                EXPECT_EQ(intensity[12 * i], 100.0 + static_cast<double>(i));
    };
    expect({}, {});
    write_text(name(2), cbf(102, "# rot 2\r\n", side - 1));
    expect({2}, {"frame 2 is masked", "f_2.cbf", "19 x 20 pixels, the first one 20 x 20"});
    const auto whole = read_text(name(4));
    write_text(name(4), whole.substr(0, whole.size() - 200));
    write_text(name(5), "no image");
    std::filesystem::remove(name(6));
    expect({2, 4, 5, 6}, {"frame 4 is masked", "is cut off", "frame 5 is masked", "is no CBF file",
                          "frame 6 is masked", "f_6.cbf: is missing in the series"});
    // What is left of frame 4 says where it was taken; of frames 5 and 6 nothing does.
    const auto angles = values("out.nxs", "entry/patterns/rotation_angle");
    for (std::size_t i = 0; i < 8; ++i)
        if (i == 5 || i == 6)
            EXPECT_TRUE(std::isnan(angles[i]));
        else
            EXPECT_EQ(angles[i], static_cast<double>(i));
    std::filesystem::remove(folder() / "out.nxs");
    expect_failure({"f_2.cbf", "19 x 20"}, "f_*.cbf", {"--bad-frames", "refuse"}, 2);
    write_text(folder() / "mask.edf",
               edf(0, "").replace(edf(0, "").find("Dim_2 = 20"), 10, "Dim_2 = 19"));
    expect_failure({"mask mask.edf", "19 x 20", "20 x 20"}, "f_*.cbf", {"--mask", "mask.edf"});
    // a stack of another size is no damaged frame
    auto file = hdf5::File::open(folder() / "g_1.h5", hdf5::Access::create);
    const std::vector<std::int32_t> counts(2 * side * side, 7);
    file.root()
        .create_group("entry/data")
        .write_array("data", {2, side, side}, std::span<const std::int32_t>(counts));
    file.close();
    file = hdf5::File::open(folder() / "g_2.h5", hdf5::Access::create);
    file.root()
        .create_group("entry/data")
        .write_array("data", {1, 2 * side, side}, std::span<const std::int32_t>(counts));
    file.close();
    expect_failure({"g_2.h5", "40 x 20", "g_1.h5", "20 x 20"}, "g_*.h5", {}, 2);
    // geometry of another detector
    write_text(folder() / "a.poni",
               "poni_version: 2\nDetector: Detector\nDetector_config: {\"pixel1\": 1e-4, "
               "\"pixel2\": 1e-4, \"max_shape\": [30, 40]}\nDistance: 0.1\nPoni1: 0\nPoni2: "
               "0\nRot1: 0\nRot2: 0\nRot3: 0\n");
    expect_failure({"a.poni", "30 x 40", "20 x 20"}, "f_*.cbf", {});
    // q needs a wavelength
    write_text(folder() / "a.poni", "PixelSize1: 2e-4\nPixelSize2: 2e-4\nDistance: 0.1\nPoni1: "
                                    "0\nPoni2: 0\nRot1: 0\nRot2: 0\nRot3: 0\n");
    expect_failure({"wavelength"}, "f_*.cbf", {"--unit", "q"});
}

} // namespace
