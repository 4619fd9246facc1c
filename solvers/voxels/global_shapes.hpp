// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/voxel/voxel_fitter.hpp"
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::voxels {

/// A width or cell parameter that holds for the whole object and is to be refined on its voxels.
struct GlobalShape {
    enum class Kind { size, microstrain, gauss_microstrain, cell };
    std::size_t phase = 0;
    Kind kind = Kind::size;
    std::size_t index = 0; ///< of PhaseModel::cell, for a cell parameter
};

struct GlobalShapesResult {
    rietveld::PatternModel model;                   ///< with the refined values
    std::vector<double> values, esd;                ///< per shape, in its own unit (Å, deg or ε)
    double chi_squared_before = 0, chi_squared = 0; ///< sums over the patterns used
    std::size_t patterns = 0;
    int evaluations = 0; ///< fits of all patterns
};

/// Refines global widths and cells on a sample of voxel patterns, everything that is refined per
/// voxel with them. On the mean pattern of the object a cell that varies in space looks like broad
/// lines, and a phase that is in few voxels is lost among the others; here every voxel has its own
/// cell and amounts. Variable projection by comparison: χ² summed over the patterns at
/// their own best fits is minimised along one shape after the other by parabolas in 1/size, ε,
/// ε_G² or the cell parameter.
///
/// Collective. `own` are this rank's patterns (all of one length), each used as it is; ranks may
/// hold different numbers of them, none included. The result is the same on all ranks and depends
/// on how patterns are shared by rounding only. Throws Error for VoxelFitter's reasons.
GlobalShapesResult
refine_global_shapes(const mpi::Communicator& communicator, const rietveld::RadialAxis& axis,
                     const rietveld::PatternModel& start, const rietveld::VoxelFitOptions& options,
                     const std::vector<GlobalShape>& shapes, std::span<const PatternTile> own);

} // namespace xrdct::voxels
