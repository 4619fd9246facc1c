// SPDX-License-Identifier: BSD-3-Clause
// The DLSR against simulated truth and against itself: rank counts, stops and resumptions.

#include "dlsr_fixture.hpp"
#include "jobs/pipeline/dlsr_checkpoint.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

using namespace xrdct;
using namespace xrdct::test;

namespace {

void record(const std::string& name, double value) {
    ::testing::Test::RecordProperty(name, std::to_string(value));
}

/// Conventional against DLSR in a mixed cell of 60 × 60 voxels. The strength of the smoothness is
/// given: with so few rays one larger than 1 flattens the lithium distribution.
void check_small_cell(const std::vector<std::string>& scan) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    std::vector<std::string> arguments{"--translations",  "60",    "--channels", "350",
                                       "--channel-width", "0.0113"};
    arguments.insert(arguments.end(), scan.begin(), scan.end());
    simulate_cell(cell, arguments);
    const auto run = run_xrdct({"run", (cell / "job.toml").string(), "--set",
                                "stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]", "--set",
                                "dlsr.smoothness=0.25", "--set", "dlsr.error_samples=1", "--set",
                                "dlsr.convergence=1e-3"},
                               2, 300);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto dlsr = cell / "results" / "dlsr.nxs";
    const auto before = compare_cathode(cell, cell / "results" / "rietveld.nxs", "rietveld", "c");
    const auto a = compare_cathode(cell, dlsr, "dlsr", "a"),
               c = compare_cathode(cell, dlsr, "dlsr", "c");
    record("conventional_c_bias", before.bias);
    record("conventional_c_median", before.median);
    record("c_bias", c.bias);
    record("c_median", c.median);
    record("a_bias", a.bias);
    record("a_median", a.median);
    EXPECT_GT(c.voxels, 500U);
    EXPECT_GE(c.coverage, 0.98);
    EXPECT_LE(std::abs(c.bias), 0.4 * std::abs(before.bias));
    EXPECT_LE(c.median, 0.8 * before.median);
    EXPECT_LE(c.median, 0.003);
    EXPECT_LE(std::abs(a.bias), 2e-4);
    EXPECT_LE(a.median, 5e-4);
    const auto amounts = compare_amounts(cell, dlsr, "dlsr");
    const auto conventional = compare_amounts(cell, cell / "results" / "rietveld.nxs", "rietveld");
    double worst = 0, worst_before = 0;
    for (std::size_t p = 0; p < amounts.phases.size(); ++p) {
        const auto& phase = amounts.phases[p];
        record("whole_" + phase.name, phase.whole);
        record("local_" + phase.name, phase.local);
        EXPECT_NEAR(phase.whole, 0, 0.005) << phase.name;
        if (std::isfinite(phase.local)) {
            EXPECT_LE(phase.local, 0.04) << phase.name;
        }
        worst = std::max(worst, std::abs(phase.whole));
        worst_before = std::max(worst_before, std::abs(conventional.phases[p].whole));
    }
    EXPECT_LT(worst, worst_before);
}

TEST(DlsrAccuracy, SmallCellHalfTurn) {
    check_small_cell({"--rotations", "70"});
}

TEST(DlsrAccuracy, SmallCellFullTurn) {
    check_small_cell({"--rotations", "140", "--range", "360"});
}

/// Largest difference of all maps with e.s.d. in units of these.
double largest_difference(const std::filesystem::path& one, const std::filesystem::path& other,
                          std::string& where) {
    const std::string suffix = "_errors";
    double largest = 0;
    std::size_t compared = 0;
    hdf5::File::open(one, hdf5::Access::read_only)
        .root()
        .visit([&](const std::string& path, hdf5::Kind kind) {
            if (kind != hdf5::Kind::dataset || !path.ends_with(suffix) ||
                path.find("globals") != std::string::npos ||
                path.find("lines") != std::string::npos)
                return;
            const auto name = path.substr(0, path.size() - suffix.size());
            const auto esd = map_of(one, path), a = map_of(one, name), b = map_of(other, name);
            for (std::size_t i = 0; i < a.size(); ++i) {
                if (std::isfinite(a[i]) != std::isfinite(b[i])) {
                    largest = INFINITY;
                    where = name + ": a value in one only";
                    return;
                }
                if (!(std::isfinite(a[i]) && esd[i] > 0))
                    continue;
                ++compared;
                const double difference = std::abs(a[i] - b[i]) / esd[i];
                if (difference > largest) {
                    largest = difference;
                    where = name + "[" + std::to_string(i) + "]";
                }
            }
        });
    if (compared < 1000) {
        where = "only " + std::to_string(compared) + " values with e.s.d.";
        return INFINITY;
    }
    return largest;
}

double number(const std::filesystem::path& product, const std::string& name) {
    return map_of(product, "entry/dlsr/" + name).at(0);
}

void expect_same(const std::filesystem::path& one, const std::filesystem::path& other) {
    std::string where;
    const double difference = largest_difference(one / "dlsr.nxs", other / "dlsr.nxs", where);
    EXPECT_LE(difference, 0.01) << where;
    EXPECT_NEAR(number(one / "dlsr.nxs", "rwp"), number(other / "dlsr.nxs", "rwp"), 1e-6);
    EXPECT_EQ(number(one / "dlsr.nxs", "converged"), number(other / "dlsr.nxs", "converged"));
}

std::vector<std::string> with(std::vector<std::string> arguments,
                              const std::vector<std::string>& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
}

/// The undisturbed run on two ranks, made on first use.
const std::filesystem::path& undisturbed(const std::function<std::filesystem::path()>& make) {
    static const std::filesystem::path results = make();
    return results;
}

class DlsrRuns : public DlsrTest {
  protected:
    static const std::filesystem::path& reference() {
        return undisturbed([] {
            const auto results = new_results("reference");
            const auto run = run_dlsr(results, quick());
            if (run.exit_code != 0)
                throw std::runtime_error("dlsr failed: " + run.errors);
            return results;
        });
    }
};

TEST_F(DlsrRuns, SameOnOneToFourRanks) {
    EXPECT_EQ(number(reference() / "dlsr.nxs", "converged"), 1);
    EXPECT_FALSE(std::filesystem::exists(reference() / "dlsr-checkpoint.nxs"));
    for (const int ranks : {1, 3, 4}) {
        SCOPED_TRACE(std::to_string(ranks) + " ranks");
        const auto results = new_results("ranks" + std::to_string(ranks));
        const auto run = run_dlsr(results, quick(), ranks);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
        expect_same(reference(), results);
    }
}

// The simulated cell has no texture: a coefficient that starts elsewhere ends at 1, one that is
// held there spoils the fit.
TEST_F(DlsrRuns, MarchCoefficientOfAnUntexturedCell) {
    const auto fit = [&](const std::string& name, const std::string& treatment) {
        const auto results = cell().parent_path() / ("march-" + name);
        const auto run =
            run_xrdct({"run", (cell() / "job.toml").string(), "--set",
                       "stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]", "--set",
                       "output=" + results.string(), "--set", "phase.NMC532.march_axis=[0, 0, 1]",
                       "--set", "phase.NMC532.march=0.85", "--set",
                       "phase.NMC532.refine_march=" + treatment, "--set", "dlsr.smoothness=0.5",
                       "--set", "dlsr.amount_smoothness=3", "--set", "dlsr.error_samples=2"},
                      2, 200);
        EXPECT_EQ(run.exit_code, 0) << run.errors;
        return results / "dlsr.nxs";
    };
    const auto refined = fit("refined", "global"), held = fit("held", "fixed");
    const auto file = hdf5::File::open(refined, hdf5::Access::read_only);
    const auto globals = file.root().open_group("entry/dlsr/globals");
    const double march = globals.open_dataset("NMC532_march").read_scalar();
    record("march", march);
    EXPECT_NEAR(march, 1, 0.03);
    EXPECT_GT(number(held, "rwp"), number(refined, "rwp") + 7e-4);
}

// Held-out projections choose a strength of which neither neighbour predicts better.
TEST_F(DlsrRuns, ChosenSmoothness) {
    const auto results = new_results("auto");
    const auto run = run_dlsr(results, {"--set", "dlsr.amount_smoothness=3", "--set",
                                        "dlsr.error_samples=0", "--set", "dlsr.convergence=1e-4"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto product = results / "dlsr.nxs";
    const auto tried = map_of(product, "entry/dlsr/held_out/smoothness"),
               misfit = map_of(product, "entry/dlsr/held_out/chi_squared");
    ASSERT_GE(tried.size(), 3U);
    const auto best =
        static_cast<std::size_t>(std::min_element(misfit.begin(), misfit.end()) - misfit.begin());
    EXPECT_GT(best, 0U);
    EXPECT_LT(best + 1, tried.size());
    EXPECT_LE(tried[best], 1);
    EXPECT_GT(misfit[best], 0.9);
    EXPECT_LT(misfit[best], 1.3);
    const auto before = compare_cathode(cell(), results / "rietveld.nxs", "rietveld", "c"),
               after = compare_cathode(cell(), product, "dlsr", "c");
    EXPECT_LT(std::abs(after.bias), 0.6 * std::abs(before.bias));
    EXPECT_LT(after.median, before.median);
}

/// Kills the run once its checkpoint says `phase`.
void kill_at(const std::filesystem::path& results, const std::string& phase,
             const std::function<ProcessResult(const std::function<bool()>&)>& run) {
    const auto checkpoint = results / "dlsr-checkpoint.nxs";
    const auto killed = run([&] {
        const auto state = pipeline::read_dlsr_checkpoint(checkpoint);
        return state && to_string(state->state.phase) == phase;
    });
    EXPECT_NE(killed.exit_code, 0) << "it ended before it could be killed";
    EXPECT_FALSE(std::filesystem::exists(results / "dlsr.nxs"));
    ASSERT_TRUE(std::filesystem::exists(checkpoint)) << killed.errors;
}

TEST_F(DlsrRuns, KilledAndResumed) {
    struct Case {
        std::string phase;
        int ranks;
    };
    for (const Case& at : {Case{"final", 2}, Case{"final", 3}, Case{"errors", 2}}) {
        SCOPED_TRACE("killed in " + at.phase + ", resumed on " + std::to_string(at.ranks));
        const auto results = new_results("killed-" + at.phase + std::to_string(at.ranks));
        kill_at(results, at.phase,
                [&](const auto& when) { return run_dlsr(results, quick(), 2, when); });
        const auto run = run_dlsr(results, with(quick(), {"--resume"}), at.ranks);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
        EXPECT_NE(run.errors.find("goes on from"), std::string::npos) << run.errors;
        EXPECT_EQ(run.errors.find("did not converge"), std::string::npos) << run.errors;
        EXPECT_FALSE(std::filesystem::exists(results / "dlsr-checkpoint.nxs"));
        expect_same(reference(), results);
    }
}

TEST_F(DlsrRuns, CheckpointsThatCannotBeUsed) {
    const auto results = new_results("checkpoints");
    kill_at(results, "final",
            [&](const auto& when) { return run_dlsr(results, quick(), 2, when); });
    const auto checkpoint = results / "dlsr-checkpoint.nxs";
    const auto kept = results / "kept.nxs";
    std::filesystem::copy_file(checkpoint, kept);

    const auto few = with(quick(), {"--set", "dlsr.max_iterations=1", "--resume"});
    auto run = run_dlsr(results, few);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.errors.find("dlsr-checkpoint.nxs"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("other settings"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("--force"), std::string::npos) << run.errors;
    EXPECT_FALSE(std::filesystem::exists(results / "dlsr.nxs"));

    run = run_dlsr(results, with(few, {"--force"}));
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_EQ(run.errors.find("goes on from"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("did not converge"), std::string::npos) << run.errors;

    // A finished product is neither overwritten nor made again.
    run = run_dlsr(results, with(quick(), {"--set", "dlsr.max_iterations=1"}));
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.errors.find("dlsr.nxs exists"), std::string::npos) << run.errors;
    run = run_dlsr(results, few);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_NE(run.errors.find("(kept)"), std::string::npos) << run.errors;
    std::filesystem::remove(results / "dlsr.nxs");

    std::filesystem::copy_file(kept, checkpoint);
    std::filesystem::resize_file(checkpoint, std::filesystem::file_size(checkpoint) / 2);
    run = run_dlsr(results, few);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.errors.find("dlsr-checkpoint.nxs"), std::string::npos) << run.errors;
    EXPECT_NE(run.errors.find("cannot be continued from"), std::string::npos) << run.errors;
    run = run_dlsr(results, with(few, {"--force"}));
    EXPECT_EQ(run.exit_code, 0) << run.errors;
}

} // namespace
