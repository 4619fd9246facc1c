// SPDX-License-Identifier: BSD-3-Clause
// Public and common layouts, each with its ready job file of docs/datasets.
#include "condition_fixture.hpp"

#include <cmath>

using namespace xrdct;
using namespace xrdct::test;

namespace {

class Layout : public ConditionTest {
  protected:
    static std::string job_file(const std::string& name) {
        return read_text(std::filesystem::path(XRDCT_SOURCE_FOLDER) / "docs" / "datasets" / name);
    }
    static std::vector<double> q_of(const Scan3& scan, double energy) {
        std::vector<double> q;
        for (const double angle : scan.two_theta)
            q.push_back(4 * 3.14159265358979 * energy / 12.398419843320026 *
                        std::sin(angle * 3.14159265358979 / 360));
        return q;
    }
    static void expect_same(const Scan3& scan, const Scan3& truth, double tolerance = 1e-3,
                            std::size_t skip = 0) {
        ASSERT_EQ(scan.n_r, truth.n_r);
        ASSERT_EQ(scan.n_t, truth.n_t);
        ASSERT_EQ(scan.n_k, truth.n_k);
        for (std::size_t k = 0; k < truth.n_k; ++k)
            ASSERT_NEAR(scan.two_theta[k], truth.two_theta[k], 1e-5);
        for (std::size_t r = 0; r < truth.n_r; ++r)
            for (std::size_t t = skip; t + skip < truth.n_t; ++t)
                for (std::size_t k = 0; k < truth.n_k; ++k)
                    ASSERT_NEAR(scan.at(r, t, k), truth.at(r, t, k),
                                tolerance * (1 + std::abs(truth.at(r, t, k))))
                        << r << " " << t << " " << k;
    }
    /// [translation][rotation][channel]
    static std::vector<float> turned(const Scan3& scan) {
        std::vector<float> values;
        for (std::size_t t = 0; t < scan.n_t; ++t)
            for (std::size_t r = 0; r < scan.n_r; ++r)
                for (std::size_t k = 0; k < scan.n_k; ++k)
                    values.push_back(scan.at(r, t, k));
        return values;
    }
};

TEST_F(Layout, BatteryImagingLibraryAsIntegrated) {
    // 41 rotations, the last one at 180°; even lines backwards and displaced by one step.
    auto scan = disc_scan(41, 64, 30, 0.07);
    for (std::size_t r = 0; r < 41; ++r)
        scan.rotation[r] = 4.5 * static_cast<double>(r);
    auto truth = disc_scan(40, 64, 30, 0.07);
    for (std::size_t r = 0; r < 41; ++r) {
        const bool back = r % 2 == 0;
        std::vector<double> data, monitor, beam;
        for (std::size_t i = 0; i < 64; ++i) {
            const std::size_t label = back ? 63 - i : i;
            const std::size_t t = back ? (label > 0 ? label - 1 : 0) : label;
            const std::size_t source = r == 40 ? 63 - t : t;
            const double flux = 1 - 0.005 * static_cast<double>(r);
            for (std::size_t k = 0; k < 30; ++k)
                data.push_back(flux * truth.at(r % 40, source, k));
            monitor.push_back(1e5 * flux);
            beam.push_back(3e4 * flux * (source > 10 && source < 54 ? 0.7 : 1.0));
        }
        auto file = hdf5::File::open(folder() / fmt_name("xrd_DATASET_data_", r + 1, 6, ".h5"),
                                     hdf5::Access::create);
        file.root().write_array("data", {64, 30}, std::span<const double>(data));
        const auto q = q_of(scan, 73.3);
        file.root().write_array("q", {30}, std::span<const double>(q));
        auto counters = hdf5::File::open(folder() / fmt_name("DATASET_cnt_", r, 5, ".nxs"),
                                         hdf5::Access::create);
        auto group = counters.root().create_group("entry/data");
        group.write_array("value1", {64}, std::span<const double>(monitor));
        group.write_array("value2", {64}, std::span<const double>(beam));
    }
    const auto result =
        conditioned(job_file("battery-imaging-library.toml"),
                    {"--no-pictures", "--set", "input.count=41", "--set",
                     "input.translation_range=[-3.2, 3.1]", "--set", "bin.translation=1"});
    ASSERT_EQ(result.n_r, 40U);
    const double mean = 1 - 0.005 * 20;
    for (auto& value : truth.intensity)
        value *= static_cast<float>(mean);
    expect_same(result, truth, 1e-4, 1);
    EXPECT_NEAR(result.transmission[20 * 64 + 30], 0.7, 1e-6);
    EXPECT_NEAR(result.transmission[20 * 64 + 2], 1.0, 1e-6);
    // The axis is at 0.
    EXPECT_NEAR(result.translation[32], 0 - 0.07, 0.02);
    expect_said("moved back by 1 steps");
    expect_said("divided by the monitor");
    // As the published processing: pairs of translations averaged.
    std::filesystem::remove_all(folder() / "conditioned");
    const auto binned = conditioned(job_file("battery-imaging-library.toml"),
                                    {"--no-pictures", "--set", "input.count=41", "--set",
                                     "input.translation_range=[-3.2, 3.1]"});
    ASSERT_EQ(binned.n_t, 32U);
    EXPECT_NEAR(binned.at(11, 15, 14), 0.5 * (truth.at(11, 30, 14) + truth.at(11, 31, 14)), 0.05);
}

TEST_F(Layout, BatteryImagingLibraryProcessed) {
    const auto truth = disc_scan(30, 40, 24);
    {
        auto file = hdf5::File::open(folder() / "DATASET.h5", hdf5::Access::create);
        const auto values = turned(truth);
        file.root().write_array("sinograms", {40, 30, 24}, std::span<const float>(values));
        file.root().write_array("sinogram_absct", {40, 30},
                                std::span<const float>(std::vector<float>(1200, 1.0F)));
        const auto q = q_of(truth, 73.3);
        file.root().write_array("q", {24}, std::span<const double>(q));
    }
    expect_same(conditioned(job_file("battery-imaging-library-processed.toml"),
                            {"--no-pictures", "--set", "input.translation_range=[-2.0, 1.9]"}),
                truth);
}

TEST_F(Layout, AaaCellsAndOtherNdtomoSinograms) {
    const auto truth = disc_scan(40, 60, 24, 0.0, 20.0);
    {
        auto file = hdf5::File::open(folder() / "pristine.h5", hdf5::Access::create);
        const auto values = turned(truth);
        file.root().write_array("data", {60, 40, 24}, std::span<const float>(values));
        const auto q = q_of(truth, 103.5);
        file.root().write_array("q", {24}, std::span<const double>(q));
    }
    auto without_air = disc_scan(40, 60, 24);
    expect_same(conditioned(job_file("aaa-cells.toml"),
                            {"--no-pictures", "--set", "input.translation_range=[-3.0, 2.9]"}),
                without_air);
    expect_said("points at the 5 outermost translations");
}

TEST_F(Layout, PyfaiFramesInAZigzag) {
    const auto truth = disc_scan(40, 60, 24);
    const auto frames = frames_of(truth);
    for (const bool in_lines : {false, true}) {
        {
            auto file = hdf5::File::open(folder() / "integrated.h5", hdf5::Access::create);
            auto root = file.root();
            root.set_attribute("default", "/entry_0000");
            auto entry = nexus::require_class(root, "entry_0000", "NXentry");
            entry.set_attribute("default", "integrate/results");
            auto process = nexus::require_class(entry, "integrate", "NXprocess");
            process.set_attribute("default", "results");
            auto results = nexus::require_class(process, "results", "NXdata");
            results.set_attribute("signal", "data");
            results.set_attribute("axes", in_lines ? std::vector<std::string>{".", ".", "radial"}
                                                   : std::vector<std::string>{".", "radial"});
            const hdf5::Shape shape = in_lines ? hdf5::Shape{40, 60, 24} : hdf5::Shape{2400, 24};
            results.write_array("data", shape, std::span<const float>(frames.intensity));
            std::vector<float> errors;
            for (const float value : frames.intensity)
                errors.push_back(0.01F * value + 1);
            results.write_array("data_errors", shape, std::span<const float>(errors));
            auto q = q_of(truth, 103.5);
            for (double& value : q)
                value *= 10;
            results.write_array("radial", {24}, std::span<const double>(q))
                .set_attribute("unit", "nm^-1");
        }
        const auto result = conditioned(job_file("pyfai.toml"),
                                        {"--no-pictures", "--force", "--set",
                                         "arrange.rotations=40", "--set", "arrange.translations=60",
                                         "--set", "input.translation_range=[-3.0, 2.9]"});
        ASSERT_NO_FATAL_FAILURE(expect_same(result, truth));
        ASSERT_FALSE(result.errors.empty()) << said();
        EXPECT_NEAR(result.error(4, 20, 10), 0.01 * truth.at(4, 20, 10) + 1, 1e-3);
        expect_said("odd lines turned");
    }
}

TEST_F(Layout, BlissEntryPerLine) {
    const auto truth = disc_scan(30, 50, 24);
    const double scan_start = truth.translation.front();
    {
        auto file = hdf5::File::open(folder() / "scan_0001.h5", hdf5::Access::create);
        auto q = q_of(truth, 75.0);
        for (double& value : q)
            value *= 10;
        for (std::size_t r = 0; r < 30; ++r) {
            if (r == 12) // one scan was aborted
                continue;
            auto entry = file.root().create_group(std::to_string(r + 1) + ".1");
            std::vector<float> values;
            std::vector<double> places, monitor;
            // Backward lines begin one step late, and their positions say so.
            for (std::size_t i = 0; i < 50; ++i) {
                const std::size_t t = r % 2 == 1 ? 49 - i : i;
                const std::size_t at = r % 2 == 1 ? (t > 0 ? t - 1 : 0) : t;
                places.push_back(scan_start +
                                 0.1 * (static_cast<double>(t) - (r % 2 == 1 ? 1 : 0)) +
                                 (r == 8 && t == 30 ? 0.05 : 0.0));
                monitor.push_back(1e4 * (1 + 0.01 * static_cast<double>(at)));
                for (std::size_t k = 0; k < 24; ++k)
                    values.push_back(static_cast<float>(truth.at(r, at, k) *
                                                        (1 + 0.01 * static_cast<double>(at))));
            }
            entry.write_array("measurement/integrated", {50, 24}, std::span<const float>(values));
            entry.write_array("measurement/dty", {50}, std::span<const double>(places));
            entry.write_array("measurement/fpico2", {50}, std::span<const double>(monitor));
            entry.write_array("measurement/q", {24}, std::span<const double>(q));
            entry.write_scalar("instrument/positioners/rot", truth.rotation[r]);
        }
    }
    const auto result = conditioned(job_file("esrf-bliss.toml"));
    ASSERT_EQ(result.n_r, 30U);
    EXPECT_NEAR(result.rotation[12], truth.rotation[12], 1e-9);
    EXPECT_TRUE(std::isnan(result.at(12, 20, 10)));
    expect_said("line 12 is not there and is masked");
    expect_said("15 lines begin a step or more off the first one");
    expect_said("1 points are masked, whose position is on no point of the grid");
    EXPECT_TRUE(std::isnan(result.at(8, 30, 10)));
    EXPECT_TRUE(std::isnan(result.at(7, 49, 10)));
    const double mean = result.at(3, 20, 10) / truth.at(3, 20, 10);
    for (std::size_t r = 0; r < 30; ++r)
        for (std::size_t t = 1; t < 49; ++t)
            if (r != 12 && !(r == 8 && t == 30)) {
                ASSERT_NEAR(result.at(r, t, 10), mean * truth.at(r, t, 10),
                            1e-3 * (1 + truth.at(r, t, 10)))
                    << r << " " << t;
            }
}

TEST_F(Layout, IntegratedPatternsWithPositions) {
    const auto truth = disc_scan(40, 60, 24, 0.12);
    auto air = truth;
    for (auto& value : air.intensity)
        value += 30;
    auto file = frames_of(air);
    for (std::size_t r = 0; r < 40; ++r)
        for (std::size_t i = 0; i < 60; ++i) {
            file.rotation_angle.push_back(truth.rotation[r]);
            file.translation.push_back(truth.translation[r % 2 == 1 ? 59 - i : i]);
            file.exposure_time.push_back(0.01);
        }
    file.pixels.assign(24, 500);
    file.pixels_per_frame = true;
    // Two frames were lost, one was taken while the motor jumped.
    for (const std::size_t lost : {1300UL, 305UL}) {
        file.intensity.erase(file.intensity.begin() + static_cast<std::ptrdiff_t>(lost * 24),
                             file.intensity.begin() + static_cast<std::ptrdiff_t>(lost * 24 + 24));
        for (auto* values : {&file.rotation_angle, &file.translation, &file.exposure_time})
            values->erase(values->begin() + static_cast<std::ptrdiff_t>(lost));
    }
    file.translation[700] += 3.34;
    file.write(folder() / "patterns.nxs");
    const auto result = conditioned(job_file("integrated.toml"));
    ASSERT_EQ(result.n_r, 40U);
    ASSERT_EQ(result.n_t, 60U);
    // 305: line 5, backwards; 1300: line 21; 700 of what was left: 701 of all, line 11.
    std::size_t missing = 0;
    for (std::size_t r = 0; r < 40; ++r)
        for (std::size_t t = 0; t < 60; ++t)
            missing += std::isnan(result.at(r, t, 3)) ? 1 : 0;
    EXPECT_EQ(missing, 3U);
    EXPECT_TRUE(std::isnan(result.at(5, 59 - 5, 3)));
    EXPECT_TRUE(std::isnan(result.at(21, 59 - 40, 3)));
    EXPECT_TRUE(std::isnan(result.at(11, 59 - 41, 3)));
    for (std::size_t r = 0; r < 40; ++r)
        for (std::size_t t = 0; t < 60; ++t)
            if (!std::isnan(result.at(r, t, 3))) {
                ASSERT_NEAR(result.at(r, t, 3), truth.at(r, t, 3), 0.02 + 1e-3 * truth.at(r, t, 3));
            }
    expect_said("1 frame left out, whose position is on no point of the grid: 700");
    EXPECT_NEAR(result.translation[30], -0.12, 0.01);
    // Poisson statistics of means over 500 pixels.
    EXPECT_NEAR(result.error(8, 30, 3), std::sqrt((truth.at(8, 30, 3) + 30) / 500), 0.02);
}

} // namespace
