// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "mpi/hdf5/hdf5.hpp"
#include "solvers/voxels/voxel_refinement.hpp"

#include <optional>
#include <span>
#include <vector>

namespace xrdct::pipeline {

/// What the rietveld stage's product holds.
struct RietveldResult {
    const voxels::VoxelRefinement::State& state;
    const std::vector<unsigned char>& sample; ///< [voxel] 0: not fitted
    std::span<const double> total;            ///< [voxel] intensity, of all channels
    const std::vector<double>& x;             ///< mm, of rows and columns
    const std::vector<double>& two_theta;     ///< deg [channel]
    bool relative_variance = false;
    std::optional<double> constant; ///< volume fraction over S V²

    /// [voxel] 0: the phase is not in the voxel's model.
    const std::vector<unsigned char>& mask_of(std::size_t phase) const {
        return state.masks.empty() ? sample : state.masks[phase];
    }
};

/// Mean pattern, start model and maps. Serial.
void write_rietveld_result(hdf5::Group& stage, const RietveldResult& result);

/// Images of the masks in the output's folder masks/, for a user to edit. Throws Error naming what
/// cannot be written. Serial.
void write_masks(const settings::Job& job, const RietveldResult& result);

} // namespace xrdct::pipeline
