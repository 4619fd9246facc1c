// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdlib>

using namespace xrdct;
using namespace xrdct::test;

namespace {

/// With a home of its own; nothing reaches a SLURM.
class Submit : public CellTest {
  protected:
    void SetUp() override {
        CellTest::SetUp();
        const char* path = std::getenv("PATH");
        path_ = path ? path : "";
        setenv("HOME", home_.path().c_str(), 1);
        for (const char* name : {"XRDCT_PROFILE", "XDG_CONFIG_HOME", "XDG_STATE_HOME"})
            unsetenv(name);
    }
    void TearDown() override { setenv("PATH", path_.c_str(), 1); }

    void refused(const std::vector<std::string>& arguments, const std::vector<std::string>& words) {
        const std::string before = list_folder(folder());
        const auto result = run_xrdct(arguments, 0, 60);
        EXPECT_EQ(result.exit_code, 1) << result.output;
        EXPECT_EQ(occurrences(result.errors, "xrdct: error:"), 1U) << result.errors;
        for (const auto& word : words)
            EXPECT_NE(result.errors.find(word), std::string::npos) << "'" << word << "' not in:\n"
                                                                   << result.errors;
        EXPECT_EQ(list_folder(folder()), before);
    }
    void make_campaign() {
        edit_job("[input]\nfile = \"scan.nxs\"", "");
        append_job("\n[campaign]\nscans = [\"part_*.nxs\", \"scan.nxs\"]\n");
        for (const char* name : {"part_1.nxs", "part_2.nxs"})
            std::filesystem::copy_file(scan(), folder() / name);
    }

    TemporaryDirectory home_;
    std::string path_;
};

TEST_F(Submit, DryRunShowsTheScriptAndTouchesNothing) {
    write_text(folder() / "site.toml", "[slurm]\npartition = 'long'\n[run]\nlauncher = 'mpirun'\n");
    const auto before = list_folder(folder());
    const auto result = run_xrdct({"submit", job().string(), "--dry-run", "--ranks", "3",
                                   "--profile", (folder() / "site.toml").string()});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    for (const char* words : {"#!/bin/bash\n", "#SBATCH --partition=long\n", "#SBATCH --ntasks=3\n",
                              "mpirun -n 3 ", "#   rietveld "})
        EXPECT_NE(result.output.find(words), std::string::npos) << words << "\n" << result.output;
    EXPECT_EQ(list_folder(folder()), before);
}

TEST_F(Submit, ScriptAsksForWhatValidateEstimates) {
    const auto validated = run_xrdct({"validate", job().string(), "--json", "--ranks", "2"});
    double most = 0;
    const auto json = nlohmann::json::parse(validated.output);
    for (const auto& stage : json.at("stages"))
        most = std::max(most, stage.at("memory_bytes_per_rank").get<double>());
    const auto result = run_xrdct({"submit", job().string(), "--dry-run", "--ranks", "2"});
    const auto at = result.output.find("--mem=");
    ASSERT_NE(at, std::string::npos);
    EXPECT_NEAR(std::stod(result.output.substr(at + 6)), 2 * 1.3 * most / 1048576, 1.0);
}

TEST_F(Submit, WithoutSlurmItSaysSo) {
    setenv("PATH", (home_ / "no-programs").c_str(), 1);
    std::filesystem::create_directory(results());
    refused({"submit", job().string()}, {"sbatch is not there", "SLURM is not installed"});
    EXPECT_EQ(list_folder(results()), "");
}

TEST_F(Submit, BadInput) {
    const auto name = job().string();
    refused({"submit"}, {"no job file"});
    refused({"submit", "missing.toml"}, {"missing.toml"});
    refused({"submit", name, "--ranks", "0"}, {"--ranks"});
    refused({"submit", name, "--time", "soon"}, {"--time", "soon"});
    refused({"submit", name, "--time", "1min"}, {"--time", "notice"});
    refused({"submit", name, "--rank", "2"}, {"--rank", "nearest is '--ranks'"});
    refused({"submit", name, "--profile", "none.toml"}, {"none.toml"});
    write_text(home_ / "site.toml", "[slurm]\npartion = 'x'\n");
    refused({"submit", name, "--profile", (home_ / "site.toml").string()},
            {"slurm.partion", "slurm.partition"});
    refused({"submit", name, "--failed"}, {"nothing was submitted"});
    refused({"status", folder().string()}, {"no job was submitted or run there"});
    refused({"status", "12345"}, {"12345", "xrdct jobs"});
    refused({"status"}, {"no job was submitted yet"});
    refused({"watch", folder().string(), "--interval", "0"}, {"--interval"});
    refused({"cancel"}, {"name an output folder"});
    refused({"logs", folder().string()}, {"no job was submitted"});
    EXPECT_EQ(run_xrdct({"jobs"}).output, "no job was submitted\n");
    edit_job("file = \"scan.nxs\"", "file = \"other.nxs\"");
    refused({"submit", name, "--dry-run"}, {"other.nxs"});
}

TEST_F(Submit, OutputThatCannotBeMade) {
    write_text(results(), "a file in the way");
    refused({"submit", job().string()}, {results().string()});
    TinyFileSystem tiny(1 << 20);
    if (!tiny.available())
        GTEST_SKIP() << tiny.reason();
    tiny.make_read_only();
    edit_job("output = \"results\"", "output = \"" + (tiny.path() / "out").string() + "\"");
    refused({"submit", job().string()}, {(tiny.path() / "out").string()});
}

TEST_F(Submit, CampaignIsAnArrayOfItsScans) {
    make_campaign();
    const auto result = run_xrdct({"submit", job().string(), "--dry-run"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_NE(result.output.find("#SBATCH --array=0-2\n"), std::string::npos) << result.output;
    EXPECT_NE(result.output.find((results() / "part_2").string()), std::string::npos);
    // The job of a campaign alone names no scan.
    refused({"run", job().string()}, {"input.file"});
    append_job("\n");
    edit_job("part_*", "none_*");
    refused({"submit", job().string(), "--dry-run"}, {"campaign.scans", "none_*.nxs"});
}

TEST_F(Submit, CampaignBadInput) {
    append_job("\n[campaign]\nscans = [\"scan.nxs\"]\n");
    refused({"submit", job().string(), "--dry-run"}, {"input.file", "campaign.scans"});
    edit_job("file = \"scan.nxs\"", "");
    edit_job("scans = [\"scan.nxs\"]", "scans = [\"gone.nxs\"]");
    refused({"submit", job().string(), "--dry-run"}, {"gone.nxs"});
}

TEST_F(Submit, AScanThatMakesNoSenseIsRefusedBeforeItIsQueued) {
    edit_job("[geometry]\n", "[geometry]\ndistance = 1.0\n");
    refused({"submit", job().string(), "--dry-run"}, {"geometry.distance", "--force-data"});
    const auto forced = run_xrdct({"submit", job().string(), "--dry-run", "--force-data"});
    EXPECT_EQ(forced.exit_code, 0) << forced.errors;
    EXPECT_NE(forced.output.find(" --force-data "), std::string::npos) << forced.output;
    EXPECT_NE(forced.errors.find("geometry.distance"), std::string::npos) << forced.errors;
}

TEST_F(Submit, ProgressOfARunByHand) {
    const auto run = run_xrdct({"run", job().string()}, 0, 120);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto result = run_xrdct({"status", results().string(), "--json"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    const auto one = nlohmann::json::parse(result.output).at(0);
    EXPECT_EQ(one.at("state"), "finished");
    for (const auto& stage : one.at("progress").at("stages"))
        EXPECT_EQ(stage.at("state"), "finished") << stage;
    const auto before = read_text(results() / "progress.json");
    // Refused, and the record of the finished run stays.
    EXPECT_EQ(run_xrdct({"run", job().string()}).exit_code, 1);
    EXPECT_EQ(read_text(results() / "progress.json"), before);
    refused({"submit", job().string(), "--dry-run"}, {"exists", "--force", "--resume"});
    EXPECT_EQ(run_xrdct({"submit", job().string(), "--dry-run", "--resume"}).exit_code, 0);
    // Changed since it was submitted.
    refused({"run", job().string(), "--resume", "--expect", "0123"}, {"was changed since"});
}

} // namespace
