// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/program/command_line.hpp"
#include "jobs/settings/job.hpp"
#include "jobs/settings/settings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace xrdct;
using ::testing::HasSubstr;

namespace {

const std::string minimal =
    "[input]\nfile = 'scan.nxs'\n[[phase]]\nname = 'NMC (P)'\ncif = 'a.cif'\n";

std::string message_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
    try {
        settings::parse_job(text, "folder/job.toml", overrides);
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(JobFile, PathsAreRelativeToTheJob) {
    const auto job = settings::parse_job(minimal, "/data/cell/job.toml");
    EXPECT_EQ(job.input.file, "/data/cell/scan.nxs");
    EXPECT_EQ(job.output, "/data/cell/results");
    EXPECT_EQ(job.phases.at(0).cif, "/data/cell/a.cif");
}

TEST(JobFile, TreatmentsPerParameter) {
    const auto job =
        settings::parse_job(minimal + "cell = 'fixed'\na = 'voxel'\nstart_c = 14.4\n", "job.toml");
    EXPECT_EQ(job.phases[0].cell[0], settings::Treatment::voxel);
    EXPECT_EQ(job.phases[0].cell[2], settings::Treatment::fixed);
    EXPECT_EQ(job.phases[0].start_cell[2], 14.4);
    EXPECT_TRUE(std::isnan(job.phases[0].start_cell[0]));
}

TEST(JobFile, Texture) {
    const auto job = settings::parse_job(
        minimal + "march_axis = [0, 0, 1]\nmarch = 0.7\nrefine_march = 'global'\n", "job.toml");
    EXPECT_EQ(job.phases[0].march_axis, (std::array<int, 3>{0, 0, 1}));
    EXPECT_EQ(job.phases[0].march, 0.7);
    EXPECT_EQ(job.phases[0].march_treatment, settings::Treatment::global);
    const auto none = settings::parse_job(minimal, "job.toml");
    EXPECT_EQ(none.phases[0].march_axis, (std::array<int, 3>{}));
    EXPECT_EQ(none.phases[0].march, 1);
    const auto refused = [](const std::string& text, const char* key, const char* word) {
        EXPECT_THAT(message_of(minimal + text),
                    ::testing::AllOf(HasSubstr("folder/job.toml"), HasSubstr(key), HasSubstr(word)))
            << text;
    };
    refused("march = 0.7\n", "].march", "march_axis");
    refused("refine_march = 'global'\n", "].refine_march", "march_axis");
    refused("march_axis = [0, 0, 0]\nmarch = 0.7\n", "].march_axis", "no direction");
    refused("march_axis = [0, 1]\nmarch = 0.7\n", "].march_axis", "three integers");
    refused("march_axis = [0, 0, 0.5]\nmarch = 0.7\n", "].march_axis", "three integers");
    for (const char* value : {"0.0", "-1.0", "0.1", "6.0", "nan"})
        refused(std::string("march_axis = [0, 0, 1]\nmarch = ") + value + "\n", "].march",
                "between 0.2 and 5");
    refused("march_axis = [0, 0, 1]\nrefine_march = 'voxel'\n", "].refine_march", "global");
    refused("march_axes = [0, 0, 1]\n", "].march_axes", "march_axis");
}

TEST(JobFile, OverridesReachEverything) {
    const auto job =
        settings::parse_job(minimal, "job.toml",
                            {"fbp.window=cosine", "phase.NMC (P).a=voxel", "phase[0].size=120.5",
                             "geometry.axis_offset=auto", "channels.two_theta_max=7"});
    EXPECT_EQ(job.fbp.window, tomography::FilterWindow::cosine);
    EXPECT_EQ(job.phases[0].cell[0], settings::Treatment::voxel);
    EXPECT_EQ(job.phases[0].size, 120.5);
    EXPECT_FALSE(job.geometry.axis_offset.has_value());
    EXPECT_EQ(job.channels.two_theta_max, 7);
}

TEST(JobFile, OverrideOfAPhaseThatIsNotThere) {
    EXPECT_THAT(message_of(minimal, {"phase.NMC (S).a=voxel"}), HasSubstr("NMC (P)"));
    EXPECT_THAT(message_of(minimal, {"nonsense"}), HasSubstr("key=value"));
}

TEST(JobFile, MessagesNameFileAndKey) {
    EXPECT_THAT(message_of("title = 'x'\n"),
                ::testing::AllOf(HasSubstr("folder/job.toml"), HasSubstr("input.file")));
    EXPECT_THAT(message_of(minimal + "sice = 3\n"),
                ::testing::AllOf(HasSubstr("phase['NMC (P)'].sice"), HasSubstr("phase[].size")));
    EXPECT_THAT(message_of(minimal + "[geometry]\nrotation_sense = 2\n"),
                HasSubstr("geometry.rotation_sense"));
    EXPECT_THAT(message_of(minimal + "[geometry]\nwavelength = 0.1\nenergy = 100\n"),
                HasSubstr("not both"));
    EXPECT_THAT(message_of(minimal + "[fbp]\ncutoff = 1.5\n"), HasSubstr("fbp.cutoff"));
    EXPECT_THAT(message_of(minimal + "[[phase]]\nname = 'x'\n"), HasSubstr("cif"));
    EXPECT_THAT(message_of(minimal + "[[peak]]\nname = 'NMC (P)'\nposition = 1\n"),
                HasSubstr("'NMC (P)'"));
    EXPECT_THAT(message_of(minimal + "[[peak]]\nname = 'maps'\nposition = 1\n"), HasSubstr("maps"));
    EXPECT_THAT(message_of(minimal + "phase = 3\n"), HasSubstr("phase"));
    EXPECT_THAT(message_of("phase = 3\n[input]\nfile = 'x'\n"), HasSubstr("[[phase]]"));
}

TEST(JobFile, ResolvedJobReadsBackTheSame) {
    const auto job = settings::parse_job(
        minimal + "[[peak]]\nname = 'separator \"x\"'\nposition = 1.7\n", "job.toml");
    const auto again = settings::parse_job(job.resolved, "job.toml");
    EXPECT_EQ(again.resolved, job.resolved);
    EXPECT_EQ(again.peaks.at(0).name, "separator \"x\"");
}

TEST(JobFile, StageSettingsHoldWhatMattersOnly) {
    const auto job = settings::parse_job(minimal, "job.toml");
    const auto other = settings::parse_job(minimal, "job.toml", {"rietveld.background_terms=5"});
    EXPECT_EQ(job.resolved_for("fbp"), other.resolved_for("fbp"));
    EXPECT_NE(job.resolved_for("rietveld"), other.resolved_for("rietveld"));
    const auto window = settings::parse_job(minimal, "job.toml", {"fbp.window=cosine"});
    EXPECT_NE(job.resolved_for("fbp"), window.resolved_for("fbp"));
}

TEST(JobFile, ReferenceHasEveryKeyDescribed) {
    const auto list = settings::job_reference();
    EXPECT_GT(list.size(), 60U);
    for (const auto& key : list) {
        EXPECT_FALSE(key.description.empty()) << key.path;
        EXPECT_FALSE(key.type.empty()) << key.path;
    }
}

TEST(Bytes, UnitsAndMistakes) {
    EXPECT_EQ(program::parse_bytes("1.5GB", "--memory"), 1'500'000'000ULL);
    EXPECT_EQ(program::parse_bytes("2 GiB", "--memory"), 2'147'483'648ULL);
    EXPECT_EQ(program::parse_bytes("1000", "--memory"), 1000ULL);
    for (const char* bad : {"", "GB", "-1GB", "1XB", "nan", "inf", "0"})
        EXPECT_THROW(program::parse_bytes(bad, "--memory"), Error) << bad;
}

TEST(JobFile, AbsorptionFromPhases) {
    const std::string job = minimal + "[absorption]\nmethod = 'phases'\n";
    // Without a reference the scan itself has to tell.
    EXPECT_EQ(message_of(job), "no error");
    EXPECT_THAT(
        message_of(job + "calibration = 'ring'\n"),
        ::testing::AllOf(HasSubstr("absorption.reference_phase"), HasSubstr("folder/job.toml")));
    EXPECT_THAT(message_of(job + "reference_phase = 'NMC (Q)'\n"), HasSubstr("NMC (P)"));
    EXPECT_EQ(message_of(job + "reference_phase = 'NMC (P)'\n"), "no error");
    const std::string good = job + "reference_phase = 'NMC (P)'\n";
    EXPECT_THAT(message_of(good + "filling = 'C3H4O3'\n"), HasSubstr("filling_density"));
    EXPECT_THAT(message_of(good + "filling_density = 1.2\n"), HasSubstr("filling"));
    EXPECT_THAT(message_of(good + "calibration = 'transmission'\n"),
                HasSubstr("absorption.calibration"));
    EXPECT_THAT(message_of(good + "calibration = 'constant'\n"), HasSubstr("absorption.constant"));
    EXPECT_THAT(message_of(good + "reference_fraction = 0.0\n"), HasSubstr("reference_fraction"));
    EXPECT_THAT(message_of(good + "hollow_diameter = -1.0\n"), HasSubstr("hollow_diameter"));
    EXPECT_THAT(message_of(good + "depths = 0\n"), HasSubstr("depths"));
    EXPECT_THAT(message_of(good + "toleranse = 1e-3\n"), HasSubstr("tolerance"));
    EXPECT_THAT(message_of(minimal + "[mask]\ngrowth = -1\n"), HasSubstr("mask.growth"));
    EXPECT_THAT(message_of(minimal + "[rietveld]\nexcluded = [[3.4, 3.2]]\n"),
                HasSubstr("rietveld.excluded"));
}

TEST(JobFile, AbsorptionOfBodiesWithoutACan) {
    const std::string job = minimal + "[absorption]\nmethod = 'phases'\n";
    EXPECT_EQ(message_of(job + "mass_per_length = 9.0\n"), "no error");
    EXPECT_EQ(message_of(job + "mean_density = 1.2\ncalibration = 'density'\n"), "no error");
    EXPECT_THAT(message_of(job + "mass_per_length = -1.0\n"), HasSubstr("mass_per_length"));
    EXPECT_THAT(message_of(job + "mass_per_length = 9.0\nmean_density = 1.0\n"),
                HasSubstr("give one of them"));
    EXPECT_THAT(message_of(job + "mass_per_length = 9.0\ncalibration = 'consistency'\n"),
                HasSubstr("contradicts absorption.calibration"));
    EXPECT_THAT(message_of(job + "calibration = 'mass'\n"),
                HasSubstr("absorption.mass_per_length"));
    EXPECT_THAT(message_of(job + "calibration = 'density'\n"),
                HasSubstr("absorption.mean_density"));
    EXPECT_THAT(message_of(minimal + "[absorption]\nmethod = 'transmission'\n"
                                     "calibration = 'consistency'\n"),
                HasSubstr("absorption.calibration"));
    EXPECT_THAT(message_of(job + "mean_density = 1.0\namorphous_rest = true\n"),
                HasSubstr("amorphous_rest"));
    const std::string wall = "container_outer_diameter = 4.4\ncontainer_inner_diameter = 4.2\n";
    EXPECT_EQ(message_of(job + "container = 'Glass'\n" + wall), "no error");
    EXPECT_THAT(message_of(job + "container = 'SiO2'\n" + wall), HasSubstr("container_density"));
    EXPECT_THAT(message_of(job + "container = 'quartz'\n"), HasSubstr("container_outer_diameter"));
    EXPECT_THAT(message_of(job + wall), HasSubstr("belong together"));
    EXPECT_THAT(message_of(job + "container = 'quartz'\ncontainer_outer_diameter = 4.0\n"
                                 "container_inner_diameter = 4.4\n"),
                HasSubstr("must be less than the outer diameter"));
    EXPECT_THAT(message_of(job + "reference_phase = 'NMC (P)'\ncontainer = 'quartz'\n" + wall),
                HasSubstr("absorption.container"));
    EXPECT_THAT(message_of(job + "hollow_diameter = 1.0\n"), HasSubstr("needs a can wall"));
}

// A change of the phases makes the transmission stale where it was found from them.
TEST(JobFile, WhatDecidesAProduct) {
    const std::string text = minimal + "[absorption]\nreference_phase = 'NMC (P)'\n";
    const auto settings = [&](const std::string& method, const std::string& stage,
                              const std::string& change) {
        std::vector<std::string> overrides{"absorption.method=" + method};
        if (!change.empty())
            overrides.push_back(change);
        return settings::parse_job(text, "job.toml", overrides).resolved_for(stage);
    };
    const std::string wider = "phase[0].size=500.0";
    EXPECT_EQ(settings("transmission", "fbp", ""), settings("transmission", "fbp", wider));
    EXPECT_NE(settings("phases", "fbp", ""), settings("phases", "fbp", wider));
    EXPECT_NE(settings("phases", "absorption", ""), settings("phases", "absorption", wider));
}

} // namespace
