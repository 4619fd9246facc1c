// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/ray_total.hpp"

#include <cmath>
#include <gtest/gtest.h>
#include <vector>

namespace {

using xrdct::tomography::completed_total;

const std::vector<double> mean{1, 8, 1, 10};

TEST(RayTotal, OfACompleteRayIsItsSum) {
    EXPECT_DOUBLE_EQ(completed_total(std::vector<float>{3, -1, 2, 4}, mean), 8);
}

TEST(RayTotal, MaskedChannelsCountAsThoseOfTheMean) {
    EXPECT_DOUBLE_EQ(completed_total(std::vector<float>{2, NAN, 2, 20}, mean), 40);
    EXPECT_DOUBLE_EQ(completed_total(std::vector<float>{NAN, 16, NAN, 20}, mean), 40);
}

TEST(RayTotal, OfAMostlyMaskedRayIsNotKnown) {
    EXPECT_TRUE(std::isnan(
        completed_total(std::vector<float>{2, 16, 2, NAN}, std::vector<double>{1, 4, 1, 10})));
    EXPECT_TRUE(std::isnan(completed_total(std::vector<float>{NAN, NAN, NAN, NAN}, mean)));
}

} // namespace
