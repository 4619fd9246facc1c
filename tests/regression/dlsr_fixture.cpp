// SPDX-License-Identifier: BSD-3-Clause
#include "dlsr_fixture.hpp"

#include <memory>
#include <stdexcept>

namespace xrdct::test {

namespace {
std::unique_ptr<TemporaryDirectory> folder;
std::filesystem::path small_cell;
SimulatedJob job;
} // namespace

void DlsrTest::SetUpTestSuite() {
    set_up(untold_job);
}

void DlsrTest::set_up(const SimulatedJob& wanted) {
    job = wanted;
    folder = std::make_unique<TemporaryDirectory>();
    small_cell = *folder / "cell";
    simulate_cell(small_cell, {"--translations", "36", "--rotations", "44", "--channels", "240",
                               "--channel-width", "0.0163", "--diameter", "5", "--core", "0.8",
                               "--distance", "480"});
    const auto run = run_xrdct({"run", (small_cell / job.file).string()}, 2, 120);
    if (run.exit_code != 0)
        throw std::runtime_error("the conventional job failed: " + run.errors);
}

void DlsrTest::TearDownTestSuite() {
    folder.reset();
}

const std::filesystem::path& DlsrTest::cell() {
    return small_cell;
}

std::filesystem::path DlsrTest::new_results(const std::string& name) {
    const auto results = small_cell / ("results-" + name);
    std::filesystem::create_directories(results);
    for (const char* product : {"absorption.nxs", "fbp.nxs", "rietveld.nxs"})
        std::filesystem::copy_file(small_cell / job.results / product, results / product);
    return results;
}

std::vector<std::string> DlsrTest::quick() {
    return {"--set", "dlsr.smoothness=0.5",  "--set", "dlsr.amount_smoothness=3",
            "--set", "dlsr.error_samples=2", "--set", "dlsr.convergence=1e-5"};
}

ProcessResult DlsrTest::run_dlsr(const std::filesystem::path& results,
                                 const std::vector<std::string>& more, int ranks,
                                 const std::function<bool()>& kill_when) {
    std::vector<std::string> arguments{"run",   (small_cell / job.file).string(),
                                       "--set", "stages=[\"dlsr\"]",
                                       "--set", "output=" + results.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_xrdct(arguments, ranks, 200, {}, kill_when);
}

void DlsrTest::expect_one_error(const ProcessResult& run, const std::vector<std::string>& words) {
    EXPECT_FALSE(run.timed_out);
    EXPECT_EQ(run.exit_code, 1) << run.errors;
    const auto first = run.errors.find("xrdct: error:");
    EXPECT_NE(first, std::string::npos) << run.errors;
    EXPECT_EQ(run.errors.find("xrdct: error:", first + 1), std::string::npos) << run.errors;
    EXPECT_EQ(run.errors.find("internal error"), std::string::npos) << run.errors;
    for (const auto& word : words)
        EXPECT_NE(run.errors.find(word), std::string::npos) << "'" << word << "' not in:\n"
                                                            << run.errors;
}

} // namespace xrdct::test
