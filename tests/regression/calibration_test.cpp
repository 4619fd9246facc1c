// SPDX-License-Identifier: BSD-3-Clause
// xrdct calibrate on measured standards, from the folder XRDCT_DATA. The expectations are certified
// or published values; nothing in the program is set for these files.

#include "jobs/settings/instrument_file.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <cmath>
#include <gtest/gtest.h>

using namespace xrdct;
using namespace xrdct::test;

namespace {

double fwhm_at(const settings::InstrumentFile& file, double two_theta) {
    return pseudo_voigt(peak_widths(file.profile, two_theta, file.wavelength)).fwhm;
}

settings::InstrumentFile calibrate(const std::filesystem::path& pattern,
                                   const std::vector<std::string>& more) {
    const TemporaryDirectory folder;
    std::vector<std::string> arguments{"calibrate", pattern.string(), "--output",
                                       (folder / "instrument.toml").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_xrdct(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return settings::read_instrument_file(folder / "instrument.toml");
}

// Ceria whose background was removed, with humps left: the intensities do not fit the structure.
TEST(MeasuredCalibration, CeriaOfTheCellsInstrument) {
    const std::string name = "cells/CeO2_instrument.xy";
    const auto pattern = measured_data(name);
    if (!pattern)
        GTEST_SKIP() << measured_data_reason(name);
    const auto file = calibrate(*pattern, {"--standard", "CeO2", "--cell", "5.4115", "--wavelength",
                                           "0.11979", "--min", "1.5"});
    RecordProperty("ppm", std::to_string(file.cell_deviation));
    RecordProperty("rwp", std::to_string(file.rwp));
    EXPECT_EQ(file.intensities, "extracted");
    EXPECT_LT(std::abs(file.cell_deviation), 300);
    EXPECT_LT(file.rwp, 0.25);
    // Read off the pattern; the profile is free of the channel width of 0.0057 deg, which adds 3 %.
    for (const auto& [angle, fwhm] : {std::pair{2.2, 0.0185}, {6.6, 0.0243}})
        EXPECT_NEAR(fwhm_at(file, angle), fwhm, 0.1 * fwhm) << angle;
}

TEST(MeasuredCalibration, WavelengthFromLanthanumHexaboride) {
    const std::string name = "powder/LaB6_660c_74p5keV.chi";
    const auto pattern = measured_data(name);
    if (!pattern)
        GTEST_SKIP() << measured_data_reason(name);
    const std::vector<std::string> common{"--standard", "LaB6",         "--wavelength",
                                          "0.1665",     "--background", "12",
                                          "--noise",    "counts",       "--refine"};
    const auto with = [&](const std::string& refine) {
        auto arguments = common;
        arguments.push_back(refine);
        return calibrate(*pattern, arguments);
    };
    const auto fixed = with("wavelength"), free = with("wavelength,zero"), cell = with("cell");
    RecordProperty("wavelength_zero_fixed", std::to_string(fixed.wavelength));
    RecordProperty("wavelength_zero_free", std::to_string(free.wavelength));
    EXPECT_EQ(fixed.intensities, "structure");
    EXPECT_NEAR(fixed.wavelength / 0.1665, 1, 500e-6);
    EXPECT_LT(fixed.rwp, 0.065);
    EXPECT_LT(free.rwp, 0.043); // of another program, with a zero
    EXPECT_NEAR(free.wavelength / 0.1665, 1, 500e-6);
    // the wavelength and the cell are two readings of one measurement
    EXPECT_NEAR((fixed.wavelength / 0.1665) * (1 + 1e-6 * cell.cell_deviation), 1, 5e-6);
    EXPECT_LT(std::abs(fixed.largest_width_deviation), 0.15);
}

} // namespace
