// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "conditioning/arrangement.hpp"
#include "conditioning/zigzag.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace xrdct;
using ::testing::HasSubstr;

namespace {

constexpr std::size_t n_r = 12, n_t = 40;

/// Zigzag positions with jitter, in the order of acquisition.
struct Positions {
    std::vector<double> rotation, translation;
};
Positions zigzag(double jitter) {
    std::mt19937 random(3);
    std::uniform_real_distribution<double> off(-jitter, jitter);
    Positions positions;
    for (std::size_t r = 0; r < n_r; ++r)
        for (std::size_t i = 0; i < n_t; ++i) {
            const std::size_t t = r % 2 == 1 ? n_t - 1 - i : i;
            positions.rotation.push_back(15.0 * static_cast<double>(r) + 0.01 * off(random));
            positions.translation.push_back(-1.0 + 0.05 * (static_cast<double>(t) + off(random)));
        }
    return positions;
}

std::size_t place_of(std::size_t frame) {
    const std::size_t r = frame / n_t, i = frame % n_t;
    return r * n_t + (r % 2 == 1 ? n_t - 1 - i : i);
}

TEST(ArrangeByPosition, ZigzagWithJitter) {
    const auto p = zigzag(0.1);
    const auto grid = conditioning::arrange_by_position(p.rotation, p.translation, 0.25);
    ASSERT_EQ(grid.n_rotation(), n_r);
    ASSERT_EQ(grid.n_translation(), n_t);
    EXPECT_EQ(grid.missing, 0U);
    EXPECT_NEAR(grid.translation[0], -1.0, 0.002);
    EXPECT_NEAR(grid.translation[n_t - 1], -1.0 + 0.05 * (n_t - 1), 0.002);
    EXPECT_NEAR(grid.rotation[5], 75, 0.01);
    EXPECT_NEAR(grid.position_spread, 0.1 / std::sqrt(3.0), 0.02);
    for (std::size_t f = 0; f < n_r * n_t; ++f)
        ASSERT_EQ(grid.frame[place_of(f)], static_cast<std::ptrdiff_t>(f));
}

TEST(ArrangeByPosition, RotationAsTheFastAxis) {
    std::vector<double> rotation, translation;
    for (std::size_t t = 0; t < n_t; ++t)
        for (std::size_t r = 0; r < n_r; ++r) {
            rotation.push_back(15.0 * static_cast<double>(r));
            translation.push_back(0.05 * static_cast<double>(t));
        }
    const auto grid = conditioning::arrange_by_position(rotation, translation, 0.25);
    ASSERT_EQ(grid.n_rotation(), n_r);
    ASSERT_EQ(grid.n_translation(), n_t);
    EXPECT_EQ(grid.frame[3 * n_t + 7], 7 * static_cast<std::ptrdiff_t>(n_r) + 3);
}

TEST(ArrangeByPosition, LostFramesLeaveTheOthersInPlace) {
    auto p = zigzag(0.05);
    for (const std::size_t lost : {300UL, 101UL, 100UL}) {
        p.rotation.erase(p.rotation.begin() + static_cast<std::ptrdiff_t>(lost));
        p.translation.erase(p.translation.begin() + static_cast<std::ptrdiff_t>(lost));
    }
    const auto grid = conditioning::arrange_by_position(p.rotation, p.translation, 0.25);
    EXPECT_EQ(grid.missing, 3U);
    for (const std::size_t lost : {100UL, 101UL, 300UL})
        EXPECT_EQ(grid.frame[place_of(lost)], -1);
    EXPECT_EQ(grid.frame[place_of(99)], 99);
    EXPECT_EQ(grid.frame[place_of(102)], 100);
    EXPECT_EQ(grid.frame[place_of(301)], 298);
}

TEST(ArrangeByPosition, JumpsOfTheMotorsAreLeftOutAndListed) {
    auto p = zigzag(0.05);
    p.translation[50] += 0.02; // 0.4 steps
    p.translation[200] = 7.5;  // far out
    p.rotation[333] += 7.4;    // between two lines
    const auto grid = conditioning::arrange_by_position(p.rotation, p.translation, 0.25);
    EXPECT_EQ(grid.n_rotation(), n_r);
    EXPECT_EQ(grid.n_translation(), n_t);
    EXPECT_EQ(grid.off_grid, (std::vector<std::size_t>{50, 200, 333}));
    EXPECT_EQ(grid.missing, 3U);
}

TEST(ArrangeByPosition, RepeatedFramesAreListed) {
    auto p = zigzag(0.0);
    p.translation[21] = p.translation[20];
    const auto grid = conditioning::arrange_by_position(p.rotation, p.translation, 0.25);
    EXPECT_EQ(grid.repeated, std::vector<std::size_t>{21});
    EXPECT_EQ(grid.frame[20], 20);
    EXPECT_EQ(grid.frame[21], -1);
}

TEST(ArrangeByPosition, AJumpOntoAPointDoesNotDriveItsOwnerOut) {
    auto p = zigzag(0.0);
    p.translation[5] = p.translation[30]; // before the frame that belongs there
    p.translation[70] = p.translation[45];
    const auto grid = conditioning::arrange_by_position(p.rotation, p.translation, 0.25);
    EXPECT_EQ(grid.repeated, (std::vector<std::size_t>{5, 70}));
    EXPECT_EQ(grid.frame[30], 30);
    EXPECT_EQ(grid.frame[place_of(45)], 45);
    EXPECT_EQ(grid.frame[5], -1);
}

TEST(ArrangeByPosition, ChaosAndBadNumbersAreErrors) {
    std::mt19937 random(1);
    std::uniform_real_distribution<double> any(0, 1);
    std::vector<double> rotation, translation;
    for (int i = 0; i < 500; ++i) {
        rotation.push_back(180 * any(random));
        translation.push_back(any(random));
    }
    EXPECT_THROW(conditioning::arrange_by_position(rotation, translation, 0.25), Error);
    auto p = zigzag(0);
    for (std::size_t i = 0; i < p.rotation.size(); i += 5)
        p.rotation[i] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_THROW(conditioning::arrange_by_position(p.rotation, p.translation, 0.25), Error);
    p = zigzag(0);
    p.rotation.pop_back();
    EXPECT_THROW(conditioning::arrange_by_position(p.rotation, p.translation, 0.25), Error);
    const std::vector<double> still(50, 1.0);
    EXPECT_THROW(conditioning::arrange_by_position(still, still, 0.25), Error);
}

TEST(ArrangeInOrder, ALostFrameMustBeNamed) {
    const std::vector<double> rotation{0, 90}, translation{0, 1, 2};
    try {
        conditioning::arrange_in_order(5, rotation, translation, {});
        FAIL();
    } catch (const Error& error) {
        EXPECT_THAT(error.what(), HasSubstr("5 frames"));
        EXPECT_THAT(error.what(), HasSubstr("shifts all that follow"));
    }
    const std::vector<std::size_t> lost{1};
    const auto grid = conditioning::arrange_in_order(5, rotation, translation, lost);
    EXPECT_EQ(grid.frame, (std::vector<std::ptrdiff_t>{0, -1, 1, 2, 3, 4}));
    const std::vector<std::size_t> outside{6};
    EXPECT_THROW(conditioning::arrange_in_order(5, rotation, translation, outside), Error);
}

/// Disc and an off-centre bar.
std::vector<float> sinogram(std::size_t rotations, std::size_t translations, double lag,
                            bool reversed) {
    std::vector<float> map;
    for (std::size_t r = 0; r < rotations; ++r) {
        const double omega = 3.14159265 * static_cast<double>(r) / static_cast<double>(rotations);
        for (std::size_t i = 0; i < translations; ++i) {
            const bool odd = r % 2 == 1;
            double t = static_cast<double>(odd && reversed ? translations - 1 - i : i);
            t -= odd ? lag : 0;
            const double s = t - 0.5 * static_cast<double>(translations);
            const double radius = 0.4 * static_cast<double>(translations);
            const double bar = s - 0.2 * static_cast<double>(translations) * std::cos(omega);
            map.push_back(static_cast<float>(std::sqrt(std::max(0.0, radius * radius - s * s)) +
                                             8 * std::exp(-bar * bar / 20)));
        }
    }
    return map;
}

TEST(Zigzag, IsFoundAndNotFoundWithALag) {
    for (const double lag : {0.0, 1.0, -2.0}) {
        EXPECT_TRUE(conditioning::test_zigzag(sinogram(60, 64, lag, true), 60, 64).zigzag);
        const auto test = conditioning::test_zigzag(sinogram(60, 64, lag, false), 60, 64);
        EXPECT_TRUE(test.decided);
        EXPECT_FALSE(test.zigzag);
    }
}

TEST(Zigzag, ASymmetricSampleDecidesNothing) {
    std::vector<float> map;
    for (int r = 0; r < 30; ++r)
        for (int t = 0; t < 41; ++t)
            map.push_back(
                static_cast<float>(std::sqrt(std::max(0.0, 15.0 * 15 - (t - 20) * (t - 20)))));
    EXPECT_FALSE(conditioning::test_zigzag(map, 30, 41).decided);
}

TEST(Lag, IsMeasuredAndItsAbsenceToo) {
    for (const double lag : {0.0, 1.0, -1.0, 2.0, 0.5}) {
        const auto map = sinogram(80, 96, lag, false);
        const auto estimate = conditioning::measure_lag(map, 80, 96);
        ASSERT_TRUE(estimate.valid);
        EXPECT_NEAR(estimate.lag, lag, 0.1) << lag;
        EXPECT_EQ(estimate.significant, lag != 0);
    }
}

TEST(Lag, MovingBackRestoresTheLine) {
    std::vector<float> line{0, 0, 1, 1, 4, 4, 9, 9}; // [4][2]
    auto moved = line;
    conditioning::shift_line(moved, 2, 1, false);
    EXPECT_EQ(moved[0], 1);
    EXPECT_EQ(moved[4], 9);
    EXPECT_TRUE(std::isnan(moved[6]) && std::isnan(moved[7]));
    moved = line;
    conditioning::shift_line(moved, 2, -1, false);
    EXPECT_TRUE(std::isnan(moved[0]));
    EXPECT_EQ(moved[7], 4);
    moved = line;
    conditioning::shift_line(moved, 2, 0.25, false);
    EXPECT_FLOAT_EQ(moved[2], 1 + 0.25F * 3);
    moved = line;
    conditioning::shift_line(moved, 2, 0.25, true);
    EXPECT_FLOAT_EQ(moved[2], 0.5625F * 1 + 0.0625F * 4);
    conditioning::reverse_line(line, 2);
    EXPECT_EQ(line, (std::vector<float>{9, 9, 4, 4, 1, 1, 0, 0}));
}

TEST(ArrangeByPosition, FramesWithoutAPositionLeaveTheirPoints) {
    std::vector<double> rotation, translation;
    for (int r = 0; r < 6; ++r)
        for (int t = 0; t < 10; ++t) {
            rotation.push_back(30.0 * r);
            translation.push_back(0.1 * (r % 2 == 0 ? t : 9 - t));
        }
    const auto whole = conditioning::arrange_by_position(rotation, translation, 0.25);
    EXPECT_TRUE(whole.unknown.empty());
    rotation[0] = std::nan("");
    translation[23] = std::numeric_limits<double>::infinity();
    translation[41] = 77;
    const auto grid = conditioning::arrange_by_position(rotation, translation, 0.25);
    EXPECT_EQ(grid.unknown, (std::vector<std::size_t>{0, 23}));
    EXPECT_EQ(grid.off_grid, (std::vector<std::size_t>{41}));
    EXPECT_EQ(grid.missing, 3U);
    for (std::size_t i = 0; i < whole.frame.size(); ++i)
        EXPECT_EQ(grid.frame[i], whole.frame[i] == 0 || whole.frame[i] == 23 || whole.frame[i] == 41
                                     ? -1
                                     : whole.frame[i]);
    for (std::size_t i = 0; i < 10; ++i)
        rotation[i] = std::nan("");
    EXPECT_THROW(conditioning::arrange_by_position(rotation, translation, 0.25), Error);
}

} // namespace
