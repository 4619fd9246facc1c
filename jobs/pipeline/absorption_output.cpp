// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/absorption_output.hpp"

#include "jobs/pipeline/map_output.hpp"
#include "maps/amounts.hpp"
#include "mpi/nexus/nexus.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::pipeline {

namespace {

void write_rays(hdf5::Group& group, const Scan& scan, const std::string& name,
                std::span<const float> values, const nexus::Labels& labels) {
    nexus::write_map(group, name, std::vector<double>(values.begin(), values.end()),
                     scan.geometry().rotation.size(), scan.geometry().translation.size(), labels);
}

void write_ray_axes(hdf5::Group& group, const Scan& scan) {
    nexus::write_axis(group, "rotation_angle", scan.geometry().rotation, {"deg", "rotation angle"});
    nexus::write_axis(group, "translation", scan.geometry().translation, {"mm", "translation"});
}

void write_phases(hdf5::Group& stage, const Scan& scan, const rietveld::PatternModel& model,
                  const absorption::SelfAbsorptionResult& result) {
    const tomography::ImageGrid grid = scan.grid();
    const auto found = maps::phase_densities(model.phases, result.volume_fractions, result.sample);
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const auto& name = model.phases[p].name;
        auto group = nexus::require_data(stage, name, "volume_fraction", {"y", "x"});
        const auto& fraction = result.volume_fractions[p];
        nexus::write_map(group, "volume_fraction",
                         std::vector<double>(fraction.begin(), fraction.end()), grid.n, grid.n,
                         {"", "volume fraction"});
        nexus::write_map(group, "density", found.density[p], grid.n, grid.n, {"g/cm^3", "density"});
        nexus::write_map(group, "weight_fraction", found.weight_fraction[p], grid.n, grid.n,
                         {"", "weight fraction of the crystalline part"});
        write_image_axes(group, grid);
        group.set_attribute("whole_weight_fraction", found.mean_weight_fraction[p]);
        auto rays = nexus::require_data(stage, name + "_rays", "path_length",
                                        {"rotation_angle", "translation"});
        write_rays(rays, scan, "path_length", result.path_lengths[p],
                   {"mm", "path length in the phase"});
        write_ray_axes(rays, scan);
    }
}

void write_ring(hdf5::Group& stage, const absorption::SelfAbsorptionResult& result) {
    auto ring = nexus::require_class(stage, "ring", "NXcollection");
    nexus::write_value(ring, "centre_x", result.wall->centre_x, {"mm", ""});
    nexus::write_value(ring, "centre_y", result.wall->centre_y, {"mm", ""});
    nexus::write_value(ring, "outer_radius", result.wall->outer_radius, {"mm", ""});
    nexus::write_value(ring, "inner_radius", result.wall->inner_radius, {"mm", ""});
    nexus::write_value(ring, "hollow_diameter", result.hollow_diameter, {"mm", ""});
    nexus::write_value(ring, "misfit", result.wall->misfit, {"", ""});
}

void write_convergence(hdf5::Group& stage, const std::vector<double>& changes) {
    auto history = nexus::require_data(stage, "convergence", "change", {"iteration"});
    history.write_array("change", {changes.size()}, std::span<const double>(changes));
    std::vector<double> iterations;
    for (std::size_t i = 0; i < changes.size(); ++i)
        iterations.push_back(static_cast<double>(i + 1));
    nexus::write_axis(history, "iteration", iterations, {"", "iteration"});
}

} // namespace

void write_body(hdf5::Group& stage, const absorption::BodyFindings& body) {
    auto group = nexus::require_class(stage, "body", "NXcollection");
    nexus::write_value(group, "amount_constant_relative_error", body.constant_error, {"", ""});
    nexus::write_value(group, "even_rest", body.rest, {"1/mm", ""});
    nexus::write_value(group, "even_rest_error", body.rest_error, {"1/mm", ""});
    nexus::write_value(group, "mass_per_length", body.mass_per_length, {"mg/mm", ""});
    nexus::write_value(group, "misfit", body.misfit, {"", ""});
    nexus::write_value(group, "inconsistency_as_seen", body.inconsistency_seen, {"", ""});
    nexus::write_value(group, "inconsistency", body.inconsistency, {"", ""});
    if (!body.container)
        return;
    const auto& container = body.container->container;
    nexus::write_value(group, "container_centre_x", container.centre_x, {"mm", ""});
    nexus::write_value(group, "container_centre_y", container.centre_y, {"mm", ""});
    nexus::write_value(group, "container_outer_radius", container.outer_radius, {"mm", ""});
    nexus::write_value(group, "container_inner_radius", container.inner_radius, {"mm", ""});
    nexus::write_value(group, "container_mu", container.mu, {"1/mm", ""});
    nexus::write_value(group, "container_seen", std::int64_t{body.container->seen ? 1 : 0},
                       {"", ""});
}

void write_attenuation(hdf5::Group& stage, const Scan& scan,
                       const absorption::SelfAbsorptionResult& result) {
    const tomography::ImageGrid grid = scan.grid();
    auto map = nexus::require_data(stage, "attenuation", "mu", {"y", "x"});
    nexus::write_map(map, "mu", std::vector<double>(result.mu_map.begin(), result.mu_map.end()),
                     grid.n, grid.n, {"1/mm", "linear attenuation coefficient"});
    write_image_axes(map, grid);
    auto rays =
        nexus::require_data(stage, "rays", "transmission", {"rotation_angle", "translation"});
    write_rays(rays, scan, "transmission", result.transmission, {"", "transmission of the ray"});
    std::vector<float> factor;
    for (const float value : result.transmission)
        factor.push_back(1 / value);
    write_rays(rays, scan, "correction_factor", factor, {"", "factor that corrects the intensity"});
    write_ray_axes(rays, scan);
    nexus::set_default(map);
}

void write_phase_absorption(hdf5::Group& stage, const Scan& scan,
                            const rietveld::PatternModel& model,
                            const absorption::SelfAbsorptionResult& result) {
    nexus::write_value(stage, "amount_constant", result.constant,
                       {"", "volume fraction over scale times cell volume squared"});
    write_phases(stage, scan, model, result);
    if (result.wall)
        write_ring(stage, result);
    if (result.changes.size() > 1)
        write_convergence(stage, result.changes);
}

} // namespace xrdct::pipeline
