// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "solvers/absorption/phase_absorption.hpp"
#include "solvers/voxels/voxel_refinement.hpp"
#include "tomography/fbp.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// Start model of the map's patterns: structures, widths, peaks and background as the job gives
/// them. `notes` takes the warnings of the structures.
rietveld::PatternModel start_model(const settings::Job& job, double wavelength,
                                   std::vector<std::string>& notes);

/// Filter of the reconstruction as the job wants it.
tomography::FbpOptions fbp_options(const settings::Job& job);

/// Of a scan's self-absorption with the job's phases.
absorption::PhaseAbsorptionOptions absorption_options(const settings::Job& job);

/// Of the fits of all voxels; `model` is the start model.
voxels::VoxelRefinementOptions voxel_options(const settings::Job& job,
                                             const rietveld::PatternModel& model,
                                             bool relative_variance);
maps::PhaseMaskOptions phase_mask_options(const settings::Job& job);
/// Whether parallax moves lines by so much that conventional maps show it.
bool parallax_shows(const tomography::ScanGeometry& geometry);

/// Where parallax shows, the lines of the mean pattern are wider than those of the sample, by a
/// spread in 2θ that grows as tan θ: phases whose strains the job does not mention get a Gaussian
/// microstrain to refine, which stands for it in the conventional maps.
void widen_by_parallax(rietveld::PatternModel& model, const settings::Job& job,
                       const tomography::ScanGeometry& geometry);

/// Phases with a refined cell and the structure of another one, the leader, whose cell varies,
/// where parallax moves lines by so much that conventional maps do not tell the two apart.
struct HiddenPhase {
    std::size_t phase = 0;
    int leader = -1;
};
std::vector<HiddenPhase> phases_hidden_by_parallax(const settings::Job& job,
                                                   const tomography::ScanGeometry& geometry);

/// Widths of `model` to refine on voxels: of phases whose cell varies, and of others with the same
/// structure; the mean pattern would take the variation for broad lines.
std::vector<voxels::GlobalShape> voxel_widths(const settings::Job& job,
                                              const rietveld::PatternModel& model);

/// Whether a parameter of the phase's cell is refined in every voxel.
bool cell_varies(const settings::PhaseSettings& phase);

} // namespace xrdct::pipeline
