// SPDX-License-Identifier: BSD-3-Clause
// The conventional job with the transmission found from the phases themselves, against a simulated
// cell's truth; edited masks; honest errors.

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

/// Transmission, whole-cell and local weight fractions of a finished job.
void check_amounts(const std::filesystem::path& cell, const std::filesystem::path& results) {
    const auto transmission =
        map_of(results / "absorption.nxs", "entry/absorption/rays/transmission");
    const auto expected = map_of(cell / "scan.nxs", "entry/data/transmission");
    double squares = 0, largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double error = transmission[i] / expected[i] - 1;
        squares += error * error;
        largest = std::max(largest, std::abs(error));
    }
    const double rms = std::sqrt(squares / static_cast<double>(expected.size()));
    ::testing::Test::RecordProperty("transmission_rms", std::to_string(rms));
    EXPECT_LE(rms, 0.01);
    EXPECT_LE(largest, 0.03);

    const auto amounts = compare_amounts(cell, results / "rietveld.nxs", "rietveld");
    EXPECT_NEAR(amounts.mass, 1, 0.05);
    for (const auto& phase : amounts.phases) {
        EXPECT_NEAR(phase.whole, 0, 0.01) << phase.name;
        if (std::isfinite(phase.local)) {
            EXPECT_LE(phase.local, 0.03) << phase.name;
        }
    }
}

TEST(Absorption, FromThePhasesOfACellAtOneMetre) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--seed", "7"});
    const auto run = run_xrdct(
        {"run", (cell / "job.toml").string(), "--set", "absorption.method=phases"}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    check_amounts(cell, cell / "results");
    // The core ends in a spiral: radii from 0.8 mm to 0.8 mm plus a winding of 0.305 mm.
    const auto hollow =
        map_of(cell / "results" / "absorption.nxs", "entry/absorption/ring/hollow_diameter");
    ASSERT_EQ(hollow.size(), 1U);
    EXPECT_NEAR(hollow[0], 2 * std::sqrt(0.8 * 0.8 + 0.8 * 0.305 + 0.305 * 0.305 / 3), 0.05);
    // The stages after it find the transmission again, and know when it is stale.
    const auto again =
        run_xrdct({"run", (cell / "job.toml").string(), "--set", "absorption.method=phases",
                   "--set", "stages=[\"fbp\",\"rietveld\"]", "--force"},
                  2, 400);
    EXPECT_EQ(again.exit_code, 0) << again.errors;
    const auto stale =
        run_xrdct({"run", (cell / "job.toml").string(), "--set", "absorption.method=phases",
                   "--set", "absorption.depths=3", "--set", "stages=[\"fbp\"]", "--force"},
                  2, 400);
    EXPECT_EQ(stale.exit_code, 1);
    EXPECT_NE(stale.errors.find("other settings"), std::string::npos) << stale.errors;
}

TEST(Absorption, SameOnOneToFourRanks) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--translations", "60", "--rotations", "70", "--channels", "350",
                         "--channel-width", "0.0113"});
    std::vector<double> first;
    for (int ranks = 1; ranks <= 4; ++ranks) {
        const auto results = cell / ("results" + std::to_string(ranks));
        const auto run =
            run_xrdct({"run", (cell / "job.toml").string(), "--set", "absorption.method=phases",
                       "--set", "stages=[\"absorption\"]", "--set", "output=" + results.string()},
                      ranks, 200);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
        const auto transmission =
            map_of(results / "absorption.nxs", "entry/absorption/rays/transmission");
        if (ranks == 1)
            first = transmission;
        for (std::size_t i = 0; i < first.size(); ++i)
            ASSERT_NEAR(transmission[i], first[i], 1e-6) << ranks << " ranks, ray " << i;
    }
}

// Where the model is right, in a cell whose cathode is the same everywhere, e.s.d. mean what they
// say; an edited mask is respected.
TEST(Absorption, HonestErrorsAndEditedMasks) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--distance", "1e9", "--preset", "charged", "--seed", "8"});
    auto run = run_xrdct({"run", (cell / "job.toml").string()}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto maps = cell / "results" / "rietveld.nxs";
    for (const std::string parameter : {"a", "c"}) {
        const auto errors = compare_cathode(cell, maps, "rietveld", parameter);
        EXPECT_GE(errors.coverage, 0.98);
        RecordProperty("spread_" + parameter, std::to_string(errors.spread));
        EXPECT_GT(errors.spread, 0.85) << parameter;
        EXPECT_LT(errors.spread, 1.15) << parameter;
    }

    // The lower half of copper's mask is painted black.
    const auto masks = cell / "results" / "masks";
    ASSERT_TRUE(std::filesystem::exists(masks / "Cu.pgm"));
    std::filesystem::create_directory(cell / "edited");
    std::string image;
    {
        std::ifstream file(masks / "Cu.pgm", std::ios::binary);
        image.assign(std::istreambuf_iterator<char>(file), {});
    }
    const std::size_t n = 140;
    std::fill(image.end() - static_cast<std::ptrdiff_t>(n * n / 2), image.end(), '\0');
    std::ofstream(cell / "edited" / "Cu.pgm", std::ios::binary) << image;
    run = run_xrdct(
        {"run", (cell / "job.toml").string(), "--resume", "--force", "--set", "mask.images=edited"},
        2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto scale = map_of(maps, "entry/rietveld/Cu/scale");
    std::size_t below = 0, above = 0;
    for (std::size_t i = 0; i < scale.size(); ++i)
        (i < n * n / 2 ? below : above) += std::isfinite(scale[i]);
    EXPECT_EQ(below, 0U);
    EXPECT_GT(above, 1000U);
    std::ofstream(cell / "edited" / "Cu.pgm", std::ios::binary) << "P5\n3 3\n255\n123456789";
    run = run_xrdct(
        {"run", (cell / "job.toml").string(), "--resume", "--force", "--set", "mask.images=edited"},
        2, 400);
    EXPECT_EQ(run.exit_code, 1);
    EXPECT_NE(run.errors.find("Cu.pgm"), std::string::npos) << run.errors;
}

} // namespace
