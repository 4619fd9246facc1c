// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/fbp/volume_reconstruction.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::fbp {

VolumeReconstruction::VolumeReconstruction(const mpi::Communicator& communicator,
                                           const solvers::RaySource& rays,
                                           const tomography::ImageGrid& grid,
                                           const VolumeOptions& options)
    : communicator_(communicator), rays_(rays),
      grid_(grid), coarse_{(grid.n + options.variance_coarsening - 1) / options.variance_coarsening,
                           grid.pixel * static_cast<double>(options.variance_coarsening)},
      block_(options.channels_per_pass * static_cast<std::size_t>(communicator.size())),
      fbp_(communicator.collectively([&] {
          return tomography::FilteredBackProjection(rays.geometry(), grid, options.filter);
      })),
      total_(grid.size(), 0.0) {}

void VolumeReconstruction::read() {
    const auto& geometry = rays_.geometry();
    const std::size_t n_ray = geometry.rotation.size() * geometry.translation.size();
    pass_ = {done_, std::min(done_ + block_, rays_.n_channel())};
    own_ = rays_.own_channels(pass_);
    communicator_.collectively([&] {
        shard_.resize(n_ray * own_.size());
        shard_variance_.resize(n_ray * own_.size());
        image_.resize(grid_.size() * own_.size());
        image_variance_.resize(coarse_.size() * own_.size());
    });
    rays_.read_channels(pass_, shard_, shard_variance_);
}

void VolumeReconstruction::reconstruct() {
    communicator_.collectively([&] {
        if (own_.empty())
            return;
        fbp_.reconstruct(shard_, own_.size(), image_);
        fbp_.propagate_variance(shard_variance_, own_.size(), coarse_, image_variance_);
        for (std::size_t pixel = 0; pixel < grid_.size(); ++pixel) {
            double sum = 0;
            const float* values = image_.data() + pixel * own_.size();
            for (std::size_t k = 0; k < own_.size(); ++k)
                sum += std::isfinite(values[k]) ? values[k] : 0.0F;
            total_[pixel] += sum;
        }
    });
    done_ = pass_.end;
}

std::vector<double> VolumeReconstruction::total() const {
    auto sum = total_;
    communicator_.allreduce(std::span<double>(sum), mpi::Reduction::sum);
    return sum;
}

} // namespace xrdct::fbp
