#include "tomography/transmission.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.hpp"

namespace xrdct {
namespace {

TEST(Transmission, DividesAndMasks) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> y{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    const std::vector<float> t{0.5F, 0, nan, -0.1F, 1};
    EXPECT_EQ(tomography::apply_transmission(y, 2, t), 3U);
    EXPECT_FLOAT_EQ(y[0], 2);
    EXPECT_FLOAT_EQ(y[1], 4);
    for (std::size_t i = 2; i < 8; ++i)
        EXPECT_TRUE(std::isnan(y[i])) << i;
    EXPECT_FLOAT_EQ(y[9], 10);
    std::vector<float> low{1, 1};
    EXPECT_EQ(tomography::apply_transmission(low, 1, std::vector<float>{0.05F, 0.2F}, 0.1), 1U);
    EXPECT_TRUE(std::isnan(low[0]));
    EXPECT_THROW(tomography::apply_transmission(low, 2, t), Error);
    EXPECT_THROW(tomography::apply_transmission(low, 1, std::vector<float>{1, 1}, -1), Error);
}

TEST(Transmission, MultiplyIsTheInverse) {
    std::vector<float> y{1, 2, 3, 4};
    const std::vector<float> t{0.3F, 0.7F};
    tomography::multiply_transmission(y, 2, t);
    EXPECT_EQ(tomography::apply_transmission(y, 2, t), 0U);
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_NEAR(y[i], static_cast<float>(i + 1), 1e-6);
}

} // namespace
} // namespace xrdct
