// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/absorption/ray_decomposition.hpp"

#include "rietveld/fit/mean_refinement.hpp"
#include "rietveld/voxel/ray_decomposition.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

rietveld::RayDecompositionOptions amount_options(const RaySums& sums, double distance,
                                                 const RayModelOptions& wanted) {
    rietveld::RayDecompositionOptions options;
    if (std::isfinite(distance)) {
        options.distance = distance;
        options.depths.clear();
        for (std::size_t i = 0; i < wanted.depths; ++i)
            options.depths.push_back(
                wanted.depths == 1
                    ? 0.0
                    : sums.half_width * 0.98 *
                          (2.0 * static_cast<double>(i) / static_cast<double>(wanted.depths - 1) -
                           1));
    }
    options.varying_cells = wanted.varying_cells;
    return options;
}

} // namespace

std::vector<double> typical_variance(const rietveld::RadialAxis& axis,
                                     const std::vector<double>& mean,
                                     const std::vector<std::pair<double, double>>& excluded) {
    double highest = 0;
    for (const double value : mean)
        if (std::isfinite(value))
            highest = std::max(highest, value);
    std::vector<double> variance;
    for (std::size_t k = 0; k < mean.size(); ++k) {
        const double place = axis.two_theta()[k];
        const bool left_out =
            std::any_of(excluded.begin(), excluded.end(), [&](const auto& region) {
                return place >= region.first && place <= region.second;
            });
        variance.push_back(!left_out && std::isfinite(mean[k]) ? std::max(mean[k], 1e-3 * highest)
                                                               : 0.0);
    }
    return variance;
}

rietveld::PatternModel refine_on_rays(const RaySums& sums, const rietveld::RadialAxis& axis,
                                      rietveld::PatternModel start, double distance,
                                      const RayModelOptions& options, solvers::Observer& observer) {
    // Depths spread as lateral positions do, seen from all sides.
    const double strain =
        std::isfinite(distance) ? rietveld::parallax_microstrain(sums.lateral_spread, distance) : 0;
    std::vector<double> own;
    for (auto& phase : start.phases) {
        own.push_back(phase.gauss_microstrain.value);
        phase.microstrain.refine = phase.b_overall.refine = false;
        phase.gauss_microstrain.value = std::hypot(phase.gauss_microstrain.value, strain);
        phase.gauss_microstrain.refine = strain > 1e-5;
    }
    rietveld::MeanRefinementOptions refinement;
    refinement.refinement.scale_errors = true;
    refinement.refinement.cell_search = options.cell_search;
    if (!options.refine)
        refinement.refinement.max_iterations = 0;
    refinement.leader = options.leader;
    for (const auto& phase : start.phases)
        refinement.varying.emplace_back(
            phase.cell.size(), std::find(options.varying_cells.begin(), options.varying_cells.end(),
                                         phase.name) != options.varying_cells.end());
    const auto variance = typical_variance(axis, sums.mean, options.excluded);
    auto fit = refine_mean(axis, sums.mean, variance, start, refinement).fit;
    if (fit.status != rietveld::FitStatus::converged && options.refine)
        observer.note(fmt::format("the model on the mean of all rays: {}{}", to_string(fit.status),
                                  fit.message.empty() ? "" : "; " + fit.message));
    for (std::size_t p = 0; p < fit.model.phases.size(); ++p)
        fit.model.phases[p].gauss_microstrain.value = own[p];
    return fit.model;
}

std::vector<std::vector<float>> decompose_rays(const mpi::Communicator& communicator,
                                               const solvers::RaySource& rays, const RaySums& sums,
                                               const rietveld::PatternModel& model,
                                               const rietveld::RadialAxis& axis,
                                               const RayModelOptions& options,
                                               solvers::Observer& observer) {
    const auto& geometry = rays.geometry();
    const std::size_t n_translation = geometry.translation.size(), n = rays.n_channel();
    std::vector<std::vector<float>> own(model.phases.size());
    observer.begin("path integrals of the phases", geometry.rotation.size());
    communicator.collectively([&] {
        const auto variance = typical_variance(axis, sums.mean, options.excluded);
        const rietveld::RayDecomposition along(axis, model, variance,
                                               amount_options(sums, geometry.distance, options));
        rietveld::RayDecomposition::Workspace workspace(along);
        std::vector<double> amounts(along.phase_count() + along.peak_count());
        std::size_t done = 0;
        for_own_rotations(communicator, rays, [&](std::size_t, std::span<const float> line) {
            for (std::size_t j = 0; j < n_translation; ++j) {
                along.fit(line.subspan(j * n, n), amounts, workspace);
                for (std::size_t p = 0; p < own.size(); ++p)
                    own[p].push_back(static_cast<float>(amounts[p]));
            }
            observer.progress(++done * static_cast<std::size_t>(communicator.size()));
        });
    });
    // The ranks' rotations follow each other.
    std::vector<std::vector<float>> result;
    for (auto& amounts : own) {
        result.push_back(communicator.gather(amounts));
        std::vector<float>().swap(amounts);
    }
    observer.end(fmt::format("{} rays", geometry.rotation.size() * n_translation));
    return result;
}

} // namespace xrdct::absorption
