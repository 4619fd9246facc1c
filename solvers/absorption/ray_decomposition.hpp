// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/fit/refinement.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "rietveld/model/radial_axis.hpp"
#include "solvers/absorption/ray_sums.hpp"
#include "solvers/observer.hpp"
#include "solvers/ray_source.hpp"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::absorption {

/// How the patterns of rays are taken apart into phases.
struct RayModelOptions {
    std::vector<std::pair<double, double>> excluded; ///< regions of 2θ [deg] that do not count
    bool refine = true;        ///< refine the model on the mean of all rays first
    double cell_search = 0.03; ///< relative, of the cells in that refinement
    /// Places along the beam at which parallax may have put a phase's lines.
    std::size_t depths = 5;
    std::vector<std::string> varying_cells; ///< phases whose cell varies inside the object
    std::vector<int> leader;                ///< as MeanRefinementOptions::leader
};

/// Counting noise of a typical ray up to a factor [channel]; 0 in excluded channels and those
/// without data.
std::vector<double> typical_variance(const rietveld::RadialAxis& axis,
                                     const std::vector<double>& mean,
                                     const std::vector<std::pair<double, double>>& excluded);

/// The start model refined on the mean of all rays, where parallax has broadened every phase's
/// lines by what its depths along the beam do; strains then go back to those of the phases.
/// `distance` [mm]; NaN: no parallax. Throws Error for refine()'s reasons. Not collective.
rietveld::PatternModel refine_on_rays(const RaySums& sums, const rietveld::RadialAxis& axis,
                                      rietveld::PatternModel start, double distance,
                                      const RayModelOptions& options, solvers::Observer& observer);

/// Path integrals ∫ S dl per phase [phase][rotation][translation], S the scale, not corrected for
/// absorption; on the root only. `observer` hears of rotations. Collective.
std::vector<std::vector<float>> decompose_rays(const mpi::Communicator& communicator,
                                               const solvers::RaySource& rays, const RaySums& sums,
                                               const rietveld::PatternModel& model,
                                               const rietveld::RadialAxis& axis,
                                               const RayModelOptions& options,
                                               solvers::Observer& observer);

} // namespace xrdct::absorption
