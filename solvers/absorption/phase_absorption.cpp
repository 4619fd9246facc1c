// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/absorption/phase_absorption.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "crystal/attenuation.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Change of a transmission in the last iteration, and share of the rays without any, beyond which
/// the result is noise.
constexpr double largest_change = 0.02, largest_opaque = 0.02;

/// Images that a body's constant takes, for the progress.
constexpr std::size_t usual_images = 45;

} // namespace

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

SelfAbsorptionResult PhaseAbsorption::correct_sample(double energy) {
    const auto input = correction_input(energy);
    auto options = options_.correction;
    if (!options_.filling.empty())
        options.filling =
            0.1 * options_.filling_density * crystal::mass_attenuation(options_.filling, energy);
    return correct_self_absorption(rays_.geometry(), grid_, input, options,
                                   [&](int iteration, double) {
                                       observer_.progress(static_cast<std::size_t>(iteration));
                                       return true;
                                   });
}

SelfAbsorptionResult PhaseAbsorption::correct_body(double energy) {
    BodyAbsorptionInput input{correction_input(energy), {}};
    for (const auto& phase : state_.model.phases)
        input.density.push_back(atomic_mass_g_per_cm3 * phase.phase.cell_mass() /
                                phase.unit_cell().volume());
    auto options = options_.body->correction;
    if (!options_.filling.empty()) {
        options.filling =
            0.1 * options_.filling_density * crystal::mass_attenuation(options_.filling, energy);
        options.filling_density = options_.filling_density;
    }
    if (options.container)
        options.container->mu = 0.1 * options_.body->container_density *
                                crystal::mass_attenuation(options_.body->container, energy);
    auto found = correct_body_absorption(rays_.geometry(), grid_, input, options, [&](int images) {
        observer_.progress(std::min(static_cast<std::size_t>(images), usual_images));
        return true;
    });
    state_.body = std::move(found.body);
    return std::move(found.correction);
}

/// Refuses a transmission that does not agree with what it was found from; says what is doubtful.
void PhaseAbsorption::tell_worth() {
    const auto& result = state_.result;
    if (!transmission_.empty())
        return;
    const double last = result.changes.empty() ? 0 : result.changes.back();
    const double opaque =
        static_cast<double>(result.opaque) / static_cast<double>(result.transmission.size());
    if (!result.converged && last > largest_change)
        throw Error(fmt::format("absorption: not converged after {} iterations; the transmission "
                                "still changed by {:.4f}",
                                result.iterations, last));
    if (opaque > largest_opaque)
        throw Error(fmt::format("absorption: for {} of {} rays no transmission agrees with the "
                                "amounts of the phases: the calibration, the phases or what else "
                                "absorbs are not those of this sample",
                                result.opaque, result.transmission.size()));
    if (!result.converged)
        observer_.note(fmt::format(
            "not converged after {} iterations; the transmission still changed by {:.4f}",
            result.iterations, last));
    if (result.opaque > 0)
        observer_.note(fmt::format("for {} rays no transmission agrees with the amounts of the "
                                   "phases; they were given the least possible",
                                   result.opaque));
}

void PhaseAbsorption::tell_body() {
    const auto& body = *state_.body;
    std::string how;
    if (body.constant_error > 0)
        how = fmt::format(", the scan tells it to {:.1f} %", 100 * body.constant_error);
    if (body.rest_error > 0)
        how += fmt::format(", an even rest of {:.4f} +- {:.4f} 1/mm", body.rest, body.rest_error);
    observer_.note(
        fmt::format("constant of the amounts {:.5g}{}; {:.4g} mg/mm; moments of the amounts miss "
                    "what only turns by {:.2f} % as seen, {:.2f} % corrected",
                    state_.result.constant, how, body.mass_per_length,
                    100 * body.inconsistency_seen, 100 * body.inconsistency));
    for (const auto& note : body.notes)
        observer_.note(note);
    if (body.container)
        observer_.note(
            fmt::format("container at x {:.3f}, y {:.3f} mm, {}",
                        body.container->container.centre_x, body.container->container.centre_y,
                        body.container->seen ? "seen in the scattering that no phase explains"
                                             : "about the sample: its own scattering is not seen"));
}

void PhaseAbsorption::correct() {
    auto& result = state_.result;
    observer_.begin("", options_.body
                            ? usual_images
                            : static_cast<std::size_t>(options_.correction.max_iterations));
    // Two-dimensional all of it: the root's work and memory.
    result = communicator_.collectively([&] {
        if (!communicator_.is_root())
            return SelfAbsorptionResult{};
        const double energy = energy_from_wavelength(rays_.wavelength());
        return options_.body ? correct_body(energy) : correct_sample(energy);
    });
    state_.amounts.clear();
    communicator_.collectively([&] {
        if (communicator_.is_root())
            tell_worth();
    });
    communicator_.broadcast(result.transmission);
    if (state_.body)
        tell_body();
    observer_.end(!transmission_.empty() ? std::string("calibrated")
                  : options_.body        ? fmt::format("{} images", result.iterations)
                                         : fmt::format("{} iterations", result.iterations));
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
