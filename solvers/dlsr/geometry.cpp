// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/geometry.hpp"

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/numbers.hpp"
#include "base/units.hpp"
#include "rietveld/model/pattern_model.hpp"
#include "tomography/rotation_axis.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// An axis is off when it is by this part of a step and by so many e.s.d.
constexpr double axis_tolerance = 0.05, axis_significance = 5;

bool is_length(const Quantity& quantity) {
    return quantity.unit == "angstrom";
}

/// tan 2θ at a cell over tan 2θ at the reference, mean over the lines.
double tangent_ratio(const Setup& setup, const rietveld::RadialAxis& axis, std::size_t phase,
                     double cell, double reference) {
    rietveld::PatternModel model = setup.model;
    model.phases = {setup.model.phases[phase]};
    model.phases[0].scale.value = 1;
    model.phases[0].cell[0].value = cell;
    model.displacement.value = model.zero.value = 0;
    double sum = 0, weight = 0;
    for (const auto& line : rietveld::PatternCalculator(axis, model).lines(model)) {
        const double sine = axis.wavelength() / (2 * line.d) * cell / reference;
        if (!(sine < 0.99))
            continue;
        sum += line.intensity *
               std::log(std::tan(radians(line.two_theta)) / std::tan(2 * std::asin(sine)));
        weight += line.intensity;
    }
    // Without a line the small-angle limit.
    return weight > 0 ? std::exp(sum / weight) : reference / cell;
}

} // namespace

std::size_t global_cell(const Setup& setup, std::size_t phase) {
    for (std::size_t g = 0; g < setup.global_quantities.size(); ++g)
        if (setup.global_quantities[g].group == setup.model.phases[phase].name &&
            is_length(setup.global_quantities[g]))
            return g;
    return setup.globals.size();
}

std::vector<std::size_t> radial_standards(const Setup& setup,
                                          const std::vector<std::string>& named) {
    std::vector<std::size_t> result;
    const auto& phases = setup.model.phases;
    if (named.empty()) {
        for (std::size_t p = 0; p < phases.size(); ++p)
            if (phases[p].phase.composition().size() == 1 && phases[p].cell.size() == 1 &&
                !setup.pixels[p].empty() && global_cell(setup, p) < setup.globals.size())
                result.push_back(p);
        return result;
    }
    for (const auto& name : named) {
        const auto at =
            std::find_if(phases.begin(), phases.end(),
                         [&](const rietveld::PhaseModel& phase) { return phase.name == name; });
        if (at == phases.end()) {
            std::vector<std::string> known;
            for (const auto& phase : phases)
                known.push_back(phase.name);
            throw Error(fmt::format("dlsr.standards: there is no phase '{}'{}", name,
                                    nearest_hint(name, known)));
        }
        const auto p = static_cast<std::size_t>(at - phases.begin());
        if (at->cell.size() != 1)
            throw Error(fmt::format("dlsr.standards: phase '{}' has {} free cell parameters; a "
                                    "standard has one (cubic)",
                                    name, at->cell.size()));
        if (global_cell(setup, p) == setup.globals.size())
            throw Error(fmt::format("dlsr.standards: the cell of phase '{}' is not refined as a "
                                    "global value: cell = \"global\" is needed",
                                    name));
        if (!setup.pixels[p].empty())
            result.push_back(p);
    }
    return result;
}

StandardsScale compare_standards(const Setup& setup, const rietveld::RadialAxis& axis,
                                 std::span<const std::size_t> phases, std::span<const double> value,
                                 std::span<const double> esd, double reference_uncertainty) {
    StandardsScale result;
    double sum = 0, weights = 0;
    for (std::size_t i = 0; i < phases.size(); ++i) {
        const auto& phase = setup.model.phases[phases[i]];
        RadialStandard standard{phase.name, phase.phase.cell().a, value[i], esd[i]};
        standard.factor = tangent_ratio(setup, axis, phases[i], standard.cell, standard.reference);
        const double relative = std::isfinite(esd[i]) ? esd[i] / standard.cell : 0;
        standard.uncertainty = std::hypot(relative, reference_uncertainty);
        const double weight = 1 / (standard.uncertainty * standard.uncertainty);
        sum += weight * standard.factor;
        weights += weight;
        result.standards.push_back(standard);
    }
    if (result.standards.empty()) {
        result.factor = result.uncertainty = nan_value;
        return result;
    }
    result.factor = sum / weights;
    result.uncertainty = 1 / std::sqrt(weights);
    for (const auto& standard : result.standards)
        result.chi_squared += std::pow((standard.factor - result.factor) / standard.uncertainty, 2);
    if (result.standards.size() > 1)
        result.chi_squared /= static_cast<double>(result.standards.size() - 1);
    return result;
}

void apply_radial_scale(const SharedMemoryTeam& team, Setup& setup, double factor,
                        double distance) {
    auto& model = setup.model;
    const double before = model.distance > 0 ? 1 - model.displacement.value / model.distance : 1.0;
    model.distance = distance;
    model.displacement.value = distance * (1 - before * factor);
    for (auto& field : setup.fields) {
        if (field.field.shape < 0 || !is_length(field.quantity))
            continue;
        field.field.lower *= factor;
        field.field.upper *= factor;
        field.field.unit *= factor;
        team.run_and_sync([&] {
            if (team.rank() == 0)
                for (double& value : field.start)
                    value *= factor;
        });
        auto& shape =
            setup.parts[field.field.part].voxel[static_cast<std::size_t>(field.field.shape)];
        shape.lower *= factor;
        shape.upper *= factor;
        auto& phase = model.phases[setup.parts[field.field.part].index];
        phase.cell[shape.index].value *= factor;
    }
    std::size_t g = 0;
    for (auto& part : setup.parts)
        for (auto& shape : part.global) {
            if (is_length(setup.global_quantities[g])) {
                shape.lower *= factor;
                shape.upper *= factor;
                setup.globals[g].lower *= factor;
                setup.globals[g].upper *= factor;
                setup.globals[g].unit *= factor;
                model.phases[part.index].cell[shape.index].value *= factor;
            }
            ++g;
        }
}

void apply_radial_scale(const Setup& setup, const Operator& model, double factor,
                        std::span<double> values) {
    model.team().run_and_sync([&] {
        if (model.team().rank() != 0)
            return;
        for (const auto& field : setup.fields) {
            if (field.field.shape < 0 || !is_length(field.quantity))
                continue;
            const std::size_t first = model.offset(field.field.part, field.field.shape);
            for (std::size_t v = 0; v < model.pixels(field.field.part).size(); ++v)
                values[first + v] *= factor;
        }
        for (std::size_t g = 0; g < setup.global_quantities.size(); ++g)
            if (is_length(setup.global_quantities[g]))
                values[model.global_offset() + g] *= factor;
    });
}

std::optional<GeometryEstimate> sinogram_axis(const tomography::ScanGeometry& geometry,
                                              std::span<const float> sinogram) {
    try {
        const auto found = find_axis_offset(geometry, sinogram);
        const auto& by = found.mirror.valid && found.offset == found.mirror.offset
                             ? found.mirror
                             : found.centre_of_mass;
        return GeometryEstimate{geometry.axis_offset, found.offset, by.uncertainty, false};
    } catch (const Error&) {
        return {}; // too few projections or nothing in them
    }
}

bool axis_matters(double change, double esd, double step) {
    return std::abs(change) > axis_tolerance * std::abs(step) &&
           std::abs(change) > axis_significance * esd;
}

bool GeometryResult::axis_is_off() const {
    return axis_matters(axis_offset.found - axis_offset.given, axis_offset.esd, step);
}

double distance_systematic(double pixel, double half_depth) {
    constexpr double of_maps = 0.005; // regularised maps, lines whose shape is not the model's
    constexpr double of_voxel = 0.3;  // of a voxel in the radius of the sample
    return std::hypot(of_maps, of_voxel * pixel / half_depth);
}

std::vector<std::string> GeometryResult::remarks() const {
    std::vector<std::string> result;
    if (std::isfinite(axis_offset.found)) {
        const double change = axis_offset.found - axis_offset.given;
        auto text = fmt::format("axis offset {:.5f} +- {:.5f} mm, {:+.3f} steps from the {:.5f} mm "
                                "given",
                                axis_offset.found, axis_offset.esd, change / std::abs(step),
                                axis_offset.given);
        if (sinogram_axis)
            text += fmt::format("; the sinogram alone says {:.5f} +- {:.5f} mm",
                                sinogram_axis->found, sinogram_axis->esd);
        if (axis_offset.refined)
            text += "; refined with the maps";
        if (axis_is_off())
            text = "AXIS: " + text +
                   (axis_offset.refined
                        ? fmt::format("; masks and start are of the one given: better run all "
                                      "stages with geometry.axis_offset = {:.5f}",
                                      axis_offset.found)
                        : std::string(": the maps are blurred by that, and more is seen the nearer "
                                      "it comes; run all stages with geometry.axis_offset = "
                                      "\"auto\", or use dlsr.axis_offset = \"refine\""));
        result.push_back(text);
    }
    if (distance && std::isfinite(distance->found)) {
        const double model = std::isfinite(distance->systematic) ? distance->systematic : 0;
        auto text = fmt::format("distance, from the parallax alone: {:.1f} +- {:.1f} mm (noise){}, "
                                "{:.1f} mm given",
                                distance->found, distance->esd,
                                model > 0 ? fmt::format(" +- {:.1f} mm (model)", model) : "",
                                distance->given);
        if (distance->refined)
            text += "; refined with the maps, the radial axis untouched";
        const double change = std::abs(distance->found - distance->given);
        if (!distance->refined && change > 3 * std::hypot(distance->esd, model))
            text = "DISTANCE: " + text + ": check geometry.distance and the translation step";
        result.push_back(text);
    }
    if (radial.standards.empty())
        return result;
    std::string list;
    for (const auto& standard : radial.standards)
        list += fmt::format("{}{} {:+.0f}", list.empty() ? "" : ", ", standard.phase,
                            1e6 * (standard.factor - 1));
    auto text = fmt::format("radial scale (tan 2theta) {:+.0f} +- {:.0f} ppm by the cells of the "
                            "standards ({} ppm)",
                            1e6 * (radial.factor - 1), 1e6 * radial.uncertainty, list);
    if (applied_scale != 1)
        text += fmt::format("; corrected by {:+.0f} ppm: cells hold to a common {:.0f} ppm",
                            1e6 * (applied_scale - 1), 1e6 * radial.uncertainty);
    const double rest = radial.factor / applied_scale - 1;
    if (!radial.agree())
        text = "RADIAL SCALE: " + text +
               ": they do not agree on one scale; an alloy or a wrong CIF? Name in dlsr.standards "
               "those that are what their CIF says";
    else if (std::abs(rest) > 3 * radial.uncertainty)
        text = "RADIAL SCALE: " + text +
               fmt::format(": all cells are off by about {:+.0f} ppm; calibrate again, or "
                           "dlsr.radial_scale = \"metals\"",
                           -1e6 * rest);
    result.push_back(text);
    return result;
}

} // namespace xrdct::dlsr
