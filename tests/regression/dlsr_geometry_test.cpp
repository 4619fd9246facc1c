// SPDX-License-Identifier: BSD-3-Clause
// Cells whose axis and radial scale are not what the job says: found, told and corrected.

#include "mpi/hdf5/hdf5.hpp"
#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

constexpr double step = 1.08 * 10.17 / 60; // mm
constexpr double wrong_axis = 0.3, wrong_scale = 1.001;

/// A cell with conventional results; `wrong`: the axis 0.3 steps off and tan 2θ 0.1 % too large.
class Cell {
  public:
    explicit Cell(bool wrong) : cell_(folder_ / "cell") {
        std::vector<std::string> scan{"--translations",  "60",
                                      "--rotations",     "70",
                                      "--channels",      "350",
                                      "--channel-width", "0.0113",
                                      "--seed",          wrong ? "5" : "4"};
        if (wrong) {
            scan.emplace_back("--axis-offset");
            scan.push_back(std::to_string(wrong_axis * step));
        }
        simulate_cell(cell_, scan);
        if (wrong) {
            auto file = hdf5::File::open(cell_ / "scan.nxs", hdf5::Access::read_write);
            auto dataset = file.root().open_dataset("entry/data/two_theta");
            auto values = dataset.read_all<double>();
            constexpr double degree = std::numbers::pi / 180;
            for (double& value : values)
                value = std::atan(wrong_scale * std::tan(value * degree)) / degree;
            dataset.write(values);
        }
        const auto conventional = run({"--set", "stages=[\"absorption\",\"fbp\",\"rietveld\"]"});
        if (conventional.exit_code != 0)
            throw std::runtime_error("the conventional job failed: " + conventional.errors);
    }
    ProcessResult dlsr(std::vector<std::string> more) const {
        more.insert(more.end(),
                    {"--stages", "dlsr", "--force", "--set", "dlsr.smoothness=0.25", "--set",
                     "dlsr.error_samples=1", "--set", "dlsr.check_senses=false"});
        return run(more);
    }
    double number(const std::string& name) const {
        return map_of(product(), "entry/dlsr/geometry/" + name).at(0);
    }
    std::filesystem::path product() const { return cell_ / "results" / "dlsr.nxs"; }
    CellErrors cathode(const std::string& parameter) const {
        return compare_cathode(cell_, product(), "dlsr", parameter);
    }

  private:
    ProcessResult run(const std::vector<std::string>& more) const {
        std::vector<std::string> arguments{"run", (cell_ / "job.toml").string(), "--set",
                                           "geometry.axis_offset=0"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return run_xrdct(arguments, 2, 400);
    }
    TemporaryDirectory folder_;
    std::filesystem::path cell_;
};

const Cell& wrong_cell() {
    static const Cell cell(true);
    return cell;
}

void record(const std::string& name, double value) {
    ::testing::Test::RecordProperty(name, std::to_string(value));
}

TEST(DlsrGeometryErrors, NoFalseAlarm) {
    const Cell cell(false);
    const auto run = cell.dlsr({});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_EQ(run.errors.find("AXIS"), std::string::npos) << run.errors;
    EXPECT_EQ(run.errors.find("RADIAL SCALE"), std::string::npos) << run.errors;
    EXPECT_EQ(run.errors.find("DISTANCE"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("axis offset"), std::string::npos) << run.errors;
    record("axis_steps", cell.number("axis_offset") / step);
    record("axis_esd_steps", cell.number("axis_offset_errors") / step);
    record("scale_ppm", 1e6 * (cell.number("radial_scale") - 1));
    record("distance", cell.number("distance"));
    EXPECT_NEAR(cell.number("axis_offset"), 0, 0.03 * step);
    EXPECT_GT(cell.number("axis_offset_errors"), 0);
    EXPECT_LT(cell.number("axis_offset_errors"), 0.02 * step);
    EXPECT_NEAR(cell.number("radial_scale"), 1, 5e-5);
    EXPECT_NEAR(cell.number("radial_scale_errors"), 1e-4 / std::sqrt(3), 1e-5);
    EXPECT_EQ(cell.number("radial_scale_applied"), 1);
    EXPECT_NEAR(cell.number("distance"), 1000, 50);
}

TEST(DlsrGeometryErrors, DetectedWhereNothingMayBeChanged) {
    const auto& cell = wrong_cell();
    const auto run = cell.dlsr({"--set", "dlsr.axis_offset=fixed"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find("AXIS: "), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("geometry.axis_offset = \"auto\""), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("RADIAL SCALE: "), std::string::npos) << run.errors;
    record("axis_steps", cell.number("axis_offset") / step);
    record("axis_esd_steps", cell.number("axis_offset_errors") / step);
    record("scale_ppm", 1e6 * (cell.number("radial_scale") - 1));
    // Linear: so far off a part of it is seen.
    EXPECT_NEAR(cell.number("axis_offset"), 0.22 * step, 0.08 * step);
    EXPECT_NEAR(cell.number("sinogram_axis_offset"), wrong_axis * step, 0.04 * step);
    EXPECT_NEAR(cell.number("radial_scale"), wrong_scale, 1e-4);
    EXPECT_GT(cell.number("radial_scale") - 1, 3 * cell.number("radial_scale_errors"));
    record("c_bias", cell.cathode("c").bias);
    EXPECT_LT(cell.cathode("c").bias, -0.01);
}

TEST(DlsrGeometryErrors, RecoveredTogether) {
    const auto& cell = wrong_cell();
    const auto run = cell.dlsr({"--set", "dlsr.radial_scale=metals"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find(": refined"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("AXIS: "), std::string::npos) << run.errors;
    EXPECT_EQ(run.errors.find("RADIAL SCALE: "), std::string::npos) << run.errors;
    const auto c = cell.cathode("c"), a = cell.cathode("a");
    record("axis_steps", cell.number("axis_offset") / step);
    record("axis_esd_steps", cell.number("axis_offset_errors") / step);
    record("scale_ppm", 1e6 * (cell.number("radial_scale") - 1));
    record("applied_ppm", 1e6 * (cell.number("radial_scale_applied") - 1));
    record("c_bias", c.bias);
    record("c_median", c.median);
    EXPECT_NEAR(cell.number("axis_offset"), wrong_axis * step, 0.06 * step);
    EXPECT_NEAR(cell.number("sinogram_axis_offset"), wrong_axis * step, 0.04 * step);
    EXPECT_NEAR(cell.number("radial_scale"), wrong_scale, 5e-5);
    EXPECT_NEAR(cell.number("radial_scale_applied"), wrong_scale, 1e-4);
    EXPECT_LE(std::abs(c.bias), 1.5e-3);
    EXPECT_LE(c.median, 0.003);
    EXPECT_LE(std::abs(a.bias), 3e-4);
}

} // namespace
