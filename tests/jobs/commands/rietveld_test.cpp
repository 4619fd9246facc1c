// SPDX-License-Identifier: BSD-3-Clause
// xrdct rietveld on a written-down pattern, and everything that can be wrong with its input.

#include "crystal/phase.hpp"
#include "jobs/settings/instrument_file.hpp"
#include "mpi/files/cif_file.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "phantom/structures.hpp"
#include "support/program.hpp"
#include "support/structures.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace xrdct;
using namespace xrdct::test;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

namespace {

constexpr double iron_a = 2.8670, copper_a = 3.6120;

class RietveldCommand : public ::testing::Test {
  protected:
    void SetUp() override {
        for (const auto* name : {"Fe", "Cu", "Al"})
            write_text(folder_ / (std::string(name) + ".cif"), phantom::structure_file(name).text);
        axis_ = std::make_unique<rietveld::RadialAxis>(cell_axis(1400));
        y_ = simple_pattern(*axis_, {{structure("Fe"), 3, iron_a, 0, 0.03},
                                     {structure("Cu"), 1, copper_a, 0, 0.03}});
        const double highest = *std::max_element(y_.begin(), y_.end());
        for (double& y : y_)
            y *= 20000 / highest;
        // Any fixed sequence will do as noise.
        unsigned state = 12345;
        for (double& y : y_) {
            state = state * 1664525U + 1013904223U;
            y += 2000 + 200 * (static_cast<double>(state >> 8) / (1U << 24) - 0.5);
        }
        write_pattern("pattern.xy");
    }
    crystal::Phase structure(const std::string& name) const {
        return files::read_phase(folder_ / (name + ".cif"), name);
    }
    std::string row(std::size_t k) const {
        return fmt::format("{:.6f} {:.4f}\n", axis_->two_theta()[k], y_[k]);
    }
    void write_pattern(const std::string& name) const {
        std::string text = "# 2theta intensity\n";
        for (std::size_t k = 0; k < y_.size(); ++k)
            text += row(k);
        write_text(folder_ / name, text);
    }
    /// The quick form; an option in `more` replaces the usual one, "--no-X" takes it away.
    std::vector<std::string> quick(std::vector<std::string> more = {},
                                   const std::string& pattern = "pattern.xy") const {
        std::vector<std::string> arguments{
            "rietveld",  pattern, "--phase",           "Fe=Fe.cif", "--phase",
            "Cu=Cu.cif", "--set", "instrument.w=1e-3", "--set",     "instrument.x=1e-3",
            "--json"};
        const auto usual = [&](const std::string& option, const std::string& value) {
            if (std::erase(more, "--no-" + option) == 0 &&
                std::find(more.begin(), more.end(), "--" + option) == more.end())
                arguments.insert(arguments.end(), {"--" + option, value});
        };
        usual("wavelength", "0.11979");
        usual("refine", "w,x");
        usual("background", "3");
        if (std::erase(more, "--pictures") == 0)
            arguments.emplace_back("--no-pictures");
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    ProcessResult run(const std::vector<std::string>& arguments) const {
        return run_xrdct(arguments, 0, 60, folder_.path());
    }
    json refine(const std::vector<std::string>& arguments) const {
        const auto result = run(arguments);
        EXPECT_EQ(result.exit_code, 0) << result.errors;
        return result.exit_code == 0 ? json::parse(result.output) : json();
    }
    /// Exit code 1, one message with all the words, no results.
    void expect_failure(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& words) const {
        const auto result = run(arguments);
        EXPECT_EQ(result.exit_code, 1) << result.errors;
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        EXPECT_THAT(result.errors, Not(HasSubstr("internal error")));
        EXPECT_FALSE(std::filesystem::exists(folder_ / "pattern_rietveld/rietveld.nxs"));
    }
    static std::string notes(const json& result) {
        return result["notes"].dump() + result["message"].get<std::string>();
    }

    TemporaryDirectory folder_;
    std::unique_ptr<rietveld::RadialAxis> axis_;
    std::vector<double> y_;
};

TEST_F(RietveldCommand, QuickFormFindsWhatThePatternHolds) {
    const auto arguments = quick({"--pictures"});
    const auto result = run(arguments);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto json = json::parse(result.output);
    EXPECT_EQ(json["status"], "converged");
    ASSERT_EQ(json["phases"].size(), 2U);
    const double truth[] = {iron_a, copper_a};
    double mass[2];
    for (std::size_t p = 0; p < 2; ++p) {
        const auto& phase = json["phases"][p];
        const double a = phase["cell"]["a"], esd = phase["cell_esd"]["a"];
        EXPECT_NEAR(a, truth[p], 5 * esd + 2e-5);
        EXPECT_GT(esd, 0);
        EXPECT_LT(esd, 1e-3);
        EXPECT_LT(phase["r_bragg"].get<double>(), 0.03);
        const auto cell = structure(phase["name"]);
        mass[p] = (p == 0 ? 3 : 1) * cell.cell_mass() * std::pow(truth[p], 3);
    }
    EXPECT_NEAR(json["phases"][0]["weight_fraction"], mass[0] / (mass[0] + mass[1]), 0.01);
    const std::size_t n = json["parameters"].size();
    ASSERT_EQ(json["correlation"]["matrix"].size(), n);
    for (std::size_t i = 0; i < n; ++i) {
        ASSERT_EQ(json["correlation"]["matrix"][i].size(), n);
        EXPECT_EQ(json["correlation"]["matrix"][i][i], 1);
    }
    EXPECT_LT(json["seconds"]["fit"].get<double>(), 2);
    EXPECT_EQ(json["inputs"].size(), 3U);
    // the table for people
    EXPECT_THAT(result.errors, AllOf(HasSubstr("Rwp"), HasSubstr("Fe a"), HasSubstr("2.867"),
                                     HasSubstr("angstrom"), HasSubstr("weight %")));
    EXPECT_EQ(list_folder(folder_ / "pattern_rietveld").find("tmp"), std::string::npos);
    for (const auto* name : {"rietveld.json", "rietveld.nxs", "rietveld.png", "rietveld.svg"})
        EXPECT_TRUE(std::filesystem::exists(folder_ / "pattern_rietveld" / name)) << name;
    EXPECT_EQ(json::parse(read_text(folder_ / "pattern_rietveld/rietveld.json"))["parameters"],
              json["parameters"]);
}

TEST_F(RietveldCommand, NexusFileAddsUp) {
    ASSERT_EQ(
        run(quick({"--set", "rietveld.extract_intensities=[\"Cu\"]", "--peak", "hump=2.5:0.3"}))
            .exit_code,
        0);
    const auto file =
        hdf5::File::open(folder_ / "pattern_rietveld/rietveld.nxs", hdf5::Access::read_only);
    const auto root = file.root();
    const auto plot = nexus::default_data(root);
    ASSERT_TRUE(plot);
    EXPECT_EQ(nexus::signal_of(*plot), "observed");
    const auto read = [&](const std::string& path) {
        return root.open_dataset("entry/refinement/" + path).read_all<double>();
    };
    const auto observed = read("pattern/observed"), calculated = read("pattern/calculated"),
               difference = read("pattern/difference"), background = read("pattern/background"),
               iron = read("phases/Fe/pattern/calculated"),
               copper = read("phases/Cu/pattern/calculated"), hump = read("peaks/hump/calculated");
    ASSERT_EQ(observed.size(), y_.size());
    for (std::size_t k = 0; k < y_.size(); k += 97) {
        EXPECT_NEAR(observed[k] - calculated[k], difference[k], 1e-9 * observed[k]);
        EXPECT_NEAR(background[k] + iron[k] + copper[k] + hump[k], calculated[k],
                    1e-6 * calculated[k]);
    }
    const auto ticks = read("phases/Fe/lines/two_theta");
    EXPECT_NEAR(ticks.front(), 2 * std::asin(0.11979 * std::sqrt(2.0) / (2 * iron_a)) * 180 / M_PI,
                1e-3);
    EXPECT_THAT(root.open_dataset("entry/refinement/job").read_string(),
                HasSubstr("background_terms = 3"));
    EXPECT_EQ(root.open_dataset("entry/refinement/correlation/correlation").shape().size(), 2U);

    // What the program writes it can read: the product as a pattern, wavelength included.
    const auto again =
        refine(quick({"--no-wavelength", "--output", "again"}, "pattern_rietveld/rietveld.nxs"));
    ASSERT_FALSE(again.is_null());
    EXPECT_EQ(again["pattern"]["format"], "nexus");
    EXPECT_NEAR(again["phases"][0]["cell"]["a"], iron_a, 1e-3);
}

TEST_F(RietveldCommand, SilxFindsEveryFigure) {
    const char* python = std::getenv("XRDCT_PYTHON");
    if (!python || run_process({python, "-c", "import h5py, silx.io.nxdata"}, 60).exit_code != 0)
        GTEST_SKIP() << "python3-silx is not installed";
    ASSERT_EQ(
        run(quick({"--set", "rietveld.extract_intensities=[\"Cu\"]", "--peak", "hump=2.5:0.3"}))
            .exit_code,
        0);
    const auto viewed =
        run_process({python, "-c",
                     "import sys, h5py\n"
                     "from silx.io import nxdata\n"
                     "with h5py.File(sys.argv[1]) as f:\n"
                     "    d = nxdata.get_default(f)\n"
                     "    assert d is not None and d.is_valid and d.signal_name == 'observed', d\n"
                     "    assert len(d.auxiliary_signals) == 3\n"
                     "    n = [0]\n"
                     "    def visit(name, item):\n"
                     "        if item.attrs.get('NX_class') == 'NXdata':\n"
                     "            n[0] += 1\n"
                     "            assert nxdata.NXdata(item).is_valid, name\n"
                     "    f.visititems(visit)\n"
                     "    assert n[0] == 8, n\n",
                     (folder_ / "pattern_rietveld/rietveld.nxs").string()},
                    60);
    EXPECT_EQ(viewed.exit_code, 0) << viewed.errors;
}

TEST_F(RietveldCommand, JobFileAndItsResolvedFormMeanTheSame) {
    write_text(folder_ / "job.toml", R"(
output = "from_job"
[pattern]
file = "pattern.xy"
excluded = [[3.0, 3.1]]
[geometry]
wavelength = 0.11979
[instrument]
w = 1e-3
x = 1e-3
refine = ["w", "x"]
[rietveld]
background_terms = 3
[[phase]]
name = "Fe"
cif = "Fe.cif"
a_bounds = [2.8, 2.95]
[[phase]]
name = "Cu"
cif = "Cu.cif"
cell = "global"
)");
    const auto direct = refine({"rietveld", "job.toml", "--json", "--no-pictures"});
    ASSERT_FALSE(direct.is_null());
    EXPECT_TRUE(std::filesystem::exists(folder_ / "from_job/rietveld.json"));
    EXPECT_LT(direct["agreement"]["observations"], y_.size());
    const auto printed = run({"rietveld", "job.toml", "--print-job"});
    ASSERT_EQ(printed.exit_code, 0) << printed.errors;
    write_text(folder_ / "resolved.toml", printed.output);
    const auto again = refine({"rietveld", "resolved.toml", "--json", "--no-pictures", "--force"});
    ASSERT_FALSE(again.is_null());
    EXPECT_EQ(again["parameters"], direct["parameters"]);
    EXPECT_EQ(again["job"], direct["job"]);
}

TEST_F(RietveldCommand, ReferenceListsTheKeys) {
    const auto result = run({"reference", "--pattern"});
    EXPECT_EQ(result.exit_code, 0);
    for (const auto* key : {"pattern.file", "geometry.second_wavelength", "instrument.refine",
                            "phase[].a_bounds", "peak[].position", "rietveld.extract_intensities"})
        EXPECT_THAT(result.output, HasSubstr(key));
}

TEST_F(RietveldCommand, ExistingResultsStay) {
    ASSERT_EQ(run(quick()).exit_code, 0);
    const auto before = read_text(folder_ / "pattern_rietveld/rietveld.json");
    const auto refused = run(quick());
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_THAT(refused.errors, AllOf(HasSubstr("rietveld.json"), HasSubstr("--force")));
    EXPECT_EQ(read_text(folder_ / "pattern_rietveld/rietveld.json"), before);
    write_text(folder_ / "pattern_rietveld/rietveld.png", "of an earlier refinement");
    EXPECT_EQ(run(quick({"--force"})).exit_code, 0);
    EXPECT_NE(read_text(folder_ / "pattern_rietveld/rietveld.json"), before); // its date
    EXPECT_FALSE(std::filesystem::exists(folder_ / "pattern_rietveld/rietveld.png"));
}

TEST_F(RietveldCommand, DamagedPatterns) {
    write_text(folder_ / "pattern.xy", "");
    expect_failure(quick(), {"pattern.xy", "is empty"});
    write_text(folder_ / "pattern.xy", "nothing here\n");
    expect_failure(quick(), {"pattern.xy", "no numbers"});
    write_text(folder_ / "pattern.xy", row(0) + "abc def\n" + row(1));
    expect_failure(quick(), {"pattern.xy", "line 2", "abc"});
    write_text(folder_ / "pattern.xy", row(0) + row(1) + row(0));
    expect_failure(quick(), {"pattern.xy", "line 3", "twice"});
    std::filesystem::remove(folder_ / "pattern.xy");
    expect_failure(quick(), {"pattern.xy", "no such file"});
}

TEST_F(RietveldCommand, OddPatternsAreRefinedWithNotes) {
    std::string text = row(5);
    for (std::size_t k = 0; k < y_.size(); ++k)
        if (k != 5)
            text += k == 40   ? fmt::format("{:.6f} nan\n", axis_->two_theta()[k])
                    : k == 41 ? fmt::format("{:.6f} -20\n", axis_->two_theta()[k])
                              : row(k);
    write_text(folder_ / "odd.xy", text);
    const auto result = refine(quick({}, "odd.xy"));
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["status"], "converged");
    EXPECT_THAT(notes(result), AllOf(HasSubstr("sorted"), HasSubstr("negative"),
                                     HasSubstr("1 channels without a finite intensity")));
    EXPECT_NEAR(result["phases"][0]["cell"]["a"], iron_a, 3e-4);
    EXPECT_EQ(result["agreement"]["observations"], y_.size() - 1);
}

TEST_F(RietveldCommand, BadPhases) {
    expect_failure({"rietveld", "pattern.xy", "--wavelength", "0.12"}, {"--phase"});
    expect_failure(quick({"--phase", "Ni=Ni.cif"}), {"Ni.cif"});
    expect_failure(quick({"--phase", "Fe=Al.cif"}), {"'Fe'", "twice"});
    expect_failure(quick({"--phase", "steel=Fe.cif"}), {"'steel'", "'Fe'", "start"});
    write_text(folder_ / "Al.cif", "data_x\n_cell_length_a 4\n");
    expect_failure(quick({"--phase", "Al=Al.cif"}), {"Al.cif"});
}

TEST_F(RietveldCommand, PhaseWithoutALineInRangeIsLeftOut) {
    // Copper's first line lies at 3.29 deg, iron's at 3.39.
    const auto result = refine(quick({"--min", "3.33", "--max", "3.45", "--background", "2"}));
    ASSERT_FALSE(result.is_null());
    EXPECT_THAT(notes(result), AllOf(HasSubstr("'Cu' has no line"), HasSubstr("left out")));
    ASSERT_EQ(result["phases"].size(), 1U);
    EXPECT_EQ(result["phases"][0]["name"], "Fe");
    std::filesystem::remove_all(folder_ / "pattern_rietveld");
    expect_failure(quick({"--max", "2.0"}), {"pattern.xy", "no phase has a line"});
}

TEST_F(RietveldCommand, UnknownKeysAndOptions) {
    expect_failure(quick({"--set", "rietveld.backgroundterms=3"}), {"rietveld.background_terms"});
    expect_failure(quick({"--set", "instrument.refine=[\"dispacement\"]"}), {"'displacement'"});
    expect_failure(quick({"--set", "noise.model=poisson"}), {"noise.model", "counts"});
    expect_failure(quick({"--wavelenght", "1"}), {"--wavelength"});
    expect_failure(quick({"--unit", "furlong"}), {"pattern.unit", "furlong"});
    expect_failure(quick({"--peak", "hump=here"}), {"--peak", "hump=here"});
    expect_failure(quick({"--exclude", "3"}), {"--exclude", "FROM:TO"});
    expect_failure(quick({"--set", "pattern.excluded=[[3.0, 2.0]]"}), {"pattern.excluded"});
    expect_failure({"rietveld"}, {"job file or a pattern"});
    for (const char* texture : {"march=0.7", "march_axis=[0, 0, 1]", "refine_march=global"})
        expect_failure(quick({"--set", std::string("phase[0].") + texture}),
                       {"march", "single pattern knows no texture"});
    write_text(folder_ / "job.toml", "[pattern]\nfile = 'pattern.xy'\nfil = 1\n");
    expect_failure({"rietveld", "job.toml"}, {"job.toml", "pattern.fil'", "pattern.file"});
    expect_failure({"rietveld", "job.toml", "--phase", "Fe=Fe.cif"}, {"--phase", "job file"});
}

TEST_F(RietveldCommand, ContradictoryConstraints) {
    expect_failure(quick({"--set", "phase.Fe.c=refined"}), {"'Fe'", "c is to be refined", "cubic"});
    expect_failure(quick({"--set", "phase.Fe.start_c=2.9"}), {"'Fe'", "c is to start", "cubic"});
    expect_failure(quick({"--set", "phase.Fe.a_bounds=[3.0, 3.1]"}), {"'Fe'", "bounds 3 … 3.1"});
    expect_failure(quick({"--set", "phase.Fe.a_bounds=[3.0, 2.0]"}), {"a_bounds"});
    expect_failure(quick({"--refine", "displacement"}), {"geometry.distance"});
    expect_failure(quick({"--refine", "wavelength"}), {"wavelength", "cell"});
    expect_failure(quick({"--set", "phase.Fe.depth=5.0"}), {"'Fe'", "depth", "distance"});
    expect_failure(quick({"--distance", "900", "--set", "phase.Fe.refine_depth=refined"}),
                   {"'Fe'", "depth and its cell", "fix the cell"});
    expect_failure(quick({"--distance", "900", "--set", "phase.Fe.depth=5.0", "--set",
                          "phase.Fe.depth_bounds=[-1.0, 1.0]"}),
                   {"'Fe'", "depth", "bounds -1 … 1"});
    expect_failure(quick({"--set", "phase.Fe.depht=5.0"}), {"depth"});
    expect_failure(quick({"--energy", "100"}), {"not both"});
    expect_failure(quick({"--set", "instrument.polarization_corrected=true", "--set",
                          "geometry.monochromator_two_theta=26.0"}),
                   {"polarization_corrected", "contradicts"});
    expect_failure(quick({"--noise", "errors"}), {"noise.model", "no standard deviations"});
    expect_failure(quick({"--no-wavelength"}), {"pattern.xy", "no wavelength"});
    expect_failure(quick({"--exclude", "0:20"}), {"0 channels are left"});
    expect_failure(quick({"--peak", "hump=40"}), {"'hump'", "outside the pattern"});
    expect_failure(quick({"--peak", "Fe=3"}), {"'Fe'", "name"});
}

TEST_F(RietveldCommand, SingularIsAStatusThatNamesTheParameters) {
    const auto result =
        refine(quick({"--phase", "steel=Fe.cif", "--set", "phase.steel.start_a=2.8670000001",
                      "--set", "phase.Fe.start_a=2.867", "--set", "phase.steel.cell=fixed", "--set",
                      "phase.Fe.cell=fixed"}));
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["status"], "singular");
    EXPECT_THAT(notes(result), AllOf(HasSubstr("not determined"), HasSubstr("scale")));
}

TEST_F(RietveldCommand, NoiseAndConstantsHoldNoSignal) {
    for (const bool noise : {true, false}) {
        std::string text;
        unsigned state = 7;
        for (std::size_t k = 0; k < y_.size(); ++k) {
            state = state * 1664525U + 1013904223U;
            text += fmt::format("{:.6f} {}\n", axis_->two_theta()[k],
                                noise ? static_cast<double>(state >> 8) / (1U << 24) - 0.5 : 7.0);
        }
        write_text(folder_ / "flat.xy", text);
        const auto result = refine(quick({"--force", "--refine", "u,w,x,y"}, "flat.xy"));
        ASSERT_FALSE(result.is_null());
        EXPECT_EQ(result["status"], "no signal");
        EXPECT_THAT(notes(result), HasSubstr("not significant"));
    }
}

TEST_F(RietveldCommand, NearDegeneracyIsExplained) {
    const auto result = refine(quick({"--refine", "w,x,zero,displacement", "--distance", "1000"}));
    ASSERT_FALSE(result.is_null());
    EXPECT_THAT(notes(result), AllOf(HasSubstr("'displacement' is nearly degenerate"),
                                     HasSubstr("'Fe a'"), HasSubstr("fix the cell")));
    EXPECT_FALSE(result["correlation"]["strong"].empty());
}

TEST_F(RietveldCommand, StandardDeviationsOfTheFileAreUsed) {
    std::string text;
    for (std::size_t k = 0; k < y_.size(); ++k)
        text += fmt::format("{:.6f} {:.4f} {}\n", axis_->two_theta()[k], y_[k], 57.7);
    write_text(folder_ / "pattern.xye", text);
    const auto result = refine(quick({}, "pattern.xye"));
    ASSERT_FALSE(result.is_null());
    EXPECT_THAT(result["pattern"]["errors"].get<std::string>(), HasSubstr("of the file"));
    // Uniform noise of 200 in width has this standard deviation.
    EXPECT_NEAR(result["agreement"]["gof"], 1, 0.25);
}

TEST_F(RietveldCommand, InstrumentFileSetsWidthsAndWavelength) {
    write_text(folder_ / "bad.toml", "format = 'something else'\n");
    expect_failure(quick({"--instrument", "bad.toml"}), {"bad.toml"});
    expect_failure(quick({"--instrument", "absent.toml"}), {"absent.toml"});

    settings::InstrumentFile instrument;
    instrument.profile = {0.01, 0, 7e-4, 0.002, 0, 0};
    instrument.wavelength = 0.1201; // the cells come out larger in the same proportion
    instrument.two_theta_min = 2.5;
    instrument.two_theta_max = 12;
    instrument.standard = "CeO2";
    write_instrument_file(folder_ / "instrument.toml", instrument);
    auto arguments = quick({"--no-wavelength", "--refine", "zero", "--instrument",
                            (folder_ / "instrument.toml").string()});
    // The test's own widths would win over the file's.
    for (const auto* own : {"instrument.w=1e-3", "instrument.x=1e-3"}) {
        const auto at = std::find(arguments.begin(), arguments.end(), own);
        arguments.erase(at - 1, at + 1);
    }
    const auto result = refine(arguments);
    ASSERT_FALSE(result.is_null());
    EXPECT_EQ(result["pattern"]["wavelength_angstrom"], 0.1201);
    EXPECT_NEAR(result["phases"][0]["cell"]["a"].get<double>() / iron_a, 0.1201 / 0.11979, 3e-4);
    EXPECT_THAT(result["job"].get<std::string>(), HasSubstr("x = 0.002"));
    EXPECT_THAT(notes(result), HasSubstr("calibrated from 2.5"));
    EXPECT_EQ(result["inputs"].size(), 4U);
}

} // namespace
