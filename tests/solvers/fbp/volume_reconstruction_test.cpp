// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/fbp/channel_passes.hpp"
#include "solvers/fbp/volume_reconstruction.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

using namespace xrdct;

namespace {

constexpr std::size_t n_rotation = 12, n_translation = 16, n_channel = 11;

/// A scan in memory.
class Rays : public solvers::RaySource {
  public:
    explicit Rays(const mpi::Communicator& communicator) : communicator_(communicator) {
        for (std::size_t i = 0; i < n_rotation; ++i)
            geometry_.rotation.push_back(15.0 * static_cast<double>(i));
        for (std::size_t j = 0; j < n_translation; ++j)
            geometry_.translation.push_back(0.1 * (static_cast<double>(j) - 7.5));
    }
    static float value(std::size_t ray, std::size_t channel) {
        return 1 + std::sin(0.3F * static_cast<float>(ray * (channel + 1)));
    }
    const tomography::ScanGeometry& geometry() const override { return geometry_; }
    std::size_t n_channel() const override { return ::n_channel; }
    const std::vector<double>& two_theta() const override { return two_theta_; }
    double wavelength() const override { return std::numeric_limits<double>::quiet_NaN(); }
    solvers::VarianceKind variance_kind() const override { return solvers::VarianceKind::counts; }
    float ray_factor(std::size_t) const override { return 1; }
    float channel_gain(std::size_t) const override { return 1; }
    void read_rays(mpi::BlockRange, std::span<float>, std::span<float>) const override {}
    mpi::BlockRange own_channels(mpi::BlockRange channels) const override {
        const auto own =
            mpi::block_range(channels.size(), static_cast<std::size_t>(communicator_.size()),
                             static_cast<std::size_t>(communicator_.rank()));
        return {channels.begin + own.begin, channels.begin + own.end};
    }
    void read_channels(mpi::BlockRange channels, std::span<float> intensity,
                       std::span<float> variance) const override {
        const auto own = own_channels(channels);
        for (std::size_t ray = 0; ray < n_rotation * n_translation; ++ray)
            for (std::size_t k = 0; k < own.size(); ++k) {
                intensity[ray * own.size() + k] = measured(ray, own.begin + k);
                variance[ray * own.size() + k] = 1 + value(ray, own.begin + k);
            }
    }

    virtual float measured(std::size_t ray, std::size_t channel) const {
        return value(ray, channel);
    }

  private:
    const mpi::Communicator& communicator_;

  protected:
    tomography::ScanGeometry geometry_;

  private:
    std::vector<double> two_theta_;
};

/// A disc beside the axis, brighter in higher channels, that the beam hits `shift` mm later than
/// the geometry says.
class Disc final : public Rays {
  public:
    Disc(const mpi::Communicator& communicator, double shift) : Rays(communicator), shift_(shift) {}
    float measured(std::size_t ray, std::size_t channel) const override {
        const double omega = geometry_.rotation[ray / n_translation] * std::acos(-1.0) / 180;
        const double centre = 0.12 * std::cos(omega) + 0.05 * std::sin(omega);
        const double t = geometry_.translation[ray % n_translation] - shift_ - centre;
        return static_cast<float>(static_cast<double>(channel + 1) * 2 *
                                  std::sqrt(std::max(0.0, 0.4 * 0.4 - t * t)));
    }

  private:
    double shift_;
};

double reprojection_misfit(double shift) {
    const auto world = mpi::Communicator::world();
    const Disc rays(world, shift);
    fbp::VolumeReconstruction volume(world, rays, {n_translation, 0.1}, {{}, 2, 4});
    while (!volume.finished()) {
        volume.read();
        volume.reconstruct();
    }
    return volume.reprojection_misfit();
}

TEST(VolumeReconstruction, ProjectionsOfTheImageAreTheRays) {
    const double right = reprojection_misfit(0), wrong = reprojection_misfit(0.4);
    EXPECT_LT(right, 0.12);
    EXPECT_GT(wrong, 0.25);
}

/// The image of one channel, all by itself.
std::vector<float> image_of(const Rays& rays, const tomography::ImageGrid& grid,
                            std::size_t channel) {
    std::vector<float> sinogram(n_rotation * n_translation), image(grid.size());
    for (std::size_t ray = 0; ray < sinogram.size(); ++ray)
        sinogram[ray] = Rays::value(ray, channel);
    tomography::FilteredBackProjection(rays.geometry(), grid, {}).reconstruct(sinogram, 1, image);
    return image;
}

TEST(VolumeReconstruction, EveryChannelOnceWhateverThePasses) {
    const auto world = mpi::Communicator::world();
    const Rays rays(world);
    const tomography::ImageGrid grid{n_translation, 0.1};
    for (const std::size_t per_pass : {1, 3, 20}) {
        fbp::VolumeReconstruction volume(world, rays, grid, {{}, per_pass, 4});
        EXPECT_EQ(volume.variance_grid().n, 4U);
        std::vector<double> seen(n_channel, 0.0), sum(grid.size(), 0.0);
        while (!volume.finished()) {
            volume.read();
            volume.reconstruct();
            const auto own = volume.own();
            ASSERT_EQ(volume.image().size(), grid.size() * own.size());
            for (std::size_t k = 0; k < own.size(); ++k) {
                ++seen[own.begin + k];
                const auto expected = image_of(rays, grid, own.begin + k);
                for (std::size_t i = 0; i < grid.size(); ++i) {
                    ASSERT_NEAR(volume.image()[i * own.size() + k], expected[i], 1e-4);
                    sum[i] += volume.image()[i * own.size() + k];
                }
            }
            for (const float variance : volume.variance())
                EXPECT_GE(variance, 0);
        }
        world.allreduce(std::span<double>(seen), mpi::Reduction::sum);
        world.allreduce(std::span<double>(sum), mpi::Reduction::sum);
        EXPECT_EQ(seen, std::vector<double>(n_channel, 1.0));
        const auto total = volume.total();
        for (std::size_t i = 0; i < grid.size(); ++i)
            EXPECT_NEAR(total[i], sum[i], 1e-9 + 1e-12 * std::abs(sum[i]));
    }
}

TEST(ChannelPasses, FallWithRanksAndMemory) {
    const fbp::VolumeSize size{400 * 570, 570 * 570, 700};
    EXPECT_EQ(fbp::channels_per_pass(size, 1, 0), 128U);
    EXPECT_EQ(fbp::channels_per_pass(size, 4, 0), 32U);
    EXPECT_EQ(fbp::channels_per_pass(size, 100, 0), 7U);
    EXPECT_EQ(fbp::channels_per_pass(size, 1, 1), 0U);
    const auto limit = fbp::memory_per_rank(size, 20);
    const auto channels = fbp::channels_per_pass(size, 1, limit);
    EXPECT_GT(channels, 8U);
    EXPECT_LE(fbp::memory_per_rank(size, channels), limit);
    EXPECT_EQ(fbp::channels_per_pass(size, 1, fbp::memory_per_rank(size, 1)), 1U);
}

} // namespace
