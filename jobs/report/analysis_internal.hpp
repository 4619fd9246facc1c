// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"

#include <map>
#include <string>
#include <vector>

/// What the parts of the analysis share.
namespace xrdct::report {

using Map = std::vector<double>;

/// The maps of a stage's phases that everything is computed from.
struct PhaseMaps {
    const ProductData* data = nullptr;
    std::string weights;
    Map amount; ///< of `weights`: what a voxel holds of the phase
    Map mass;   ///< of the phase in the voxel, all phases in the same unit; empty: unknown
};

/// A map of a phase by the name of its quantity; empty when there is none.
Map read_map(const ProductStage& stage, const ProductData& data, const std::string& quantity);
/// Its standard deviations.
Map read_errors(const ProductStage& stage, const ProductData& data, const std::string& quantity);

/// Lattice parameters that were refined on the mean pattern, of the JSON of the start model.
std::map<std::string, maps::Estimate> global_cell_of(const std::string& start_model,
                                                     const std::string& phase);

/// Radial profile about the centre of the stage; empty without one.
maps::RadialProfile profile_of(const StageResult& stage, const Map& values, const Map& weights);

/// Lithium of the electrodes that `settings` name, into `result`; what was left out into `notes`.
void find_lithium(const ProductStage& stage, const std::vector<PhaseMaps>& phases,
                  const std::vector<settings::LithiumSettings>& settings, StageResult& result,
                  std::vector<std::string>& notes);

} // namespace xrdct::report
