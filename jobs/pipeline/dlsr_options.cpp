// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/dlsr_options.hpp"

#include <cstddef>

namespace xrdct::pipeline {

namespace {

dlsr::Treatment treatment(settings::Treatment given) {
    switch (given) {
    case settings::Treatment::global:
        return dlsr::Treatment::global;
    case settings::Treatment::voxel:
        return dlsr::Treatment::voxel;
    default:
        return dlsr::Treatment::fixed;
    }
}

dlsr::PhaseOptions phase_options(const settings::PhaseSettings& phase) {
    dlsr::PhaseOptions options;
    options.scale = treatment(phase.scale);
    for (std::size_t i = 0; i < options.cell.size(); ++i)
        options.cell[i] = treatment(phase.cell[i]);
    options.size = treatment(phase.size_treatment);
    options.microstrain = treatment(phase.microstrain_treatment);
    options.gauss_microstrain = treatment(phase.gauss_microstrain_treatment);
    options.march = treatment(phase.march_treatment);
    return options;
}

} // namespace

dlsr::Options dlsr_options(const settings::Job& job) {
    const auto& given = job.dlsr;
    dlsr::Options options;
    for (const auto& phase : job.phases)
        options.phases.push_back(phase_options(phase));
    for (const auto& peak : job.peaks)
        options.peaks.push_back({peak.position_treatment != settings::Treatment::fixed,
                                 peak.fwhm_treatment != settings::Treatment::fixed});
    options.excluded = job.rietveld.excluded;
    options.scale_maps = given.scales == "map";
    options.bounded = given.bounded;
    options.refine_widths = given.refine_widths;
    options.smoothness = given.smoothness;
    options.amount_smoothness = given.amount_smoothness;
    options.edge = given.edge;
    options.gap = given.gap;
    options.loss = given.loss == "huber" ? dlsr::Loss::huber : dlsr::Loss::squares;
    options.threshold = given.threshold;
    options.validation_interval = given.held_out;
    options.noise_samples = static_cast<int>(given.error_samples);
    options.resolution_products = static_cast<int>(given.resolution_products);
    options.check_handedness = given.check_senses;
    options.axis_offset = given.axis_offset == "refine"  ? dlsr::AxisRefinement::refined
                          : given.axis_offset == "fixed" ? dlsr::AxisRefinement::fixed
                                                         : dlsr::AxisRefinement::automatic;
    options.refine_distance = given.distance == "refine";
    options.correct_radial_scale = given.radial_scale == "metals";
    options.standards = given.standards;
    options.standard_uncertainty = given.standard_uncertainty;
    options.tolerance = given.tolerance;
    options.layers = static_cast<std::size_t>(given.layers);
    options.deviated_exit_rays = given.exit_ray == "deviated";
    options.max_iterations = static_cast<int>(given.max_iterations);
    options.convergence = given.convergence;
    return options;
}

} // namespace xrdct::pipeline
