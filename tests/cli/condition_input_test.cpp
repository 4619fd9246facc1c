// Bad input, and single settings.
#include "condition_fixture.hpp"

#include "jobs/condition_job.hpp"

#include <cmath>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

using namespace xrdct;
using namespace xrdct::test;

namespace {

class BadCondition : public ConditionTest {
  protected:
    void SetUp() override { write(frames_of(disc_scan(20, 40, 24))); }
    void write(const PatternsFile& file) { file.write(folder() / "frames.nxs"); }
    const std::string base = "[input]\nfile = 'frames.nxs'\nrotation_range = [0.0, 180.0]\n"
                             "rotation_range_closed = false\ntranslation_range = [-2.0, 1.9]\n"
                             "[arrange]\nrotations = 20\ntranslations = 40\n";
    std::filesystem::path frames() const { return folder() / "frames.nxs"; }
};

TEST_F(BadCondition, TheScanItselfIsGood) {
    const auto truth = disc_scan(20, 40, 24);
    const auto scan = conditioned(base);
    ASSERT_EQ(scan.n_r, 20U);
    EXPECT_NEAR(scan.at(7, 12, 5), truth.at(7, 12, 5), 1e-3) << said();
}

TEST_F(BadCondition, AFrameIsMissing) {
    auto file = frames_of(disc_scan(20, 40, 24));
    file.intensity.erase(file.intensity.begin() + 24 * 333, file.intensity.begin() + 24 * 334);
    write(file);
    refused(base, {"frames.nxs", "799 frames", "800 places", "shifts all that follow"});
    const auto scan = conditioned(base + "lost = [333]\n");
    EXPECT_TRUE(std::isnan(scan.at(8, 13, 3)));
    EXPECT_NEAR(scan.at(8, 14, 3), disc_scan(20, 40, 24).at(8, 14, 3), 1e-3);
    expect_said("1 points were not recorded");
}

TEST_F(BadCondition, PositionsThatMakeNoGrid) {
    auto file = frames_of(disc_scan(20, 40, 24));
    for (std::size_t i = 0; i < 800; ++i) {
        file.rotation_angle.push_back(9.0 * static_cast<double>(i / 40));
        file.translation.push_back(0.1 * static_cast<double>(i % 40) + (i % 5 == 0 ? 0.05 : 0.0));
    }
    write(file);
    refused("[input]\nfile = 'frames.nxs'\n",
            {"frames.nxs", "of 800 frames lie on no grid", "positions"});
}

TEST_F(BadCondition, OtherNumberOfPositionsOrCounters) {
    auto file = frames_of(disc_scan(20, 40, 24));
    file.monitor.assign(799, 1.0);
    write(file);
    refused(base, {"monitor", "800", "799"});
    file.monitor.assign(800, 0.0);
    write(file);
    refused(base, {"frames.nxs", "monitor", "no value is positive"});
}

TEST_F(BadCondition, NoPositionsAndNoneStated) {
    refused("[input]\nfile = 'frames.nxs'\n", {"frames.nxs", "input.rotation_range"});
    refused("[input]\nfile = 'frames.nxs'\n[arrange]\norder = 'positions'\n",
            {"frames.nxs", "rotation_angle"});
}

TEST_F(BadCondition, TruncatedAnywhere) {
    const auto size = std::filesystem::file_size(frames());
    for (const double part : {0.0, 0.1, 0.6, 0.97}) {
        SCOPED_TRACE(part);
        std::filesystem::resize_file(frames(),
                                     static_cast<std::uintmax_t>(part * static_cast<double>(size)));
        refused(base, {"frames.nxs"});
        SetUp();
    }
}

TEST_F(BadCondition, MissingFileAndNoHdf5) {
    std::filesystem::remove(frames());
    refused(base, {"frames.nxs", "no such file"});
    write_text(frames(), "not HDF5 at all\n");
    refused(base, {"frames.nxs", "HDF5"});
}

TEST_F(BadCondition, UnknownKeysAndValuesNameTheNearest) {
    refused(base + "[spots]\nmetod = 'weight'\n",
            {"condition.toml", "spots.metod", "spots.method"});
    refused(base + "[spots]\nmethod = 'wieght'\n", {"spots.method", "wieght", "weight"});
    refused(base + "lagg = 1\n", {"arrange.lagg", "arrange.lag"});
    refused(base + "[bin]\nchannel = 0.5\n", {"bin.channel", "at least 1"});
    refused(base + "[crop]\ntwo_theta = [90.0, 95.0]\n",
            {"crop.two_theta", "nothing lies between"});
    refused(base + "[air]\nmethod = 'pattern'\n", {"air.file"});
    refused(base + "[air]\nmethod = 'edges'\nedge = 15\n", {"air.edge"});
    refused(base + "[normalise]\nmonitor = 'on'\n", {"normalise.monitor", "input.monitor"});
    refused(base + "[normalise]\ndead_time = 1e-7\n", {"normalise.exposure_time"});
    refused(base + "drop = [20]\n", {"arrange.drop", "20"});
    refused("[input]\nfile = 'frames_%x.nxs'\n", {"input.file", "%06d"});
    refused("[input]\nfile = 'frames_%06d.nxs'\nintensity = 'data'\n", {"frames_000001.nxs"});
}

TEST_F(BadCondition, InfiniteValues) {
    auto file = frames_of(disc_scan(20, 40, 24));
    file.intensity[1234] = std::numeric_limits<float>::infinity();
    write(file);
    refused(base, {"frames.nxs", "infinite"});
}

TEST_F(BadCondition, RadialAxisWithoutUnitOrWavelength) {
    {
        auto data = hdf5::File::open(folder() / "plain.h5", hdf5::Access::create);
        data.root().write_array("data", {800, 24},
                                std::span<const float>(std::vector<float>(800 * 24, 1.0F)));
        std::vector<double> q;
        for (int k = 0; k < 24; ++k)
            q.push_back(1 + 0.1 * k);
        data.root().write_array("q", {24}, std::span<const double>(q));
    }
    const std::string plain =
        "[input]\nfile = 'plain.h5'\nintensity = 'data'\nrotation_range = [0.0, 180.0]\n"
        "translation_range = [-2.0, 1.9]\n";
    const std::string order = "[arrange]\nrotations = 20\ntranslations = 40\n";
    refused(plain + order, {"plain.h5", "q", "input.radial_unit"});
    refused(plain + "radial_unit = '1/nm'\n" + order, {"plain.h5", "wavelength"});
    refused(plain + "radial_unit = 'furlong'\n" + order, {"furlong"});
    refused(plain + "radial_unit = '1/nm'\n[geometry]\nenergy = 80.0\n" + order,
            {"plain.h5", "all 24 channels are dead"});
}

TEST_F(BadCondition, LinesOfAnotherSizeOrTruncated) {
    const auto scan = disc_scan(10, 40, 24);
    const auto line = [&](std::size_t r, std::size_t n_t, std::size_t n_k) {
        auto file =
            hdf5::File::open(folder() / fmt_name("line_", r, 3, ".h5"), hdf5::Access::create);
        std::vector<float> values;
        for (std::size_t t = 0; t < n_t; ++t)
            for (std::size_t k = 0; k < n_k; ++k)
                values.push_back(scan.at(r, t, k));
        file.root().write_array("data", {n_t, n_k}, std::span<const float>(values));
        file.root().write_array("tth", {24}, std::span<const double>(scan.two_theta));
    };
    for (std::size_t r = 0; r < 10; ++r)
        line(r, 40, 24);
    const std::string lines =
        "[input]\nfile = 'line_%03d.h5'\nfirst = 0\nintensity = 'data'\nradial = 'tth'\n"
        "rotation_range = [0.0, 162.0]\ntranslation_range = [-2.0, 1.9]\n"
        "[arrange]\nflip = 'none'\n[axis]\noffset = 0.0\n";
    line(6, 39, 24);
    refused(lines, {"line_006.h5", "[39, 24]", "[40, 24]"});
    line(6, 40, 23);
    refused(lines, {"line_006.h5", "[40, 23]", "[40, 24]"});
    line(6, 40, 24);
    const auto path = folder() / "line_004.h5";
    std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
    refused(lines, {"line_004.h5"});
    std::filesystem::remove(path);
    const auto result = conditioned(lines);
    expect_said("line 4 is not there and is masked");
    ASSERT_EQ(result.n_r, 10U);
    EXPECT_TRUE(std::isnan(result.at(4, 20, 12)));
    EXPECT_NEAR(result.at(5, 20, 12), scan.at(5, 20, 12), 1e-3);
    for (const std::size_t r : {1UL, 2UL, 7UL})
        std::filesystem::remove(folder() / fmt_name("line_", r, 3, ".h5"));
    std::filesystem::remove_all(folder() / "conditioned");
    refused(lines, {"4 of 10 lines are not there", "line_001.h5"});
}

TEST_F(BadCondition, AnAirPatternOfOtherChannels) {
    std::string text;
    for (int k = 0; k < 24; ++k)
        text += std::to_string(1 + 0.02 * k) + " 30\n";
    write_text(folder() / "air.xy", text);
    const auto truth = disc_scan(20, 40, 24);
    auto air = truth;
    for (auto& value : air.intensity)
        value += 15;
    write(frames_of(air));
    const std::string pattern = base + "[air]\nmethod = 'pattern'\nfile = 'air.xy'\nscale = 0.5\n";
    const auto scan = conditioned(pattern);
    EXPECT_NEAR(scan.at(5, 20, 7), truth.at(5, 20, 7), 1e-3);
    std::filesystem::remove_all(folder() / "conditioned");
    write_text(folder() / "air.xy", text + "1.48 30\n");
    refused(pattern, {"air.xy", "25 channels", "24"});
    std::string moved;
    for (int k = 0; k < 24; ++k)
        moved += std::to_string(1.01 + 0.02 * k) + " 30\n";
    write_text(folder() / "air.xy", moved);
    refused(pattern, {"air.xy", "channel 0"});
}

TEST_F(BadCondition, NothingIsOverwrittenWithoutForce) {
    conditioned(base);
    const auto again = condition(base);
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_NE(again.errors.find("--force"), std::string::npos);
    EXPECT_EQ(condition(base, {"--force", "--no-pictures"}).exit_code, 0);
}

TEST_F(BadCondition, DisagreeingAxesAreAWarning) {
    // Something that stands in the beam at one end of the lines and does not turn with the sample:
    // it moves the centres of mass, the mirrored edges of the sample do not.
    auto scan = disc_scan(60, 64, 12);
    for (std::size_t r = 0; r < 60; ++r)
        for (std::size_t t = 57; t < 61; ++t)
            for (std::size_t k = 0; k < 12; ++k)
                scan.at(r, t, k) += 250;
    write(frames_of(scan));
    conditioned("[input]\nfile = 'frames.nxs'\nrotation_range = [0.0, 180.0]\n"
                "rotation_range_closed = false\ntranslation_range = [-3.2, 3.1]\n"
                "[arrange]\nrotations = 60\ntranslations = 64\n");
    expect_said("warning: the two ways to find the rotation axis");
}

TEST(ConditionJob, DefaultsLeaveTheIntensitiesAlone) {
    const auto job = parse_condition_job("[input]\nfile = 'a.nxs'\n", "folder/job.toml");
    EXPECT_EQ(job.input.file, "folder/a.nxs");
    EXPECT_EQ(job.output, "folder/conditioned");
    EXPECT_EQ(job.air, "none");
    EXPECT_EQ(job.spots, Treat::report);
    EXPECT_EQ(job.stripes, Treat::report);
    EXPECT_EQ(job.scaling, Treat::report);
    EXPECT_EQ(job.dead_time, 0);
    EXPECT_EQ(job.bin_translation, 1);
    EXPECT_EQ(numbered("a_%06d.h5", 12), "a_000012.h5");
    EXPECT_EQ(numbered("/%d.1/x", 12), "/12.1/x");
    // A resolved job gives itself.
    EXPECT_EQ(parse_condition_job(job.resolved, "folder/job.toml").resolved, job.resolved);
    for (const auto& key : condition_job_reference())
        EXPECT_FALSE(key.description.empty()) << key.path;
}

} // namespace
