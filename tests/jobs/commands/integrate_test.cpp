// SPDX-License-Identifier: BSD-3-Clause
// xrdct integrate through the program: what it writes, bad input, the same on any number of ranks.

#include "base/units.hpp"
#include "cell_fixture.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/patterns/pattern_file.hpp"
#include "mpi/scan/sinogram_file.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>
#include <cstring>
#include <gmock/gmock.h>

using namespace xrdct;
using namespace xrdct::test;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace {

constexpr std::size_t rows = 40, columns = 50, frames = 6;

/// A folder with six frames in scan.h5, a geometry and a mask.
class Integrate : public ::testing::Test {
  protected:
    void SetUp() override {
        write_text(folder() / "a.poni", poni_);
        write_frames("scan.h5", frames, rows, columns);
        std::string mask(rows * columns, '\0');
        mask[777] = '\1';
        write_text(folder() / "mask.edf", edf(mask, columns, rows));
    }

    static std::string edf(const std::string& data, std::size_t dim_1, std::size_t dim_2) {
        std::string header = "{\nByteOrder = LowByteFirst ;\nDataType = UnsignedByte ;\nDim_1 = " +
                             std::to_string(dim_1) + " ;\nDim_2 = " + std::to_string(dim_2) +
                             " ;\n";
        header.resize(510, ' ');
        return header + "}\n" + data;
    }

    /// Frame f counts 100 (f + 1) everywhere.
    void write_frames(const std::string& name, std::size_t n, std::size_t ny,
                      std::size_t nx) const {
        auto file = hdf5::File::open(folder() / name, hdf5::Access::create);
        {
            auto data = file.root().create_group("entry/data");
            std::vector<std::int32_t> counts(n * ny * nx);
            for (std::size_t i = 0; i < counts.size(); ++i)
                counts[i] = static_cast<std::int32_t>(100 * (i / (ny * nx) + 1));
            data.write_array("data", {n, ny, nx}, std::span<const std::int32_t>(counts),
                             {{1, ny, nx}, 4, true});
            std::vector<double> monitor(n);
            for (std::size_t f = 0; f < n; ++f)
                monitor[f] = 1000.0 + static_cast<double>(f);
            data.write_array("monitor", {n}, std::span<const double>(monitor));
        }
        file.close();
    }

    const std::filesystem::path& folder() const { return folder_.path(); }

    ProcessResult run(const std::vector<std::string>& more, int ranks = 0,
                      const std::string& source = "scan.h5") const {
        std::vector<std::string> arguments{"integrate",  source,     "--poni",
                                           "a.poni",     "--output", "out.nxs",
                                           "--channels", "20",       "--no-solid-angle"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, ranks, 60, folder());
    }

    void expect_failure(const std::vector<std::string>& words, const std::vector<std::string>& more,
                        const std::string& source = "scan.h5", int ranks = 0) const {
        const auto before = list_folder(folder());
        const auto result = run(more, ranks, source);
        EXPECT_NE(result.exit_code, 0) << result.errors;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        EXPECT_EQ(result.output, "");
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        EXPECT_EQ(list_folder(folder()), before);
    }

    std::vector<float> values(const std::string& dataset) const {
        const auto file = hdf5::File::open(folder() / "out.nxs", hdf5::Access::read_only);
        return file.root().open_dataset(dataset).read_all<float>();
    }

    const std::string poni_ =
        "PixelSize1: 2e-4\nPixelSize2: 2e-4\nDistance: 0.1\nPoni1: 0.001\nPoni2: 0.002\nRot1: "
        "0.1\nRot2: 0.05\nRot3: 0\nWavelength: 2e-11\n";

  private:
    TemporaryDirectory folder_;
};

} // namespace

TEST_F(Integrate, PatternsWithWhatBelongsToThem) {
    const auto result = run({"--mask", "mask.edf", "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.output,
                AllOf(HasSubstr("\"layout\": \"patterns\""), HasSubstr("\"pixels_used\": 1999"),
                      HasSubstr("\"solid_angle_corrected\": false")));
    const auto file = hdf5::File::open(folder() / "out.nxs", hdf5::Access::read_only);
    const auto group = file.root().open_group("entry/patterns");
    EXPECT_EQ(group.open_dataset("intensity").shape(), (hdf5::Shape{frames, 20}));
    const auto intensity = group.open_dataset("intensity").read_all<float>();
    const auto errors = group.open_dataset("intensity_errors").read_all<float>();
    const auto pixels = group.open_dataset("pixels").read_all<float>();
    const auto two_theta = group.open_dataset("two_theta").read_all<double>();
    ASSERT_EQ(pixels.size(), 20U);
    double sum = 0;
    for (const float n : pixels)
        sum += n;
    EXPECT_EQ(sum, 1999);
    for (std::size_t i = 0; i < intensity.size(); ++i) {
        const float level = 100.0F * static_cast<float>(i / 20 + 1);
        EXPECT_FLOAT_EQ(intensity[i], level);
        EXPECT_NEAR(errors[i], std::sqrt(level / pixels[i % 20]), 1e-4);
    }
    EXPECT_GT(two_theta[1], two_theta[0]);
    EXPECT_EQ(group.open_dataset("monitor").read_all<double>()[5], 1005);
    EXPECT_EQ(group.number_attribute("solid_angle_corrected"), 0);
    EXPECT_EQ(group.number_attribute("polarization_corrected"), 0);
    EXPECT_NEAR(*group.number_attribute("incident_wavelength"), 0.2, 1e-12);
    EXPECT_NEAR(*group.number_attribute("distance"), 100 / (std::cos(0.1) * std::cos(0.05)), 1e-9);
    EXPECT_TRUE(file.root().has_dataset("entry/integrate/inputs"));
}

TEST_F(Integrate, SinogramThatARunReads) {
    ASSERT_EQ(run({"--rotations", "0:90:2", "--translations", "1:-0.5:3"}, 2).exit_code, 0);
    const auto scan = scan::SinogramFile::open(folder() / "out.nxs");
    const auto& meta = scan.metadata();
    EXPECT_EQ(meta.rotation, (std::vector<double>{0, 90}));
    EXPECT_EQ(meta.translation, (std::vector<double>{0, 0.5, 1}));
    EXPECT_EQ(meta.n_channel(), 20U);
    EXPECT_TRUE(meta.has_errors && meta.has_pixels && meta.has_monitor);
    EXPECT_NEAR(meta.wavelength, 0.2, 1e-12);
    std::vector<float> line(3 * 20);
    scan.read_rows({1, 2}, {0, 20}, line);
    EXPECT_FLOAT_EQ(line[0], 600); // translation 0 came last
    EXPECT_FLOAT_EQ(line[40], 400);
    EXPECT_EQ(scan.read_monitor(), (std::vector<double>{1002, 1001, 1000, 1005, 1004, 1003}));
}

TEST_F(Integrate, SameOnAnyNumberOfRanks) {
    std::vector<std::vector<float>> all;
    for (const int ranks : {0, 2, 4}) {
        ASSERT_EQ(run({"--force", "--estimator", "trimmed-mean"}, ranks).exit_code, 0);
        all.push_back(values("entry/patterns/intensity_errors"));
        EXPECT_EQ(values("entry/patterns/invalid_pixels"), std::vector<float>(frames, 0.0F));
    }
    EXPECT_EQ(all[0], all[1]);
    EXPECT_EQ(all[0], all[2]);
}

TEST_F(Integrate, PositionsFromATable) {
    write_text(folder() / "p.csv", "translation,rotation_angle,transmission\n0,0,0.9\n1,0,0.8\n"
                                   "2,0,0.7\n0,60,0.6\n1,60,0.5\n2,60,0.4\n");
    ASSERT_EQ(run({"--positions", "p.csv"}).exit_code, 0);
    const auto scan = scan::SinogramFile::open(folder() / "out.nxs");
    EXPECT_EQ(scan.metadata().n_rotation(), 2U);
    EXPECT_EQ(scan.read_transmission()[5], 0.4);
    // positions that form no grid stay with their frames
    write_text(folder() / "p.csv",
               "translation,rotation_angle\n0,0\n1,0\n2,0\n0,60\n1,60\n2.2,60\n");
    const auto result = run({"--positions", "p.csv", "--force"});
    ASSERT_EQ(result.exit_code, 0);
    EXPECT_THAT(result.errors, HasSubstr("(patterns)"));
    EXPECT_FLOAT_EQ(values("entry/patterns/translation")[5], 2.2F);
    write_text(folder() / "p.csv", "translation,rotation_angle\n0,0\n");
    expect_failure({"p.csv", "1 lines", "6 frames"}, {"--positions", "p.csv", "--force"});
}

TEST_F(Integrate, RadialUnits) {
    for (const auto& [unit, name] : {std::pair{"q", "q"}, {"radius", "radius"}}) {
        ASSERT_EQ(run({"--unit", unit, "--force", "--splitting", "bbox"}).exit_code, 0);
        const auto file = hdf5::File::open(folder() / "out.nxs", hdf5::Access::read_only);
        const auto group = file.root().open_group("entry/patterns");
        const auto radial = group.open_dataset(name).read_all<double>();
        const auto two_theta = group.open_dataset("two_theta").read_all<double>();
        for (std::size_t k = 0; k < radial.size(); ++k) {
            const double angle = radians(two_theta[k]);
            EXPECT_NEAR(radial[k],
                        std::string(name) == "q"
                            ? 4 * pi * std::sin(angle / 2) / 0.2
                            : *group.number_attribute("distance") * std::tan(angle),
                        1e-9 * radial[k]);
        }
    }
    const auto scan = run({"--unit", "q", "--force", "--rotations", "0:90:2", "--translations",
                           "0:1:3", "--energy", "60"});
    ASSERT_EQ(scan.exit_code, 0) << scan.errors;
    EXPECT_NEAR(scan::SinogramFile::open(folder() / "out.nxs").metadata().wavelength, 0.2066403,
                1e-6);
}

TEST_F(Integrate, OneFrameAsText) {
    write_frames("one.h5", 1, rows, columns);
    ASSERT_EQ(run({"--text", "one.xye"}, 0, "one.h5").exit_code, 0);
    EXPECT_THAT(read_text(folder() / "one.xye"), HasSubstr(" 100 "));
    const auto pattern = patterns::read_pattern(folder() / "one.xye", {});
    EXPECT_NEAR(pattern.axis.wavelength(), 0.2, 1e-9);
    EXPECT_EQ(pattern.variance.size(), pattern.intensity.size());
    expect_failure({"--text", "6"}, {"--text", "two.xye", "--force"});
}

TEST_F(Integrate, NothingIsReplacedWithoutForce) {
    write_text(folder() / "out.nxs", "precious");
    expect_failure({"out.nxs", "exists", "--force"}, {});
    EXPECT_EQ(read_text(folder() / "out.nxs"), "precious");
    EXPECT_EQ(run({"--force"}).exit_code, 0);
}

TEST_F(Integrate, BadOptions) {
    expect_failure({"--estimator", "'medina'", "median"}, {"--estimator", "medina"});
    expect_failure({"there is no option", "--mask"}, {"--maks", "mask.edf"});
    expect_failure({"--rotations", "0:1"}, {"--rotations", "0:1", "--translations", "0:1:3"});
    expect_failure({"go together"}, {"--rotations", "0:1:6"});
    expect_failure({"8 points", "6 frames"}, {"--rotations", "0:1:4", "--translations", "0:1:2"});
    expect_failure({"polarisation factor"}, {"--polarization", "2"}, "scan.h5", 2);
    expect_failure({"whole pixels"}, {"--splitting", "bbox", "--estimator", "median"});
    expect_failure({"no folder"}, {"--text", "nowhere/a.xye"});
    const auto result = run_xrdct({"integrate", "scan.h5", "--output", "x.nxs"}, 0, 60, folder());
    EXPECT_THAT(result.errors, HasSubstr("--poni is needed"));
}

TEST_F(Integrate, BadGeometryAndMasks) {
    expect_failure({"none.edf", "no such file"}, {"--mask", "none.edf"}, "scan.h5", 2);
    write_text(folder() / "small.edf", edf(std::string(12, '\0'), 4, 3));
    expect_failure({"mask small.edf", "3 x 4", "40 x 50"}, {"--mask", "small.edf"});
    expect_failure({"dark small.edf"}, {"--dark", "small.edf"});
    expect_failure({"flat small.edf"}, {"--flat", "small.edf"});
    write_text(folder() / "all.edf", edf(std::string(rows * columns, '\1'), columns, rows));
    expect_failure({"mask leaves no pixel"}, {"--mask", "all.edf"});
    auto text = poni_;
    write_text(folder() / "a.poni", text.erase(text.find("Poni2"), 13));
    expect_failure({"a.poni", "Poni2 is missing"}, {}, "scan.h5", 2);
    std::filesystem::remove(folder() / "a.poni");
    expect_failure({"a.poni"}, {});
}

TEST_F(Integrate, BadFrames) {
    expect_failure({"none.h5", "no such file"}, {}, "none.h5", 2);
    write_text(folder() / "text.h5", "hello");
    expect_failure({"text.h5", "not an HDF5 file"}, {}, "text.h5");
    write_text(folder() / "frame.tif", "hello");
    expect_failure({"frame.tif", "not known by its name"}, {}, "frame.tif");
    write_frames("line_1.h5", 3, rows, columns);
    write_frames("line_2.h5", 3, rows, columns + 1);
    expect_failure({"line_2.h5", "40 x 51", "40 x 50"}, {}, "line_*.h5");
    write_frames("line_2.h5", 2, rows, columns);
    expect_failure({"6 points", "5 frames"}, {"--rotations", "0:1:2", "--translations", "0:1:3"},
                   "line_*.h5");
    expect_failure({"no dataset", "nothing"}, {"--dataset", "entry/nothing"});
    expect_failure({"monitor"}, {"--monitor-dataset", "entry/nothing"});
}

/// One damaged chunk: its frame is masked and named, the others stay where they are.
TEST_F(Integrate, DamagedChunk) {
    auto bytes = read_text(folder() / "scan.h5");
    // gzip streams begin with 78 5e at this level
    std::size_t at = 0;
    for (int i = 0; i < 3; ++i)
        at = bytes.find("\x78\x5e", at + 1);
    ASSERT_NE(at, std::string::npos);
    for (std::size_t i = 4; i < 12; ++i)
        bytes[at + i] = '\xff';
    write_text(folder() / "scan.h5", bytes);
    expect_failure({"scan.h5", "frame"}, {"--bad-frames", "refuse"}, "scan.h5", 2);
    const auto result = run({"--json"}, 2);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.errors, HasSubstr("is masked"));
    EXPECT_THAT(result.output, HasSubstr("\"bad_frames\""));
    const auto intensity = values("entry/patterns/intensity");
    std::size_t masked = 0;
    for (std::size_t f = 0; f < frames; ++f) {
        if (std::isnan(intensity[20 * f]))
            ++masked;
        else
            EXPECT_FLOAT_EQ(intensity[20 * f], 100.0F * static_cast<float>(f + 1));
    }
    EXPECT_EQ(masked, 1U);
}

TEST(SimulateFrames, SameOnAnyNumberOfRanksAndNeverReplaced) {
    const TemporaryDirectory folder;
    std::vector<std::vector<std::int32_t>> lines;
    for (const int ranks : {0, 3}) {
        const std::string name = "cell" + std::to_string(ranks);
        const std::vector<std::string> arguments{
            "simulate",   "--output", name,       "--translations", "8",  "--rotations", "4",
            "--channels", "100",      "--frames", "--frame-pixels", "32", "--counts",    "100"};
        const auto result = run_xrdct(arguments, ranks, 60, folder.path());
        ASSERT_EQ(result.exit_code, 0) << result.errors;
        EXPECT_THAT(result.errors, HasSubstr("xrdct integrate '" + name + "/frames/line_*.h5'"));
        for (const char* line : {"line_0000.h5", "line_0003.h5"}) {
            const auto file =
                hdf5::File::open(folder / name / "frames" / line, hdf5::Access::read_only);
            const auto dataset = file.root().open_dataset("entry/data/data");
            EXPECT_EQ(dataset.shape(), (hdf5::Shape{8, 32, 32}));
            lines.push_back(dataset.read_all<std::int32_t>());
        }
        auto again = arguments;
        again.push_back("--force");
        EXPECT_EQ(run_xrdct(again, ranks, 60, folder.path()).exit_code, 0);
        std::filesystem::remove(folder / name / "scan.nxs");
        std::filesystem::remove(folder / name / "truth.nxs");
        std::filesystem::remove(folder / name / "job.toml");
        const auto refused = run_xrdct(arguments, ranks, 60, folder.path());
        EXPECT_NE(refused.exit_code, 0);
        EXPECT_THAT(refused.errors, HasSubstr("exists; --force replaces it"));
    }
    EXPECT_EQ(lines[0], lines[2]);
    EXPECT_EQ(lines[1], lines[3]);
    EXPECT_NE(lines[0], lines[1]);
    for (const auto& [option, value] :
         {std::pair{"--frame-pixels", "5"}, {"--frame-polarization", "1.5"}}) {
        const auto result = run_xrdct({"simulate", "--output", "x", "--frames", option, value}, 0,
                                      60, folder.path());
        EXPECT_EQ(result.exit_code, 1);
        EXPECT_THAT(result.errors, HasSubstr(option));
        EXPECT_FALSE(std::filesystem::exists(folder / "x"));
    }
}
