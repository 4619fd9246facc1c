// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include "mpi/hdf5/hdf5.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

class BadScan : public CellTest {
  protected:
    hdf5::File open() { return hdf5::File::open(scan(), hdf5::Access::read_write); }
};
class BadJob : public CellTest {};
class BadStructure : public CellTest {};
class BadOutput : public CellTest {};

TEST_F(BadScan, MissingFile) {
    std::filesystem::remove(scan());
    expect_failure({"scan.nxs", "no such file"});
}

TEST_F(BadScan, NotHdf5) {
    write_text(scan(), "this is no HDF5 file, however long it may be\n");
    expect_failure({"scan.nxs", "HDF5"});
}

TEST_F(BadScan, TruncatedAnywhere) {
    const auto size = std::filesystem::file_size(scan());
    for (const double fraction : {0.01, 0.4, 0.95}) {
        SCOPED_TRACE(fraction);
        std::filesystem::resize_file(
            scan(), static_cast<std::uintmax_t>(fraction * static_cast<double>(size)));
        expect_failure({"scan.nxs"});
    }
}

TEST_F(BadScan, EmptyFile) {
    std::filesystem::resize_file(scan(), 0);
    expect_failure({"scan.nxs"});
}

TEST_F(BadScan, WrongDatasetName) {
    edit_job("file = \"scan.nxs\"", "file = \"scan.nxs\"\nintensity = \"/entry/data/intensitty\"");
    expect_failure({"scan.nxs", "intensitty", "intensity"});
}

TEST_F(BadScan, WrongNumberOfDimensions) {
    edit_job("file = \"scan.nxs\"", "file = \"scan.nxs\"\nintensity = \"/entry/data/two_theta\"");
    expect_failure({"scan.nxs", "two_theta"});
}

TEST_F(BadScan, NotMonotonicAxis) {
    {
        auto file = open();
        auto axis = file.root().open_dataset("/entry/data/translation");
        auto values = axis.read_all<double>();
        std::swap(values[3], values[4]);
        axis.write(values);
    }
    expect_failure({"scan.nxs", "translation"});
}

TEST_F(BadScan, NanInAxis) {
    {
        auto file = open();
        auto axis = file.root().open_dataset("/entry/data/two_theta");
        auto values = axis.read_all<double>();
        values[7] = std::numeric_limits<double>::quiet_NaN();
        axis.write(values);
    }
    expect_failure({"scan.nxs", "two_theta"});
}

TEST_F(BadScan, UnitThatIsNone) {
    {
        auto file = open();
        auto axis = file.root().open_dataset("/entry/data/translation");
        axis.set_attribute("units", "furlong");
    }
    expect_failure({"scan.nxs", "translation", "furlong"});
}

TEST_F(BadScan, NegativeDistanceInFile) {
    {
        auto file = open();
        file.root()
            .open_dataset("/entry/instrument/detector/distance")
            .write(std::vector<double>{-1000.0});
    }
    expect_failure({"scan.nxs", "distance"});
}

TEST_F(BadScan, ZeroRotations) {
    std::filesystem::remove(scan());
    {
        auto file = hdf5::File::open(scan(), hdf5::Access::create_new);
        auto root = file.root();
        auto group = root.create_group("entry/data");
        group.create_dataset("intensity", hdf5::ElementType::float32, {0, 5, 20});
        group.create_dataset("rotation", hdf5::ElementType::float64, {0});
        group.write_array("translation", {5},
                          std::span<const double>(std::vector<double>{-2, -1, 0, 1, 2}));
        std::vector<double> two_theta(20);
        for (std::size_t i = 0; i < two_theta.size(); ++i)
            two_theta[i] = 1 + 0.01 * static_cast<double>(i);
        group.write_array("two_theta", {20}, std::span<const double>(two_theta));
    }
    edit_job("file = \"scan.nxs\"",
             "file = \"scan.nxs\"\nintensity = \"/entry/data/intensity\"\nrotation_angle = "
             "\"/entry/data/rotation\"\n"
             "translation = \"/entry/data/translation\"\nradial = \"/entry/data/two_theta\"\n"
             "axes = [\"rotation_angle\", \"translation\", \"radial\"]");
    expect_failure({"scan.nxs", "rotation"});
}

TEST_F(BadScan, NoTransmission) {
    edit_job("file = \"scan.nxs\"",
             "file = \"scan.nxs\"\ntransmission = \"/entry/data/transmitted\"");
    expect_failure({"scan.nxs", "transmitted"});
}

TEST_F(BadScan, InfiniteIntensity) {
    {
        auto file = open();
        auto data = file.root().open_dataset("/entry/data/intensity");
        const std::vector<float> spoilt{std::numeric_limits<float>::infinity()};
        data.write(hdf5::Selection{{3, 4, 5}, {1, 1, 1}}, std::span<const float>(spoilt));
    }
    expect_failure({"scan.nxs", "intensity"}, {"--stages", "fbp"});
}

TEST_F(BadJob, SyntaxError) {
    append_job("\n[fbp\nwindow = 3\n");
    expect_failure({"job.toml", "line"});
}

TEST_F(BadJob, MissingJobFile) {
    std::filesystem::remove(job());
    expect_failure({"job.toml", "no such file"});
}

TEST_F(BadJob, UnknownKeyNamesTheNearest) {
    append_job("\n[fbp]\nwindwo = \"hann\"\n");
    expect_failure({"job.toml", "fbp.windwo", "fbp.window"});
}

TEST_F(BadJob, UnknownKeyInAPhase) {
    edit_job("name = \"Fe\"", "name = \"Fe\"\nciff = \"x\"");
    expect_failure({"job.toml", "ciff", "cif"});
}

TEST_F(BadJob, PhaseNamedTwice) {
    append_job("\n[[phase]]\nname = \"Fe\"\ncif = \"cif/Fe.cif\"\n");
    expect_failure({"job.toml", "'Fe'", "twice"});
}

TEST_F(BadJob, NegativeDistance) {
    expect_failure({"job.toml", "geometry.distance", "-5"}, {"--set", "geometry.distance=-5"});
}

TEST_F(BadJob, WrongType) {
    expect_failure({"job.toml", "geometry.distance", "mm"}, {"--set", "geometry.distance=far"});
}

TEST_F(BadJob, UnknownChoiceNamesTheNearest) {
    expect_failure({"fbp.window", "han", "hann"}, {"--set", "fbp.window=han"});
}

TEST_F(BadJob, UnknownStage) {
    expect_failure({"fpb", "fbp"}, {"--stages", "fpb"});
}

TEST_F(BadJob, UnknownOption) {
    expect_failure({"--focre", "--force"}, {"--focre"});
}

TEST_F(BadJob, MemoryTooSmall) {
    expect_failure({"--memory"}, {"--memory", "1MB"});
}

TEST_F(BadJob, NoChannelInRange) {
    expect_failure({"channels.two_theta_min"}, {"--set", "channels.two_theta_min=90.0"});
}

TEST_F(BadStructure, MissingCif) {
    std::filesystem::remove(folder() / "cif" / "Cu.cif");
    expect_failure({"Cu.cif"});
}

TEST_F(BadStructure, NoCell) {
    auto text = read_text(folder() / "cif" / "Cu.cif");
    std::string without;
    std::size_t begin = 0;
    while (begin < text.size()) {
        const std::size_t end = std::min(text.find('\n', begin), text.size() - 1);
        const auto line = text.substr(begin, end - begin + 1);
        if (line.find("_cell_") == std::string::npos)
            without += line;
        begin = end + 1;
    }
    write_text(folder() / "cif" / "Cu.cif", without);
    expect_failure({"Cu.cif", "cell"});
}

TEST_F(BadStructure, UnknownElement) {
    auto text = read_text(folder() / "cif" / "Cu.cif");
    const std::size_t loop = text.rfind("Cu");
    ASSERT_NE(loop, std::string::npos);
    for (std::size_t at = text.find("Cu", text.find("_atom_site")); at != std::string::npos;
         at = text.find("Cu", at + 2))
        text.replace(at, 2, "Qq");
    write_text(folder() / "cif" / "Cu.cif", text);
    expect_failure({"Cu.cif", "Qq"});
}

TEST_F(BadStructure, NotACif) {
    write_text(folder() / "cif" / "Cu.cif", "nothing of the kind\n");
    expect_failure({"Cu.cif"});
}

TEST_F(BadOutput, ExistsAlready) {
    std::filesystem::create_directories(results());
    write_text(results() / "fbp.nxs", "precious");
    expect_failure({"fbp.nxs", "exists", "--force"});
    EXPECT_EQ(read_text(results() / "fbp.nxs"), "precious");
}

TEST_F(BadOutput, FolderCannotBeMade) {
    write_text(folder() / "results", "a file where the folder should be");
    const auto result = run_xrdct({"run", job().string()}, 2, 60);
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.errors.find("results"), std::string::npos) << result.errors;
}

TEST_F(BadOutput, RietveldWithoutVolume) {
    expect_failure({"fbp.nxs", "missing"}, {"--stages", "rietveld"});
}

TEST_F(BadOutput, VolumeOfOtherSettings) {
    ASSERT_EQ(run_xrdct({"run", job().string(), "--stages", "absorption,fbp"}, 2, 60).exit_code, 0);
    expect_failure({"fbp.nxs", "other settings"},
                   {"--stages", "rietveld", "--set", "fbp.window=ram-lak"});
}

TEST_F(BadOutput, FullDisk) {
    const TinyFileSystem disk(1 << 20);
    if (!disk.available())
        GTEST_SKIP() << "no tiny file system: " << disk.reason();
    for (const int ranks : {1, 3}) {
        const auto result =
            run_xrdct({"run", job().string(), "--set", "output=" + (disk.path() / "out").string()},
                      ranks, 60);
        EXPECT_FALSE(result.timed_out);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        EXPECT_NE(result.errors.find(".nxs"), std::string::npos) << result.errors;
        if (std::filesystem::exists(disk.path() / "out"))
            for (const auto& entry : std::filesystem::directory_iterator(disk.path() / "out")) {
                // Finished products of earlier stages may stay; nothing unfinished may.
                if (entry.path().filename() != "progress.json") {
                    EXPECT_EQ(entry.path().filename().string(), "absorption.nxs");
                }
                std::filesystem::remove(entry.path());
            }
    }
}

// Uncorrected patterns that no can explains end with a message, not with a wrong transmission.
TEST_F(BadJob, ReferencePhaseThatIsNoRing) {
    expect_failure({"reference phase"}, {"--set", "absorption.method=phases", "--set",
                                         "absorption.reference_phase=NMC532_secondary"});
}

TEST_F(BadJob, FillingThatIsNoFormula) {
    expect_failure({"Xx9"}, {"--set", "absorption.method=phases", "--set", "absorption.filling=Xx9",
                             "--set", "absorption.filling_density=1.2"});
}

} // namespace
