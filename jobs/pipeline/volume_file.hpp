// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"
#include "solvers/voxels/coarse_variance.hpp"
#include "solvers/voxels/volume_source.hpp"

#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

namespace xrdct::pipeline {

/// The reconstructed volume on disk, opened for reading by one rank.
class VolumeFile final : public voxels::VolumeSource {
  public:
    /// Channels in the `excluded` regions [deg 2θ] get no variance, which leaves them out of every
    /// fit. Throws Error naming the file when it is no product of the fbp stage or says no
    /// wavelength.
    VolumeFile(const std::filesystem::path& path,
               const std::vector<std::pair<double, double>>& excluded);

    std::size_t n() const override { return n_; }
    std::size_t channels() const override { return channels_; }
    const std::vector<double>& two_theta() const override { return two_theta_; }
    double wavelength() const override { return wavelength_; }
    bool relative_variance() const override { return relative_variance_; }
    void read_patterns(std::size_t y, std::span<const std::size_t> x, std::span<float> intensity,
                       std::span<float> variance) const override;

    const std::vector<double>& x() const { return x_; }         ///< mm, of rows and columns
    const std::vector<double>& total() const { return total_; } ///< total intensity [y][x]

  private:
    hdf5::File file_;
    hdf5::Group stage_;
    hdf5::Dataset intensity_, variance_;
    std::size_t n_ = 0, channels_ = 0;
    std::optional<voxels::CoarseVariance> coarse_;
    std::vector<double> x_, two_theta_, total_;
    double wavelength_ = 0;
    bool relative_variance_ = false;
    std::vector<std::size_t> excluded_;
    // Of the row that was read last.
    mutable std::vector<float> row_, coarse_rows_, variance_row_;
};

} // namespace xrdct::pipeline
