// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::voxels {

/// A width that holds for the whole object and is to be refined on its voxels.
struct GlobalWidth {
    enum class Kind { size, microstrain, gauss_microstrain };
    std::size_t phase = 0;
    Kind kind = Kind::size;
};

struct GlobalWidthsResult {
    rietveld::PatternModel model;                   ///< with the refined widths
    std::vector<double> values, esd;                ///< per width, in its own unit (Å or ε)
    double chi_squared_before = 0, chi_squared = 0; ///< sums over the patterns used
    std::size_t patterns = 0;
    int evaluations = 0; ///< fits of all patterns
};

/// Refines global widths on a sample of voxel patterns, everything that is refined per voxel with
/// them. On the mean pattern of the object a cell that varies in space looks like broad lines; here
/// every voxel has its own cell. Variable projection by comparison: χ² summed over the patterns at
/// their own best fits is minimised along one width after the other by parabolas in 1/size, ε or
/// ε_G².
///
/// Collective. `own` are this rank's patterns (all of one length), each used as it is; ranks may
/// hold different numbers of them, none included. The result is the same on all ranks and depends
/// on how patterns are shared by rounding only. Throws Error for VoxelFitter's reasons.
GlobalWidthsResult
refine_global_widths(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
                     const rietveld::PatternModel& start, const rietveld::VoxelFitOptions& options,
                     const std::vector<GlobalWidth>& widths, std::span<const PatternTile> own);

} // namespace xrdct::voxels
