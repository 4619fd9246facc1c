// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/rotation_axis.hpp"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "support/discs.hpp"

namespace xrdct {
namespace {

const std::vector<test::Disc> discs{
    {0.2, -0.1, 3.6, 1}, {1.7, -1.6, 1.0, 2}, {-2.0, 1.2, 0.8, -0.6}, {0.4, 2.3, 0.5, 3}};

struct Scan {
    const char* name;
    std::size_t rotations;
    double range;
    bool closed;
    bool shifted; // no two rotations half a turn apart
};

class RotationAxis : public testing::TestWithParam<Scan> {};

TEST_P(RotationAxis, PlantedOffsetsAreFound) {
    const Scan& s = GetParam();
    const double step = 0.05;
    for (const double offset : {0.0, 0.3, -4.7, 13.4}) // steps
        for (const double noise : {0.0, 0.1})
            for (const bool spoiled : {false, true})
                for (const int sense : {1, -1}) {
                    tomography::ScanGeometry g =
                        test::scan(s.rotations, s.range, 220, step, s.closed);
                    g.axis_offset = offset * step;
                    g.translation_sense = sense;
                    auto y = test::project_discs(g, discs);
                    std::mt19937 random(5);
                    std::normal_distribution<double> normal;
                    for (double& value : y)
                        value += noise * normal(random);
                    std::vector<float> sinogram(y.begin(), y.end());
                    if (spoiled) {
                        for (float& value : sinogram)
                            value += 7; // background
                        for (std::size_t k = 0; k < 200; ++k)
                            sinogram[random() % sinogram.size()] =
                                std::numeric_limits<float>::quiet_NaN();
                        for (std::size_t t = 0; t < 220; ++t)
                            sinogram[(s.rotations / 3) * 220 + t] =
                                std::numeric_limits<float>::quiet_NaN();
                    }
                    tomography::ScanGeometry blind = g;
                    blind.axis_offset = 99;
                    const tomography::AxisResult found = find_axis_offset(blind, sinogram);
                    SCOPED_TRACE(testing::Message()
                                 << "offset " << offset << " noise " << noise << " spoiled "
                                 << spoiled << " sense " << sense);
                    ASSERT_TRUE(found.centre_of_mass.valid);
                    ASSERT_TRUE(found.mirror.valid);
                    EXPECT_NEAR(found.offset / step, offset, 0.05);
                    EXPECT_NEAR(found.centre_of_mass.offset / step, offset,
                                std::max(0.05, 4 * found.centre_of_mass.uncertainty / step));
                    EXPECT_NEAR(found.mirror.offset / step, offset,
                                std::max(0.05, 4 * found.mirror.uncertainty / step));
                    EXPECT_TRUE(found.agree);
                    EXPECT_LT(found.mirror.uncertainty / step, 0.3);
                    EXPECT_LT(found.centre_of_mass.uncertainty / step, 0.3);
                }
}

INSTANTIATE_TEST_SUITE_P(Ranges, RotationAxis,
                         testing::Values(Scan{"half_open_half_turn", 180, 180, false, false},
                                         Scan{"closed_half_turn", 181, 180, true, false},
                                         Scan{"full_turn", 240, 360, false, false},
                                         Scan{"odd_full_turn", 241, 360, false, true}),
                         [](const auto& info) { return info.param.name; });

TEST(RotationAxis, UncertaintyIsHonest) {
    const double step = 0.05;
    tomography::ScanGeometry g = test::scan(200, 360, 220, step);
    g.axis_offset = 0.11;
    const auto y = test::project_discs(g, discs);
    std::mt19937 random(8);
    std::normal_distribution<double> normal;
    double mass = 0, mirror = 0;
    const int trials = 40;
    for (int k = 0; k < trials; ++k) {
        std::vector<float> sinogram(y.begin(), y.end());
        for (float& value : sinogram)
            value += static_cast<float>(0.5 * normal(random));
        const tomography::AxisResult found = find_axis_offset(g, sinogram);
        mass +=
            std::pow((found.centre_of_mass.offset - 0.11) / found.centre_of_mass.uncertainty, 2) /
            trials;
        mirror += std::pow((found.mirror.offset - 0.11) / found.mirror.uncertainty, 2) / trials;
    }
    EXPECT_GT(std::sqrt(mass), 0.6);
    EXPECT_LT(std::sqrt(mass), 1.6);
    EXPECT_GT(std::sqrt(mirror), 0.4);
    EXPECT_LT(std::sqrt(mirror), 1.8);
}

TEST(RotationAxis, DisagreementIsReported) {
    // An object that is out of the field of view for most of the turn spoils the centres of mass
    // only.
    tomography::ScanGeometry g = test::scan(181, 180, 200, 0.05, true);
    g.axis_offset = 0.2;
    auto some = discs;
    some.push_back({0, 6, 1.5, 3});
    const auto y = test::project_discs(g, some);
    const tomography::AxisResult found =
        find_axis_offset(g, std::vector<float>(y.begin(), y.end()));
    EXPECT_FALSE(found.agree);
    EXPECT_NEAR(found.mirror.offset, 0.2, 0.005);
    EXPECT_EQ(found.offset, found.mirror.offset);
}

TEST(RotationAxis, AShortRangeLeavesTheCentresOfMass) {
    tomography::ScanGeometry g = test::scan(120, 120, 220, 0.05);
    g.axis_offset = -0.085;
    const auto y = test::project_discs(g, discs);
    const tomography::AxisResult found =
        find_axis_offset(g, std::vector<float>(y.begin(), y.end()));
    EXPECT_FALSE(found.mirror.valid);
    EXPECT_FALSE(found.agree);
    EXPECT_NEAR(found.offset, -0.085, 0.0025);
}

TEST(RotationAxis, NothingToGoBy) {
    const tomography::ScanGeometry g = test::scan(20, 180, 50, 0.05);
    EXPECT_THROW(find_axis_offset(g, std::vector<float>(1000, 0.0F)), Error);
    EXPECT_THROW(
        find_axis_offset(g, std::vector<float>(1000, std::numeric_limits<float>::quiet_NaN())),
        Error);
    EXPECT_THROW(find_axis_offset(g, std::vector<float>(999, 1.0F)), Error);
    EXPECT_THROW(find_axis_offset(test::scan(20, 180, 10, 0.05), std::vector<float>(200, 1.0F)),
                 Error);
}

} // namespace
} // namespace xrdct
