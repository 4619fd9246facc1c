// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"

#include <cstddef>
#include <functional>
#include <vector>

namespace xrdct::voxels {

/// Patterns of some voxels, filled by the caller's reader.
struct PatternTile {
    std::vector<std::size_t>
        voxels; ///< flat index y · nx + x of each pattern; masked voxels may be left out
    std::vector<float> intensity;       ///< [voxel, channel]
    std::vector<float> variance;        ///< [voxel, channel], [channel] for all voxels, or empty
    std::vector<unsigned char> present; ///< [voxel, phase] 0: not in the voxel's model; or empty
};

/// A map over all voxels.
struct VoxelMap {
    rietveld::VoxelQuantity quantity;
    std::vector<double>
        values; ///< [y, x], NaN (status: FitStatus::masked) where nothing was fitted
};

/// Counts of one run, summed over ranks.
struct VoxelwiseSummary {
    std::size_t fitted = 0;     ///< patterns handed to the fitter
    std::size_t converged = 0;  ///< status converged
    std::size_t iterations = 0; ///< sum
    double fit_seconds = 0;     ///< spent in fits, summed over ranks
};

struct VoxelwiseResult {
    std::vector<VoxelMap> maps; ///< on rank 0 only; order of VoxelFitter::quantities()
    VoxelwiseSummary summary;   ///< on all ranks
};

/// Fits every voxel's pattern, tiles handed out dynamically over the ranks of a communicator. A
/// voxel's result depends on its pattern only, so maps do not depend on the number of ranks or the
/// order of work.
class VoxelwiseRietveld {
  public:
    /// Fills a tile; called on any rank, in any order, without the others: must not communicate
    /// collectively. The tile's vectors keep their memory between calls.
    using TileReader = std::function<void(std::size_t tile, PatternTile& out)>;
    /// Patterns fitted so far by this rank, after each tile.
    using Progress = std::function<void(std::size_t tiles_done, std::size_t voxels_done)>;

    /// Refers to both, which must outlive this object.
    VoxelwiseRietveld(const mpi::Communicator& communicator, const rietveld::VoxelFitter& fitter);

    /// Collective. Fits `tile_count` tiles of an image of `voxel_count` voxels and gathers the maps
    /// on rank 0. An exception on one rank ends the work on all, with the same Error.
    VoxelwiseResult run(std::size_t tile_count, std::size_t voxel_count, const TileReader& read,
                        const Progress& progress = {}) const;

  private:
    const mpi::Communicator& communicator_;
    const rietveld::VoxelFitter& fitter_;
};

} // namespace xrdct::voxels
