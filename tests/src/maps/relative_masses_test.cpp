// SPDX-License-Identifier: BSD-3-Clause
#include "maps/relative_masses.hpp"

#include "base/numbers.hpp"
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

using namespace xrdct;
using namespace xrdct::maps;

namespace {

TEST(RelativeMasses, FollowFromScalesAndWeightFractions) {
    // Phases A with B, B with C, never A with C; masses m = 2, 5, 0.25 per scale.
    const std::vector<double> m{2, 5, 0.25};
    std::vector<std::vector<double>> scales{
        {1, 2, 0, 0, nan_value}, {3, 0, 1, 2, nan_value}, {0, 0, 4, 8, nan_value}};
    std::vector<std::vector<double>> fractions = scales;
    for (std::size_t i = 0; i < 4; ++i) {
        double total = 0;
        for (std::size_t p = 0; p < 3; ++p)
            total += m[p] * scales[p][i];
        for (std::size_t p = 0; p < 3; ++p)
            fractions[p][i] = m[p] * scales[p][i] / total;
    }
    const auto masses = relative_masses(scales, fractions);
    ASSERT_EQ(masses.size(), 3U);
    const double unit = masses[0][0] / (m[0] * scales[0][0]);
    for (std::size_t p = 0; p < 3; ++p) {
        for (std::size_t i = 0; i < 4; ++i)
            EXPECT_NEAR(masses[p][i], unit * m[p] * scales[p][i], 1e-12) << p << " " << i;
        EXPECT_TRUE(std::isnan(masses[p][4]));
    }
    // Without the bridge B the ratio of A and C is unknown.
    EXPECT_TRUE(relative_masses({{1, 0}, {0, 1}}, {{1, 0}, {0, 1}}).empty());
    EXPECT_TRUE(relative_masses({}, {}).empty());
    EXPECT_TRUE(relative_masses({{1, 2}}, {{1}}).empty());
}

} // namespace
