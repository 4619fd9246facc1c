// SPDX-License-Identifier: BSD-3-Clause
// Runs that are killed at random moments and resumed, against one that was not. Environment:
// XRDCT_KILLS (how many, default 20), XRDCT_KILL_SEED.

#include "support/cell_maps.hpp"
#include "support/product_difference.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <thread>

using namespace xrdct;
using namespace xrdct::test;

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

const std::vector<std::string> products{"absorption.nxs", "fbp.nxs", "rietveld.nxs", "dlsr.nxs"};

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Processes of a run: those whose command line names its results.
struct Processes {
    std::vector<pid_t> launchers, ranks;
};
Processes processes_of(const fs::path& results) {
    Processes found;
    std::error_code code;
    for (const auto& entry : fs::directory_iterator("/proc", code)) {
        const auto name = entry.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos)
            continue;
        // It may end meanwhile.
        std::ifstream file(entry.path() / "cmdline", std::ios::binary);
        const std::string line{std::istreambuf_iterator<char>(file), {}};
        if (line.find("output=" + results.string()) == std::string::npos)
            continue;
        const auto first = fs::path(line.substr(0, line.find('\0'))).filename();
        (first == "xrdct" ? found.ranks : found.launchers).push_back(std::stoi(name));
    }
    return found;
}

std::vector<std::string> names_in(const fs::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    return names;
}

class Killed : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = std::make_unique<TemporaryDirectory>();
        simulate_cell(cell(), {"--translations", "24", "--rotations", "30", "--channels", "160",
                               "--channel-width", "0.0245", "--diameter", "5", "--core", "0.8",
                               "--distance", "480"});
    }
    static void TearDownTestSuite() { folder_.reset(); }
    static fs::path cell() { return *folder_ / "cell"; }

    /// All stages, the absorption from the sample itself; the strength of the smoothness is chosen,
    /// so that every part of the dlsr stage is met.
    static ProcessResult run(const fs::path& results, int ranks, bool resume,
                             const std::function<bool()>& watch = {}) {
        std::vector<std::string> arguments{"run", (cell() / "job.toml").string()};
        for (const auto& setting :
             {"output=" + results.string(),
              std::string("stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]"),
              std::string("absorption.method=phases"), std::string("dlsr.layers=5"),
              std::string("dlsr.amount_smoothness=3"), std::string("dlsr.convergence=1e-5"),
              std::string("dlsr.error_samples=3")}) {
            arguments.emplace_back("--set");
            arguments.push_back(setting);
        }
        if (resume)
            arguments.emplace_back("--resume");
        return run_xrdct(arguments, ranks, 900, {}, watch);
    }

  private:
    static std::unique_ptr<TemporaryDirectory> folder_;
};
std::unique_ptr<TemporaryDirectory> Killed::folder_;

int number_from(const char* name, int otherwise) {
    const char* text = std::getenv(name);
    return text ? std::atoi(text) : otherwise;
}

TEST_F(Killed, ResumesToTheSameMaps) {
    const int kills = number_from("XRDCT_KILLS", 20);
    const auto seed = static_cast<unsigned>(number_from("XRDCT_KILL_SEED", 1));
    std::mt19937 random(seed);
    std::uniform_real_distribution<double> uniform(0, 1);

    const auto reference = cell() / "undisturbed";
    const auto undisturbed = run(reference, 2, false);
    ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.errors;
    const double duration = undisturbed.seconds;
    std::printf("undisturbed: %.1f s on 2 ranks; seed %u\n", duration, seed);

    const int other_counts[] = {1, 3, 4};
    int good = 0;
    std::size_t left_files = 0;
    for (int i = 0; i < kills; ++i) {
        // Spread over the run, so that every part of it is met.
        double moment = duration * (i + uniform(random)) / kills;
        const bool launcher = uniform(random) < 0.25;
        const int again = i % 2 == 0 ? 2 : other_counts[i / 2 % 3];
        const auto which = static_cast<std::size_t>(uniform(random) * 2);
        const auto results = cell() / ("killed-" + std::to_string(i));
        ProcessResult killed;
        for (int attempt = 0;; ++attempt) {
            ASSERT_LT(attempt, 6) << "the run always ends before it can be killed";
            fs::remove_all(results);
            const auto start = Clock::now();
            bool shot = false;
            killed = run(results, 2, false, [&] {
                if (shot || seconds_since(start) < moment)
                    return false;
                const auto found = processes_of(results);
                if (found.ranks.size() < 2 || found.launchers.empty())
                    return false;
                ::kill(launcher ? found.launchers[0] : found.ranks[which], SIGKILL);
                shot = true;
                return false;
            });
            if (killed.exit_code != 0)
                break;
            moment *= 0.7; // the machine is faster than it was
        }
        EXPECT_FALSE(killed.timed_out);
        const auto start = Clock::now();
        while (!processes_of(results).ranks.empty() && seconds_since(start) < 30)
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        EXPECT_TRUE(processes_of(results).ranks.empty()) << "ranks live on";
        const double lingered = seconds_since(start);

        std::map<std::string, fs::file_time_type> made;
        std::string state = "nothing";
        if (fs::exists(results))
            for (const auto& name : names_in(results))
                if (std::find(products.begin(), products.end(), name) != products.end())
                    made[name] = fs::last_write_time(results / name);
        for (const auto& product : products)
            if (made.count(product))
                state = product;
        const bool saved = fs::exists(results / "dlsr-checkpoint.nxs");

        const auto resumed = run(results, again, true);
        std::string trouble;
        const auto expect = [&](bool holds, const std::string& words) {
            if (!holds)
                trouble += (trouble.empty() ? "" : "; ") + words;
        };
        expect(resumed.exit_code == 0, "resuming failed: " + resumed.errors);
        ProductDifference difference;
        if (resumed.exit_code == 0) {
            for (const auto& [name, time] : made)
                expect(fs::last_write_time(results / name) == time, name + " was made again");
            if (saved && !made.count("dlsr.nxs"))
                expect(resumed.errors.find("goes on from") != std::string::npos,
                       "the checkpoint was not used");
            expect(!fs::exists(results / "dlsr-checkpoint.nxs"), "the checkpoint is still there");
            std::size_t unfinished = 0;
            for (const auto& name : names_in(results))
                unfinished += name.find(".nxs.tmp-") != std::string::npos;
            left_files += unfinished;
            expect((unfinished > 0) ==
                       (resumed.errors.find("of runs that were killed") != std::string::npos),
                   "unfinished files are not named, or named and not there");
            difference = compare_products(reference, results, products);
            expect(difference.with_esd > 1000, "hardly a value with e.s.d.");
            if (again == 2)
                expect(difference.relative <= 1e-9,
                       difference.where + " differs by " + std::to_string(difference.relative));
            expect(difference.esds <= 0.01, difference.where_esds + " differs by " +
                                                std::to_string(difference.esds) + " e.s.d.");
        }
        good += trouble.empty();
        std::printf("%2d: %s killed at %5.1f s (%s%s), gone after %.1f s; on %d ranks: %.1g "
                    "relative, %.1g e.s.d. %s\n",
                    i, launcher ? "launcher" : "rank    ", moment, state.c_str(),
                    saved ? ", checkpoint" : "", lingered, again, difference.relative,
                    difference.esds, trouble.empty() ? "" : trouble.c_str());
        std::fflush(stdout);
        EXPECT_EQ(trouble, "") << "kill " << i;
        fs::remove_all(results);
    }
    std::printf("%d of %d resumed to the same maps; %zu unfinished files were left\n", good, kills,
                left_files);
    EXPECT_EQ(good, kills);
    RecordProperty("resumed_to_the_same_maps", good);
}

} // namespace
