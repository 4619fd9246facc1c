// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "solvers/ray_source.hpp"
#include "tomography/fbp.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::fbp {

struct VolumeOptions {
    tomography::FbpOptions filter;
    std::size_t channels_per_pass = 8; ///< and rank
    /// The noise of a reconstruction varies slowly: variances are kept on pixels this many times
    /// larger.
    std::size_t variance_coarsening = 8;
};

/// Reconstructs all channels of a scan by filtered back-projection, a few at a time: every pass
/// reads some channels (read()), each rank reconstructs its share of them (reconstruct()), and the
/// caller takes them from image() and variance() before the next pass. The channels are the only
/// thing that is shared out, so that images do not depend on the number of ranks.
class VolumeReconstruction {
  public:
    /// All must outlive the object. Collective.
    VolumeReconstruction(const mpi::Communicator& communicator, const solvers::RaySource& rays,
                         const tomography::ImageGrid& grid, const VolumeOptions& options);

    const tomography::ImageGrid& grid() const { return grid_; }
    /// Pixels of the variances.
    const tomography::ImageGrid& variance_grid() const { return coarse_; }

    /// Channels reconstructed so far, of those in use.
    std::size_t done() const { return done_; }
    bool finished() const { return done_ == rays_.n_channel(); }

    /// Reads the next pass's channels. Collective.
    void read();
    /// Reconstructs them. Collective.
    void reconstruct();

    /// This rank's channels of the pass, among those in use; may be none.
    mpi::BlockRange own() const { return own_; }
    /// [y][x][own channel], intensity/mm.
    const std::vector<float>& image() const { return image_; }
    /// [coarse y][coarse x][own channel], of the image.
    const std::vector<float>& variance() const { return image_variance_; }

    /// Sum [y][x] over all channels reconstructed so far, on every rank. Collective.
    std::vector<double> total() const;

    /// How far the image is from explaining the scan: ‖s − k P t‖ / ‖s‖ with the rays s, summed
    /// over the channels reconstructed so far, their image t = total(), the projector P and the
    /// best k. Discretisation and the filter leave some percent; exchanged axes or a wrong rotation
    /// axis a third. Rays with a channel that is not finite are left out. NaN without a ray, on
    /// every rank. Collective.
    double reprojection_misfit() const;

  private:
    const mpi::Communicator& communicator_;
    const solvers::RaySource& rays_;
    tomography::ImageGrid grid_, coarse_;
    std::size_t block_; ///< channels of a pass over all ranks
    tomography::FilteredBackProjection fbp_;
    std::size_t done_ = 0;
    mpi::BlockRange pass_{0, 0}, own_{0, 0};
    std::vector<float> shard_, shard_variance_, image_, image_variance_;
    std::vector<double> total_;     ///< of this rank's channels
    std::vector<double> ray_total_; ///< the same of the rays [rotation][translation]
};

} // namespace xrdct::fbp
