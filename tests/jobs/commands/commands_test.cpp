// SPDX-License-Identifier: BSD-3-Clause
#include "cell_fixture.hpp"

#include "mpi/hdf5/hdf5.hpp"

#include <nlohmann/json.hpp>

using namespace xrdct;
using namespace xrdct::test;

namespace {

class Commands : public CellTest {};

TEST(Program, HelpAndVersionNeedNothing) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--help"},
                                                      {"--version"},
                                                      {"run", "--help"},
                                                      {"validate", "--help"},
                                                      {"info", "--help"},
                                                      {"simulate", "--help"},
                                                      {"report", "--help"},
                                                      {"compare", "--help"},
                                                      {"reference"}}) {
        const auto result = run_xrdct(arguments);
        EXPECT_EQ(result.exit_code, 0) << arguments[0];
        EXPECT_FALSE(result.output.empty());
        EXPECT_EQ(result.errors, "") << arguments[0];
    }
    for (const char* command : {"run", "validate", "info", "simulate", "report", "compare"})
        EXPECT_NE(run_xrdct({command, "--help"}).output.find("example:"), std::string::npos)
            << command;
}

TEST(Program, UnknownCommandNamesTheNearest) {
    const auto result = run_xrdct({"simulat"});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.errors.find("'simulate'"), std::string::npos) << result.errors;
}

TEST(Program, SimulateRefusesNonsense) {
    const TemporaryDirectory folder;
    for (const std::vector<std::string>& bad : {std::vector<std::string>{"--preset", "mixd"},
                                                {"--rotations", "0"},
                                                {"--distance", "-1"},
                                                {"--translations", "-3"},
                                                {"--missing-rotations", "5-2"},
                                                {"--wavelength", "many"},
                                                {"--march", "NMC532"},
                                                {"--march", "=0.7"},
                                                {"--march", "NMC532=0.7x"},
                                                {"--march", "NMC532=0.1"},
                                                {"--march", "nan"},
                                                {"--march", "LiC12=nan"},
                                                {"--march", "Fe=0.7"},
                                                {"--march", "graphite=0.7"},
                                                {"--unnamed", "nickel"},
                                                {"--exit-rays", "bent"}}) {
        auto arguments =
            std::vector<std::string>{"simulate", "--output", (folder / "cell").string()};
        arguments.insert(arguments.end(), bad.begin(), bad.end());
        const auto result = run_xrdct(arguments, 0, 60);
        EXPECT_EQ(result.exit_code, 1) << bad[0] << " " << bad[1];
        EXPECT_NE(result.errors.find("xrdct: error:"), std::string::npos) << result.errors;
        EXPECT_FALSE(std::filesystem::exists(folder / "cell" / "scan.nxs"));
    }
}

TEST_F(Commands, SimulateDoesNotOverwrite) {
    const auto before = std::filesystem::last_write_time(scan());
    const auto result = run_xrdct({"simulate", "--output", folder().string()});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.errors.find("--force"), std::string::npos);
    EXPECT_EQ(std::filesystem::last_write_time(scan()), before);
}

TEST_F(Commands, ValidateTouchesNothing) {
    const auto before = list_folder(folder());
    const auto result = run_xrdct({"validate", job().string(), "--ranks", "2"});
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_NE(result.output.find("the job is valid"), std::string::npos);
    EXPECT_NE(result.output.find("MB per rank"), std::string::npos);
    EXPECT_EQ(list_folder(folder()), before);

    const auto json =
        nlohmann::json::parse(run_xrdct({"validate", job().string(), "--json"}).output);
    EXPECT_EQ(json["rotations"], 20);
    EXPECT_EQ(json["translations"], 24);
    EXPECT_EQ(json["channels"], 260);

    // The resolved job is itself a valid job with the same meaning.
    write_text(folder() / "resolved.toml", json["job"].get<std::string>());
    const auto again = nlohmann::json::parse(
        run_xrdct({"validate", (folder() / "resolved.toml").string(), "--json"}).output);
    EXPECT_EQ(again["job"], json["job"]);
}

TEST_F(Commands, ValidateFindsWhatARunWould) {
    std::filesystem::remove(folder() / "cif" / "Al.cif");
    const auto result = run_xrdct({"validate", job().string()});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_NE(result.errors.find("Al.cif"), std::string::npos) << result.errors;
}

TEST_F(Commands, InfoDescribesScanAndProduct) {
    const auto json = nlohmann::json::parse(run_xrdct({"info", scan().string(), "--json"}).output);
    EXPECT_EQ(json["kind"], "scan");
    EXPECT_EQ(json["translations"], 24);
    EXPECT_EQ(json["has"]["transmission"], true);
    ASSERT_EQ(run_xrdct({"run", job().string(), "--stages", "fbp"}, 2, 60).exit_code, 0);
    const auto product = nlohmann::json::parse(
        run_xrdct({"info", (results() / "fbp.nxs").string(), "--json"}).output);
    EXPECT_EQ(product["kind"], "product");
    // The version and the revision that the program names itself.
    const std::string version = product["program_version"];
    const std::string revision = product["program_revision"];
    EXPECT_EQ(run_xrdct({"--version"}).output,
              "xrdct " + version + " (revision " + revision + ")\n");
    EXPECT_FALSE(revision.empty());
    const auto file = hdf5::File::open(results() / "fbp.nxs", hdf5::Access::read_only);
    EXPECT_EQ(file.root().open_dataset("entry/fbp/revision").read_string(), revision);
}

TEST_F(Commands, ProductsOfAnotherRevisionAreKept) {
    ASSERT_EQ(run_xrdct({"run", job().string(), "--stages", "fbp"}, 2, 60).exit_code, 0);
    const auto path = results() / "fbp.nxs";
    {
        auto file = hdf5::File::open(path, hdf5::Access::read_write);
        file.root().set_attribute("program_version", "0.1.0");
        file.root().set_attribute("program_revision", "0123456789ab");
    }
    const auto time = std::filesystem::last_write_time(path);
    const auto again = run_xrdct({"run", job().string(), "--stages", "fbp", "--resume"}, 2, 60);
    EXPECT_EQ(again.exit_code, 0) << again.errors;
    EXPECT_EQ(std::filesystem::last_write_time(path), time);
}

TEST_F(Commands, RunResumeAndReport) {
    const auto first = run_xrdct({"run", job().string(), "--json"}, 2, 120);
    ASSERT_EQ(first.exit_code, 0) << first.errors;
    const auto summary = nlohmann::json::parse(first.output);
    ASSERT_EQ(summary["stages"].size(), 3U);
    EXPECT_EQ(summary["peak_memory_bytes"].size(), 2U);
    EXPECT_EQ(list_folder(results()).find("tmp"), std::string::npos) << list_folder(results());

    // Everything is kept, then what depends on the changed key is refused, and only that made
    // again.
    const auto resumed = run_xrdct({"run", job().string(), "--resume", "--json"}, 3, 60);
    ASSERT_EQ(resumed.exit_code, 0) << resumed.errors;
    for (const auto& stage : nlohmann::json::parse(resumed.output)["stages"])
        EXPECT_TRUE(stage["reused"].get<bool>());
    const auto changed = run_xrdct(
        {"run", job().string(), "--resume", "--set", "rietveld.background_terms=2"}, 2, 60);
    EXPECT_EQ(changed.exit_code, 1);
    EXPECT_NE(changed.errors.find("made with other settings"), std::string::npos) << changed.errors;
    const auto forced = run_xrdct({"run", job().string(), "--resume", "--force", "--json", "--set",
                                   "rietveld.background_terms=2"},
                                  2, 60);
    ASSERT_EQ(forced.exit_code, 0) << forced.errors;
    const auto stages = nlohmann::json::parse(forced.output)["stages"];
    EXPECT_TRUE(stages[1]["reused"].get<bool>());
    EXPECT_FALSE(stages[2]["reused"].get<bool>());

    const auto report = run_xrdct({"report", results().string()}, 0, 240);
    ASSERT_EQ(report.exit_code, 0) << report.errors;
    EXPECT_TRUE(std::filesystem::exists(results() / "report.html"));
    EXPECT_EQ(run_xrdct({"report", results().string()}).exit_code, 1);
}

TEST_F(Commands, ReportOfLithiumAndStatistics) {
    append_job("\n[[lithium]]\nelectrode = \"cathode\"\nphase = \"NMC532\"\n"
               "table = [[14.6, 0.3], [14.1, 1.0]]\noutside = \"clamp\"\n");
    ASSERT_EQ(run_xrdct({"run", job().string()}, 2, 120).exit_code, 0);
    const auto made = run_xrdct({"report", results().string(), "--json"}, 0, 240);
    ASSERT_EQ(made.exit_code, 0) << made.errors;
    const auto files = nlohmann::json::parse(made.output)["files"].dump();
    for (const char* name : {"report.json", "report.csv", "rietveld_lithium_cathode.png"})
        EXPECT_NE(files.find(name), std::string::npos) << name;
    const auto json = nlohmann::json::parse(read_text(results() / "report.json"));
    bool found = false;
    for (const auto& stage : json["stages"]) {
        double sum = 0;
        for (const auto& [phase, fraction] : stage["whole_weight_fractions"]["phases"].items())
            sum += fraction.get<double>();
        EXPECT_NEAR(sum, 1, 1e-9) << stage["stage"];
        for (const auto& electrode : stage["lithium"]) {
            found = true;
            EXPECT_GT(electrode["mean"].get<double>(), 0.3);
            EXPECT_LT(electrode["mean"].get<double>(), 1.0);
            EXPECT_GT(electrode["voxels"].get<int>(), 20);
        }
    }
    EXPECT_TRUE(found);
    EXPECT_NE(read_text(results() / "report.csv").find("cathode,lithium"), std::string::npos);

    // Another calibration without another run; mistakes in it leave the report alone.
    write_text(folder() / "li.toml", "[[lithium]]\nelectrode = 'cathode'\nphase = 'NMC523'\n"
                                     "content = 1.0\n");
    const auto before = list_folder(results());
    const auto wrong = run_xrdct(
        {"report", results().string(), "--force", "--lithium", (folder() / "li.toml").string()}, 0,
        60);
    EXPECT_EQ(wrong.exit_code, 1);
    EXPECT_NE(wrong.errors.find("nearest is 'NMC532'"), std::string::npos) << wrong.errors;
    EXPECT_EQ(list_folder(results()), before);
}

TEST_F(Commands, AProductCarriesItsOrigin) {
    ASSERT_EQ(run_xrdct({"run", job().string(), "--stages", "fbp"}, 2, 60).exit_code, 0);
    const auto file = hdf5::File::open(results() / "fbp.nxs", hdf5::Access::read_only);
    const auto stage = file.root().open_group("entry/fbp");
    EXPECT_NE(stage.open_dataset("job").read_string().find("window ="), std::string::npos);
    const auto inputs = nlohmann::json::parse(stage.open_dataset("inputs").read_string());
    bool found = false;
    for (const auto& [name, checksum] : inputs.items())
        if (name.find("scan.nxs") != std::string::npos) {
            found = true;
            const auto expected = run_process({"sha256sum", scan().string()});
            EXPECT_EQ(checksum.get<std::string>(), expected.output.substr(0, 64));
        }
    EXPECT_TRUE(found);
    EXPECT_EQ(stage.open_dataset("ranks").read_scalar(), 2);
}

TEST_F(Commands, MoreRanksThanChannelsAndRows) {
    edit_job("[absorption]",
             "[channels]\ntwo_theta_min = 2.7\ntwo_theta_max = 2.72\n\n[absorption]");
    const auto result = run_xrdct({"run", job().string(), "--stages", "absorption,fbp"}, 4, 60);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
}

} // namespace
