// SPDX-License-Identifier: BSD-3-Clause
// Jobs that are wrong on purpose, on a scan that is right: the end of the run says so.

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using namespace xrdct::test;
using testing::HasSubstr;

namespace {

class Untrusted : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = new TemporaryDirectory;
        simulate_cell(cell(), {"--translations", "48", "--rotations", "60"});
    }
    static void TearDownTestSuite() { delete folder_; }

    static std::filesystem::path cell() { return *folder_ / "cell"; }

    /// The conventional stages of the simulator's job with other values.
    static ProcessResult run(const std::vector<std::string>& changes,
                             const std::string& job = "job.toml") {
        std::vector<std::string> arguments{"run", (cell() / job).string(), "--force",
                                           "--force-data"};
        for (const auto& change : changes)
            arguments.insert(arguments.end(), {"--set", change});
        return run_xrdct(arguments, 2, 300);
    }

    static void expect_untrusted(const ProcessResult& result, const std::string& reason) {
        EXPECT_EQ(result.exit_code, 3) << result.errors;
        EXPECT_THAT(result.errors, HasSubstr("NOT TO BE TRUSTED"));
        EXPECT_THAT(result.errors, HasSubstr(reason));
    }

    static TemporaryDirectory* folder_;
};
TemporaryDirectory* Untrusted::folder_ = nullptr;

TEST_F(Untrusted, NotTheSimulatorsOwnJob) {
    const auto good = run({});
    EXPECT_EQ(good.exit_code, 0) << good.errors;
    EXPECT_THAT(good.errors, testing::Not(HasSubstr("NOT TO BE TRUSTED")));
}

TEST_F(Untrusted, WavelengthsThatAreOff) {
    // The cells follow, all by the same factor: no residual tells.
    const std::string near = "job_with_truth.toml";
    expect_untrusted(run({"geometry.wavelength=0.12159685"}, near), "1.5 % larger");
    expect_untrusted(run({"geometry.wavelength=0.11799315"}, near), "1.5 % smaller");
    // Farther off they do not get there.
    expect_untrusted(run({"geometry.wavelength=0.123384"}), "the model misses");
    expect_untrusted(run({"geometry.wavelength=0.1161963"}), "the model misses");
    expect_untrusted(run({"geometry.wavelength=0.1293732"}), "the model misses the patterns");
    expect_untrusted(run({"geometry.wavelength=0.1102068"}), "the model misses the patterns");
}

TEST_F(Untrusted, WidthsStructuresAndCells) {
    expect_untrusted(run({"instrument.w=0.02"}), "the model misses the patterns");
    expect_untrusted(run({"phase.Fe.cif=cif/Cu.cif"}), "a phase is missing or wrong there");
    expect_untrusted(run({"phase.NMC532.cif=cif/LiC12.cif"}, "job_with_truth.toml"),
                     "the model misses the mean pattern");
    // A second phase of the same structure takes the place: amounts are right under its name.
    EXPECT_THAT(run({"phase.NMC532.cif=cif/LiC12.cif"}).errors,
                HasSubstr("only their sum is told: NMC532 and LiC12"));
    expect_untrusted(run({"phase.NMC532.start_c=13.2"}), "NMC532: significant in hardly any voxel");
}

TEST_F(Untrusted, ARotationAxisThatIsOff) {
    expect_untrusted(run({"geometry.axis_offset=1.0"}), "the image does not explain the scan");
}

TEST_F(Untrusted, APhaseLeftOut) {
    std::ifstream in(cell() / "job.toml");
    std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto begin = text.find("[[phase]]\nname = \"Cu\"");
    ASSERT_NE(begin, std::string::npos);
    text.erase(begin, text.find("[[phase]]", begin + 1) - begin);
    std::ofstream(cell() / "without.toml") << text;
    expect_untrusted(run({}, "without.toml"), "the model misses the mean pattern");
}

} // namespace
