// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/body_simulator.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/body_scan.hpp"
#include "phantom/poisson.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

constexpr double border_accuracy = 1e-4; ///< mm

Standing standing_of_body(const BodyDesign& design) {
    const BodyDesign body = definite_body(design);
    const double diameter = 2 * make_shape(body)->radius();
    return {diameter, body.centre_x, body.centre_y, body.rotation,
            1.08 * (diameter + 2 * std::hypot(body.centre_x, body.centre_y))};
}

} // namespace

/// One ray on its way through the body, in the body's frame: (x, y) = start + z direction.
struct BodySimulator::Model::Walk {
    const Model& model;
    Ray& ray;
    double x0, y0, dx, dy;
    double centre; ///< z of the body's centre, from the rotation axis [mm]
    double attenuation = 0;

    Place at(double z) const { return model.body.shape().at(x0 + z * dx, y0 + z * dy); }

    /// From `from` to `to` in one region.
    void pass(double from, double to, int region) {
        if (region == nothing || to <= from)
            return;
        const double z = 0.5 * (from + to), length = to - from, x = x0 + z * dx, y = y0 + z * dy;
        const auto mixture = model.body.mixture(region, x, y);
        attenuation += mixture.mu * length;
        ray.mass += mixture.mass * length;
        const Place place = at(z);
        for (int i = 0; i < mixture.n_parts; ++i) {
            const auto& part = mixture.part[static_cast<std::size_t>(i)];
            const auto p = static_cast<std::size_t>(part.phase);
            const auto& phase = model.body.phases()[p];
            const Component& component = model.components[p];
            const double ppm = phase.cell.at(place, x, y);
            ray.points.push_back(
                {static_cast<std::uint16_t>(p), component.sizes.at(phase.size.at(place, x, y)),
                 component.strains.at(phase.microstrain.at(place, x, y)),
                 static_cast<float>((ppm - component.cell_from) * component.cells_per_ppm),
                 static_cast<float>(z + centre), static_cast<float>(part.fraction * length)});
        }
    }

    /// The border between `from`, where `region` is, and `to`, where another one is; `beyond`: what
    /// lies behind it.
    double border(double from, double to, int region, int& beyond) const {
        while (to - from > border_accuracy) {
            const double middle = 0.5 * (from + to);
            const int found = at(middle).region;
            if (found == region) {
                from = middle;
            } else {
                to = middle;
                beyond = found;
            }
        }
        return 0.5 * (from + to);
    }

    /// From −end to end in steps short enough to miss no region.
    void through(double end) {
        const auto steps = static_cast<std::size_t>(std::ceil(2 * end / model.border_step)) + 1;
        const double length = 2 * end / static_cast<double>(steps);
        double from = -end;
        int region = at(from).region;
        for (std::size_t i = 1; i <= steps; ++i) {
            const double z = -end + static_cast<double>(i) * length;
            const int next = at(z).region;
            for (double low = z - length; region != next && z - low > border_accuracy;) {
                int beyond = next;
                low = border(low, z, region, beyond);
                pass(from, low, region);
                from = low;
                region = beyond;
            }
            if (z - from > model.depth_step - 0.5 * length || i == steps) {
                pass(from, z, region);
                from = z;
            }
            region = next;
        }
    }
};

/// The ray at s, the sample turned by ω [rad].
void BodySimulator::Model::trace(double s, double omega, Ray& ray) const {
    ray.points.clear();
    ray.mass = 0;
    ray.through = 1;
    const BodyDesign& design = body.design();
    const double cosine = std::cos(omega), sine = std::sin(omega);
    const double lateral = s - (design.centre_x * cosine + design.centre_y * sine);
    const double depth = -design.centre_x * sine + design.centre_y * cosine;
    const double radius = body.shape().radius();
    if (std::abs(lateral) >= radius)
        return;
    const double own = omega - radians(design.rotation);
    Walk walk{*this,         ray,  lateral * std::cos(own), lateral * std::sin(own), -std::sin(own),
              std::cos(own), depth};
    const double end = std::sqrt(radius * radius - lateral * lateral);
    walk.through(end);
    ray.through = std::exp(-walk.attenuation);
}

/// Line spectra of one phase in the profile of two nodes, by translation.
void BodySimulator::Model::deposit(std::size_t phase, std::size_t size_node,
                                   std::size_t strain_node, Workspace& work) const {
    const Component& component = components[phase];
    const Smearing& smearing =
        component.smearing[size_node * component.strains.value.size() + strain_node];
    const std::size_t bins = smearing.bins(), n_lines = component.lines;
    work.spectra.assign(scan.translations * bins, 0.0F);
    const auto share = [](const Nodes::At& at, std::size_t node) {
        return at.node == node ? 1 - at.part : (at.node + 1U == node ? at.part : 0.0F);
    };
    const auto inverse_step = static_cast<float>(smearing.inverse_step());
    const auto origin = static_cast<float>(smearing.origin() * smearing.inverse_step());
    for (std::size_t t = 0; t < scan.translations; ++t) {
        const std::size_t first = strip_of(t) * n_sub;
        float* spectrum = &work.spectra[t * bins];
        const float* grains = work.grains.empty() ? nullptr : &work.grains[t * n_lines];
        for (std::size_t i = 0; i < stencil.size(); ++i) {
            const Ray& ray = work.rays[first + i];
            const auto weight = static_cast<float>(stencil[i] * ray.through);
            for (const Point& point : ray.points) {
                const float part = share(point.size, size_node) * share(point.strain, strain_node);
                if (point.phase != phase || part == 0)
                    continue;
                const auto node = std::min(static_cast<std::size_t>(point.cell), lattice_nodes);
                const float between = point.cell - static_cast<float>(node);
                const float depth = point.depth / static_cast<float>(scan.distance);
                const float ratio = 1 - depth, square = depth * (depth - 2);
                const float amount = weight * part * point.amount / (ratio * ratio);
                const float* tangent = &component.tangent[node * n_lines];
                const float* sine = &component.sin_squared[node * n_lines];
                const float* strength = &component.intensity[node * n_lines];
                for (std::size_t l = 0; l < n_lines; ++l) {
                    const float at = tangent[l] + between * (tangent[l + n_lines] - tangent[l]);
                    // (cos 2θ / cos 2θ')³ = (1 + q)^{3/2}, q = sin² 2θ (ratio² − 1)
                    const float q = sine[l] * square;
                    float amplitude =
                        amount * (strength[l] + between * (strength[l + n_lines] - strength[l])) *
                        (1 + q * (1.5F + 0.375F * q));
                    if (grains != nullptr)
                        amplitude *= grains[l];
                    const float position = at * ratio * inverse_step - origin;
                    const float rounded = position + 0.5F; // positive: cut off below
                    const int bin = static_cast<int>(rounded);
                    Smearing::deposit(spectrum, bin,
                                      Smearing::weights(position - static_cast<float>(bin)) *
                                          amplitude);
                }
            }
        }
    }
}

/// Relative numbers of a metal's grains in reflecting position [translation][line]; empty: fine
/// powder. Each ray draws from a stream of its own.
void BodySimulator::Model::draw_grains(std::size_t phase, std::size_t i_rotation,
                                       Workspace& work) const {
    work.grains.clear();
    const std::string& structure = phases[phase].structure;
    if (scan.metal_grains == 0 || (structure != "Cu" && structure != "Al"))
        return;
    const std::size_t n_lines = components[phase].lines;
    work.grains.assign(scan.translations * n_lines, 1.0F);
    for (std::size_t t = 0; t < scan.translations; ++t) {
        double length = 0;
        for (std::size_t i = 0; i < stencil.size(); ++i)
            for (const Point& point : work.rays[strip_of(t) * n_sub + i].points)
                if (point.phase == phase)
                    length += stencil[i] * point.amount;
        const double grains = scan.metal_grains * length;
        if (!(grains > 0))
            continue;
        RayRandom random(scan.seed, rotation_index[i_rotation] + (phase + 1) * scan.rotations, t);
        for (std::size_t l = 0; l < n_lines; ++l)
            work.grains[t * n_lines + l] = static_cast<float>(random.poisson(grains) / grains);
    }
}

BodySimulator::BodySimulator(const BodyDesign& body, const ScanDesign& scan)
    : Simulation(resolved(scan, standing_of_body(body))),
      model_(std::make_unique<Model>(body, this->scan(), rotation_index())) {}
BodySimulator::~BodySimulator() = default;
BodySimulator::BodySimulator(BodySimulator&&) noexcept = default;
BodySimulator& BodySimulator::operator=(BodySimulator&&) noexcept = default;

const BodyDesign& BodySimulator::body() const {
    return model_->body.design();
}
const std::vector<PhantomPhase>& BodySimulator::phases() const {
    return model_->phases;
}
std::string BodySimulator::sample() const {
    switch (body().kind) {
    case BodyKind::extrudate:
        return "simulated catalyst extrudate";
    case BodyKind::capillary:
        return "simulated packed capillary";
    case BodyKind::pouch:
        return "simulated strip of a pouch cell";
    }
    throw Error("unknown body");
}

void BodySimulator::simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                                      std::span<float> transmission) const {
    check_line(i_rotation, intensity.size(), transmission.size());
    const Model& m = *model_;
    const ScanDesign& design = m.scan;
    const double omega =
        radians(design.rotation_sense * static_cast<double>(m.rotation_index[i_rotation]) *
                design.rotation_range / static_cast<double>(design.rotations));
    thread_local Model::Workspace work;
    work.rays.resize(design.translations * m.n_sub + 2 * m.half);
    const double spacing = design.step / static_cast<double>(m.n_sub);
    for (std::size_t i = 0; i < work.rays.size(); ++i)
        m.trace((static_cast<double>(i) - static_cast<double>(m.half) + 0.5) * spacing -
                    0.5 * static_cast<double>(design.translations) * design.step -
                    design.axis_offset,
                omega, work.rays[i]);
    for (std::size_t t = 0; t < design.translations; ++t) {
        double through = 0, mass = 0;
        for (std::size_t i = 0; i < m.stencil.size(); ++i) {
            const Model::Ray& ray = work.rays[m.strip_of(t) * m.n_sub + i];
            through += m.stencil[i] * ray.through;
            mass += m.stencil[i] * ray.through * ray.mass;
        }
        transmission[t] = static_cast<float>(through);
        for (std::size_t k = 0; k < design.channels; ++k)
            intensity[t * design.channels + k] = static_cast<float>(mass * m.diffuse[k]);
    }
    for (std::size_t p = 0; p < m.components.size(); ++p) {
        const std::size_t n_strains = m.components[p].strains.value.size();
        m.draw_grains(p, i_rotation, work);
        for (std::size_t node = 0; node < m.components[p].smearing.size(); ++node) {
            m.deposit(p, node / n_strains, node % n_strains, work);
            m.components[p].smearing[node].add(design.translations, work.spectra.data(),
                                               intensity.data());
        }
    }
}

} // namespace xrdct::phantom
