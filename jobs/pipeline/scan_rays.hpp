// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/scan.hpp"
#include "mpi/comm/communicator.hpp"
#include "solvers/ray_source.hpp"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// The rays of a job's scan, divided by the monitor over its mean and, if asked for, by the
/// transmission:
///
///     y' = f y,  var y' = f² σ² (σ given)  or  f² |y| / pixels (counts; pixels = 1 if not known)
class ScanRays final : public solvers::RaySource {
  public:
    /// `transmission` [rotation][translation]; empty: intensities are not corrected for
    /// absorption. Scan, communicator and transmission must outlive the object. Not collective.
    ScanRays(const Scan& scan, const mpi::Communicator& communicator,
             std::span<const float> transmission = {});

    const tomography::ScanGeometry& geometry() const override { return scan_.geometry(); }
    std::string name() const override { return scan_.file().path().string(); }
    std::size_t n_channel() const override { return scan_.n_channel(); }
    const std::vector<double>& two_theta() const override { return two_theta_; }
    double wavelength() const override { return scan_.wavelength(); }
    solvers::VarianceKind variance_kind() const override;
    float ray_factor(std::size_t ray) const override;
    float channel_gain(std::size_t channel) const override {
        return channel_gain_.empty() ? 1.0F : channel_gain_[channel];
    }
    void read_rays(mpi::BlockRange rotations, std::span<float> intensity,
                   std::span<float> variance) const override;
    mpi::BlockRange own_channels(mpi::BlockRange channels) const override;
    void read_channels(mpi::BlockRange channels, std::span<float> intensity,
                       std::span<float> variance) const override;

  private:
    /// `variance` holds the given standard deviations, or anything; empty: not wanted.
    void correct(std::size_t first_ray, mpi::BlockRange channels, std::span<float> intensity,
                 std::span<float> variance) const;

    const Scan& scan_;
    const mpi::Communicator& communicator_;
    std::span<const float> transmission_;
    std::vector<double> two_theta_;
    std::vector<float> channel_gain_; ///< empty: 1
};

} // namespace xrdct::pipeline
