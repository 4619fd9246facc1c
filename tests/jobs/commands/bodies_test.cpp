// SPDX-License-Identifier: BSD-3-Clause
// Simulated bodies other than cells: what the command writes, what the program makes of it, and
// what it says of the errors against the truth.

#include "mpi/hdf5/hdf5.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;
using testing::HasSubstr;
using testing::Not;

namespace {

using Words = std::vector<std::string>;

/// 80 keV.
Words simulation(const std::filesystem::path& folder, const std::string& body, int translations,
                 int rotations, const Words& more = {}) {
    Words words{"simulate",
                "--output",
                folder.string(),
                "--body",
                body,
                "--wavelength",
                "0.15498",
                "--channels",
                "300",
                "--channel-width",
                "0.02",
                "--first-channel",
                "1.8",
                "--translations",
                std::to_string(translations),
                "--rotations",
                std::to_string(rotations)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

std::vector<double> values_of(const std::filesystem::path& path, const std::string& dataset) {
    return hdf5::File::open(path, hdf5::Access::read_only)
        .root()
        .open_dataset(dataset)
        .read_all<double>();
}

const nlohmann::json* find_map(const nlohmann::json& result, const std::string& phase,
                               const std::string& quantity) {
    for (const auto& map : result["maps"])
        if (map["phase"] == phase && map["quantity"] == quantity)
            return &map;
    return nullptr;
}

class Bodies : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Bodies, testing::Values("extrudate", "capillary", "pouch"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Bodies, JobIsValidAndHoldsNoTruth) {
    const TemporaryDirectory folder;
    const std::string phase = std::string(GetParam()) == "pouch" ? "NMC532" : "CeO2";
    const auto made = run_xrdct(simulation(
        folder / "a", GetParam(), 33, 36,
        {"--distance", "600", "--shift-x", "0.3", "--size-field", phase + "=97:251",
         "--strain-field", phase + "=0.0037:0.0011", "--cell-field", phase + "=1234:-321"}));
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const auto valid = run_xrdct({"validate", (folder / "a" / "job.toml").string()});
    EXPECT_EQ(valid.exit_code, 0) << valid.errors;
    EXPECT_THAT(valid.output + valid.errors, Not(HasSubstr("warning")));
    const std::string job = text_of(folder / "a" / "job.toml");
    EXPECT_THAT(job, HasSubstr("refine_size = \"voxel\""));
    EXPECT_THAT(job, HasSubstr("refine_microstrain = \"voxel\""));
    EXPECT_THAT(job, HasSubstr("cell = \"voxel\""));
    for (const char* truth : {"97", "251", "0.0037", "0.0011", "1234", "321", "start_a"})
        EXPECT_THAT(job, Not(HasSubstr(truth)));
    const auto told = run_xrdct({"validate", (folder / "a" / "job_with_truth.toml").string()});
    EXPECT_EQ(told.exit_code, 0) << told.errors;
}

TEST_P(Bodies, AreTheSameOnAnyNumberOfRanks) {
    const TemporaryDirectory folder;
    for (const int ranks : {1, 2, 3}) {
        const auto made =
            run_xrdct(simulation(folder / std::to_string(ranks), GetParam(), 17, 5), ranks);
        ASSERT_EQ(made.exit_code, 0) << made.errors;
    }
    const std::string phase = std::string(GetParam()) == "pouch" ? "NMC532" : "CeO2";
    for (const char* other : {"2", "3"}) {
        for (const char* dataset : {"entry/data/intensity", "entry/data/transmission"})
            EXPECT_EQ(values_of(folder / "1" / "scan.nxs", dataset),
                      values_of(folder / other / "scan.nxs", dataset))
                << dataset << " " << other;
        for (const std::string& dataset :
             {std::string("entry/truth/rays/transmission"), "entry/truth/" + phase + "/density",
              std::string("entry/truth/maps/mu")})
            EXPECT_EQ(values_of(folder / "1" / "truth.nxs", dataset),
                      values_of(folder / other / "truth.nxs", dataset))
                << dataset << " " << other;
    }
    EXPECT_EQ(values_of(folder / "1" / "truth.nxs", "entry/truth/rays/transmission"),
              values_of(folder / "1" / "scan.nxs", "entry/data/transmission"));
}

TEST(BodyCommand, LeavesTheTransmissionOut) {
    const TemporaryDirectory folder;
    const auto made =
        run_xrdct(simulation(folder / "a", "capillary", 33, 4, {"--no-transmission"}));
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const auto root = hdf5::File::open(folder / "a" / "scan.nxs", hdf5::Access::read_only).root();
    EXPECT_FALSE(root.open_group("entry/data").has_dataset("transmission"));
    EXPECT_EQ(values_of(folder / "a" / "truth.nxs", "entry/truth/rays/transmission").size(),
              4U * 33U);
    EXPECT_THAT(text_of(folder / "a" / "job.toml"), Not(HasSubstr("method = \"transmission\"")));
    const auto valid = run_xrdct({"validate", (folder / "a" / "job.toml").string()});
    EXPECT_EQ(valid.exit_code, 0) << valid.errors;
}

TEST(BodyCommand, RefusesWhatABodyDoesNotHave) {
    const TemporaryDirectory folder;
    const auto refused = [&](const Words& options, const Words& words) {
        Words arguments{"simulate", "--output", (folder / "x").string()};
        arguments.insert(arguments.end(), options.begin(), options.end());
        const auto result = run_xrdct(arguments);
        EXPECT_EQ(result.exit_code, 1) << options.back();
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
        EXPECT_FALSE(std::filesystem::exists(folder / "x" / "scan.nxs"));
    };
    refused({"--body", "ball"}, {"ball", "cell, extrudate, capillary or pouch"});
    refused({"--body", "extrudate", "--preset", "charged"}, {"--preset", "only with cell"});
    refused({"--body", "extrudate", "--march=Cu=0.7"}, {"--march", "only with cell"});
    refused({"--body", "extrudate", "--frames"}, {"--frames", "only with cell"});
    refused({"--body", "extrudate", "--grain", "0.1"}, {"--grain", "only with capillary"});
    refused({"--body", "capillary", "--copper", "0.1"}, {"--copper", "cell, pouch"});
    refused({"--size-field", "Cu=100"}, {"--size-field", "--body cell"});
    refused({"--body", "extrudate", "--support", "wood"}, {"wood", "glassy, gamma or none"});
    refused({"--body", "extrudate", "--pieces", "40"}, {"pieces is 40"});
    for (const char* field : {"Cu", "=100", "Cu=", "Cu=1:2:3:4", "Cu=100x", "Cu=100:nan",
                              "Cu=100:200:0", "Cu=100:200:-1"})
        refused({"--body", "extrudate", "--size-field", field}, {"--size-field", "PHASE=VALUE"});
    refused({"--body", "extrudate", "--size-field", "Fe=100"}, {"\"Fe\"", "CeO2, Cu, graphite"});
    refused({"--body", "extrudate", "--strain-field", "Cu=-1"}, {"microstrain of Cu is -1"});
    refused({"--body", "extrudate", "--cell-field", "Cu=1e6"}, {"Cu is 1000000"});
    refused({"--body", "extrudate", "--shell", "9"}, {"shell is 9 mm"});
    refused({"--body", "extrudate", "--unnamed", "Fe"}, {"--unnamed", "CeO2, Cu, graphite"});
}

/// Without parallax conventional maps are right; the extrudate's support diffracts, so that the
/// measured transmission says what all amounts are.
TEST(BodyCommand, ConventionalMapsAgreeWithTheTruth) {
    const TemporaryDirectory folder;
    const auto made =
        run_xrdct(simulation(folder / "a", "extrudate", 41, 64,
                             {"--support", "none", "--distance", "1e9", "--size-field",
                              "CeO2=90:250", "--shift-x", "0.35", "--counts", "20000"}),
                  2);
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const std::string results = (folder / "a" / "results").string(),
                      truth = (folder / "a" / "truth.nxs").string();
    const auto ran = run_xrdct({"run", (folder / "a" / "job.toml").string()}, 2);
    ASSERT_EQ(ran.exit_code, 0) << ran.errors;
    const auto compared = run_xrdct({"compare", results, "--truth", truth, "--json"});
    ASSERT_EQ(compared.exit_code, 0) << compared.errors;
    const auto result = nlohmann::json::parse(compared.output)["results"][0];
    EXPECT_EQ(result["stage"], "rietveld");
    const auto* size = find_map(result, "CeO2", "size");
    ASSERT_NE(size, nullptr);
    EXPECT_LT((*size)["median_absolute"], 0.06 * (*size)["mean"].get<double>());
    EXPECT_GT((*size)["correlation"], 0.95);
    const auto* cell = find_map(result, "CeO2", "a");
    ASSERT_NE(cell, nullptr);
    EXPECT_LT((*cell)["median_absolute"], 5e-4);
    EXPECT_GT((*cell)["correlation"], 0.97);
    for (const auto& whole : result["whole"]) {
        EXPECT_NEAR(whole["weight_fraction"], whole["true_weight_fraction"], 0.012) << whole;
        EXPECT_NEAR(whole["mass_ratio"], 1, 0.06) << whole;
    }
    const auto table = run_xrdct({"compare", results, "--truth", truth});
    EXPECT_EQ(table.exit_code, 0) << table.errors;
    for (const char* word : {"CeO2", "density", "size", "angstrom", "correlation", "whole sample"})
        EXPECT_THAT(table.output, HasSubstr(word));
}

/// Beside the axis parallax moves the lines of a body the same way over half a turn.
TEST(BodyCommand, DlsrHasTheCellsOfABodyBesideTheAxis) {
    const TemporaryDirectory folder;
    const auto made =
        run_xrdct(simulation(folder / "a", "extrudate", 41, 64,
                             {"--support", "none", "--distance", "600", "--size-field",
                              "CeO2=90:250", "--shift-x", "0.45", "--seed", "3"}),
                  2);
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const auto ran = run_xrdct(
        {"run", (folder / "a" / "job.toml").string(), "--stages", "absorption,fbp,rietveld,dlsr"},
        2, 300);
    ASSERT_EQ(ran.exit_code, 0) << ran.errors;
    const auto errors_of = [&](const std::string& stage, const std::string& quantity) {
        const auto compared =
            run_xrdct({"compare", (folder / "a" / "results").string(), "--truth",
                       (folder / "a" / "truth.nxs").string(), "--stage", stage, "--json"});
        EXPECT_EQ(compared.exit_code, 0) << compared.errors;
        return *find_map(nlohmann::json::parse(compared.output)["results"][0], "CeO2", quantity);
    };
    const auto conventional = errors_of("rietveld", "a"), direct = errors_of("dlsr", "a"),
               size = errors_of("dlsr", "size");
    EXPECT_GT(std::abs(conventional["bias"].get<double>()), 1e-3);
    EXPECT_LT(std::abs(direct["bias"].get<double>()), 3e-4);
    EXPECT_LT(direct["median_absolute"], 1e-3);
    EXPECT_GT(direct["correlation"], 0.96);
    EXPECT_LT(size["median_absolute"], 0.06 * size["mean"].get<double>());
    EXPECT_GT(size["correlation"], 0.96);
}

TEST(BodyCommand, TruthIsRefusedWhereItDoesNotFit) {
    const TemporaryDirectory folder;
    for (const auto& [name, body, n] :
         {std::tuple{"a", "extrudate", 17}, std::tuple{"b", "extrudate", 19},
          std::tuple{"c", "pouch", 17}}) {
        const auto made = run_xrdct(simulation(folder / name, body, n, 8));
        ASSERT_EQ(made.exit_code, 0) << made.errors;
    }
    const auto ran = run_xrdct({"run", (folder / "a" / "job.toml").string()});
    ASSERT_EQ(ran.exit_code, 0) << ran.errors;
    const std::string results = (folder / "a" / "results").string();
    const auto refused = [&](const Words& options, const Words& words) {
        Words arguments{"compare", results};
        arguments.insert(arguments.end(), options.begin(), options.end());
        const auto result = run_xrdct(arguments);
        EXPECT_EQ(result.exit_code, 1) << options.back();
        for (const auto& word : words)
            EXPECT_THAT(result.errors, HasSubstr(word));
    };
    refused({"--truth", (folder / "b" / "truth.nxs").string()}, {"19 x 19", "17 x 17"});
    refused({"--truth", (folder / "none.nxs").string()}, {"none.nxs"});
    refused({"--truth", (folder / "a" / "results" / "rietveld.nxs").string()},
            {"not the truth of a simulation"});
    refused({"--truth", (folder / "a" / "truth.nxs").string(), "--output", "x"},
            {"--truth", "--output"});
    refused({}, {"--output"});
}

} // namespace
