// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"
#include "jobs/program/provenance.hpp"
#include "solvers/voxels/voxel_refinement.hpp"

#include <cstddef>

namespace xrdct::pipeline {

/// The steps of the rietveld stage on n × n voxels: start model, cells that the mean pattern does
/// not tell, masks, widths and fits, as the job asks for them. Adds notes to the context.
/// Collective.
void refine_voxels(voxels::VoxelRefinement& voxels, const rietveld::PatternModel& model,
                   StageContext& context, std::size_t n, program::Timings& timings);

} // namespace xrdct::pipeline
