// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/decomposition.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "tomography/scan_geometry.hpp"

#include <array>
#include <vector>

namespace xrdct::pipeline {

/// The group "volume" of the fbp stage's product: intensity [y][x][channel] and its variances on
/// coarser pixels, written channel by channel.
class VolumeWriter {
  public:
    /// Makes the datasets. Collective on a file opened on a communicator.
    VolumeWriter(hdf5::Group& stage, const tomography::ImageGrid& grid,
                 const tomography::ImageGrid& variance_grid, const std::vector<double>& two_theta,
                 std::size_t n_channel, bool relative_variance);

    /// Writes this rank's channels `own`: intensity [y][x][own channel], variance on its pixels.
    /// Independent.
    void write(mpi::BlockRange own, const std::vector<float>& intensity,
               const std::vector<float>& variance);

  private:
    struct Dataset {
        hdf5::Dataset dataset;
        std::size_t n;                    ///< pixels per side
        std::array<std::size_t, 2> chunk; ///< rows and channels
    };
    static Dataset make(hdf5::Group& group, const std::string& name, std::size_t n,
                        std::size_t n_channel);
    void write(Dataset& to, mpi::BlockRange own, const std::vector<float>& values);

    hdf5::Group group_;
    Dataset intensity_, variance_;
    std::vector<float> piece_;
};

} // namespace xrdct::pipeline
