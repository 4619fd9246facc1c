// SPDX-License-Identifier: BSD-3-Clause
// A simulated cell through the whole program, on several rank counts, against its truth.

#include "mpi/hdf5/hdf5.hpp"
#include "mpi/nexus/nexus.hpp"
#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

using namespace xrdct;
using namespace xrdct::test;

namespace {

struct CathodeError {
    double median = 0;   ///< Å, of |c − truth|
    double coverage = 0; ///< fraction of the wanted voxels that carry a value
    std::size_t voxels = 0;
};

/// Cathode c against the truth where the cathode fills more than 0.31 of a voxel.
CathodeError cathode_error(const std::filesystem::path& cell) {
    const auto truth = cell / "truth.nxs", maps = cell / "results" / "rietveld.nxs";
    const auto fraction = map_of(truth, "entry/truth/NMC532/volume_fraction");
    const auto c_true = map_of(truth, "entry/truth/NMC532/c");
    const auto c = map_of(maps, "entry/rietveld/NMC532/c");
    const auto status = map_of(maps, "entry/rietveld/maps/status");
    std::vector<double> errors;
    CathodeError result;
    for (std::size_t i = 0; i < c.size(); ++i) {
        if (!(fraction[i] > 0.31))
            continue;
        ++result.voxels;
        if (std::isfinite(c[i]) && status[i] == 0)
            errors.push_back(std::abs(c[i] - c_true[i]));
    }
    if (!errors.empty()) {
        std::nth_element(errors.begin(),
                         errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2),
                         errors.end());
        result.median = errors[errors.size() / 2];
        result.coverage = static_cast<double>(errors.size()) / static_cast<double>(result.voxels);
    }
    return result;
}

// The accuracy that a scan without parallax must give: given profile, given transmission.
TEST(FirstLight, CathodeLatticeWithoutParallaxNoiseFree) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--distance", "1e9", "--no-noise"});
    const auto run = run_xrdct({"run", (cell / "job.toml").string()}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto error = cathode_error(cell);
    RecordProperty("median_error_angstrom", std::to_string(error.median));
    EXPECT_GT(error.voxels, 2000U);
    EXPECT_LE(error.median, 0.002);
    EXPECT_GE(error.coverage, 0.98);
}

TEST(FirstLight, CathodeLatticeWithoutParallaxWithNoise) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--distance", "1e9", "--seed", "7"});
    const auto run = run_xrdct({"run", (cell / "job.toml").string()}, 2, 400);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto error = cathode_error(cell);
    RecordProperty("median_error_angstrom", std::to_string(error.median));
    EXPECT_LE(error.median, 0.004);
    EXPECT_GE(error.coverage, 0.98);
}

// Linear stages agree to 1e-6 over rank counts, fits to 0.01 e.s.d.
TEST(FirstLight, SameMapsOnOneToFourRanks) {
    const TemporaryDirectory folder;
    const auto cell = folder / "cell";
    simulate_cell(cell, {"--translations", "60", "--rotations", "70", "--channels", "350",
                         "--channel-width", "0.0113"});
    std::vector<double> reference;
    for (int ranks = 1; ranks <= 4; ++ranks) {
        const auto run =
            run_xrdct({"run", (cell / "job.toml").string(), "--set",
                       "output=" + (cell / ("results" + std::to_string(ranks))).string()},
                      ranks, 200);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
    }
    const auto product = [&](int ranks, const char* stage) {
        return cell / ("results" + std::to_string(ranks)) / (std::string(stage) + ".nxs");
    };
    const auto volume = map_of(product(1, "fbp"), "entry/fbp/volume/intensity");
    const double highest = *std::max_element(volume.begin(), volume.end());
    const auto first = hdf5::File::open(product(1, "rietveld"), hdf5::Access::read_only);
    for (int ranks = 2; ranks <= 4; ++ranks) {
        SCOPED_TRACE("ranks " + std::to_string(ranks));
        const auto other = map_of(product(ranks, "fbp"), "entry/fbp/volume/intensity");
        double largest = 0;
        for (std::size_t i = 0; i < volume.size(); ++i)
            largest = std::max(largest, std::abs(volume[i] - other[i]));
        EXPECT_LE(largest, 1e-6 * highest);

        const auto second = hdf5::File::open(product(ranks, "rietveld"), hdf5::Access::read_only);
        std::size_t compared = 0;
        first.root().visit([&](const std::string& path, hdf5::Kind kind) {
            const std::string suffix = "_errors";
            if (kind != hdf5::Kind::dataset || path.size() < suffix.size() ||
                path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0)
                return;
            const auto esd = first.root().open_dataset(path).read_all<double>();
            const auto value = path.substr(0, path.size() - suffix.size());
            const auto a = first.root().open_dataset(value).read_all<double>();
            const auto b = second.root().open_dataset(value).read_all<double>();
            for (std::size_t i = 0; i < a.size(); ++i) {
                EXPECT_EQ(std::isnan(a[i]), std::isnan(b[i])) << value << " " << i;
                if (std::isfinite(a[i]) && std::isfinite(b[i]) && std::isfinite(esd[i])) {
                    EXPECT_LE(std::abs(a[i] - b[i]), 0.01 * esd[i] + 1e-12 * std::abs(a[i]))
                        << value << " " << i;
                    ++compared;
                }
            }
        });
        EXPECT_GT(compared, 5000U);
    }
}

} // namespace
