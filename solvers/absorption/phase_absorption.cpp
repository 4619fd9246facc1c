// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/absorption/phase_absorption.hpp"

#include "base/units.hpp"
#include "crystal/attenuation.hpp"

#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::absorption {

PhaseAbsorption::PhaseAbsorption(const mpi::Communicator& communicator,
                                 const solvers::RaySource& rays, const tomography::ImageGrid& grid,
                                 rietveld::PatternModel start, std::span<const float> transmission,
                                 const PhaseAbsorptionOptions& options, solvers::Observer& observer)
    : communicator_(communicator), rays_(rays), grid_(grid), transmission_(transmission),
      options_(options), observer_(observer) {
    state_.model = std::move(start);
}

PhaseAbsorption::Step PhaseAbsorption::step() {
    const Step now = state_.next;
    switch (now) {
    case Step::sums:
        state_.sums = sum_rays(communicator_, rays_);
        state_.next = Step::model;
        break;
    case Step::model:
        refine_model();
        state_.next = Step::decomposition;
        break;
    case Step::decomposition:
        state_.amounts = decompose_rays(communicator_, rays_, state_.sums, state_.model, *axis_,
                                        options_.rays, observer_);
        state_.next = Step::correction;
        break;
    case Step::correction:
        correct();
        state_.next = Step::finished;
        break;
    case Step::finished:
        break;
    }
    return now;
}

void PhaseAbsorption::refine_model() {
    communicator_.collectively([&] {
        axis_ = rietveld::RadialAxis::from_two_theta(rays_.two_theta(), rays_.wavelength());
        state_.model = refine_on_rays(state_.sums, *axis_, std::move(state_.model),
                                      rays_.geometry().distance, options_.rays, observer_);
    });
}

SelfAbsorptionInput PhaseAbsorption::correction_input(double energy) {
    SelfAbsorptionInput input;
    for (std::size_t p = 0; p < state_.model.phases.size(); ++p) {
        const auto& phase = state_.model.phases[p];
        const double volume = phase.unit_cell().volume();
        const double rho = atomic_mass_g_per_cm3 * phase.phase.cell_mass() / volume;
        input.mu.push_back(0.1 * rho * phase.phase.mass_attenuation(energy));
        input.amounts.push_back(std::move(state_.amounts[p]));
        for (float& value : input.amounts.back())
            value *= static_cast<float>(volume * volume);
    }
    input.total = state_.sums.total;
    input.transmission = transmission_;
    return input;
}

void PhaseAbsorption::correct() {
    auto& result = state_.result;
    observer_.begin("", static_cast<std::size_t>(options_.correction.max_iterations));
    // Two-dimensional all of it, and quick: the root's work and memory.
    result = communicator_.collectively([&] {
        if (!communicator_.is_root())
            return SelfAbsorptionResult{};
        const double energy = energy_from_wavelength(rays_.wavelength());
        const auto input = correction_input(energy);
        auto options = options_.correction;
        if (!options_.filling.empty())
            options.filling = 0.1 * options_.filling_density *
                              crystal::mass_attenuation(options_.filling, energy);
        return correct_self_absorption(rays_.geometry(), grid_, input, options,
                                       [&](int iteration, double) {
                                           observer_.progress(static_cast<std::size_t>(iteration));
                                           return true;
                                       });
    });
    state_.amounts.clear();
    communicator_.broadcast(result.transmission);
    if (communicator_.is_root() && !result.converged)
        observer_.note(fmt::format(
            "not converged after {} iterations; the transmission still changed by {:.4f}",
            result.iterations, result.changes.back()));
    if (communicator_.is_root() && result.opaque > 0)
        observer_.note(fmt::format("for {} rays no transmission agrees with the amounts of the "
                                   "phases; they were given the least possible",
                                   result.opaque));
    observer_.end(transmission_.empty() ? fmt::format("{} iterations", result.iterations)
                                        : std::string("calibrated"));
}

SelfAbsorptionResult measured_absorption(const tomography::ScanGeometry& geometry,
                                         const tomography::ImageGrid& grid,
                                         std::span<const float> transmission,
                                         const tomography::FbpOptions& options) {
    SelfAbsorptionResult map;
    map.transmission.assign(transmission.begin(), transmission.end());
    std::vector<float> path_integral(transmission.size());
    for (std::size_t i = 0; i < path_integral.size(); ++i)
        path_integral[i] = -std::log(transmission[i]);
    map.mu_map.resize(grid.size());
    tomography::FilteredBackProjection(geometry, grid, options)
        .reconstruct(path_integral, 1, map.mu_map);
    return map;
}

} // namespace xrdct::absorption
