// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/solver_options.hpp"

#include "jobs/settings/model_settings.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::pipeline {

bool cell_varies(const settings::PhaseSettings& phase) {
    return std::any_of(phase.cell.begin(), phase.cell.end(), [](settings::Treatment treatment) {
        return treatment == settings::Treatment::voxel;
    });
}

namespace {

absorption::AmountCalibration calibration_of(const settings::AbsorptionSettings& settings) {
    switch (resolved_calibration(settings)) {
    case settings::AmountCalibration::transmission:
        return absorption::AmountCalibration::transmission;
    case settings::AmountCalibration::plateau:
        return absorption::AmountCalibration::plateau;
    case settings::AmountCalibration::constant:
        return absorption::AmountCalibration::given;
    default:
        return absorption::AmountCalibration::can_wall;
    }
}

absorption::BodyScale scale_of(settings::AmountCalibration calibration) {
    switch (calibration) {
    case settings::AmountCalibration::plateau:
        return absorption::BodyScale::plateau;
    case settings::AmountCalibration::constant:
        return absorption::BodyScale::given;
    case settings::AmountCalibration::mass:
        return absorption::BodyScale::mass_per_length;
    case settings::AmountCalibration::density:
        return absorption::BodyScale::mean_density;
    default:
        return absorption::BodyScale::consistency;
    }
}

double or_zero(double value) {
    return std::isnan(value) ? 0 : value;
}

/// For a body without a can, whose transmission is to be found; what it shares with other samples
/// is in `correction`.
absorption::PhaseAbsorptionOptions::Body
body_options(const settings::AbsorptionSettings& settings,
             const absorption::SelfAbsorptionOptions& correction) {
    absorption::PhaseAbsorptionOptions::Body body;
    auto& options = body.correction;
    options.scale = scale_of(resolved_calibration(settings));
    options.constant = correction.constant;
    options.reference = correction.reference;
    options.reference_fraction = correction.reference_fraction;
    options.mass_per_length = or_zero(settings.mass_per_length);
    options.mean_density = or_zero(settings.mean_density);
    options.rest = settings.amorphous_rest;
    options.mask_threshold = correction.mask_threshold;
    options.fbp = correction.fbp;
    options.tolerance = correction.tolerance;
    options.max_iterations = correction.max_iterations;
    if (!settings.container.empty()) {
        body.container = settings.container;
        body.container_density = settings.container_density;
        options.container.emplace();
        options.container->outer_radius = 0.5 * settings.container_outer_diameter;
        options.container->inner_radius = 0.5 * settings.container_inner_diameter;
    }
    return body;
}

bool cell_is_refined(const settings::PhaseSettings& phase) {
    return std::any_of(phase.cell.begin(), phase.cell.end(), [](settings::Treatment treatment) {
        return treatment != settings::Treatment::fixed;
    });
}

/// The first phase of this structure whose cell is refined in every voxel, −1: none.
int varying_phase_of(const settings::Job& job, const settings::PhaseSettings& phase) {
    const auto first = std::find_if(
        job.phases.begin(), job.phases.end(), [&](const settings::PhaseSettings& other) {
            return cell_varies(other) && other.cif == phase.cif && other.block == phase.block;
        });
    return first == job.phases.end() ? -1 : static_cast<int>(first - job.phases.begin());
}

/// [phase] the phase with the same structure whose cell varies, for a phase whose cell is refined
/// but does not; else −1.
std::vector<int> leaders(const settings::Job& job) {
    std::vector<int> leader;
    for (const auto& phase : job.phases)
        leader.push_back(
            !cell_varies(phase) && cell_is_refined(phase) ? varying_phase_of(job, phase) : -1);
    return leader;
}

/// Relative shift of lines by parallax from which phases of one structure, whose cells are mostly
/// some 1e-3 to 1e-2 apart, are not told apart in conventional maps, and lines are wider by it than
/// by most samples.
constexpr double max_parallax = 1e-3;

} // namespace

rietveld::PatternModel start_model(const settings::Job& job, double wavelength,
                                   std::vector<std::string>& notes) {
    rietveld::PatternModel model;
    model.wavelength.value = wavelength;
    const auto& widths = job.instrument;
    model.instrument = rietveld::InstrumentParameters(
        rietveld::InstrumentProfile{widths.u, widths.v, widths.w, widths.x, widths.y, widths.z});
    model.polarisation = job.instrument.polarization_corrected ? 0 : 1;
    model.solid_angle_corrected = job.instrument.solid_angle_corrected;
    model.anomalous = job.rietveld.anomalous;
    add_phases(model, job.phases, job.source.string(), notes);
    add_peaks(model, job.peaks);
    model.set_background(static_cast<std::size_t>(job.rietveld.background_terms));
    return model;
}

tomography::FbpOptions fbp_options(const settings::Job& job) {
    tomography::FbpOptions options;
    options.filter.window = job.fbp.window;
    options.filter.cutoff = job.fbp.cutoff;
    return options;
}

absorption::PhaseAbsorptionOptions absorption_options(const settings::Job& job) {
    const auto& settings = job.absorption;
    absorption::PhaseAbsorptionOptions options;
    options.rays.excluded = job.rietveld.excluded;
    options.rays.refine = job.rietveld.refine_start;
    options.rays.depths = static_cast<std::size_t>(settings.depths);
    for (const auto& phase : job.phases)
        if (cell_varies(phase))
            options.rays.varying_cells.push_back(phase.name);
    options.rays.leader = leaders(job);
    options.filling = settings.filling;
    options.filling_density = settings.filling_density;
    auto& correction = options.correction;
    correction.calibration = calibration_of(settings);
    correction.constant = or_zero(settings.constant);
    correction.reference_fraction = settings.reference_fraction;
    for (std::size_t p = 0; p < job.phases.size(); ++p)
        if (job.phases[p].name == settings.reference_phase)
            correction.reference = p;
    correction.hollow_diameter = settings.hollow_diameter;
    correction.mask_threshold = settings.sample_threshold;
    correction.fbp = fbp_options(job);
    correction.tolerance = settings.tolerance;
    correction.max_iterations = static_cast<int>(settings.max_iterations);
    if (settings.method == settings::AbsorptionMethod::phases &&
        is_body_calibration(resolved_calibration(settings)))
        options.body = body_options(settings, correction);
    return options;
}

namespace {

/// The job says itself what the strains of the phase are.
bool widths_given(const settings::PhaseSettings& phase) {
    return phase.gauss_microstrain > 0 || phase.microstrain > 0 ||
           phase.gauss_microstrain_treatment != settings::Treatment::fixed ||
           phase.microstrain_treatment != settings::Treatment::fixed;
}

/// Widths that are refined in every voxel, by rietveld::Width.
std::array<bool, rietveld::width_count> widths_that_vary(const settings::PhaseSettings& phase) {
    constexpr auto voxel = settings::Treatment::voxel;
    return {phase.size_treatment == voxel, phase.microstrain_treatment == voxel,
            phase.gauss_microstrain_treatment == voxel};
}

} // namespace

bool parallax_shows(const tomography::ScanGeometry& geometry) {
    return geometry.field_of_view_radius() >= max_parallax * geometry.distance;
}

void widen_by_parallax(rietveld::PatternModel& model, const settings::Job& job,
                       const tomography::ScanGeometry& geometry) {
    if (!parallax_shows(geometry) || !job.rietveld.refine_start)
        return;
    // The depths of a uniform disc of radius R have a standard deviation of R/2.
    const double start =
        rietveld::parallax_microstrain(0.5 * geometry.field_of_view_radius(), geometry.distance);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        auto& strain = model.phases[p].gauss_microstrain;
        if (!widths_given(job.phases[p])) {
            strain.value = std::clamp(start, strain.lower, strain.upper);
            strain.refine = true;
        }
    }
}

std::vector<HiddenPhase> phases_hidden_by_parallax(const settings::Job& job,
                                                   const tomography::ScanGeometry& geometry) {
    std::vector<HiddenPhase> phases;
    if (!parallax_shows(geometry))
        return phases;
    const auto leader = leaders(job);
    for (std::size_t p = 0; p < leader.size(); ++p)
        if (leader[p] >= 0)
            phases.push_back({p, leader[p]});
    return phases;
}

voxels::VoxelRefinementOptions voxel_options(const settings::Job& job,
                                             const rietveld::PatternModel& model,
                                             bool relative_variance) {
    voxels::VoxelRefinementOptions options;
    options.refine_start = job.rietveld.refine_start;
    for (std::size_t p = 0; p < job.phases.size(); ++p) {
        const auto& phase = job.phases[p];
        std::vector<bool> voxel_cells;
        for (const auto parameter : model.phases[p].phase.free_parameters())
            voxel_cells.push_back(phase.cell[static_cast<std::size_t>(parameter)] ==
                                  settings::Treatment::voxel);
        if (std::find(voxel_cells.begin(), voxel_cells.end(), true) != voxel_cells.end())
            options.fit.cell_phases.push_back(phase.name);
        options.voxel_cells.push_back(std::move(voxel_cells));
    }
    for (const auto& phase : job.phases)
        if (const auto widths = widths_that_vary(phase);
            std::ranges::find(widths, true) != widths.end())
            options.fit.widths.push_back({phase.name, widths});
    options.leader = leaders(job);
    for (const auto& peak : job.peaks)
        if (peak.position_treatment == settings::Treatment::voxel)
            options.fit.position_peaks.push_back(peak.name);
    options.fit.significance = job.rietveld.significance;
    options.fit.max_iterations = static_cast<int>(job.rietveld.max_iterations);
    options.fit.scale_errors = relative_variance;
    return options;
}

maps::PhaseMaskOptions phase_mask_options(const settings::Job& job) {
    maps::PhaseMaskOptions options;
    options.significance = job.mask.significance;
    options.fraction = job.mask.fraction;
    options.growth = static_cast<int>(job.mask.growth);
    return options;
}

std::vector<voxels::GlobalShape> voxel_widths(const settings::Job& job,
                                              const rietveld::PatternModel& model) {
    std::vector<voxels::GlobalShape> widths;
    for (std::size_t p = 0; p < job.phases.size(); ++p) {
        const auto& phase = job.phases[p];
        // A spread of widths makes the mean pattern's lines as little one phase's as one of cells.
        const auto vary = widths_that_vary(phase);
        if (varying_phase_of(job, phase) < 0 && std::ranges::find(vary, true) == vary.end())
            continue;
        if (phase.size_treatment == settings::Treatment::global)
            widths.push_back({p, voxels::GlobalShape::Kind::size});
        if (phase.microstrain_treatment == settings::Treatment::global)
            widths.push_back({p, voxels::GlobalShape::Kind::microstrain});
        if (model.phases[p].gauss_microstrain.refine &&
            phase.gauss_microstrain_treatment != settings::Treatment::voxel)
            widths.push_back({p, voxels::GlobalShape::Kind::gauss_microstrain});
    }
    return widths;
}

} // namespace xrdct::pipeline
