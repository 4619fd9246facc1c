// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/outliers.hpp"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace xrdct::inspection {
namespace {

/// A narrow line on a background; what the air has of it is a fraction.
struct Patterns {
    std::vector<double> two_theta, sample, air;

    explicit Patterns(double fraction) {
        std::mt19937 engine(2);
        std::normal_distribution<double> noise(0, 0.2);
        for (int k = 0; k < 200; ++k) {
            two_theta.push_back(2 + 0.01 * k);
            const double line = 300 * std::exp(-0.5 * std::pow((k - 90) / 0.6, 2));
            sample.push_back(20 + line + noise(engine));
            air.push_back(10 + fraction * line + noise(engine));
        }
    }
};

TEST(Channels, NarrowLinesAreNoOutliersEvenAtTheRimOfTheBody) {
    for (const double fraction : {0.0, 0.2, 1.0}) {
        const Patterns p(fraction);
        EXPECT_TRUE(check_channels(p.two_theta, p.sample, p.air).empty()) << fraction;
    }
}

TEST(Channels, DeadAndHotOnesAreNamed) {
    Patterns p(0);
    p.sample[40] = p.air[40] = 0;
    p.sample[120] += 200;
    p.air[120] += 200;
    p.sample[150] = p.air[150] = Finding::none; // masked: known
    const auto findings = check_channels(p.two_theta, p.sample, p.air);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].index, 40U);
    EXPECT_EQ(findings[1].index, 120U);
    EXPECT_NEAR(findings[1].value, 21, 1);
}

TEST(Projections, MuchBrighterAndDeadOnesAreNamedSlowChangesAreNot) {
    std::vector<double> rotation, sums;
    for (int i = 0; i < 90; ++i) {
        rotation.push_back(2.0 * i);
        sums.push_back(100 * (1 + 0.3 * std::sin(0.1 * i)) * (1 + 0.01 * (i % 3)));
    }
    EXPECT_TRUE(check_projections(rotation, sums).empty());
    sums[30] = 0;
    sums[60] *= 1.5;
    sums[70] = Finding::none;
    const auto findings = check_projections(rotation, sums);
    ASSERT_EQ(findings.size(), 2U);
    EXPECT_EQ(findings[0].index, 30U);
    EXPECT_EQ(findings[1].index, 60U);
    EXPECT_DOUBLE_EQ(findings[1].position, 120);
}

} // namespace
} // namespace xrdct::inspection
