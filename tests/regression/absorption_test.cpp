// The conventional job with the transmission found from the phases themselves, against a simulated
// cell's truth; edited masks; honest errors.

#include "mpi/hdf5.hpp"
#include "mpi/nexus.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

const std::vector<std::string> phases{"Fe",   "Cu",   "Al", "NMC532", "NMC532_secondary",
                                      "LiC6", "LiC12"};

std::vector<double> map_of(const std::filesystem::path& file, const std::string& path) {
    return hdf5::File::open(file, hdf5::Access::read_only)
        .root()
        .open_dataset(path)
        .read_all<double>();
}

double finite(double value) {
    return std::isfinite(value) ? value : 0;
}

std::vector<double> smooth(const std::vector<double>& map, std::size_t n, double sigma) {
    const auto reach = static_cast<long>(std::ceil(4 * sigma));
    std::vector<double> across(map.size()), result(map.size());
    const auto pass = [&](const std::vector<double>& in, std::vector<double>& out, long dx,
                          long dy) {
        for (long y = 0; y < static_cast<long>(n); ++y)
            for (long x = 0; x < static_cast<long>(n); ++x) {
                double sum = 0;
                for (long k = -reach; k <= reach; ++k) {
                    const long v = y + k * dy, u = x + k * dx;
                    if (v >= 0 && u >= 0 && v < static_cast<long>(n) && u < static_cast<long>(n))
                        sum += std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma)) *
                               in[static_cast<std::size_t>(v) * n + static_cast<std::size_t>(u)];
                }
                out[static_cast<std::size_t>(y) * n + static_cast<std::size_t>(x)] = sum;
            }
    };
    pass(map, across, 1, 0);
    pass(across, result, 0, 1);
    return result;
}

void simulate(const std::filesystem::path& cell, const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"simulate", "--output", cell.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto made = run_xrdct(arguments, 2, 400);
    ASSERT_EQ(made.exit_code, 0) << made.errors;
}

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

    std::map<std::string, std::vector<double>> truth, found;
    const auto x = map_of(cell / "truth.nxs", "entry/truth/Fe/x");
    const std::size_t n = x.size();
    const double sigma = 0.15 / (x[1] - x[0]);
    double all_true = 0, all_found = 0;
    std::vector<double> sum_true(n * n, 0.0), sum_found(n * n, 0.0);
    std::map<std::string, double> whole_true, whole_found;
    for (const auto& phase : phases) {
        auto t = map_of(cell / "truth.nxs", "entry/truth/" + phase + "/density");
        auto f = map_of(results / "rietveld.nxs", "entry/rietveld/" + phase + "/density");
        for (std::size_t i = 0; i < n * n; ++i) {
            t[i] = finite(t[i]);
            f[i] = finite(f[i]);
            whole_true[phase] += t[i];
            whole_found[phase] += f[i];
        }
        all_true += whole_true[phase];
        all_found += whole_found[phase];
        truth[phase] = smooth(t, n, sigma);
        found[phase] = smooth(f, n, sigma);
        for (std::size_t i = 0; i < n * n; ++i) {
            sum_true[i] += truth[phase][i];
            sum_found[i] += found[phase][i];
        }
    }
    EXPECT_NEAR(all_found / all_true, 1, 0.05);
    const double highest = *std::max_element(sum_true.begin(), sum_true.end());
    for (const auto& phase : phases) {
        EXPECT_NEAR(whole_found[phase] / all_found, whole_true[phase] / all_true, 0.01) << phase;
        std::vector<double> errors;
        for (std::size_t i = 0; i < n * n; ++i)
            if (sum_true[i] > 0.02 * highest && truth[phase][i] > 0.1 * sum_true[i])
                errors.push_back(std::abs(found[phase][i] / std::max(sum_found[i], 1e-12) -
                                          truth[phase][i] / sum_true[i]));
        if (errors.size() < 20)
            continue;
        std::nth_element(errors.begin(),
                         errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2),
                         errors.end());
        EXPECT_LE(errors[errors.size() / 2], 0.03) << phase;
    }
}

TEST(Absorption, FromThePhasesOfACellAtOneMetre) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate(cell, {"--seed", "7"});
    const auto run = run_xrdct(
        {"run", (cell / "job.toml").string(), "--set", "absorption.method=phases"}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    check_amounts(cell, cell / "results");
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
    simulate(cell, {"--translations", "60", "--rotations", "70", "--channels", "350",
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
    simulate(cell, {"--distance", "1e9", "--preset", "charged", "--seed", "8"});
    auto run = run_xrdct({"run", (cell / "job.toml").string()}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto maps = cell / "results" / "rietveld.nxs";
    const auto fraction = map_of(cell / "truth.nxs", "entry/truth/NMC532/volume_fraction");
    for (const std::string parameter : {"a", "c"}) {
        const auto truth = map_of(cell / "truth.nxs", "entry/truth/NMC532/" + parameter);
        const auto value = map_of(maps, "entry/rietveld/NMC532/" + parameter);
        const auto esd = map_of(maps, "entry/rietveld/NMC532/" + parameter + "_errors");
        std::vector<double> z;
        std::size_t wanted = 0;
        for (std::size_t i = 0; i < truth.size(); ++i) {
            if (!(fraction[i] > 0.31))
                continue;
            ++wanted;
            if (std::isfinite(value[i]) && esd[i] > 0)
                z.push_back((value[i] - truth[i]) / esd[i]);
        }
        EXPECT_GE(static_cast<double>(z.size()), 0.98 * static_cast<double>(wanted));
        std::sort(z.begin(), z.end());
        const auto quantile = [&](double q) {
            return z[static_cast<std::size_t>(q * static_cast<double>(z.size() - 1))];
        };
        const double spread = 0.5 * (quantile(0.8413) - quantile(0.1587));
        RecordProperty("spread_" + parameter, std::to_string(spread));
        EXPECT_GT(spread, 0.85) << parameter;
        EXPECT_LT(spread, 1.15) << parameter;
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
