// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/body_scan.hpp"

#include "base/units.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::phantom {

namespace {

constexpr double body_ray_spacing = 0.010; ///< mm, at most
constexpr double body_depth_step = 0.02;   ///< mm, at most
constexpr double thin_part = 0.25;         ///< of the thinnest region, between rays
constexpr double size_ratio = 1.12;        ///< of neighbouring sizes with profiles
constexpr std::size_t strain_steps = 6;
constexpr int total_samples = 500; ///< across the body, for its mean scattering
/// Lines of nanocrystals reach into the channels from further away.
constexpr double margin_in_widths = 6;

std::vector<double> between(double low, double high, std::size_t steps, bool geometric) {
    std::vector<double> values;
    for (std::size_t i = 0; i <= steps; ++i) {
        const double part =
            static_cast<double>(i) / static_cast<double>(std::max<std::size_t>(steps, 1));
        values.push_back(geometric ? low * std::pow(high / low, part) : low + part * (high - low));
    }
    return values;
}

/// The instrument's profile, broadened by a microstrain.
InstrumentProfile strained(InstrumentProfile profile, double microstrain) {
    profile.y += degrees(4 * microstrain);
    return profile;
}

std::vector<crystal::PowderLine> powder_lines(const crystal::Phase& phase, double d_min) {
    auto lines =
        merge_coincident(phase.reflections(d_min), phase.crystal_system(), phase.unique_axis());
    std::erase_if(lines, [](const crystal::PowderLine& line) { return !(line.intensity > 0); });
    return lines;
}

Diffraction diffraction_of(const crystal::UnitCell& cell, const crystal::PowderLine& line,
                           double wavelength) {
    const double s = 0.25 * wavelength * wavelength * cell.inverse_d_squared(line.hkl);
    const double sine = 2 * std::sqrt(s * (1 - s));
    const double volume = cell.volume();
    return {s, sine / (1 - 2 * s), sine * sine,
            line.intensity * lorentz_polarisation(s) / (volume * volume)};
}

} // namespace

BodySimulator::Model::Nodes::At BodySimulator::Model::Nodes::at(double v) const {
    if (value.size() == 1)
        return {0, 0.0F};
    const auto above = std::upper_bound(value.begin() + 1, value.end() - 1, v);
    const double high = *above, low = *(above - 1);
    const double part =
        inverse ? (1 / v - 1 / low) / (1 / high - 1 / low) : (v - low) / (high - low);
    return {static_cast<std::uint16_t>(above - 1 - value.begin()),
            static_cast<float>(std::clamp(part, 0.0, 1.0))};
}

BodySimulator::Model::Model(const BodyDesign& design, const ScanDesign& resolved_scan,
                            std::vector<std::size_t> rotations)
    : scan(resolved_scan), body(design, scan.wavelength), rotation_index(std::move(rotations)) {
    for (const auto& phase : body.phases())
        phases.push_back(phase.info);
    components.resize(phases.size());
    for (std::size_t p = 0; p < phases.size(); ++p)
        set_up_component(p);
    set_up_rays();
    set_up_diffuse();
}

double BodySimulator::Model::reach() const {
    return body.shape().radius() + std::hypot(body.design().centre_x, body.design().centre_y);
}

/// Profiles and lines of one phase.
void BodySimulator::Model::set_up_component(std::size_t p) {
    const auto& phase = body.phases()[p];
    Component& component = components[p];
    const double low = phase.size.lowest(), high = phase.size.highest();
    const auto steps =
        static_cast<std::size_t>(std::ceil(std::log(high / low) / std::log(size_ratio)));
    component.sizes = {between(low, high, steps, true), true};
    component.strains = {between(phase.microstrain.lowest(), phase.microstrain.highest(),
                                 phase.microstrain.varies() ? strain_steps : 0, false),
                         false};
    const InstrumentProfile widest = strained(scan.profile, component.strains.value.back());
    const double margin =
        std::max(line_margin,
                 margin_in_widths * instrument_shape(widest, low, scan.wavelength, highest()).fwhm);
    const double tangent = std::tan(radians(highest() + margin));
    const double shift = degrees(tangent * reach() / scan.distance);
    for (const double size : component.sizes.value)
        for (const double strain : component.strains.value)
            component.smearing.emplace_back(
                Smearing::Channels{scan.channels, scan.two_theta_first, scan.two_theta_width},
                margin + 1.5 * shift, strained(scan.profile, strain), size, scan.wavelength);

    // Cells at the nodes of the deviation; one that does not vary has one node.
    const double from = phase.cell.lowest(), range = phase.cell.highest() - from;
    const std::size_t nodes = phase.cell.varies() ? lattice_nodes : 0;
    component.cell_from = from;
    component.cells_per_ppm = nodes > 0 ? static_cast<double>(nodes) / range : 0;
    const double theta = 0.5 * radians(highest() + margin + 0.3);
    auto lines = powder_lines(phase.crystal, scan.wavelength / (2 * std::sin(theta)));
    std::erase_if(lines, [&](const crystal::PowderLine& line) {
        for (const double ppm : {from, from + range}) {
            const double t =
                diffraction_of(body.cell(phase, ppm), line, scan.wavelength).tan_two_theta;
            const double change = t * reach() / scan.distance;
            for (const Smearing& smearing : component.smearing)
                if (smearing.position(t - change) < 2 ||
                    smearing.position(t + change) > static_cast<double>(smearing.bins()) - 4)
                    return true;
        }
        return false;
    });
    component.lines = lines.size();
    // The last node is there twice, so that each has a next one.
    for (std::size_t node = 0; node <= nodes + 1; ++node) {
        const double ppm = from + range * static_cast<double>(std::min(node, nodes)) /
                                      static_cast<double>(std::max<std::size_t>(nodes, 1));
        const crystal::UnitCell cell = body.cell(phase, ppm);
        for (const crystal::PowderLine& line : lines) {
            const Diffraction d = diffraction_of(cell, line, scan.wavelength);
            component.tangent.push_back(static_cast<float>(d.tan_two_theta));
            component.sin_squared.push_back(static_cast<float>(d.sin_squared_two_theta));
            component.intensity.push_back(static_cast<float>(d.intensity));
        }
    }
}

void BodySimulator::Model::set_up_rays() {
    // Layers along the beam are seen by a few rays at least.
    const double largest = std::min(body_ray_spacing, thin_part * body.shape().thinnest());
    n_sub =
        std::max<std::size_t>(6, static_cast<std::size_t>(std::ceil(scan.step / largest - 1e-9)));
    const double spacing = scan.step / static_cast<double>(n_sub);
    half = static_cast<std::size_t>(std::ceil(0.5 * scan.beam_width / spacing - 1e-9));
    stencil = strip_stencil(scan.step, scan.beam_width, n_sub, half);
    depth_step = std::min(body_depth_step, scan.step / 3);
    border_step = std::min(depth_step, 0.5 * body.shape().thinnest());
}

/// Intensity of the lines within the channels per volume.
double BodySimulator::Model::bragg(std::size_t phase) const {
    const Component& component = components[phase];
    double sum = 0;
    for (std::size_t l = 0; l < component.lines; ++l) {
        const double two_theta = degrees(std::atan(component.tangent[l]));
        if (two_theta > lowest() && two_theta < highest())
            sum += component.intensity[l];
    }
    return sum;
}

void BodySimulator::Model::set_up_diffuse() {
    double total = 0, mass = 0;
    const double radius = body.shape().radius();
    std::vector<double> strength;
    for (std::size_t p = 0; p < phases.size(); ++p)
        strength.push_back(bragg(p));
    for (int iy = 0; iy < total_samples; ++iy)
        for (int ix = 0; ix < total_samples; ++ix) {
            const double x = ((ix + 0.5) / total_samples * 2 - 1) * radius,
                         y = ((iy + 0.5) / total_samples * 2 - 1) * radius;
            const Place place = body.shape().at(x, y);
            if (place.region == nothing)
                continue;
            const auto mixture = body.mixture(place.region, x, y);
            for (int i = 0; i < mixture.n_parts; ++i)
                total += mixture.part[static_cast<std::size_t>(i)].fraction *
                         strength[static_cast<std::size_t>(
                             mixture.part[static_cast<std::size_t>(i)].phase)];
            mass += mixture.mass;
        }
    for (const double value : diffuse_shape(scan))
        diffuse.push_back(
            static_cast<float>(mass > 0 ? scan.background * total / mass * value : 0.0));
}

} // namespace xrdct::phantom
