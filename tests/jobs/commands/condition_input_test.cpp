// SPDX-License-Identifier: BSD-3-Clause
// Bad input, and single settings.
#include "condition_fixture.hpp"

#include "jobs/condition/job.hpp"

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

class ConditionSteps : public ConditionTest {
  protected:
    const std::string zigzag =
        "[input]\nfile = 'frames.nxs'\nrotation_range = [0.0, 180.0]\n"
        "rotation_range_closed = false\ntranslation_range = [-2.0, 1.9]\n"
        "[arrange]\nrotations = 20\ntranslations = 40\nflip = 'odd'\nlag = 0.0\n";
    nlohmann::json step(const std::string& name) const {
        const auto json =
            nlohmann::json::parse(read_text(folder() / "conditioned" / "condition.json"));
        for (const auto& one : json["steps"])
            if (one["step"] == name)
                return one;
        return {};
    }
};

TEST_F(ConditionSteps, DeadTimeAndExposureWithTheirErrors) {
    const auto truth = disc_scan(20, 40, 24);
    auto file = frames_of(truth);
    constexpr double tau = 1e-6;
    for (std::size_t i = 0; i < 800; ++i) {
        const double exposure = i % 7 == 0 ? 0.02 : 0.01;
        file.exposure_time.push_back(exposure);
        for (std::size_t k = 0; k < 24; ++k) {
            const double n = file.intensity[i * 24 + k] * exposure / 0.01;
            file.intensity[i * 24 + k] = static_cast<float>(n / (1 + n * tau / exposure));
        }
    }
    file.units = "counts";
    file.write(folder() / "frames.nxs");
    const auto scan = conditioned(zigzag + "[normalise]\ndead_time = 1e-6\n");
    const double mean = (115 * 0.02 + 685 * 0.01) / 800 / 0.01;
    for (const std::size_t t : {12UL, 20UL, 25UL})
        for (const std::size_t r : {0UL, 3UL, 8UL}) {
            EXPECT_NEAR(scan.at(r, t, 9), mean * truth.at(r, t, 9), 1e-3 * truth.at(r, t, 9));
            const std::size_t i = r * 40 + (r % 2 == 1 ? 39 - t : t);
            const double exposure = i % 7 == 0 ? 0.02 : 0.01;
            const double n = truth.at(r, t, 9) * exposure / 0.01;
            const double measured = n / (1 + n * tau / exposure);
            // σ of the counts, times the derivative of the correction, times the exposure factor.
            EXPECT_NEAR(scan.error(r, t, 9),
                        std::sqrt(measured) * std::pow(1 + n * tau / exposure, 2) * mean * 0.01 /
                            exposure,
                        1e-3 * scan.error(r, t, 9));
        }
    EXPECT_EQ(step("exposure")["outcome"], "done");
    EXPECT_EQ(step("dead_time")["outcome"], "done");
}

TEST_F(ConditionSteps, CropAndBinWithErrorsAndPixels) {
    const auto truth = disc_scan(20, 40, 24);
    auto file = frames_of(truth);
    for (int k = 0; k < 24; ++k)
        file.pixels.push_back(100 + 10 * k);
    file.write(folder() / "frames.nxs");
    const auto scan = conditioned(zigzag + "[axis]\noffset = 0.0\n[crop]\n"
                                           "translation = [-1.5, 1.45]\nrotation = [9.0, 170.0]\n"
                                           "two_theta = [1.1, 1.4]\n"
                                           "[bin]\ntranslation = 1.5\nchannel = 2\nrotation = 3\n");
    // 30 translations, 18 rotations, 16 channels (5 to 20).
    ASSERT_EQ(scan.n_t, 20U);
    ASSERT_EQ(scan.n_r, 6U);
    ASSERT_EQ(scan.n_k, 8U);
    EXPECT_NEAR(scan.translation[0], -1.5 + (0.1 * 0.5) / 1.5, 1e-9);
    EXPECT_NEAR(scan.rotation[1], 9 * (4 + 5 + 6) / 3.0, 1e-9);
    double sum = 0, weight = 0, variance = 0;
    for (std::size_t r = 4; r < 7; ++r)
        for (const auto& [t, share] : {std::pair{20UL, 1.0}, {21UL, 0.5}})
            for (const std::size_t k : {9UL, 10UL}) {
                const double w = share * file.pixels[k];
                sum += w * truth.at(r, t, k);
                weight += w;
                variance += w * w * truth.at(r, t, k) / file.pixels[k];
            }
    EXPECT_NEAR(scan.at(1, 10, 2), sum / weight, 1e-3);
    EXPECT_NEAR(scan.error(1, 10, 2), std::sqrt(variance) / weight, 1e-3);
}

TEST_F(ConditionSteps, SymmetricCropLeavesTheAxisInTheMiddle) {
    frames_of(disc_scan(60, 40, 12, 0.23)).write(folder() / "frames.nxs");
    const auto scan = conditioned(
        "[input]\nfile = 'frames.nxs'\nrotation_range = [0.0, 180.0]\nrotation_range_closed = "
        "false\ntranslation_range = [-2.0, 1.9]\n[arrange]\nrotations = 60\ntranslations = 40\n"
        "[crop]\nsymmetric = true\n");
    EXPECT_LT(std::abs(scan.translation.front() + scan.translation.back()), 0.1001);
    EXPECT_LT(scan.n_t, 39U);
    EXPECT_NEAR(step("axis")["details"]["offset_mm"].get<double>(), 0.23, 0.02);
}

TEST_F(ConditionSteps, ScalingTakesADriftOut) {
    const auto truth = disc_scan(20, 40, 24);
    auto drifting = truth;
    for (std::size_t i = 0; i < drifting.intensity.size(); ++i)
        drifting.intensity[i] *= 1 - 0.01F * static_cast<float>(i / 960);
    frames_of(drifting).write(folder() / "frames.nxs");
    const auto scan = conditioned(zigzag + "[scaling]\nmethod = 'total'\n");
    const double level = scan.at(0, 20, 9) / truth.at(0, 20, 9);
    for (std::size_t r = 0; r < 20; ++r)
        EXPECT_NEAR(scan.at(r, 20, 9) / truth.at(r, 20, 9), level, 0.01 * level) << r;
}

TEST_F(ConditionSteps, SpotsAreMaskedOrOnlyReported) {
    auto file = frames_of(disc_scan(20, 40, 24));
    file.intensity[(4 * 40 + 20) * 24 + 5] += 5000;
    file.units = "counts";
    file.write(folder() / "frames.nxs");
    auto scan = conditioned(zigzag);
    EXPECT_GT(scan.at(4, 20, 5), 5000);
    EXPECT_EQ(step("spots")["outcome"], "found, left as they are");
    EXPECT_EQ(step("spots")["details"]["values"], 1);
    scan = conditioned(zigzag + "[spots]\nmethod = 'mask'\n", {"--force", "--no-pictures"});
    EXPECT_TRUE(std::isnan(scan.at(4, 20, 5)) && std::isnan(scan.error(4, 20, 5)));
    EXPECT_FALSE(std::isnan(scan.at(4, 20, 6)));
}

TEST_F(ConditionSteps, ErrorsAreWrittenWhereTheNoiseIsKnown) {
    frames_of(disc_scan(20, 40, 24)).write(folder() / "frames.nxs");
    EXPECT_TRUE(conditioned(zigzag).errors.empty());
    EXPECT_FALSE(conditioned(zigzag + "[noise]\nmodel = 'estimate'\n", {"--force", "--no-pictures"})
                     .errors.empty());
    std::filesystem::remove_all(folder() / "conditioned");
    refused(zigzag + "[noise]\nmodel = 'errors'\n", {"noise.model", "frames.nxs"});
}

TEST_F(ConditionSteps, TheResultIsAScanAndSmallBlocksChangeNothing) {
    frames_of(disc_scan(20, 40, 24)).write(folder() / "frames.nxs");
    const auto scan = conditioned(zigzag + "[spots]\nmethod = 'weight'\n");
    const auto info = run_xrdct({"info", product().string(), "--json"});
    ASSERT_EQ(info.exit_code, 0) << info.errors;
    EXPECT_EQ(nlohmann::json::parse(info.output)["scan"]["rotations"], 20);
    const auto again = conditioned(zigzag + "[spots]\nmethod = 'weight'\n",
                                   {"--force", "--no-pictures", "--memory", "10kB"});
    EXPECT_EQ(again.intensity, scan.intensity);
    // What was conditioned can be conditioned again, and stays what it is.
    const auto twice = run_xrdct({"condition", product().string(), "--output",
                                  (folder() / "twice").string(), "--no-pictures"});
    ASSERT_EQ(twice.exit_code, 0) << twice.errors;
    EXPECT_EQ(read_scan(folder() / "twice" / "condition.nxs").intensity, scan.intensity);
}

TEST(ConditionJob, DefaultsLeaveTheIntensitiesAlone) {
    const auto job = condition::parse_condition_job("[input]\nfile = 'a.nxs'\n", "folder/job.toml");
    EXPECT_EQ(job.input.file, "folder/a.nxs");
    EXPECT_EQ(job.output, "folder/conditioned");
    EXPECT_EQ(job.air, condition::AirScatter::none);
    EXPECT_EQ(job.spots, condition::Treat::report);
    EXPECT_EQ(job.stripes, condition::Treat::report);
    EXPECT_EQ(job.scaling, condition::Treat::report);
    EXPECT_EQ(job.dead_time, 0);
    EXPECT_EQ(job.bin_translation, 1);
    EXPECT_EQ(condition::numbered("a_%06d.h5", 12), "a_000012.h5");
    EXPECT_EQ(condition::numbered("/%d.1/x", 12), "/12.1/x");
    // A resolved job gives itself.
    EXPECT_EQ(condition::parse_condition_job(job.resolved, "folder/job.toml").resolved,
              job.resolved);
    for (const auto& key : condition::condition_job_reference())
        EXPECT_FALSE(key.description.empty()) << key.path;
}

TEST(ConditionJob, TheReferenceInTheDocumentationIsUpToDate) {
    const auto text =
        read_text(std::filesystem::path(XRDCT_SOURCE_FOLDER) / "docs" / "condition-reference.md");
    for (const auto& key : condition::condition_job_reference())
        EXPECT_NE(text.find("| `" + key.path + "` | " + key.type), std::string::npos) << key.path;
}

} // namespace
