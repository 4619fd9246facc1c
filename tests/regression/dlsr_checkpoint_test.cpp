// What stands in the way of resuming a DLSR: checkpoints of something else or damaged, disks that
// are full or read-only. Always a message, and nothing is lost.

#include "dlsr_fixture.hpp"
#include "jobs/dlsr_checkpoint.hpp"
#include "jobs/run_record.hpp"
#include "mpi/hdf5.hpp"
#include "support/product_difference.hpp"
#include "support/test_data.hpp"

#include <cmath>
#include <fstream>

#include <sys/resource.h>

using namespace xrdct;
using namespace xrdct::test;

namespace {

namespace fs = std::filesystem;

/// Few steps: whether it goes on, not what it finds.
const std::vector<std::string> hasty{
    "--set", "dlsr.smoothness=1",      "--set", "dlsr.error_samples=2",
    "--set", "dlsr.max_iterations=2",  "--set", "dlsr.layers=3",
    "--set", "dlsr.check_senses=false"};
const std::vector<std::string> resuming = [] {
    auto arguments = hasty;
    arguments.emplace_back("--resume");
    return arguments;
}();
const std::string checkpoint_name = "dlsr-checkpoint.nxs";

class DlsrCheckpoints : public DlsrTest {
  protected:
    static void SetUpTestSuite() {
        DlsrTest::SetUpTestSuite();
        // One good checkpoint, of a run that was killed.
        const auto results = new_results("killed");
        const auto killed =
            run_dlsr(results, hasty, 2, [&] { return fs::exists(results / checkpoint_name); });
        if (killed.exit_code == 0 || !fs::exists(results / checkpoint_name))
            throw std::runtime_error("no checkpoint was left: " + killed.errors);
        good_ = results / checkpoint_name;
    }
    static const fs::path& good() { return good_; }

    /// A new results folder with the good checkpoint.
    static fs::path with_checkpoint(const std::string& name) {
        const auto results = new_results(name);
        fs::copy_file(good_, results / checkpoint_name);
        return results;
    }

    /// Exit code 1, one message with the words, the checkpoint and all products as they were.
    static void expect_refused(const fs::path& results, const std::vector<std::string>& arguments,
                               int ranks, const std::vector<std::string>& words) {
        std::vector<std::pair<fs::path, std::string>> before;
        for (const auto& entry : fs::directory_iterator(results))
            if (entry.is_regular_file() && entry.path().filename() != "progress.json")
                before.emplace_back(entry.path(), read_text(entry.path()));
        const auto run = run_dlsr(results, arguments, ranks);
        expect_one_error(run, words);
        std::size_t after = 0;
        for (const auto& entry : fs::directory_iterator(results))
            after += entry.is_regular_file() && entry.path().filename() != "progress.json";
        EXPECT_EQ(after, before.size()) << list_folder(results);
        for (const auto& [path, content] : before)
            EXPECT_TRUE(fs::exists(path) && read_text(path) == content) << path << " was changed";
    }

    static void expect_resumes(const fs::path& results, int ranks = 2) {
        const auto run = run_dlsr(results, resuming, ranks);
        EXPECT_EQ(run.exit_code, 0) << run.errors;
        EXPECT_NE(run.errors.find("goes on from"), std::string::npos) << run.errors;
        EXPECT_TRUE(fs::exists(results / "dlsr.nxs"));
        EXPECT_FALSE(fs::exists(results / checkpoint_name));
    }

  private:
    static fs::path good_;
};
fs::path DlsrCheckpoints::good_;

TEST_F(DlsrCheckpoints, OfAnotherJobOrScanOrVersion) {
    const auto results = with_checkpoint("foreign");
    const auto path = results / checkpoint_name;
    const auto spoilt = [&](const std::function<void(DlsrCheckpoint&)>& change) {
        auto state = *read_dlsr_checkpoint(good());
        change(state);
        write_dlsr_checkpoint(path, state);
    };
    spoilt([](auto& state) { state.settings += "\nother = 1\n"; });
    expect_refused(results, resuming, 2, {checkpoint_name, "other settings", "--force"});
    spoilt([](auto& state) { state.inputs = "{}"; });
    expect_refused(results, resuming, 1, {checkpoint_name, "another job", "--force"});
    spoilt([](auto& state) { state.x.pop_back(); });
    expect_refused(results, resuming, 2, {checkpoint_name, "--force"});
    spoilt([](auto& state) { state.x[3] = NAN; });
    expect_refused(results, resuming, 2, {checkpoint_name, "not finite", "--force"});
    spoilt([](auto&) {});
    hdf5::File::open(path, hdf5::Access::read_write)
        .root()
        .set_attribute("program_version", "0.0.7");
    expect_refused(results, resuming, 2, {checkpoint_name, "written by xrdct 0.0.7", "--force"});
    // The job file was changed since.
    fs::copy_file(good(), path, fs::copy_options::overwrite_existing);
    auto changed = resuming;
    changed.insert(changed.end(), {"--set", "dlsr.edge=0.7"});
    expect_refused(results, changed, 2, {checkpoint_name, "other settings", "--force"});
    changed = resuming;
    changed.insert(changed.end(), {"--set", "rietveld.background_terms=4"});
    expect_refused(results, changed, 2, {"rietveld.nxs", "other settings"});
    // With all as it was it goes on.
    expect_resumes(results, 3);
}

TEST_F(DlsrCheckpoints, Damaged) {
    const auto results = with_checkpoint("damaged");
    const auto path = results / checkpoint_name;
    const auto size = fs::file_size(path);
    for (const auto length : {std::uintmax_t{0}, std::uintmax_t{100}, size / 2, size - 1}) {
        SCOPED_TRACE(std::to_string(length) + " of " + std::to_string(size) + " bytes");
        fs::copy_file(good(), path, fs::copy_options::overwrite_existing);
        fs::resize_file(path, length);
        expect_refused(results, resuming, length == 100 ? 1 : 2,
                       {checkpoint_name, "cannot be continued from", "--force"});
    }
    write_text(path, std::string(5000, 'x'));
    expect_refused(results, resuming, 2, {checkpoint_name, "cannot be continued from"});
    fs::remove(path);
    fs::create_directory(path);
    expect_refused(results, resuming, 2, {checkpoint_name, "cannot be continued from"});
    fs::remove(path);
    // --force starts over.
    write_text(path, "x");
    auto over = resuming;
    over.emplace_back("--force");
    const auto run = run_dlsr(results, over);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_EQ(run.errors.find("goes on from"), std::string::npos) << run.errors;
}

// A fit whose global values leave their ranges (few rays tell them) goes on from each of its
// checkpoints to the same maps: before the ranges follow, after it, and between the samples of the
// errors.
TEST(DlsrResume, EveryCheckpointLeadsToTheSameMaps) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell", reference = cell / "results";
    simulate_cell(cell, {"--translations", "24", "--rotations", "20", "--channels", "260",
                         "--first-channel", "1.3", "--channel-width", "0.0142"});
    const auto conventional = run_xrdct({"run", (cell / "job.toml").string()}, 2, 120);
    ASSERT_EQ(conventional.exit_code, 0) << conventional.errors;
    const std::vector<std::string> conventional_products{"absorption.nxs", "fbp.nxs",
                                                         "rietveld.nxs"};
    const auto run = [&](const fs::path& results, bool resume,
                         const std::function<bool()>& watch = {}) {
        std::vector<std::string> arguments{"run", (cell / "job.toml").string()};
        for (const auto& setting :
             {std::string("stages=[\"dlsr\"]"), "output=" + results.string(),
              std::string("dlsr.smoothness=1"), std::string("dlsr.amount_smoothness=3"),
              std::string("dlsr.error_samples=3"), std::string("dlsr.convergence=1e-5"),
              std::string("dlsr.layers=3")}) {
            arguments.emplace_back("--set");
            arguments.push_back(setting);
        }
        if (resume)
            arguments.emplace_back("--resume");
        return run_xrdct(arguments, 2, 200, {}, watch);
    };
    // They are replaced and never changed, so that a link keeps each.
    std::vector<fs::path> saved;
    const auto undisturbed = run(reference, false, [&] {
        std::error_code code;
        const auto present = reference / checkpoint_name;
        const bool known = !saved.empty() && fs::equivalent(saved.back(), present, code);
        if (!known && !code) {
            const auto link = cell / ("saved-" + std::to_string(saved.size()));
            fs::create_hard_link(present, link, code);
            if (!code)
                saved.push_back(link);
        }
        return false;
    });
    ASSERT_EQ(undisturbed.exit_code, 0) << undisturbed.errors;
    ASSERT_NE(undisturbed.errors.find("leaves its range"), std::string::npos) << undisturbed.errors;
    int before = 0, after = 0;
    for (const auto& checkpoint : saved) {
        const auto state = *read_dlsr_checkpoint(checkpoint);
        SCOPED_TRACE(state.phase + ", step " + std::to_string(state.iteration));
        before += state.iteration > 0 && state.range_moves == 0;
        after += state.range_moves > 0;
        const auto results = cell / ("from-" + checkpoint.filename().string());
        fs::create_directory(results);
        for (const auto& product : conventional_products)
            fs::copy_file(reference / product, results / product);
        fs::copy_file(checkpoint, results / checkpoint_name);
        const auto resumed = run(results, true);
        ASSERT_EQ(resumed.exit_code, 0) << resumed.errors;
        EXPECT_NE(resumed.errors.find("goes on from"), std::string::npos) << resumed.errors;
        const auto difference = compare_products(reference, results, {"dlsr.nxs"});
        EXPECT_GT(difference.with_esd, 1000U);
        EXPECT_LE(difference.relative, 1e-9) << difference.where;
        fs::remove_all(results);
    }
    std::printf("%zu checkpoints, %d before the ranges moved, %d after\n", saved.size(), before,
                after);
    EXPECT_GE(before, 1);
    EXPECT_GE(after, 3);
}

/// Results on a small file system of their own.
class DlsrDisk : public DlsrCheckpoints {
  protected:
    void SetUp() override {
        if (!disk_.available())
            GTEST_SKIP() << disk_.reason();
        results_ = disk_.path() / "results";
        fs::copy(with_checkpoint("disk"), results_, fs::copy_options::recursive);
    }
    void TearDown() override { fs::remove_all(cell() / "results-disk"); }

    TinyFileSystem disk_{std::size_t{64} << 20};
    fs::path results_;
};

TEST_F(DlsrDisk, Full) {
    // All but a few pages are taken.
    const auto ballast = disk_.path() / "ballast";
    const auto room = fs::space(disk_.path()).available;
    {
        std::ofstream file(ballast, std::ios::binary);
        const std::string block(4096, 'x');
        for (std::uintmax_t written = 0; written + 6 * block.size() < room; written += block.size())
            file << block;
        ASSERT_TRUE(file.flush());
    }
    expect_refused(results_, resuming, 2, {results_.string()});
    expect_refused(results_, resuming, 1, {results_.string()});
    fs::remove(ballast);
    expect_resumes(results_);
}

TEST_F(DlsrDisk, ReadOnly) {
    disk_.make_read_only();
    expect_refused(results_, resuming, 2, {results_.string()});
    expect_refused(results_, resuming, 1, {results_.string()});
}

// A limit on the size of files, as quotas and ulimit -f set it, is an error like any other. MPI
// needs files of its own at the start, so that the limit comes once the run has begun.
TEST_F(DlsrCheckpoints, LimitOfTheSizeOfFiles) {
    const auto results = with_checkpoint("limit");
    const auto kept = read_text(results / checkpoint_name);
    const rlimit limit{kept.size() / 2, kept.size() / 2};
    for (const int ranks : {0, 2}) {
        fs::remove(results / "progress.json");
        bool limited = false;
        const auto run = run_dlsr(results, resuming, ranks, [&] {
            const auto state = limited ? std::nullopt : read_run_state(results);
            if (state)
                limited =
                    prlimit(static_cast<pid_t>(state->process), RLIMIT_FSIZE, &limit, nullptr) == 0;
            return false;
        });
        EXPECT_TRUE(limited);
        EXPECT_FALSE(run.timed_out);
        EXPECT_EQ(run.exit_code, 1) << run.errors;
        EXPECT_NE(run.errors.find("xrdct: error:"), std::string::npos) << run.errors;
        EXPECT_NE(run.errors.find(results.string()), std::string::npos) << run.errors;
        EXPECT_EQ(read_text(results / checkpoint_name), kept);
        EXPECT_FALSE(fs::exists(results / "dlsr.nxs"));
        EXPECT_EQ(list_folder(results).find(".tmp"), std::string::npos) << list_folder(results);
    }
    expect_resumes(results);
}

} // namespace
