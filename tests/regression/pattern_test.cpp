// SPDX-License-Identifier: BSD-3-Clause
// Measured patterns through `xrdct rietveld`, from the folder XRDCT_DATA. The expectations are
// certified, weighed or published values, or those of GSAS-II; nothing in the program is set for
// these files. Each test prints what it measured.

#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace xrdct::test;
using nlohmann::json;

namespace {

std::string data(const std::string& name) {
    return measured_data(name).value().string();
}

std::string phase(const std::string& name, const std::string& cif, const std::string& more = {}) {
    return fmt::format("\n[[phase]]\nname = \"{}\"\ncif = \"{}\"\n{}", name, data("cif/" + cif),
                       more);
}

/// Runs a job; prints agreement, cells and weights.
json refine(const std::string& job, const std::vector<std::string>& more = {}) {
    const TemporaryDirectory folder;
    write_text(folder / "job.toml", "output = \"results\"\n" + job);
    std::vector<std::string> arguments{"rietveld", (folder / "job.toml").string(), "--json",
                                       "--no-pictures"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = run_xrdct(arguments, 0, 120);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    if (result.exit_code != 0)
        return {};
    auto out = json::parse(result.output);
    fmt::print("{}: {}, Rwp {:.2f} %, GoF {:.2f}, {} iterations, fit {:.3f} s\n",
               out["title"].get<std::string>(), out["status"].get<std::string>(),
               100 * out["agreement"]["rwp"].get<double>(), out["agreement"]["gof"].get<double>(),
               out["iterations"].get<int>(), out["seconds"]["fit"].get<double>());
    for (const auto& one : out["phases"])
        fmt::print("  {:<8} {:.2f} wt%  {}  R_Bragg {:.1f} %\n", one["name"].get<std::string>(),
                   100 * one["weight_fraction"].get<double>(), one["cell"].dump(),
                   100 * one["r_bragg"].get<double>());
    std::fflush(stdout);
    return out;
}

double value(const json& result, const std::string& name) {
    for (const auto& parameter : result["parameters"])
        if (parameter["name"] == name)
            return parameter["value"];
    ADD_FAILURE() << "no parameter " << name;
    return 0;
}

const json& phase_of(const json& result, const std::string& name) {
    for (const auto& one : result["phases"])
        if (one["name"] == name)
            return one;
    ADD_FAILURE() << "no phase " << name;
    static const json none;
    return none;
}

#define DATA_OR_SKIP(name)                                                                         \
    if (!measured_data(name))                                                                      \
    GTEST_SKIP() << measured_data_reason(name)

TEST(MeasuredPattern, LanthanumHexaboride) {
    DATA_OR_SKIP("powder/LaB6_660c_74p5keV.chi");
    const auto result = refine(
        fmt::format(R"(
[pattern]
file = "{}"
[noise]
model = "counts"
[geometry]
wavelength = 0.1665
[instrument]
w = 2e-3
x = 1e-3
y = 1e-3
refine = ["u", "v", "w", "x", "y", "zero"]
[rietveld]
background_terms = 12
{})",
                    data("powder/LaB6_660c_74p5keV.chi"),
                    phase("LaB6", "LaB6_cod_1000055.cif", "refine_displacement = \"refined\"\n")));
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["status"], "converged");
    EXPECT_EQ(result["agreement"]["observations"], 4096);
    EXPECT_LE(result["agreement"]["rwp"].get<double>(), 0.043);
    EXPECT_NEAR(result["phases"][0]["cell"]["a"].get<double>() / 4.15642, 1, 100e-6);
}

TEST(MeasuredPattern, RoundRobinMixtures) {
    const struct {
        const char* name;
        double weighed[3];
    } samples[] = {{"cpd-1d", {0.1353, 0.3289, 0.5358}}, {"cpd-1h", {0.3512, 0.3019, 0.3469}}};
    for (const auto& sample : samples) {
        const auto file = fmt::format("powder/{}.prn", sample.name);
        DATA_OR_SKIP(file);
        const std::string free = "size = 2000.0\nrefine_size = \"refined\"\nmicrostrain = 1e-4\n"
                                 "refine_microstrain = \"refined\"\ndisplacement = 0.5\n"
                                 "refine_displacement = \"refined\"\n";
        const auto result = refine(fmt::format(
            R"(
title = "{}"
[pattern]
file = "{}"
[noise]
model = "counts"
[geometry]
type = "bragg_brentano"
wavelength = 1.540598
second_wavelength = 1.544426
second_ratio = 0.5
distance = 173.0
monochromator_two_theta = 26.6
[instrument]
w = 5e-3
refine = ["u", "v", "w", "displacement"]
[rietveld]
background_terms = 8
{}{}{})",
            sample.name, data(file), phase("Al2O3", "Al2O3_hex.cif", free),
            phase("ZnO", "ZnO-Zincite.cif", free), phase("CaF2", "CaF2-Fluorite.cif", free)));
        ASSERT_FALSE(result.is_null());
        EXPECT_EQ(result["status"], "converged") << sample.name;
        EXPECT_LE(result["agreement"]["rwp"].get<double>(), 0.152) << sample.name;
        for (std::size_t p = 0; p < 3; ++p)
            EXPECT_NEAR(result["phases"][p]["weight_fraction"], sample.weighed[p], 0.02)
                << sample.name << " " << result["phases"][p]["name"];
    }
}

// Strongly textured: without a texture model Rwp stays above the 11.5 % that GSAS-II reaches with
// March-Dollase; the cell does not suffer.
TEST(MeasuredPattern, LithiumCobaltOxide) {
    DATA_OR_SKIP("powder/LiCoO2_CuKa.dat");
    const auto result = refine(fmt::format(
        R"(
title = "LiCoO2"
[pattern]
file = "{}"
[noise]
model = "counts"
[geometry]
type = "bragg_brentano"
wavelength = 1.540598
second_wavelength = 1.544426
[instrument]
w = 5e-3
refine = ["u", "v", "w", "zero"]
[rietveld]
background_terms = 8
{})",
        data("powder/LiCoO2_CuKa.dat"),
        phase("LiCoO2", "LiCoO2_cod_1550397.cif",
              "size = 2000.0\nrefine_size = \"refined\"\nmicrostrain = 1e-4\n"
              "refine_microstrain = \"refined\"\nrefine_displacement = \"refined\"\n")));
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["status"], "converged");
    EXPECT_LE(result["agreement"]["rwp"].get<double>(), 0.16);
    const auto& cell = result["phases"][0]["cell"];
    EXPECT_NEAR(cell["a"].get<double>() / 2.81526, 1, 100e-6);
    EXPECT_NEAR(cell["c"].get<double>() / 14.0482, 1, 200e-6);
}

/// Whole cells: widths from ceria on the same instrument, Gaussian microstrain for what parallax
/// adds to them. One radial scale for all, from copper: an element of known cell, wound up with the
/// electrodes, whose lines stand alone; those of aluminium lie on iron's and the cathode's. The
/// steel's own cell is not that of pure iron to the last digit: its depth is free. The can is three
/// phases of iron, one for each peak of a line that parallax splits: walls cut along the beam,
/// front wall, back wall. Intensities of the foils are taken from the pattern: they are rolled, and
/// Al 200 lies on Fe 110.
class WholeCell : public ::testing::Test {
  protected:
    static std::string job(const std::string& name, const std::string& phases,
                           const std::string& peaks = {}) {
        return fmt::format(
            R"(
title = "{}"
[pattern]
file = "{}"
two_theta_min = 0.6                # the first and last channels are cut by the detector's edge
two_theta_max = 11.9
excluded = [[7.515, 7.535]]        # two channels, the same in all patterns of the instrument
[noise]
model = "estimate"
[geometry]
distance = 900.0
[instrument]
file = "{}"
refine = ["displacement"]          # radial scale, held by copper
[rietveld]
background_terms = 10
cell_search = 0.01
extract_intensities = ["Cu", "Al"]
[[peak]]
name = "halo"                      # electrolyte and separator, amorphous
position = 1.65
fwhm = 0.5
fwhm_bounds = [0.25, 1.0]
mixing = 0.0
{}{}{}{}{}{}{})",
            name, data("cells/" + name + ".xy"), (instrument_ / "instrument.toml").string(), peaks,
            metal("Fe", "Fe-Iron-alpha.cif", std::string(strain) + "refine_depth = \"refined\"\n"),
            metal("Fe_near", "Fe-Iron-alpha.cif", "depth = 5.0\nrefine_depth = \"refined\"\n"),
            metal("Fe_far", "Fe-Iron-alpha.cif", "depth = -5.0\nrefine_depth = \"refined\"\n"),
            metal("Cu", "Cu-Copper.cif", strain), phase("Al", "Al-Aluminum.cif", strain), phases);
    }
    static std::string metal(const std::string& name, const std::string& cif,
                             const std::string& more) {
        return phase(name, cif, "cell = \"fixed\"\n" + more);
    }
    static std::string cathode(const std::string& name, double a, double c) {
        return phase(name, "NMC532.cif",
                     fmt::format("start_a = {}\nstart_c = {}\n", a, c) + strain);
    }
    static std::string peak(const std::string& name, double position, double fwhm) {
        return fmt::format("[[peak]]\nname = \"{}\"\nposition = {}\nfwhm = {}\n"
                           "fwhm_bounds = [0.015, 0.15]\n",
                           name, position, fwhm);
    }
    void SetUp() override {
        DATA_OR_SKIP("cells/CeO2_instrument.xy");
        const auto result =
            run_xrdct({"calibrate", data("cells/CeO2_instrument.xy"), "--standard", "CeO2",
                       "--wavelength", "0.11979", "--min", "1.5", "--no-pictures", "--output",
                       (instrument_ / "instrument.toml").string()},
                      0, 120);
        ASSERT_EQ(result.exit_code, 0) << result.errors;
    }
    /// The can of 10.17 mm in diameter shows itself; the radial scale is a small correction.
    static void expect_can(const json& result) {
        EXPECT_EQ(result["status"], "converged");
        fmt::print("  radial scale {:.3f} mm of 900 mm; depths {:.2f}, {:.2f}, {:.2f} mm\n",
                   value(result, "displacement"), value(result, "Fe depth"),
                   value(result, "Fe_near depth"), value(result, "Fe_far depth"));
        EXPECT_NEAR(phase_of(result, "Al")["cell"]["a"].get<double>() / 4.0495, 1, 0.001);
        EXPECT_NEAR(value(result, "Fe depth"), 0, 0.3);
        EXPECT_NEAR(value(result, "Fe_near depth"), 5, 1);
        EXPECT_NEAR(value(result, "Fe_far depth"), -5, 1);
        EXPECT_LT(std::abs(value(result, "displacement")), 0.001 * 900);
    }
    static void expect_cathode(const json& phase, double a, double c) {
        EXPECT_NEAR(phase["cell"]["a"].get<double>(), a, 0.002);
        EXPECT_NEAR(phase["cell"]["c"].get<double>(), c, 0.012);
    }
    static constexpr const char* strain =
        "gauss_microstrain = 1e-3\nrefine_gauss_microstrain = \"refined\"\n";
    inline static TemporaryDirectory instrument_;
    void TearDown() override { std::filesystem::remove(instrument_ / "instrument.toml"); }
};

TEST_F(WholeCell, Pristine) {
    // Lines of a polypropylene separator, which only this cell shows.
    const auto result =
        refine(job("Pristine_summed",
                   cathode("primary", 2.82, 14.5) + cathode("secondary", 2.88, 14.13) +
                       phase("LiC6", "LiC6.cif", strain) + phase("LiC12", "LiC12.cif", strain),
                   peak("PP 110", 1.09, 0.03) + peak("PP 040", 1.316, 0.03)));
    ASSERT_FALSE(result.is_null());
    expect_can(result);
    const auto& cathode = phase_of(result, "primary");
    expect_cathode(cathode, 2.822, 14.507);
    EXPECT_NEAR(cathode["weight_fraction"].get<double>(), 0.34, 0.03);
    EXPECT_LT(phase_of(result, "secondary")["weight_fraction"].get<double>(), 0.03);
    EXPECT_NEAR(value(result, "PP 110 position"), 1.092, 0.01);
    EXPECT_NEAR(value(result, "PP 040 position"), 1.316, 0.01);
    EXPECT_LT(result["agreement"]["rwp"].get<double>(), 0.11);
}

TEST_F(WholeCell, ChargedWithSecondaryCathode) {
    const auto result =
        refine(job("Charged_C2_summed",
                   cathode("primary", 2.82, 14.5) + cathode("secondary", 2.88, 14.13) +
                       phase("LiC6", "LiC6.cif", strain) + phase("LiC12", "LiC12.cif", strain),
                   peak("PE 110", 1.67, 0.06)));
    ASSERT_FALSE(result.is_null());
    expect_can(result);
    const auto& primary = phase_of(result, "primary");
    expect_cathode(primary, 2.822, 14.508);
    EXPECT_NEAR(phase_of(result, "LiC6")["weight_fraction"].get<double>(), 0.034, 0.03);
    EXPECT_NEAR(phase_of(result, "LiC12")["weight_fraction"].get<double>(), 0.211, 0.04);
    EXPECT_LT(phase_of(result, "secondary")["weight_fraction"].get<double>(), 0.08);
    EXPECT_NEAR(value(result, "PE 110 position"), 1.67, 0.01);
    EXPECT_LT(result["agreement"]["rwp"].get<double>(), 0.11);
}

TEST_F(WholeCell, Discharged) {
    // The dilute Li-C phase is graphite with layers farther apart; the in-plane cell of its broad
    // lines is not to be had.
    const auto result = refine(
        job("Discharged_C20_summed",
            cathode("primary", 2.86, 14.31) + cathode("secondary", 2.90, 14.25) +
                phase("graphite", "graphite2H.cif", strain) +
                phase("Li_dilute", "graphite2H.cif",
                      std::string("start_a = 2.47\na = \"fixed\"\nstart_c = 6.93\n") + strain),
            peak("PE 110", 1.67, 0.06)));
    ASSERT_FALSE(result.is_null());
    expect_can(result);
    expect_cathode(phase_of(result, "primary"), 2.859, 14.316);
    EXPECT_LT(phase_of(result, "secondary")["weight_fraction"].get<double>(), 0.05);
    const double layers = phase_of(result, "Li_dilute")["cell"]["c"];
    EXPECT_GT(layers, 6.89);
    EXPECT_LT(layers, 7.06);
    EXPECT_NEAR(value(result, "PE 110 position"), 1.67, 0.01);
    EXPECT_LT(result["agreement"]["rwp"].get<double>(), 0.09);
}

TEST_F(WholeCell, ThreePhasesAreFittedFast) {
    const auto result = refine(fmt::format(
        R"(
title = "three phases"
[pattern]
file = "{}"
[noise]
model = "estimate"
[instrument]
file = "{}"
[rietveld]
background_terms = 10
{}{}{})",
        data("cells/Pristine_summed.xy"), (instrument_ / "instrument.toml").string(),
        phase("Fe", "Fe-Iron-alpha.cif", strain), phase("Cu", "Cu-Copper.cif", strain),
        cathode("NMC532", 2.82, 14.5)));
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["pattern"]["channels"], 2048);
    // Not timed to the tenth of a second that it takes on an idle machine: tests share cores.
    EXPECT_LT(result["seconds"]["fit"].get<double>(), 1);
}

} // namespace
