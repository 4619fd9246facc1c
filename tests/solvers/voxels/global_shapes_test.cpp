// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/global_shapes.hpp"

#include "support/structures.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace {

using namespace xrdct;

// Patterns whose cathode cell differs from voxel to voxel: their mean looks as if the lines were
// broad; the width of the voxels is narrower.
struct Scene {
    rietveld::RadialAxis axis = test::cell_axis(500);
    rietveld::PatternModel model;
    std::vector<voxels::PatternTile> own;
    double truth;

    Scene(const mpi::Communicator& communicator, std::size_t count, double epsilon)
        : truth(epsilon) {
        model.instrument.w.value = 0.018 * 0.018;
        model.phases.emplace_back(test::cathode());
        model.phases[0].cell[0].value = 2.84;
        model.phases[0].cell[1].value = 14.40;
        model.phases.emplace_back(test::copper());
        model.set_background(2);
        rietveld::PatternModel voxel = model;
        voxel.phases[0].gauss_microstrain.value = epsilon;
        voxel.phases[0].scale.value = 1;
        voxel.phases[1].scale.value = 0.3;
        const rietveld::PatternCalculator calculator(axis, voxel);
        std::vector<double> y(axis.size());
        calculator.evaluate(voxel, y);
        const double unit = 1000 / *std::max_element(y.begin(), y.end());
        voxel.phases[0].scale.value *= unit;
        voxel.phases[1].scale.value *= unit;
        model.phases[0].scale.value = unit;
        voxel.background[0].value = 20;
        own.emplace_back();
        for (std::size_t v = 0; v < count; ++v) {
            if (v % static_cast<std::size_t>(communicator.size()) !=
                static_cast<std::size_t>(communicator.rank()))
                continue;
            std::mt19937_64 random(v + 1);
            std::normal_distribution<double> normal;
            voxel.phases[0].cell[1].value = 14.40 + 0.05 * normal(random);
            calculator.evaluate(voxel, y);
            own[0].voxels.push_back(v);
            for (const double value : y) {
                own[0].intensity.push_back(
                    static_cast<float>(value + std::sqrt(value) * normal(random)));
                own[0].variance.push_back(static_cast<float>(value));
            }
        }
    }
};

class Epsilons : public testing::TestWithParam<double> {};

TEST_P(Epsilons, WidthOfTheVoxelsNotOfTheirMean) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene(communicator, 60, GetParam());
    auto start = scene.model;
    start.phases[0].gauss_microstrain.value = 3e-3; // as their mean would say
    rietveld::VoxelFitOptions options;
    options.cell_phases = {"NMC"};
    const auto result =
        refine_global_shapes(communicator, scene.axis, start, options,
                             {{0, voxels::GlobalShape::Kind::gauss_microstrain}}, scene.own);
    EXPECT_EQ(result.patterns, 60U);
    EXPECT_LT(result.chi_squared, result.chi_squared_before);
    const double found = result.model.phases[0].gauss_microstrain.value;
    EXPECT_NEAR(found * found, GetParam() * GetParam(), 2.5e-7);
    // About one per channel at the right width.
    EXPECT_NEAR(result.chi_squared / 60 / 500, 1, 0.06);
}
INSTANTIATE_TEST_SUITE_P(GlobalShapes, Epsilons, testing::Values(0.0, 1e-3, 2e-3));

/// Two phases of one structure in each of the voxels of a spot, the second with a cell of its own.
std::vector<voxels::PatternTile> spot_of_two(const mpi::Communicator& communicator,
                                             const rietveld::RadialAxis& axis,
                                             const rietveld::PatternModel& truth) {
    std::vector<voxels::PatternTile> own(1);
    const rietveld::PatternCalculator calculator(axis, truth);
    std::vector<double> y(axis.size());
    for (std::size_t v = 0; v < 30; ++v) {
        if (v % static_cast<std::size_t>(communicator.size()) !=
            static_cast<std::size_t>(communicator.rank()))
            continue;
        std::mt19937_64 random(v + 1);
        std::normal_distribution<double> normal;
        auto voxel = truth;
        voxel.phases[0].cell[1].value += 0.02 * normal(random);
        voxel.phases[1].scale.value *= 0.02 + 0.01 * static_cast<double>(v);
        calculator.evaluate(voxel, y);
        own[0].voxels.push_back(v);
        for (const double value : y) {
            own[0].intensity.push_back(
                static_cast<float>(value + std::sqrt(value) * normal(random)));
            own[0].variance.push_back(static_cast<float>(value));
        }
    }
    return own;
}

TEST(GlobalShapes, CellOfASecondPhaseOfTheSameStructure) {
    const auto communicator = mpi::Communicator::world();
    const auto axis = test::cell_axis(900);
    rietveld::PatternModel truth;
    truth.instrument.w.value = 0.018 * 0.018;
    for (const double c : {14.33, 14.262}) {
        truth.phases.emplace_back(test::cathode());
        truth.phases.back().cell[0].value = c > 14.3 ? 2.855 : 2.8668;
        truth.phases.back().cell[1].value = c;
    }
    truth.phases[1].name = "second";
    truth.set_background(2);
    for (auto& phase : truth.phases)
        phase.scale.value = 1;
    std::vector<double> y(axis.size());
    rietveld::PatternCalculator(axis, truth).evaluate(truth, y);
    for (auto& phase : truth.phases)
        phase.scale.value = 2000 / *std::max_element(y.begin(), y.end());
    truth.background[0].value = 20;
    auto start = truth;
    start.phases[1].cell[0].value = 2.872;
    start.phases[1].cell[1].value = 14.24;
    rietveld::VoxelFitOptions options;
    options.cell_phases = {truth.phases[0].name};
    const auto result = refine_global_shapes(
        communicator, axis, start, options,
        {{1, voxels::GlobalShape::Kind::cell, 0}, {1, voxels::GlobalShape::Kind::cell, 1}},
        spot_of_two(communicator, axis, truth));
    EXPECT_NEAR(result.values[0], 2.8668, 1e-3);
    EXPECT_NEAR(result.values[1], 14.262, 6e-3);
    EXPECT_NEAR(result.chi_squared / 30 / 900, 1, 0.06);
}

TEST(GlobalShapes, NothingToFitLeavesTheStart) {
    const auto communicator = mpi::Communicator::world();
    const Scene scene(communicator, 0, 1e-3);
    rietveld::VoxelFitOptions options;
    options.cell_phases = {"NMC"};
    const auto result = refine_global_shapes(communicator, scene.axis, scene.model, options,
                                             {{0, voxels::GlobalShape::Kind::size}}, scene.own);
    EXPECT_EQ(result.patterns, 0U);
    EXPECT_EQ(result.model.phases[0].size.value, scene.model.phases[0].size.value);
}

} // namespace
