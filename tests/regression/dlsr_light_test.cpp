// SPDX-License-Identifier: BSD-3-Clause
// What the simulator knows of texture and exit rays by computation of its own, and the DLSR by
// approximations: with its options it finds the truth, without them it does not.

#include "mpi/hdf5/hdf5.hpp"
#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

void record(const std::string& name, double value) {
    ::testing::Test::RecordProperty(name, std::to_string(value));
}

/// Runs all stages of the cell's job with more arguments and returns the DLSR's product.
std::filesystem::path reconstruct(const std::filesystem::path& cell, const std::string& name,
                                  const std::vector<std::string>& more = {}) {
    const auto results = cell / ("results-" + name);
    std::vector<std::string> arguments{
        "run",   (cell / "job.toml").string(),
        "--set", "stages=[\"absorption\",\"fbp\",\"rietveld\",\"dlsr\"]",
        "--set", "output=" + results.string(),
        "--set", "dlsr.smoothness=0.25",
        "--set", "dlsr.error_samples=0",
        "--set", "dlsr.convergence=1e-3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto run = run_xrdct(arguments, 2, 200);
    EXPECT_EQ(run.exit_code, 0) << run.errors;
    return results / "dlsr.nxs";
}

double number(const std::filesystem::path& product, const std::string& name) {
    return map_of(product, "entry/dlsr/" + name).at(0);
}

TEST(DlsrLight, MarchCoefficientOfATexturedCathode) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--translations", "36", "--rotations", "44", "--channels", "240",
                         "--channel-width", "0.0163", "--diameter", "5", "--core", "0.8",
                         "--distance", "480", "--march", "NMC532=0.7"});
    EXPECT_EQ(map_of(cell / "truth.nxs", "entry/truth/NMC532/march").at(0), 0.7);
    const auto refined = reconstruct(cell, "refined",
                                     {"--set", "phase.NMC532.march_axis=[0, 0, 1]", "--set",
                                      "phase.NMC532.march=0.8", "--set",
                                      "phase.NMC532.refine_march=global"}),
               ignored = reconstruct(cell, "ignored");
    const double march = number(refined, "globals/NMC532_march");
    record("march", march);
    EXPECT_NEAR(march, 0.7, 0.02);
    const auto c = compare_cathode(cell, refined, "dlsr", "c"),
               c_ignored = compare_cathode(cell, ignored, "dlsr", "c");
    record("c_bias", c.bias);
    record("c_median", c.median);
    record("c_bias_ignored", c_ignored.bias);
    record("c_median_ignored", c_ignored.median);
    EXPECT_LT(std::abs(c.bias), 0.7 * std::abs(c_ignored.bias));
    const auto cathode = [&](const std::filesystem::path& product) {
        for (const auto& phase : compare_amounts(cell, product, "dlsr").phases)
            if (phase.name == "NMC532")
                return std::abs(phase.whole);
        return std::numeric_limits<double>::infinity();
    };
    record("whole", cathode(refined));
    record("whole_ignored", cathode(ignored));
    EXPECT_LT(cathode(refined), 0.003);
    EXPECT_LT(cathode(refined), 0.5 * cathode(ignored));
    record("rwp", number(refined, "rwp"));
    record("rwp_ignored", number(ignored, "rwp"));
    EXPECT_LT(number(refined, "rwp"), number(ignored, "rwp") - 0.005);
}

// Voxels leave more behind than exit rays do; a scan with straight ones has the same of it. At 62
// keV and up to 8.5° the mean 2θ of the lines stands for a wide range, so that half is what is
// taken away.
TEST(DlsrLight, DeviatedExitRays) {
    const TemporaryDirectory folder;
    const std::vector<std::string> scan{"--translations",  "48",  "--rotations",     "52",
                                        "--channels",      "180", "--channel-width", "0.0362",
                                        "--first-channel", "2.0", "--wavelength",    "0.2",
                                        "--diameter",      "5",   "--core",          "0.8",
                                        "--distance",      "480", "--no-noise"};
    auto deviated_scan = scan;
    deviated_scan.insert(deviated_scan.end(), {"--exit-rays", "deviated"});
    const auto straight = folder / "straight", deviated = folder / "deviated";
    simulate_cell(straight, scan);
    simulate_cell(deviated, deviated_scan);
    const auto aim = reconstruct(straight, "straight"), without = reconstruct(deviated, "straight"),
               with = reconstruct(deviated, "deviated", {"--set", "dlsr.exit_ray=deviated"});

    const auto fraction = map_of(straight / "truth.nxs", "entry/truth/NMC532/volume_fraction");
    const auto cathode_error = [&](const std::filesystem::path& product) {
        const auto c = map_of(product, "entry/dlsr/NMC532/c"),
                   expected = map_of(aim, "entry/dlsr/NMC532/c");
        double square = 0, n = 0;
        for (std::size_t i = 0; i < c.size(); ++i)
            if (fraction[i] > 0.31 && std::isfinite(c[i] - expected[i])) {
                square += std::pow(c[i] - expected[i], 2);
                ++n;
            }
        return std::sqrt(square / n);
    };
    record("c_without", cathode_error(without));
    record("c_with", cathode_error(with));
    EXPECT_LT(cathode_error(with), 0.75 * cathode_error(without));
    EXPECT_GT(cathode_error(without), 1e-4);
    const auto amount_error = [&](const std::filesystem::path& product, const std::string& phase) {
        auto map = map_of(product, "entry/dlsr/" + phase + "/density"),
             expected = map_of(aim, "entry/dlsr/" + phase + "/density");
        double sum = 0, expected_sum = 0, total = 0, square = 0;
        for (std::size_t i = 0; i < map.size(); ++i) {
            map[i] = std::isfinite(map[i]) ? map[i] : 0;
            expected[i] = std::isfinite(expected[i]) ? expected[i] : 0;
            sum += map[i];
            expected_sum += expected[i];
        }
        std::vector<double> difference(map.size());
        for (std::size_t i = 0; i < map.size(); ++i)
            difference[i] = map[i] * expected_sum / sum - expected[i];
        const auto smooth = smooth_map(difference, 48, 1.5), whole = smooth_map(expected, 48, 1.5);
        for (std::size_t i = 0; i < map.size(); ++i) {
            square += smooth[i] * smooth[i];
            total += whole[i] * whole[i];
        }
        return std::sqrt(square / total);
    };
    for (const std::string phase : {"Fe", "NMC532"}) {
        record(phase + "_without", amount_error(without, phase));
        record(phase + "_with", amount_error(with, phase));
        EXPECT_LT(amount_error(with, phase), 0.85 * amount_error(without, phase)) << phase;
    }
    record("rwp_without", number(without, "rwp"));
    record("rwp_with", number(with, "rwp"));
}

} // namespace
