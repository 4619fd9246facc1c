// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/scan_data.hpp"

#include "mpi/comm/communicator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace xrdct::dlsr {
namespace {

constexpr std::size_t rotations = 7, translations = 5, channels = 30;

double ray_scale(std::size_t ray) {
    return 1 + 0.1 * static_cast<double>(ray % 11);
}
double channel_scale(std::size_t channel) {
    return 100 + 10 * static_cast<double>(channel % 3);
}

/// Counts that factor into ray and channel, read from nowhere.
class Counts final : public solvers::RaySource {
  public:
    Counts() {
        for (std::size_t i = 0; i < rotations; ++i)
            geometry_.rotation.push_back(25.0 * static_cast<double>(i));
        for (std::size_t j = 0; j < translations; ++j)
            geometry_.translation.push_back(0.1 * static_cast<double>(j));
        for (std::size_t k = 0; k < channels; ++k)
            two_theta_.push_back(1 + 0.1 * static_cast<double>(k));
    }
    const tomography::ScanGeometry& geometry() const override { return geometry_; }
    std::size_t n_channel() const override { return channels; }
    const std::vector<double>& two_theta() const override { return two_theta_; }
    double wavelength() const override { return 0.12; }
    solvers::VarianceKind variance_kind() const override { return solvers::VarianceKind::counts; }
    float ray_factor(std::size_t) const override { return 1; }
    float channel_gain(std::size_t) const override { return 1; }
    void read_rays(mpi::BlockRange wanted, std::span<float> intensity,
                   std::span<float> variance) const override {
        for (std::size_t r = 0; r < wanted.size() * translations; ++r)
            for (std::size_t k = 0; k < channels; ++k) {
                const std::size_t ray = wanted.begin * translations + r, at = r * channels + k;
                intensity[at] = static_cast<float>(ray_scale(ray) * channel_scale(k));
                if (ray == masked_ray && k == 4)
                    intensity[at] = NAN;
                variance[at] = intensity[at];
            }
    }
    mpi::BlockRange own_channels(mpi::BlockRange) const override { return {}; }
    void read_channels(mpi::BlockRange, std::span<float>, std::span<float>) const override {}

    std::size_t masked_ray = 1000; ///< whose channel 4 is missing

  private:
    tomography::ScanGeometry geometry_;
    std::vector<double> two_theta_;
};

TEST(ScanData, HasOwnRotationsAndTheirTransmission) {
    const auto world = mpi::Communicator::world();
    const Counts counts;
    std::vector<float> transmission;
    for (std::size_t ray = 0; ray < rotations * translations; ++ray)
        transmission.push_back(static_cast<float>(ray));
    const ScanData scan(counts, world, transmission, {});
    const double all =
        world.allreduce(static_cast<double>(scan.rotations().size()), mpi::Reduction::sum);
    EXPECT_EQ(all, rotations);
    ASSERT_EQ(scan.transmission().size(), scan.ray_count());
    ASSERT_EQ(scan.geometry().rotation.size(), scan.rotations().size());
    if (!scan.rotations().empty()) {
        EXPECT_EQ(scan.transmission()[0],
                  static_cast<float>(scan.rotations().begin * translations));
        EXPECT_EQ(scan.geometry().rotation[0], 25.0 * static_cast<double>(scan.rotations().begin));
    }
    const ScanData open(counts, world, {}, {});
    for (const float value : open.transmission())
        EXPECT_EQ(value, 1);
}

TEST(ScanData, WeightsFactorAndLeaveOutWhatIsExcluded) {
    const auto world = mpi::Communicator::world();
    const Counts counts;
    Options options;
    options.excluded = {{1.15, 1.35}};
    ScanData scan(counts, world, {}, options);
    const auto weights = scan.weights();
    EXPECT_FALSE(scan.needs_model());
    for (std::size_t k = 0; k < channels; ++k)
        EXPECT_EQ(std::isnan(weights.channel_variance[k]), k == 2 || k == 3) << k;
    for (std::size_t r = 0; r < scan.ray_count(); ++r) {
        const std::size_t ray = scan.rotations().begin * translations + r;
        EXPECT_NEAR(weights.ray_variance[r] * weights.channel_variance[0],
                    ray_scale(ray) * channel_scale(0), 1e-3);
    }
}

TEST(ScanData, NeedsAModelWhereSamplesAreMaskedOrTheLossIsRobust) {
    const auto world = mpi::Communicator::world();
    Counts counts;
    counts.masked_ray = 12;
    ScanData masked(counts, world, {}, {});
    EXPECT_EQ(masked.weights().masked, 1);
    EXPECT_TRUE(masked.needs_model());
    counts.masked_ray = 1000;
    Options options;
    options.loss = Loss::huber;
    ScanData robust(counts, world, {}, options);
    robust.weights();
    EXPECT_TRUE(robust.needs_model());
    EXPECT_EQ(robust.pseudo_data().threshold(), options.threshold);
}

} // namespace
} // namespace xrdct::dlsr
