// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/scan_rays.hpp"

#include "mpi/scan/sinogram_file.hpp"

#include <cmath>
#include <limits>

namespace xrdct::pipeline {

ScanRays::ScanRays(const Scan& scan, const mpi::Communicator& communicator,
                   std::span<const float> transmission)
    : scan_(scan), communicator_(communicator), transmission_(transmission),
      two_theta_(scan.two_theta()) {
    if (scan.noise() == settings::NoiseModel::counts)
        for (const double pixels : scan.pixels())
            channel_gain_.push_back(pixels > 0 ? static_cast<float>(1 / pixels)
                                               : std::numeric_limits<float>::quiet_NaN());
}

solvers::VarianceKind ScanRays::variance_kind() const {
    switch (scan_.noise()) {
    case settings::NoiseModel::errors:
        return solvers::VarianceKind::given;
    case settings::NoiseModel::counts:
        return solvers::VarianceKind::counts;
    default:
        return solvers::VarianceKind::relative;
    }
}

float ScanRays::ray_factor(std::size_t ray) const {
    const auto& monitor = scan_.monitor_factor();
    const float factor = monitor.empty() ? 1.0F : monitor[ray];
    return transmission_.empty() ? factor : factor / transmission_[ray];
}

void ScanRays::correct(std::size_t first_ray, mpi::BlockRange channels, std::span<float> intensity,
                       std::span<float> variance) const {
    const std::size_t n = channels.size();
    const std::size_t rays = n > 0 ? intensity.size() / n : 0;
    const bool given = scan_.noise() == settings::NoiseModel::errors;
    std::vector<float> gain(n);
    for (std::size_t k = 0; k < n; ++k)
        gain[k] = channel_gain(channels.begin + k);
    for (std::size_t ray = 0; ray < rays; ++ray) {
        const float factor = ray_factor(first_ray + ray);
        float* y = intensity.data() + ray * n;
        if (!variance.empty()) {
            float* v = variance.data() + ray * n;
            const float squared = factor * factor;
            for (std::size_t k = 0; k < n; ++k)
                v[k] = squared * (given ? v[k] * v[k] : std::abs(y[k]) * gain[k]);
        }
        for (std::size_t k = 0; k < n; ++k)
            y[k] *= factor;
    }
}

void ScanRays::read_rays(mpi::BlockRange rotations, std::span<float> intensity,
                         std::span<float> variance) const {
    const auto channels = scan_.channels();
    scan_.file().read_rows(rotations, channels, intensity);
    if (scan_.noise() == settings::NoiseModel::errors && !variance.empty())
        scan_.file().read_rows(rotations, channels, variance, scan::SinogramArray::errors);
    correct(rotations.begin * geometry().translation.size(), {0, scan_.n_channel()}, intensity,
            variance);
}

mpi::BlockRange ScanRays::own_channels(mpi::BlockRange channels) const {
    return scan::SinogramFile::own_channels(channels, communicator_);
}

void ScanRays::read_channels(mpi::BlockRange channels, std::span<float> intensity,
                             std::span<float> variance) const {
    const std::size_t first = scan_.channels().begin;
    const mpi::BlockRange in_file{first + channels.begin, first + channels.end};
    scan_.file().read_channel_shard(communicator_, in_file, intensity);
    // A rank without channels passes an empty span either way, and reads along.
    const bool wanted =
        communicator_.allreduce(variance.empty() ? 0.0 : 1.0, mpi::Reduction::max) > 0;
    if (scan_.noise() == settings::NoiseModel::errors && wanted)
        scan_.file().read_channel_shard(communicator_, in_file, variance,
                                        scan::SinogramArray::errors);
    communicator_.collectively([&] { correct(0, own_channels(channels), intensity, variance); });
}

} // namespace xrdct::pipeline
