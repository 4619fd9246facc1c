// SPDX-License-Identifier: BSD-3-Clause
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

using namespace xrdct::test;
using testing::HasSubstr;

namespace {

const std::vector<std::string> small{"bench", "--translations", "24",  "--rotations",
                                     "20",    "--channels",     "120", "--iterations",
                                     "2",     "--repetitions",  "1"};

std::vector<std::string> with(std::vector<std::string> more) {
    auto all = small;
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

TEST(Bench, MeasuresEveryStageStrongAndWeak) {
    TemporaryDirectory folder;
    const auto result = run_xrdct(with({"--json", "--output", "bench.nxs"}), 3, 120, folder.path());
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    const auto json = nlohmann::json::parse(result.output);
    // 9 stages, strong and weak, on 1, 2 and 3 ranks.
    ASSERT_EQ(json["measured"].size(), 54U);
    for (const auto& m : json["measured"]) {
        SCOPED_TRACE(m.dump());
        EXPECT_GT(m["seconds"].get<double>(), 0);
        EXPECT_GT(m["efficiency"].get<double>(), 0);
        EXPECT_LE(m["difference_from_one_rank"].get<double>(), 1e-3);
        EXPECT_EQ(m["ranks"] == 1, m["sent_per_rank"] == 0 || m["ranks"] == 1);
        EXPECT_GT(m["peak_memory_per_rank"].get<double>(), 1e6);
    }
    EXPECT_EQ(json["machine_limits"].size(), 3U);
    for (const char* name : {"bench.nxs", "bench.png", "bench.svg"})
        EXPECT_TRUE(std::filesystem::exists(folder.path() / name)) << name;
    // Nothing else is left.
    std::size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
        ++files;
    EXPECT_EQ(files, 3U);
    const auto again = run_xrdct(with({"--output", "bench.nxs"}), 0, 60, folder.path());
    EXPECT_EQ(again.exit_code, 1);
    EXPECT_THAT(again.errors, HasSubstr("bench.nxs exists; --force"));
}

TEST(Bench, Predicts) {
    const auto result = run_xrdct(with({"--predict", "16,4096", "--slices", "10"}), 0, 120);
    ASSERT_EQ(result.exit_code, 0) << result.errors;
    EXPECT_THAT(result.output, HasSubstr("PREDICTIONS"));
    EXPECT_THAT(result.output, HasSubstr("stack of 10 slices"));
    const auto json = run_xrdct(with({"--predict", "16", "--json"}), 0, 120);
    ASSERT_EQ(json.exit_code, 0) << json.errors;
    const auto predicted = nlohmann::json::parse(json.output)["predicted"];
    EXPECT_EQ(predicted["by_ranks"].size(), 1U);
    EXPECT_EQ(predicted["ranks_per_node"], 64);
    EXPECT_THAT(predicted["note"].get<std::string>(), HasSubstr("not measurements"));
}

TEST(Bench, TeamsAreAsLargeAsAllowed) {
    for (const int most : {0, 1, 2}) {
        std::vector<std::string> options{"--json", "--stages", "dlsr", "--scaling",
                                         "strong", "--ranks",  "3"};
        if (most > 0)
            options.insert(options.end(), {"--ranks-per-node", std::to_string(most)});
        const auto result = run_xrdct(with(options), 3, 120);
        ASSERT_EQ(result.exit_code, 0) << result.errors;
        const auto measured = nlohmann::json::parse(result.output)["measured"];
        ASSERT_EQ(measured.size(), 5U);
        for (const auto& m : measured)
            EXPECT_EQ(m["team"], most > 0 ? most : 3);
    }
}

TEST(Bench, HelpHasAnExampleAndUnits) {
    const auto result = run_xrdct({"bench", "--help"});
    EXPECT_EQ(result.exit_code, 0);
    for (const char* word : {"mpirun -n 4 xrdct bench", "--predict", "GFLOP/s", "GB/s"})
        EXPECT_THAT(result.output, HasSubstr(word));
}

TEST(Bench, RefusesBadInput) {
    TemporaryDirectory folder;
    std::ofstream(folder.path() / "x.png") << "mine";
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
        {{"--stages", "fbp,dslr"}, "--stages: there is no 'dslr'; nearest is 'dlsr'"},
        {{"--stages", ""}, "--stages: there is no ''"},
        {{"--scaling", "stong"}, "nearest is 'strong'"},
        {{"--translations", "3"}, "--translations: must lie between 16"},
        {{"--rotations", "0"}, "--rotations: must lie between 1"},
        {{"--channels", "-5"}, "--channels: must lie between 64"},
        {{"--repetitions", "0"}, "--repetitions"},
        {{"--ranks", "1,two"}, "--ranks: 'two' in '1,two' is not a number of ranks"},
        {{"--ranks", "0"}, "--ranks: '0'"},
        {{"--ranks", "1,9"}, "--ranks: 9 ranks of 1; start more with mpirun -n 9"},
        {{"--predict", "16,,64"}, "--predict: ''"},
        {{"--predict", "99999999"}, "--predict: '99999999'"},
        {{"--network-bandwidth", "0"}, "--network-bandwidth: must be a number above 0"},
        {{"--ranks-per-node", "0"}, "--ranks-per-node: must lie between 1"},
        {{"--node-latency", "-1"}, "--node-latency: must be a number of at least 0"},
        {{"--latency", "nan"}, "--latency: must be a number of at least 0"},
        {{"--flop-rate", "-1"}, "--flop-rate"},
        {{"--memory", "much"}, "--memory"},
        {{"--output", "bench.txt"}, "--output: 'bench.txt' is not the name of a .nxs file"},
        {{"--output", "x.nxs"}, "x.png exists; --force replaces it"},
        {{"--folder", "nowhere"}, "--folder: there is no folder 'nowhere'"},
        {{"--rank", "1"}, "--rank"},
    };
    for (const auto& [arguments, message] : cases) {
        auto all = std::vector<std::string>{"bench"};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const auto result = run_xrdct(all, 0, 60, folder.path());
        EXPECT_EQ(result.exit_code, 1) << message;
        EXPECT_THAT(result.errors, HasSubstr(message));
        EXPECT_EQ(result.output, "");
    }
}

} // namespace
