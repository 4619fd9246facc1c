// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/scan_rays.hpp"

#include "support/sample_scan.hpp"
#include "support/temporary_directory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace xrdct::pipeline {
namespace {

using test::SampleScan;

/// A scan with monitor, transmission, standard deviations (intensity + 0.5) and pixels (100 +
/// channel); every rank has its own copy of the file.
class ScanRaysTest : public testing::Test {
  protected:
    ScanRaysTest() { sample_.write(folder_ / "scan.nxs"); }

    Scan open(settings::NoiseModel noise) const {
        settings::Job job;
        job.input.file = folder_ / "scan.nxs";
        job.noise = noise;
        return Scan::open(job);
    }
    std::size_t row() const { return sample_.n_translation * sample_.n_channel; }

    SampleScan sample_;
    test::TemporaryDirectory folder_;
    mpi::Communicator world_ = mpi::Communicator::world();
};

TEST_F(ScanRaysTest, DivideByMonitorAndTransmission) {
    const auto scan = open(settings::NoiseModel::errors);
    const auto transmission = scan.transmission();
    const ScanRays rays(scan, world_, transmission), uncorrected(scan, world_);
    EXPECT_EQ(rays.variance_kind(), solvers::VarianceKind::given);
    std::vector<float> y(row()), v(row()), plain(row());
    rays.read_rays({2, 3}, y, v);
    uncorrected.read_rays({2, 3}, plain, {});
    for (std::size_t t = 0; t < sample_.n_translation; ++t) {
        const std::size_t ray = 2 * sample_.n_translation + t;
        const float f = rays.ray_factor(ray);
        EXPECT_FLOAT_EQ(f, uncorrected.ray_factor(ray) / transmission[ray]);
        EXPECT_FLOAT_EQ(uncorrected.ray_factor(ray), scan.monitor_factor()[ray]);
        for (std::size_t k = 0; k < sample_.n_channel; ++k) {
            const double value = SampleScan::value(2, t, k);
            const std::size_t at = t * sample_.n_channel + k;
            EXPECT_FLOAT_EQ(y[at], static_cast<float>(f * value));
            EXPECT_FLOAT_EQ(v[at], static_cast<float>(f * f * std::pow(value + 0.5, 2)));
            EXPECT_FLOAT_EQ(plain[at], static_cast<float>(scan.monitor_factor()[ray] * value));
        }
    }
}

TEST_F(ScanRaysTest, HaveTheVarianceOfMeansOverPixels) {
    const auto scan = open(settings::NoiseModel::counts);
    const ScanRays rays(scan, world_);
    EXPECT_EQ(rays.variance_kind(), solvers::VarianceKind::counts);
    EXPECT_FLOAT_EQ(rays.channel_gain(4), 1.0F / 104);
    std::vector<float> y(row()), v(row());
    rays.read_rays({1, 2}, y, v);
    const std::size_t at = 3 * sample_.n_channel + 4;
    const float f = rays.ray_factor(sample_.n_translation + 3);
    EXPECT_FLOAT_EQ(v[at], static_cast<float>(f * f * SampleScan::value(1, 3, 4) / 104));
}

TEST_F(ScanRaysTest, AreTheSameByChannels) {
    for (const auto noise : {settings::NoiseModel::errors, settings::NoiseModel::counts}) {
        const auto scan = open(noise);
        const auto transmission = scan.transmission();
        const ScanRays rays(scan, world_, transmission);
        const std::size_t all = sample_.n_rotation * sample_.n_translation;
        std::vector<float> y(all * sample_.n_channel), v(y.size());
        rays.read_rays({0, sample_.n_rotation}, y, v);
        const mpi::BlockRange wanted{3, 9};
        const auto own = rays.own_channels(wanted);
        std::vector<float> shard(all * own.size()), variance(shard.size());
        rays.read_channels(wanted, shard, variance);
        std::vector<float> without_variance(shard.size());
        rays.read_channels(wanted, without_variance, {});
        EXPECT_EQ(without_variance, shard);
        for (std::size_t ray = 0; ray < all; ++ray)
            for (std::size_t k = own.begin; k < own.end; ++k) {
                const std::size_t at = ray * own.size() + k - own.begin;
                EXPECT_EQ(shard[at], y[ray * sample_.n_channel + k]);
                EXPECT_EQ(variance[at], v[ray * sample_.n_channel + k]);
            }
    }
}

} // namespace
} // namespace xrdct::pipeline
