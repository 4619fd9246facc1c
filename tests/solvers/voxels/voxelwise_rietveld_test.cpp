// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <random>

namespace {

using namespace xrdct;
using testing::HasSubstr;

constexpr std::size_t side = 9, voxel_count = side * side, tile_count = 7;

struct Scene {
    rietveld::RadialAxis axis = test::cell_axis(400);
    rietveld::VoxelFitter fitter;
    std::vector<std::vector<float>> patterns, variances;

    /// `sizes`: 120 Å, and the size is refined in every voxel.
    explicit Scene(bool sizes = false) : fitter(axis, model(), options(sizes)) {
        const auto profile = rietveld::pseudo_voigt({0.02, sizes ? 0.054 : 0});
        const auto one = test::simple_pattern(
            axis, {{test::cathode(), 1, 2.866, 14.26, profile.fwhm, profile.fwhm, profile.mixing}});
        const auto other = test::simple_pattern(axis, {{test::copper(), 0.05, 3.6149, 0, 0.02}});
        for (std::size_t v = 0; v < voxel_count; ++v) {
            std::mt19937_64 random(v);
            std::normal_distribution<double> normal;
            const double x = static_cast<double>(v % side) / side;
            std::vector<float> y, variance;
            for (std::size_t k = 0; k < axis.size(); ++k) {
                const double mean = x * one[k] + other[k];
                const double sigma2 = 10 * (mean + 2000);
                y.push_back(static_cast<float>(mean + std::sqrt(sigma2) * normal(random)));
                variance.push_back(static_cast<float>(sigma2));
            }
            patterns.push_back(y);
            variances.push_back(variance);
        }
    }
    static rietveld::VoxelFitOptions options(bool sizes) {
        rietveld::VoxelFitOptions options;
        options.cell_phases = {"NMC"};
        if (sizes) {
            options.widths = {{"NMC", {true, false, false}}};
        }
        return options;
    }
    static rietveld::PatternModel model() {
        rietveld::PatternModel model;
        model.instrument.w.value = 0.02 * 0.02;
        model.phases.emplace_back(test::cathode());
        model.phases.emplace_back(test::copper());
        model.set_background(2);
        return model;
    }
    void read(std::size_t tile, voxels::PatternTile& out) const {
        for (std::size_t v = tile; v < voxel_count; v += tile_count) {
            if (v == 40) {
                continue; // outside the mask
            }
            out.voxels.push_back(v);
            out.intensity.insert(out.intensity.end(), patterns[v].begin(), patterns[v].end());
            out.variance.insert(out.variance.end(), variances[v].begin(), variances[v].end());
        }
    }
};

TEST(VoxelwiseRietveld, MapsAreThoseOfSingleFitsOnAnyNumberOfRanks) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene;
    const voxels::VoxelwiseRietveld solver(communicator, scene.fitter);
    std::size_t progressed = 0;
    const auto result = solver.run(
        tile_count, voxel_count,
        [&](std::size_t t, voxels::PatternTile& out) { scene.read(t, out); },
        [&](std::size_t, std::size_t voxels) { progressed = voxels; });
    EXPECT_EQ(result.summary.fitted, voxel_count - 1);
    EXPECT_EQ(communicator.allreduce(static_cast<std::int64_t>(progressed), mpi::Reduction::sum),
              static_cast<std::int64_t>(voxel_count - 1));
    if (!communicator.is_root()) {
        EXPECT_TRUE(result.maps.empty());
        return;
    }
    ASSERT_EQ(result.maps.size(), scene.fitter.quantities().size());
    std::vector<double> row(result.maps.size());
    for (std::size_t v = 0; v < voxel_count; ++v) {
        if (v == 40) {
            EXPECT_EQ(result.maps[0].values[v], static_cast<double>(rietveld::FitStatus::masked));
            EXPECT_TRUE(std::isnan(result.maps[2].values[v]));
            continue;
        }
        scene.fitter.flatten(scene.fitter.fit(scene.patterns[v], scene.variances[v]), row);
        for (std::size_t q = 0; q < row.size(); ++q) {
            EXPECT_THAT(result.maps[q].values[v], testing::NanSensitiveDoubleEq(row[q]))
                << result.maps[q].quantity.group << "/" << result.maps[q].quantity.quantity;
        }
    }
}

TEST(VoxelwiseRietveld, MapsOfSizesAreThoseOfSingleFitsOnAnyNumberOfRanks) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene(true);
    const auto result =
        voxels::VoxelwiseRietveld(communicator, scene.fitter)
            .run(tile_count, voxel_count,
                 [&](std::size_t t, voxels::PatternTile& out) { scene.read(t, out); });
    if (!communicator.is_root()) {
        return;
    }
    std::vector<double> row(result.maps.size());
    std::size_t sized = 0;
    for (std::size_t v = 0; v < voxel_count; ++v) {
        if (v == 40) {
            continue;
        }
        scene.fitter.flatten(scene.fitter.fit(scene.patterns[v], scene.variances[v]), row);
        for (std::size_t q = 0; q < row.size(); ++q) {
            const auto& quantity = result.maps[q].quantity;
            EXPECT_THAT(result.maps[q].values[v], testing::NanSensitiveDoubleEq(row[q]))
                << quantity.group << "/" << quantity.quantity;
            if (quantity.quantity == "size" && std::isfinite(row[q])) {
                ++sized;
                EXPECT_NEAR(row[q], 120, 6 * row[q + 1] + 2);
            }
        }
    }
    EXPECT_GE(sized, voxel_count / 2);
}

TEST(VoxelwiseRietveld, AnErrorOnOneRankEndsAll) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene;
    const voxels::VoxelwiseRietveld solver(communicator, scene.fitter);
    std::string message;
    try {
        solver.run(tile_count, voxel_count, [&](std::size_t t, voxels::PatternTile& out) {
            if (t == 4) {
                throw Error("cannot read tile 4");
            }
            scene.read(t, out);
        });
    } catch (const Error& error) {
        message = error.what();
    }
    EXPECT_THAT(message, HasSubstr("cannot read tile 4"));
    // The communicator is still in step.
    EXPECT_EQ(communicator.allreduce(std::int64_t{1}, mpi::Reduction::sum), communicator.size());
}

TEST(VoxelwiseRietveld, WrongTilesAreRefusedEverywhere) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene;
    const voxels::VoxelwiseRietveld solver(communicator, scene.fitter);
    const auto message = [&](auto&& read, std::size_t voxels) -> std::string {
        try {
            solver.run(tile_count, voxels, read);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    const auto good = [&](std::size_t t, voxels::PatternTile& out) { scene.read(t, out); };
    EXPECT_THAT(message(good, 20), HasSubstr("of an image of 20"));
    EXPECT_THAT(message(
                    [&](std::size_t t, voxels::PatternTile& out) {
                        scene.read(t, out);
                        out.intensity.pop_back();
                    },
                    voxel_count),
                HasSubstr("intensities"));
    EXPECT_THAT(message(
                    [&](std::size_t t, voxels::PatternTile& out) {
                        scene.read(t, out);
                        out.variance.pop_back();
                    },
                    voxel_count),
                HasSubstr("variances"));
    EXPECT_THAT(
        message([&](std::size_t, voxels::PatternTile& out) { scene.read(0, out); }, voxel_count),
        HasSubstr("in two tiles"));
}

TEST(VoxelwiseRietveld, NoTilesGiveEmptyMaps) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene;
    const auto result = voxels::VoxelwiseRietveld(communicator, scene.fitter)
                            .run(0, voxel_count, [](std::size_t, voxels::PatternTile&) {});
    EXPECT_EQ(result.summary.fitted, 0u);
    if (communicator.is_root()) {
        EXPECT_EQ(result.maps[0].values.size(), voxel_count);
    }
}

} // namespace
