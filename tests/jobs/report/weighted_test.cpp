#include "jobs/report/weighted.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace xrdct;
using namespace xrdct::report;

namespace {

const double nan = std::nan("");

TEST(Summary, WeightsCoverageAndMedian) {
    // Weights 1, 3 on 10, 20; a value without weight, a weight without value, weights that are
    // none.
    const std::vector<double> values{10, 20, 5, nan, 7, 8}, weights{1, 3, 0, 4, -1, nan},
        errors{1, 3, 9, 9, 9, 9};
    const auto s = summarise(values, weights, errors);
    EXPECT_EQ(s.count, 2U);
    EXPECT_EQ(s.present, 3U);
    EXPECT_DOUBLE_EQ(s.share_of_voxels(), 2.0 / 3.0);
    EXPECT_DOUBLE_EQ(s.share_of_amount, 0.5);
    EXPECT_DOUBLE_EQ(s.mean, 17.5);
    EXPECT_DOUBLE_EQ(s.spread, std::sqrt(0.25 * 7.5 * 7.5 + 0.75 * 2.5 * 2.5));
    EXPECT_DOUBLE_EQ(s.median, 20);
    EXPECT_DOUBLE_EQ(s.median_error, 2);
    EXPECT_FALSE(s.uniform);
}

TEST(Summary, GaussianTruth) {
    std::mt19937 random(7);
    std::normal_distribution<double> gauss(14.35, 0.02);
    std::uniform_real_distribution<double> uniform(0.1, 1.0);
    std::vector<double> values, weights;
    for (int i = 0; i < 40000; ++i) {
        values.push_back(gauss(random));
        weights.push_back(uniform(random));
    }
    const auto s = summarise(values, weights);
    EXPECT_NEAR(s.mean, 14.35, 5e-4);
    EXPECT_NEAR(s.median, 14.35, 7e-4);
    EXPECT_NEAR(s.spread, 0.02, 3e-4);
    // A weight that grows with the value shifts the mean by σ² dln w/dv.
    for (std::size_t i = 0; i < values.size(); ++i)
        weights[i] = std::exp(20.0 * (values[i] - 14.35));
    EXPECT_NEAR(summarise(values, weights).mean, 14.35 + 20.0 * 0.02 * 0.02, 1e-3);
}

TEST(Summary, NothingAndOneValue) {
    const auto none = summarise(std::vector<double>{nan, nan}, std::vector<double>{1, 1});
    EXPECT_EQ(none.count, 0U);
    EXPECT_EQ(none.present, 2U);
    EXPECT_TRUE(std::isnan(none.mean) && std::isnan(none.spread) && std::isnan(none.median));
    EXPECT_DOUBLE_EQ(none.share_of_amount, 0);
    const auto one = summarise(std::vector<double>{3.5});
    EXPECT_DOUBLE_EQ(one.mean, 3.5);
    EXPECT_DOUBLE_EQ(one.spread, 0);
    EXPECT_TRUE(one.uniform);
    EXPECT_TRUE(std::isnan(one.median_error));
    EXPECT_TRUE(std::isnan(summarise({}).share_of_voxels()));
    EXPECT_THROW(summarise(std::vector<double>{1, 2}, std::vector<double>{1}), Error);
    EXPECT_THROW(summarise(std::vector<double>{1}, {}, std::vector<double>{1, 2}), Error);
}

TEST(WeightedMedian, HalvesTheWeight) {
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{3, 1, 2}), 2);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{4, 1, 2, 3}), 2.5);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{1, 2, 3}, std::vector<double>{10, 1, 1}),
                     1);
    EXPECT_DOUBLE_EQ(weighted_median(std::vector<double>{1, 2, 3}, std::vector<double>{1, 1, 2}),
                     2.5);
    EXPECT_TRUE(std::isnan(weighted_median(std::vector<double>{nan})));
}

/// A map f(x, y) on n × n voxels of 0.1 about (0.3, −0.2).
struct Field {
    std::vector<double> x, y, values;
    template <typename F>
    Field(std::size_t n, F&& f) {
        for (std::size_t i = 0; i < n; ++i) {
            const double at = 0.1 * (static_cast<double>(i) - 0.5 * static_cast<double>(n - 1));
            x.push_back(0.3 + at);
            y.push_back(-0.2 + at);
        }
        for (const double v : y)
            for (const double u : x)
                values.push_back(f(u - 0.3, v + 0.2));
    }
};

TEST(RadialProfileOf, KnownFunctions) {
    const Field square(81, [](double u, double v) { return u * u + v * v; });
    const auto profile = radial_profile(square.values, {}, square.x, square.y, 0.3, -0.2, 0.15);
    ASSERT_GT(profile.radius.size(), 20U);
    for (std::size_t b = 2; b < 26; ++b) {
        const double low = 0.15 * static_cast<double>(b), high = low + 0.15;
        EXPECT_NEAR(profile.radius[b], 0.5 * (low + high), 1e-12);
        // Over a full ring <r²> = (low² + high²) / 2; voxels sample it.
        EXPECT_NEAR(profile.mean[b], 0.5 * (low * low + high * high), 0.12 * low) << b;
    }
    const Field slope(81, [](double u, double) { return u; });
    const auto flat = radial_profile(slope.values, {}, slope.x, slope.y, 0.3, -0.2, 0.15);
    for (std::size_t b = 2; b < 26; ++b) {
        EXPECT_NEAR(flat.mean[b], 0, 1e-9) << b;
        EXPECT_NEAR(flat.spread[b], flat.radius[b] / std::sqrt(2.0), 0.1) << b;
    }
}

TEST(RadialProfileOf, WeightsGapsAndCounts) {
    Field field(41, [](double u, double) { return u > 0 ? 3.0 : 1.0; });
    std::vector<double> weights;
    for (std::size_t i = 0; i < field.values.size(); ++i)
        weights.push_back(field.values[i] > 2 ? 3.0 : 1.0);
    for (std::size_t j = 0; j < 41; ++j) // the column in the middle has no partner
        field.values[j * 41 + 20] = nan;
    // No voxel on the edge of a bin, where rounding would decide.
    const auto profile = radial_profile(field.values, weights, field.x, field.y, 0.3, -0.2, 0.1937);
    std::size_t total = 0;
    for (std::size_t b = 1; b < 9; ++b)
        EXPECT_NEAR(profile.mean[b], 2.5, 1e-9) << b;
    for (const auto count : profile.count)
        total += count;
    EXPECT_EQ(total, 41U * 40U);
    // An annulus alone: bins inside it stay empty.
    const Field ring(41, [](double u, double v) { return std::hypot(u, v) > 1.5 ? 1.0 : nan; });
    const auto outer = radial_profile(ring.values, {}, ring.x, ring.y, 0.3, -0.2, 0.2);
    EXPECT_TRUE(std::isnan(outer.mean[3]));
    EXPECT_EQ(outer.count[3], 0U);
    EXPECT_EQ(outer.mean[9], 1.0);
    EXPECT_LT(outer.filled(), outer.mean.size());
}

TEST(RadialProfileOf, BadInput) {
    const std::vector<double> values(6, 1.0), x{0, 1, 2}, y{0, 1};
    EXPECT_EQ(radial_profile(values, {}, x, y, 0, 0, 1.5).count[0], 4U);
    EXPECT_THROW(radial_profile(values, {}, x, x, 0, 0, 1), Error);
    EXPECT_THROW(radial_profile(values, std::vector<double>(5, 1.0), x, y, 0, 0, 1), Error);
    EXPECT_THROW(radial_profile(values, {}, x, y, 0, 0, 0), Error);
    EXPECT_THROW(radial_profile(values, {}, x, y, nan, 0, 1), Error);
}

TEST(CentreOfMass, OfAMask) {
    const std::vector<double> x{0, 1, 2}, y{5, 7}, mask{0, 1, 1, 0, 0, 2};
    const auto centre = centre_of_mass(mask, x, y);
    EXPECT_DOUBLE_EQ(centre.x, (1 + 2 + 2 * 2) / 4.0);
    EXPECT_DOUBLE_EQ(centre.y, (5 + 5 + 2 * 7) / 4.0);
    EXPECT_TRUE(std::isnan(centre_of_mass(std::vector<double>(6, 0.0), x, y).x));
    EXPECT_THROW(centre_of_mass(mask, x, x), Error);
}

TEST(FilledOutline, GapsDoNotMoveTheCentre) {
    // A disc with an empty core and a loose winding on one side; a pixel outside stays outside.
    Field disc(61, [](double u, double v) {
        const double r = std::hypot(u, v);
        return r > 2.5 || r < 0.7 || (u < 0 && r > 1.8 && r < 2.1) ? 0.0 : 1.0;
    });
    EXPECT_GT(centre_of_mass(disc.values, disc.x, disc.y).x, 0.35);
    const auto filled = filled_outline(disc.values, 61);
    const auto centre = centre_of_mass(filled, disc.x, disc.y);
    EXPECT_NEAR(centre.x, 0.3, 1e-9);
    EXPECT_NEAR(centre.y, -0.2, 1e-9);
    EXPECT_EQ(filled[0], 0);
    EXPECT_EQ(filled[30 * 61 + 30], 1);
    EXPECT_THROW(filled_outline(disc.values, 60), Error);
    EXPECT_THROW(filled_outline(disc.values, 0), Error);
}

TEST(RelativeMasses, FollowFromScalesAndWeightFractions) {
    // Phases A with B, B with C, never A with C; masses m = 2, 5, 0.25 per scale.
    const std::vector<double> m{2, 5, 0.25};
    std::vector<std::vector<double>> scales{
        {1, 2, 0, 0, nan}, {3, 0, 1, 2, nan}, {0, 0, 4, 8, nan}};
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
