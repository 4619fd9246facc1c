// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::test {
namespace {

class InspectionTest : public CellTest {
  protected:
    ProcessResult validate(const std::vector<std::string>& settings, bool force = false) {
        std::vector<std::string> arguments{"validate", job().string()};
        for (const auto& setting : settings) {
            arguments.emplace_back("--set");
            arguments.push_back(setting);
        }
        if (force)
            arguments.emplace_back("--force-data");
        return run_xrdct(arguments, 0, 60);
    }
    /// Refused with one message that has the words; a warning with --force-data.
    void expect_refusal(const std::vector<std::string>& settings,
                        const std::vector<std::string>& words) {
        const auto result = validate(settings);
        EXPECT_EQ(result.exit_code, 1) << result.output;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        for (const auto& word : words)
            EXPECT_NE(result.errors.find(word), std::string::npos) << word << "\n" << result.errors;
        EXPECT_NE(result.errors.find("--force-data"), std::string::npos) << result.errors;
        const auto forced = validate(settings, true);
        EXPECT_EQ(forced.exit_code, 0) << forced.errors;
        EXPECT_NE(forced.output.find("# warning: "), std::string::npos) << forced.output;
    }
    void expect_warning(const std::vector<std::string>& settings,
                        const std::vector<std::string>& words) {
        const auto result = validate(settings);
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        EXPECT_NE(result.output.find("# warning: "), std::string::npos) << result.output;
        for (const auto& word : words)
            EXPECT_NE(result.output.find(word), std::string::npos) << word << "\n" << result.output;
    }
};

TEST_F(InspectionTest, TheScanAsItIsRaisesNoDoubt) {
    const auto result = validate({});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_EQ(result.output.find("# warning: "), std::string::npos) << result.output;
    EXPECT_NE(result.output.find("# the job is valid"), std::string::npos);
}

TEST_F(InspectionTest, NumbersInOtherUnitsAreRefused) {
    expect_refusal({"geometry.energy=103500"}, {"geometry.energy", "eV"});
    expect_refusal({"geometry.wavelength=0.01198"}, {"geometry.wavelength", "nm"});
    expect_refusal({"geometry.distance=1.0"}, {"geometry.distance", "in m?"});
    expect_refusal({"input.rotation_range=[0.0,3.1416]"}, {"input.rotation_range", "radians"});
    expect_warning({"input.translation_range=[-0.005,0.005]"},
                   {"input.translation_range", "in m?"});
}

TEST_F(InspectionTest, ExchangedAxesAreRefused) {
    expect_refusal({R"(input.axes=["translation","rotation_angle","radial"])",
                    "input.rotation_range=[0.0,180.0]", "input.translation_range=[-5.5,5.5]"},
                   {"scan.nxs", "input.axes", "exchanged"});
}

TEST_F(InspectionTest, AWavelengthEightPercentOffIsNamedWithTheRightOne) {
    expect_warning({"geometry.wavelength=0.12937"}, {"geometry.wavelength", "factor 0.9"});
}

TEST_F(InspectionTest, ARunRefusesNonsenseAndSaysItsDoubts) {
    edit_job("[geometry]\n", "[geometry]\ndistance = 1.0\n");
    expect_failure({"geometry.distance", "--force-data"});
    edit_job("distance = 1.0\n", "distance = 1000000.0\n");
    const auto result = run_xrdct({"run", job().string(), "--stages", "fbp"}, 2, 120);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_EQ(occurrences(result.errors, "warning: "), 1U) << result.errors;
}

} // namespace
} // namespace xrdct::test
