// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/radial_axis.hpp"

#include "base/error.hpp"

#include <cmath>
#include <gmock/gmock.h>
#include <limits>

namespace {

using namespace xrdct;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(RadialAxis, EdgesLieHalfWay) {
    const auto axis = rietveld::RadialAxis::from_two_theta(std::vector<double>{1.0, 1.2, 1.6}, 0.2);
    EXPECT_THAT(
        std::vector<double>(axis.edges().begin(), axis.edges().end()),
        testing::Pointwise(testing::DoubleNear(1e-12), std::vector<double>{0.9, 1.1, 1.4, 1.8}));
    EXPECT_DOUBLE_EQ(axis.width(1), 1.4 - 1.1);
    EXPECT_EQ(axis.size(), 3u);
}

TEST(RadialAxis, MomentumTransferAndRadiusAgreeWithTheirFormulas) {
    const double wavelength = 0.2, distance = 900;
    std::vector<double> q, radius;
    for (int i = 0; i < 50; ++i) {
        q.push_back(1 + 0.1 * i);
        radius.push_back(20 + 2.0 * i);
    }
    const auto from_q = rietveld::RadialAxis::from_q(q, wavelength);
    const auto from_radius = rietveld::RadialAxis::from_radius(radius, distance, wavelength);
    for (std::size_t i = 0; i < q.size(); ++i) {
        const double theta = from_q.two_theta()[i] * std::acos(-1.0) / 360;
        EXPECT_NEAR(4 * std::acos(-1.0) * std::sin(theta) / wavelength, q[i], 1e-12);
        EXPECT_NEAR(distance * std::tan(from_radius.two_theta()[i] * std::acos(-1.0) / 180),
                    radius[i], 1e-10);
    }
    const double edge = from_radius.edges()[10] * std::acos(-1.0) / 180;
    EXPECT_NEAR(distance * std::tan(edge), 0.5 * (radius[9] + radius[10]), 1e-10);
}

TEST(RadialAxis, RefusesWhatIsNoAxis) {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const auto make = [](std::vector<double> values, double wavelength = 0.2) {
        return [=] { rietveld::RadialAxis::from_two_theta(values, wavelength); };
    };
    EXPECT_THAT(make({1, nan, 3}), ThrowsMessage<Error>(HasSubstr("channel 1")));
    EXPECT_THAT(make({1, 3, 2}), ThrowsMessage<Error>(HasSubstr("ascend")));
    EXPECT_THAT(make({1, 2, 2}), ThrowsMessage<Error>(HasSubstr("ascend")));
    EXPECT_THAT(make({-1, 2, 3}), ThrowsMessage<Error>(HasSubstr("channel 0 is -1")));
    EXPECT_THAT(make({170, 175, 181}), ThrowsMessage<Error>(HasSubstr("channel 2")));
    EXPECT_THAT(make({1, 2}), ThrowsMessage<Error>(HasSubstr("at least three")));
    EXPECT_THAT(make({1, 2, 3}, 0), ThrowsMessage<Error>(HasSubstr("wavelength")));
    EXPECT_THAT(make({1, 2, 3}, nan), ThrowsMessage<Error>(HasSubstr("wavelength")));
    EXPECT_THROW(rietveld::RadialAxis::from_q(std::vector<double>{60, 62, 64}, 0.2), Error);
    EXPECT_THROW(rietveld::RadialAxis::from_radius(std::vector<double>{1, 2, 3}, -5, 0.2), Error);
}

} // namespace
