// SPDX-License-Identifier: BSD-3-Clause
// What stands in the way of resuming a DLSR: checkpoints of something else or damaged, disks that
// are full or read-only. Always a message, and nothing is lost.

#include "dlsr_fixture.hpp"
#include "jobs/pipeline/dlsr_checkpoint.hpp"
#include "jobs/program/run_record.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "support/product_difference.hpp"
#include "support/test_data.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <memory>

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
    const auto spoilt = [&](const std::function<void(pipeline::DlsrCheckpoint&)>& change) {
        auto state = *pipeline::read_dlsr_checkpoint(good());
        change(state);
        pipeline::write_dlsr_checkpoint(path, state.origin, state.state);
    };
    spoilt([](auto& state) { state.origin.settings += "\nother = 1\n"; });
    expect_refused(results, resuming, 2, {checkpoint_name, "other settings", "--force"});
    spoilt([](auto& state) { state.origin.inputs = "{}"; });
    expect_refused(results, resuming, 1, {checkpoint_name, "another job", "--force"});
    spoilt([](auto& state) { state.state.fit.x.pop_back(); });
    expect_refused(results, resuming, 2, {checkpoint_name, "--force"});
    spoilt([](auto& state) { state.state.fit.x[3] = NAN; });
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

/// A fit goes on from each of its checkpoints to the same maps.
class DlsrResume : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {
        folder_ = std::make_unique<TemporaryDirectory>();
        simulate_cell(cell(), {"--translations", "24", "--rotations", "20", "--channels", "260",
                               "--first-channel", "1.3", "--channel-width", "0.0142"});
        for (const auto& job : {untold_job, told_job}) {
            const auto run = run_xrdct({"run", (cell() / job.file).string()}, 2, 120);
            if (run.exit_code != 0)
                throw std::runtime_error("the conventional job failed: " + run.errors);
        }
    }
    static void TearDownTestSuite() { folder_.reset(); }
    static fs::path cell() { return *folder_ / "cell"; }

    static fs::path new_results(const std::string& name, const SimulatedJob& job) {
        const auto results = cell() / name;
        fs::create_directory(results);
        for (const char* product : {"absorption.nxs", "fbp.nxs", "rietveld.nxs"})
            fs::copy_file(cell() / job.results / product, results / product);
        return results;
    }

    static ProcessResult run(const SimulatedJob& job, const fs::path& results,
                             std::vector<std::string> settings, bool resume,
                             const std::function<bool()>& watch = {}) {
        settings.insert(settings.end(),
                        {"stages=[\"dlsr\"]", "output=" + results.string(), "dlsr.layers=3",
                         "dlsr.amount_smoothness=3", "dlsr.error_samples=2"});
        std::vector<std::string> arguments{"run", (cell() / job.file).string()};
        for (const auto& setting : settings) {
            arguments.emplace_back("--set");
            arguments.push_back(setting);
        }
        if (resume)
            arguments.emplace_back("--resume");
        return run_xrdct(arguments, 2, 200, {}, watch);
    }

    /// Runs, goes on from every checkpoint that was seen, compares; returns them.
    static std::vector<dlsr::State> expect_equal(const SimulatedJob& job, const std::string& name,
                                                 const std::vector<std::string>& settings) {
        const auto reference = new_results(name, job);
        // They are replaced and never changed, so that a link keeps each.
        std::vector<fs::path> saved;
        const auto undisturbed = run(job, reference, settings, false, [&] {
            std::error_code code;
            const auto present = reference / checkpoint_name;
            const bool known = !saved.empty() && fs::equivalent(saved.back(), present, code);
            if (!known && !code) {
                const auto link = cell() / (name + "-saved-" + std::to_string(saved.size()));
                fs::create_hard_link(present, link, code);
                if (!code)
                    saved.push_back(link);
            }
            return false;
        });
        EXPECT_EQ(undisturbed.exit_code, 0) << undisturbed.errors;
        std::vector<dlsr::State> states;
        for (const auto& checkpoint : saved) {
            auto state = pipeline::read_dlsr_checkpoint(checkpoint)->state;
            const auto place = std::string(to_string(state.phase)) + ", step " +
                               std::to_string(state.fit.iteration) + ", parameter " +
                               std::to_string(state.geometry.progress.parameter) + ", round " +
                               std::to_string(state.geometry.progress.round) + ", " +
                               std::to_string(state.validation.tried.size()) + " weights";
            SCOPED_TRACE(place);
            states.push_back(std::move(state));
            const auto results = new_results("from-" + checkpoint.filename().string(), job);
            fs::copy_file(checkpoint, results / checkpoint_name);
            const auto resumed = run(job, results, settings, true);
            EXPECT_EQ(resumed.exit_code, 0) << resumed.errors;
            EXPECT_NE(resumed.errors.find("goes on from"), std::string::npos) << resumed.errors;
            if (resumed.exit_code == 0) {
                const auto difference = compare_products(reference, results, {"dlsr.nxs"});
                std::printf("%s: %.1g relative\n", place.c_str(), difference.relative);
                EXPECT_GT(difference.with_esd, 1000U);
                EXPECT_LE(difference.relative, 1e-9) << difference.where;
            }
            fs::remove_all(results);
        }
        return states;
    }

  private:
    static std::unique_ptr<TemporaryDirectory> folder_;
};
std::unique_ptr<TemporaryDirectory> DlsrResume::folder_;

int count_of(const std::vector<dlsr::State>& states,
             const std::function<bool(const dlsr::State&)>& holds) {
    return static_cast<int>(std::count_if(states.begin(), states.end(), holds));
}

// Few rays tell the global values, which leave their ranges: before these follow, after it, and
// between the samples of the errors; the cell of the second phase is held at first.
TEST_F(DlsrResume, WhereRangesMove) {
    const auto states =
        expect_equal(untold_job, "ranges", {"dlsr.smoothness=1", "dlsr.convergence=1e-5"});
    EXPECT_GE(
        count_of(states, [](auto& s) { return s.fit.iteration > 0 && s.fit.range_moves == 0; }), 1);
    EXPECT_GE(count_of(states, [](auto& s) { return s.fit.range_moves > 0; }), 3);
    EXPECT_GE(count_of(states, [](auto& s) { return s.phase == dlsr::Phase::rough_steps; }), 1);
    EXPECT_GE(count_of(states, [](auto& s) { return s.phase == dlsr::Phase::esd; }), 1);
}

// Outlying samples get what the model says, again and again.
TEST_F(DlsrResume, WhereDataAreReplaced) {
    const auto states = expect_equal(told_job, "replaced",
                                     {"dlsr.loss=\"huber\"", "dlsr.smoothness=1",
                                      "dlsr.convergence=1e-3", "dlsr.check_senses=false"});
    EXPECT_GE(count_of(states,
                       [](auto& s) {
                           return s.phase == dlsr::Phase::last_steps && !s.fit.data_x.empty();
                       }),
              2);
}

// While the geometry is refined and the strength of the smoothness is chosen.
TEST_F(DlsrResume, WhereGeometryAndStrengthAreChosen) {
    const auto states = expect_equal(told_job, "geometry",
                                     {"dlsr.axis_offset=\"refine\"", "dlsr.distance=\"refine\"",
                                      "dlsr.radial_scale=\"metals\"", "dlsr.convergence=1e-3"});
    EXPECT_GE(
        count_of(states,
                 [](auto& s) { return s.phase == dlsr::Phase::geometry && s.fit.iteration > 0; }),
        1);
    EXPECT_GE(count_of(states, [](auto& s) { return s.phase == dlsr::Phase::validation; }), 2);
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
            const auto state = limited ? std::nullopt : program::read_run_state(results);
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
