// SPDX-License-Identifier: BSD-3-Clause
// What the DLSR is held to: cells of 140 × 140 voxels, default settings, jobs that do not know the
// truth, seeds it was not developed with.

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace xrdct::test;

namespace {

void run_job(const std::filesystem::path& cell) {
    const auto run = run_xrdct({"run", (cell / "job.toml").string(), "--set",
                                "stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]"},
                               2, 1700);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
}

/// A cell whose job knows nothing of the truth.
void check_cell(const std::vector<std::string>& scan) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, scan);
    ASSERT_NO_FATAL_FAILURE(run_job(cell));
    const auto product = cell / "results" / "dlsr.nxs";
    const auto c = compare_cathode(cell, product, "dlsr", "c");
    ::testing::Test::RecordProperty("c_bias", std::to_string(c.bias));
    ::testing::Test::RecordProperty("c_median", std::to_string(c.median));
    EXPECT_GT(c.voxels, 2000U);
    EXPECT_LE(std::abs(c.bias), 5e-4);
    EXPECT_LE(c.median, 2e-3);
    EXPECT_GE(c.coverage, 0.98);
    for (const auto& phase : compare_amounts(cell, product, "dlsr").phases) {
        EXPECT_NEAR(phase.whole, 0, 0.01) << phase.name;
        if (std::isfinite(phase.local)) {
            EXPECT_LE(phase.local, 0.02) << phase.name;
        }
    }
}

TEST(DlsrFigures, MixedCellHalfTurn) {
    check_cell({"--seed", "11"});
}

TEST(DlsrFigures, MixedCellFullTurnAtSevenTenthsOfAMetre) {
    check_cell({"--seed", "12", "--range", "360", "--distance", "700"});
}

TEST(DlsrFigures, DischargedCell) {
    check_cell({"--seed", "13", "--preset", "discharged"});
}

TEST(DlsrFigures, DischargedCellAtSevenTenthsOfAMetre) {
    check_cell({"--seed", "14", "--preset", "discharged", "--distance", "700"});
}

// The metals are off their CIFs, too.
TEST(DlsrFigures, ChargedCellAtSevenTenthsOfAMetre) {
    check_cell({"--seed", "15", "--preset", "charged", "--distance", "700", "--iron-ppm", "200",
                "--copper-ppm", "-150", "--aluminium-ppm", "100"});
}

// Of a uniform cathode seeds change the noise alone. Its layers are thinner than a voxel, which
// adds to the errors what e.s.d. do not contain: the difference of two scans has none of it.
TEST(DlsrFigures, HonestErrorsOfAUniformCathode) {
    const TemporaryDirectory folder;
    std::vector<std::filesystem::path> cells;
    for (const std::string seed : {"23", "24"}) {
        cells.push_back(folder / ("cell" + seed));
        simulate_cell(cells.back(), {"--preset", "charged", "--seed", seed});
        ASSERT_NO_FATAL_FAILURE(run_job(cells.back()));
    }
    const auto product = [&](std::size_t i) { return cells[i] / "results" / "dlsr.nxs"; };
    for (const std::string parameter : {"a", "c"}) {
        const double noise = noise_spread(cells[0], product(0), product(1), parameter);
        RecordProperty("noise_spread_" + parameter, std::to_string(noise));
        EXPECT_GT(noise, 0.85) << parameter;
        EXPECT_LT(noise, 1.15) << parameter;
        for (std::size_t i = 0; i < 2; ++i) {
            const auto errors = compare_cathode(cells[i], product(i), "dlsr", parameter);
            RecordProperty("spread_" + parameter + std::to_string(i),
                           std::to_string(errors.spread));
            EXPECT_GE(errors.coverage, 0.98);
            EXPECT_GT(errors.spread, 0.85) << parameter;
            EXPECT_LT(errors.spread, 1.25) << parameter;
        }
    }
}

} // namespace
