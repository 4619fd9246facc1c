// SPDX-License-Identifier: BSD-3-Clause
#include "maps/amounts.hpp"

#include "base/numbers.hpp"
#include "support/structures.hpp"

#include <cmath>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

using namespace xrdct;

namespace {

rietveld::PhaseModel model_of(crystal::Phase phase) {
    return rietveld::PhaseModel(std::move(phase));
}

TEST(Amounts, DensityIsThatOfTheCrystalWhereThePhaseFillsTheVoxel) {
    const auto copper = model_of(test::copper());
    const double volume = copper.unit_cell().volume(), constant = 2e-4;
    const std::vector<double> scale{1 / (constant * volume * volume), nan_value}, esd{0.01, 0.01};
    const auto found = maps::phase_amounts(copper, {&scale, &esd, {nullptr}}, constant);
    EXPECT_NEAR(found.volume_fraction.values[0], 1, 1e-12);
    EXPECT_NEAR(found.density.values[0], copper.phase.density(), 1e-3);
    EXPECT_NEAR(found.density.errors[0] / found.density.values[0], 0.01 / scale[0], 1e-12);
    EXPECT_TRUE(std::isnan(found.volume_fraction.values[1]));
    EXPECT_TRUE(
        maps::phase_amounts(copper, {&scale, nullptr, {nullptr}}, constant).density.errors.empty());
}

TEST(Amounts, WeightFractionsAddUpToOne) {
    const std::vector<rietveld::PhaseModel> phases{model_of(test::copper()),
                                                   model_of(test::iron())};
    const std::vector<double> one{1, 2, nan_value}, other{3, nan_value, nan_value};
    const auto found =
        maps::weight_fractions(phases, {{&one, nullptr, {nullptr}}, {&other, nullptr, {nullptr}}});
    EXPECT_NEAR(found[0].values[0] + found[1].values[0], 1, 1e-12);
    EXPECT_EQ(found[0].values[1], 1);
    EXPECT_TRUE(std::isnan(found[1].values[1]));
    EXPECT_TRUE(std::isnan(found[0].values[2]));
}

TEST(Amounts, ARatioOfNoiseIsNoWeightFraction) {
    const std::vector<rietveld::PhaseModel> phases{model_of(test::copper()),
                                                   model_of(test::iron())};
    // Much mass; mass within its error; amounts that nearly cancel; much mass, one phase negative.
    const std::vector<double> one{1, 0.02, 1, 1}, other{1, 0.01, -4, -0.01},
        errors{0.01, 0.01, 0.1, 0.01};
    const auto found =
        maps::weight_fractions(phases, {{&one, &errors, {nullptr}}, {&other, &errors, {nullptr}}});
    EXPECT_GT(found[0].values[0], 0.1);
    EXPECT_GT(found[0].errors[0], 0);
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}})
        for (const auto& phase : found) {
            EXPECT_TRUE(std::isnan(phase.values[i])) << i;
            EXPECT_TRUE(std::isnan(phase.errors[i])) << i;
        }
    EXPECT_NEAR(found[0].values[3], 1, 0.05);
    EXPECT_LT(found[1].values[3], 0);
}

TEST(Amounts, DensitiesOfVolumeFractions) {
    const std::vector<rietveld::PhaseModel> phases{model_of(test::copper()),
                                                   model_of(test::iron())};
    const std::vector<std::vector<float>> fractions{{1, 0.5F, 1e-6F}, {0, 0.5F, 0}};
    const std::vector<unsigned char> sample{1, 1, 0};
    const auto found = maps::phase_densities(phases, fractions, sample);
    EXPECT_NEAR(found.density[0][0], phases[0].phase.density(), 1e-3);
    EXPECT_EQ(found.weight_fraction[0][0], 1);
    EXPECT_NEAR(found.weight_fraction[0][1] + found.weight_fraction[1][1], 1, 1e-12);
    EXPECT_TRUE(std::isnan(found.weight_fraction[0][2])); // next to nothing
    EXPECT_NEAR(found.mean_weight_fraction[0] + found.mean_weight_fraction[1], 1, 1e-12);
}

TEST(MainPhase, IsTheMostOfThoseWithAMapOfTheCell) {
    using maps::PhaseRole;
    const PhaseRole can{24, false, true}, foil{11, false, false}, cathode{40, true, false},
        trace{0.2, true, false}, none{std::nan(""), true, false};
    EXPECT_EQ(maps::main_phase(std::vector{can, foil, trace, cathode}), 3U);
    EXPECT_EQ(maps::main_phase(std::vector{can, foil, trace}), 2U); // little, but what is mapped
    EXPECT_EQ(maps::main_phase(std::vector{can, foil, none}), 1U);  // the can only holds it
    EXPECT_EQ(maps::main_phase(std::vector{none, can}), 1U);
    EXPECT_EQ(maps::main_phase(std::vector{none, none}), 0U);
}

} // namespace
