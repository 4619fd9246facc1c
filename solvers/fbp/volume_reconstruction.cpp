// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/fbp/volume_reconstruction.hpp"

#include "base/numbers.hpp"
#include "tomography/strip_projector.hpp"

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
      total_(grid.size(), 0.0),
      ray_total_(rays.geometry().rotation.size() * rays.geometry().translation.size(), 0.0) {}

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
        for (std::size_t ray = 0; ray < ray_total_.size(); ++ray)
            for (std::size_t k = 0; k < own_.size(); ++k)
                ray_total_[ray] += shard_[ray * own_.size() + k];
    });
    done_ = pass_.end;
}

std::vector<double> VolumeReconstruction::total() const {
    auto sum = total_;
    communicator_.allreduce(std::span<double>(sum), mpi::Reduction::sum);
    return sum;
}

double VolumeReconstruction::reprojection_misfit() const {
    const auto image = total();
    auto rays = ray_total_;
    communicator_.allreduce(std::span<double>(rays), mpi::Reduction::sum);
    double misfit = nan_value;
    communicator_.collectively([&] {
        if (!communicator_.is_root())
            return;
        const tomography::StripProjector projector(rays_.geometry(), grid_);
        const std::vector<float> values(image.begin(), image.end());
        std::vector<float> projected(rays.size());
        projector.forward(values, 1, projected);
        double measured = 0, both = 0, calculated = 0;
        for (std::size_t i = 0; i < rays.size(); ++i) {
            if (!std::isfinite(rays[i]) || !std::isfinite(projected[i]))
                continue;
            const double p = projected[i];
            measured += rays[i] * rays[i];
            both += rays[i] * p;
            calculated += p * p;
        }
        // The least of ‖s − k p‖² over k.
        if (measured > 0)
            misfit = std::sqrt(
                std::max(0.0, 1 - (calculated > 0 ? both * both / calculated / measured : 0.0)));
    });
    communicator_.broadcast(misfit);
    return misfit;
}

} // namespace xrdct::fbp
