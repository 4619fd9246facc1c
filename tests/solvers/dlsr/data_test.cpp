// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/data.hpp"

#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"

#include <cmath>
#include <functional>
#include <gmock/gmock.h>
#include <limits>

namespace {

using namespace xrdct;

constexpr float nan_float = std::numeric_limits<float>::quiet_NaN();
constexpr std::size_t rays = 37, channels = 23;

const mpi::Communicator& world() {
    static const mpi::Communicator communicator = mpi::Communicator::world();
    return communicator;
}

double ray_factor(std::size_t i) {
    return 0.3 + 0.1 * static_cast<double>(i * 7 % 11);
}
double channel_factor(std::size_t k) {
    return 20 + 15 * std::sin(0.8 * static_cast<double>(k));
}

struct Found {
    std::vector<double> channel, ray; ///< of all ranks
    std::vector<double> channel_weight;
    std::vector<float> ray_weight;
    double masked = 0;
};

/// Variances that factor; `spoil` may change them. Rays are spread over the ranks.
Found find(const std::function<void(std::size_t ray, std::size_t channel, float& intensity,
                                    float& variance)>& spoil,
           std::vector<std::size_t> left_out = {}, double floor = 0) {
    const auto own = mpi::block_range(rays, static_cast<std::size_t>(world().size()),
                                      static_cast<std::size_t>(world().rank()));
    dlsr::WeightFactors factors(channels, own.size());
    for (std::size_t i = own.begin; i < own.end; ++i) {
        std::vector<float> intensity, variance;
        for (std::size_t k = 0; k < channels; ++k) {
            intensity.push_back(1);
            variance.push_back(static_cast<float>(ray_factor(i) * channel_factor(k)));
            spoil(i, k, intensity.back(), variance.back());
        }
        factors.add(i - own.begin, intensity, variance);
    }
    std::vector<unsigned char> excluded(channels, 0);
    for (const std::size_t k : left_out)
        excluded[k] = 1;
    const auto weights = factors.finish(world(), excluded, floor);
    return {weights.channel_variance, world().allgather(weights.ray_variance),
            weights.channel_weight(), world().allgather(weights.ray_weight()), weights.masked};
}

/// All samples that are kept have their own variance; the others none.
void expect_exact(const Found& found, const std::function<bool(std::size_t)>& ray_out,
                  const std::function<bool(std::size_t)>& channel_out) {
    ASSERT_EQ(found.channel.size(), channels);
    ASSERT_EQ(found.ray.size(), rays);
    for (std::size_t k = 0; k < channels; ++k) {
        EXPECT_EQ(std::isnan(found.channel[k]), channel_out(k)) << "channel " << k;
        EXPECT_EQ(found.channel_weight[k] == 0, channel_out(k)) << "channel " << k;
        if (!channel_out(k)) {
            EXPECT_DOUBLE_EQ(found.channel_weight[k], 1 / found.channel[k]);
        }
    }
    for (std::size_t i = 0; i < rays; ++i) {
        EXPECT_EQ(std::isnan(found.ray[i]), ray_out(i)) << "ray " << i;
        EXPECT_EQ(found.ray_weight[i] == 0, ray_out(i)) << "ray " << i;
        if (ray_out(i))
            continue;
        EXPECT_FLOAT_EQ(found.ray_weight[i], static_cast<float>(1 / found.ray[i]));
        for (std::size_t k = 0; k < channels; ++k)
            if (!channel_out(k)) {
                EXPECT_NEAR(found.ray[i] * found.channel[k] / (ray_factor(i) * channel_factor(k)),
                            1, 1e-6)
                    << "ray " << i << " channel " << k;
            }
    }
}

bool never(std::size_t) {
    return false;
}

TEST(DlsrData, FindsTheFactors) {
    const Found found = find([](auto...) {});
    expect_exact(found, never, never);
    double mean = 0;
    for (const double variance : found.ray)
        mean += variance / rays;
    EXPECT_NEAR(mean, 1, 1e-6);
}

TEST(DlsrData, ExcludedChannels) {
    expect_exact(find([](auto...) {}, {0, 5, 6, 22}), never,
                 [](std::size_t k) { return k == 0 || k == 5 || k == 6 || k == 22; });
}

TEST(DlsrData, AnExcludedChannelMayBeMissing) {
    // Rays that lack an excluded channel stay, with the same variance.
    const auto found = find(
        [](std::size_t i, std::size_t k, float& intensity, float&) {
            if (k == 5 && i % 3 == 0)
                intensity = nan_float;
        },
        {5});
    expect_exact(found, never, [](std::size_t k) { return k == 5; });
}

TEST(DlsrData, AChannelMissingInMostRaysIsLeftOut) {
    const auto found = find([](std::size_t i, std::size_t k, float& intensity, float&) {
        if (k == 7 && i >= 3)
            intensity = nan_float;
    });
    expect_exact(found, never, [](std::size_t k) { return k == 7; });
}

TEST(DlsrData, SingleSamplesMayBeMissing) {
    const auto found = find([](std::size_t i, std::size_t k, float& intensity, float& variance) {
        if (i == 4 && k == 2)
            intensity = nan_float;
        if (i >= 30 && k == 9)
            variance = std::numeric_limits<float>::infinity();
    });
    expect_exact(found, never, never);
    EXPECT_EQ(found.masked, 8);
}

TEST(DlsrData, ARayThatLacksMostChannelsIsLeftOut) {
    const auto found = find([](std::size_t i, std::size_t k, float& intensity, float&) {
        if ((i == 4 && k >= 2) || (i == 5 && k >= 3))
            intensity = nan_float;
    });
    expect_exact(
        found, [](std::size_t i) { return i == 4; }, never);
    EXPECT_EQ(found.masked, 20);
}

TEST(DlsrData, ARayWithoutAnythingAndAChannelWithoutAnything) {
    const auto found = find([](std::size_t i, std::size_t k, float& intensity, float&) {
        if (i == 11 || k == 3)
            intensity = nan_float;
    });
    expect_exact(
        found, [](std::size_t i) { return i == 11; }, [](std::size_t k) { return k == 3; });
}

TEST(DlsrData, NothingAtAll) {
    const auto found = find([](auto, auto, float& intensity, float&) { intensity = nan_float; });
    for (const double variance : found.channel)
        EXPECT_TRUE(std::isnan(variance));
    for (const double variance : found.ray)
        EXPECT_TRUE(std::isnan(variance));
    for (const float weight : found.ray_weight)
        EXPECT_EQ(weight, 0);
}

TEST(DlsrData, FewCountsGetTheFloor) {
    const auto found = find(
        [](std::size_t i, std::size_t k, float&, float& variance) {
            if (i == 8 || k == 12)
                variance = 0;
        },
        {}, 0.05);
    double channel_mean = 0, ray_mean = 0;
    for (std::size_t k = 0; k < channels; ++k)
        channel_mean += (k == 12 ? 0 : found.channel[k]) / channels;
    for (std::size_t i = 0; i < rays; ++i)
        ray_mean += (i == 8 ? 0 : found.ray[i]) / rays;
    EXPECT_NEAR(found.channel[12] / channel_mean, 0.05, 1e-6);
    EXPECT_NEAR(found.ray[8] / ray_mean, 0.05, 1e-6);
    EXPECT_NEAR(found.ray[9] * found.channel[2] / (ray_factor(9) * channel_factor(2)), 1, 1e-6);
}

TEST(DlsrData, MoreRanksThanRays) {
    dlsr::WeightFactors factors(2, world().is_root() ? 1 : 0);
    if (world().is_root())
        factors.add(0, std::vector<float>{1, 1}, std::vector<float>{3, 6});
    const auto weights = factors.finish(world(), std::vector<unsigned char>(2, 0));
    EXPECT_NEAR(weights.channel_variance[1] / weights.channel_variance[0], 2, 1e-9);
    if (world().is_root()) {
        EXPECT_NEAR(weights.ray_variance[0] * weights.channel_variance[0], 3, 1e-6);
    }
}

TEST(DlsrData, BadInput) {
    dlsr::WeightFactors factors(3, 2);
    const std::vector<float> three(3, 1), two(2, 1);
    EXPECT_THROW(factors.add(2, three, three), Error);
    EXPECT_THROW(factors.add(0, two, three), Error);
    EXPECT_THROW(factors.add(0, three, two), Error);
    const std::vector<unsigned char> marks(world().rank() == 0 ? 4 : 3, 0);
    EXPECT_THROW(factors.finish(world(), marks), Error); // on all ranks
}

} // namespace
