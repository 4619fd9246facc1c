// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/scan_model.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

/// Distance between the rays [mm] into which a strip is divided.
constexpr double ray_spacing = 0.005;
constexpr double largest_depth_step = 0.02; ///< mm
constexpr double largest_exit_pitch = 0.02; ///< mm, between depths with exit factors
constexpr std::size_t lane = 8;             ///< lines are padded to a multiple of it

bool is_metal(const std::string& structure) {
    return structure == "Fe" || structure == "Cu" || structure == "Al";
}

double two_theta_of(double sin_squared) {
    return degrees(2 * std::asin(std::sqrt(sin_squared)));
}

} // namespace

ScanSimulator::Model::Model(const CellDesign& cell_design, const ScanDesign& resolved_scan,
                            std::vector<std::size_t> rotations)
    : scan(resolved_scan), cell(cell_design, scan.sizes, scan.wavelength),
      rotation_index(std::move(rotations)) {
    for (const auto& phase : cell.phases())
        phases.push_back(phase.info);
    set_up_depths();
    set_up_groups();
    const std::vector<double> bragg = set_up_phases();
    // Amounts over the whole cell set the strength of the peak of the separator and of the diffuse
    // scattering.
    const Totals total = totals(bragg);
    set_up_polymer(total);
    set_up_diffuse(total);
    set_up_rays();
}

std::vector<Line> ScanSimulator::Model::lines_of(const crystal::Phase& phase) const {
    // A little beyond, for cells that vary.
    const double theta = 0.5 * radians(highest() + line_margin + 0.3);
    const double d_min = scan.wavelength / (2 * std::sin(theta));
    std::vector<Line> lines;
    for (const crystal::PowderLine& line :
         merge_coincident(phase.reflections(d_min), phase.crystal_system(), phase.unique_axis()))
        if (line.intensity > 0)
            lines.push_back({line.hkl, line.intensity});
    return lines;
}

Diffraction ScanSimulator::Model::diffraction(const crystal::UnitCell& unit_cell,
                                              const Line& line) const {
    const double s =
        0.25 * scan.wavelength * scan.wavelength * unit_cell.inverse_d_squared(line.hkl);
    const double sine = 2 * std::sqrt(s * (1 - s)), cosine = 1 - 2 * s;
    const double volume = unit_cell.volume();
    return {s, sine / cosine, sine * sine,
            line.factor * lorentz_polarisation(s) / (volume * volume)};
}

void ScanSimulator::Model::place(FixedComponent& component,
                                 const std::vector<Diffraction>& lines) const {
    const Smearing& smearing = groups[component.group].smearing;
    component.n_lines = lines.size();
    for (const Diffraction& line : lines) {
        if (exit)
            component.exit.push_back(exit->place(line.tan_two_theta));
        for (std::size_t b = 0; b < depth_bins; ++b) {
            const double z =
                (static_cast<double>(b) - 0.5 * static_cast<double>(depth_bins - 1)) * depth_pitch;
            const double ratio = 1 - z / scan.distance;
            const double t = line.tan_two_theta * ratio;
            // cos 2θ / cos 2θ' = √((1 + tan² 2θ') / (1 + tan² 2θ))
            const double cosines =
                std::sqrt((1 + t * t) / (1 + line.tan_two_theta * line.tan_two_theta));
            const double amplitude = line.intensity * cosines * cosines * cosines / (ratio * ratio);
            const double position = smearing.position(t);
            const double bin = std::round(position);
            component.placements.push_back(
                {static_cast<int>(bin), Smearing::weights(static_cast<float>(position - bin)) *
                                            static_cast<float>(amplitude)});
        }
    }
}

void ScanSimulator::Model::set_up_points(PointComponent& component,
                                         const std::vector<Line>& all) const {
    // The range of cells may carry a line off the grid: such lines end outside the margin anyway.
    const Smearing& smearing = groups[component.group].smearing;
    const auto cell_at = [&](double lithium) {
        return component.varying_cell ? cell.cathode_cell(lithium) : phases[component.phase].cell;
    };
    std::vector<Line> kept = all;
    std::erase_if(kept, [&](const Line& line) {
        for (const double f : {0.0, 1.0}) {
            const double t = diffraction(cell_at(f), line).tan_two_theta;
            const double shift = t * reach() / scan.distance;
            if (smearing.position(t - shift) < 2 ||
                smearing.position(t + shift) > static_cast<double>(smearing.bins()) - 4)
                return true;
        }
        return false;
    });
    const std::size_t padded = (kept.size() + lane - 1) / lane * lane;
    const std::size_t nodes = component.varying_cell ? lattice_nodes : 0;
    component.lines = kept.size();
    component.padded = padded;
    component.table.assign((nodes + 1) * 4 * padded, 0.0F);
    component.sin_squared.assign(padded, 0.0F);
    component.exit_weight.assign(exit ? ExitAbsorption::nodes * padded : 0, 0.0F);
    std::vector<TextureTable::Line> angles;
    for (std::size_t l = 0; l < kept.size(); ++l) {
        const crystal::UnitCell middle_cell = cell_at(0.5);
        const Diffraction middle = diffraction(middle_cell, kept[l]);
        component.sin_squared[l] = static_cast<float>(middle.sin_squared_two_theta);
        angles.push_back(
            {std::sqrt(middle.sin_squared_theta), cos_to_basal_normal(middle_cell, kept[l].hkl)});
        if (exit) {
            const auto place = exit->place(middle.tan_two_theta);
            component.exit_weight[place.node * padded + l] = 1 - place.part;
            component.exit_weight[(place.node + 1) * padded + l] = place.part;
        }
        const auto at = [&](std::size_t node) {
            return diffraction(
                cell_at(static_cast<double>(node) / static_cast<double>(lattice_nodes)), kept[l]);
        };
        for (std::size_t node = 0; node <= nodes; ++node) {
            const Diffraction here = at(node), next = at(node + 1);
            float* row = &component.table[node * 4 * padded + l];
            const double h = smearing.inverse_step();
            row[0] = static_cast<float>(here.tan_two_theta * h);
            row[padded] = static_cast<float>((next.tan_two_theta - here.tan_two_theta) * h);
            row[2 * padded] = static_cast<float>(here.intensity);
            row[3 * padded] = static_cast<float>(next.intensity - here.intensity);
        }
    }
    if (phases[component.phase].march != 1)
        component.texture.emplace(phases[component.phase].march, angles, padded);
}

void ScanSimulator::Model::set_up_depths() {
    const double radius = reach();
    // Neighbouring depth bins are a thirtieth of a channel apart.
    const double pitch = radians(scan.two_theta_width) / 30 * scan.distance /
                         std::tan(radians(highest() + line_margin));
    const bool deviated = scan.exit_rays == ExitRays::deviated;
    if (deviated) {
        exit.emplace(cell, std::tan(radians(std::max(lowest() - line_margin, 0.0))),
                     std::tan(radians(highest() + line_margin)));
        for (std::size_t k = 0; k < scan.channels; ++k)
            channel_exit.push_back(exit->place(std::tan(
                radians(scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width))));
    }
    depth_bins = std::clamp<std::size_t>(
        static_cast<std::size_t>(
            std::ceil(2 * radius / std::min(pitch, deviated ? largest_exit_pitch : 4 * radius))) +
            1,
        2, 4096);
    depth_pitch = 2 * radius / static_cast<double>(depth_bins - 1);
}

void ScanSimulator::Model::set_up_groups() {
    const double margin = line_margin + 1.5 * largest_shift();
    std::vector<double> sizes;
    for (const PhantomPhase& phase : phases) {
        auto it = std::find(sizes.begin(), sizes.end(), phase.crystallite_size);
        group_of.push_back(static_cast<std::size_t>(it - sizes.begin()));
        if (it == sizes.end()) {
            sizes.push_back(phase.crystallite_size);
            groups.push_back({Smearing(channels(), margin, scan.profile, phase.crystallite_size,
                                       scan.wavelength)});
        }
    }
    const PeakShape separator_shape{scan.separator_fwhm, 0.5};
    groups.push_back({Smearing(channels(), margin, separator_shape)});
    for (Group& group : groups) {
        group.offset = spectrum_size;
        spectrum_size += group.smearing.bins();
    }
}

/// Components of the phases, and their intensity per volume, summed over the channels' range.
std::vector<double> ScanSimulator::Model::set_up_phases() {
    point_offset.assign(groups.size(), npos);
    std::vector<double> bragg(phases.size(), 0.0);
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const auto& phase = cell.phases()[p];
        FixedComponent component{group_of[p], 0, {}, {}, is_metal(phases[p].structure)};
        std::vector<Diffraction> placed;
        std::vector<Line> kept;
        for (const Line& line : lines_of(phase.crystal)) {
            const Diffraction at = diffraction(phase.info.cell, line);
            const double two_theta = degrees(std::atan(at.tan_two_theta));
            if (!within_reach(two_theta))
                continue;
            placed.push_back(at);
            kept.push_back(line);
            if (two_theta > lowest() && two_theta < highest())
                bragg[p] += at.intensity;
        }
        points_of.push_back(-1);
        if (phases[p].varying_cell || phases[p].march != 1) {
            points_of.back() = static_cast<int>(points.size());
            points.push_back({p, group_of[p], phases[p].varying_cell, 0, 0, {}, {}, {}, {}});
            set_up_points(points.back(), kept);
            std::size_t& offset = point_offset[group_of[p]];
            if (offset == npos) {
                offset = point_bins;
                point_bins += groups[group_of[p]].smearing.bins();
            }
        } else {
            place(component, placed);
        }
        fixed.push_back(std::move(component));
    }
    return bragg;
}

/// Sums over points of the whole cell; `bragg` is the intensity per volume by phase.
ScanSimulator::Model::Totals ScanSimulator::Model::totals(const std::vector<double>& bragg) const {
    constexpr int samples = 500;
    Totals total;
    for (int iy = 0; iy < samples; ++iy)
        for (int ix = 0; ix < samples; ++ix) {
            const Material m = cell.at(((ix + 0.5) / samples * 2 - 1) * cell.outer_radius(),
                                       ((iy + 0.5) / samples * 2 - 1) * cell.outer_radius());
            for (int i = 0; i < m.n_parts; ++i)
                total.bragg +=
                    m.part[static_cast<std::size_t>(i)].fraction *
                    bragg[static_cast<std::size_t>(m.part[static_cast<std::size_t>(i)].phase)];
            total.polymer += m.polymer;
            total.mass += m.mass;
        }
    return total;
}

/// The peak of the separator's polymer.
void ScanSimulator::Model::set_up_polymer(const Totals& total) {
    FixedComponent polymer{groups.size() - 1, 0, {}, {}, false};
    const double sine = scan.wavelength / (2 * scan.separator_d);
    if (scan.separator_peak > 0 && sine < 0.7 && within_reach(two_theta_of(sine * sine)) &&
        total.polymer > 0) {
        const double two_theta = radians(two_theta_of(sine * sine));
        place(polymer,
              {{sine * sine, std::tan(two_theta), std::sin(two_theta) * std::sin(two_theta),
                scan.separator_peak * total.bragg / total.polymer}});
    }
    fixed.push_back(std::move(polymer));
}

void ScanSimulator::Model::set_up_diffuse(const Totals& total) {
    diffuse.resize(scan.channels);
    const std::vector<double> shape = diffuse_shape(scan);
    for (std::size_t k = 0; k < scan.channels; ++k)
        diffuse[k] = static_cast<float>(scan.background * total.bragg / total.mass * shape[k]);
}

void ScanSimulator::Model::set_up_rays() {
    n_sub = std::max<std::size_t>(
        4, static_cast<std::size_t>(std::ceil(scan.step / ray_spacing - 1e-9)));
    // Within a step the winding coordinate is taken as linear: keep the sagitta of the innermost
    // winding below 0.5 % of the thinnest layer.
    double thinnest = 1;
    for (int i = 0; i < n_layers; ++i)
        thinnest = std::min(thinnest, (cell.layer_bounds()[static_cast<std::size_t>(i) + 1] -
                                       cell.layer_bounds()[static_cast<std::size_t>(i)]) *
                                          cell.period());
    depth_step = std::min(
        {largest_depth_step, scan.step / 3, std::sqrt(8 * cell.core_radius() * 0.005 * thinnest)});
    const double spacing = scan.step / static_cast<double>(n_sub);

    half = static_cast<std::size_t>(std::ceil(0.5 * scan.beam_width / spacing - 1e-9));
    stencil = strip_stencil(scan.step, scan.beam_width, n_sub, half);

    if (off_axis() == 0)
        make_rays(0, centred);
}

void ScanSimulator::Model::make_rays(double centre, RayTable& table) const {
    const double spacing = scan.step / static_cast<double>(n_sub);
    const std::size_t n_rays = scan.translations * n_sub + 2 * half;
    const double roll = cell.roll_radius(), period = cell.period();
    table.rays.clear();
    table.winding.clear();
    table.turn.clear();
    for (std::size_t i = 0; i < n_rays; ++i) {
        Ray ray;
        ray.s = (static_cast<double>(i) - static_cast<double>(half) + 0.5) * spacing -
                0.5 * static_cast<double>(scan.translations) * scan.step - scan.axis_offset -
                centre;
        // The polar angle is not defined on the axis itself.
        if (std::abs(ray.s) < 1e-7)
            ray.s = 1e-7;
        if (std::abs(ray.s) < roll) {
            const double reach = std::sqrt(roll * roll - ray.s * ray.s);
            ray.first = table.winding.size();
            ray.n_steps = std::max<std::size_t>(
                1, static_cast<std::size_t>(std::ceil(2 * reach / depth_step)));
            ray.z0 = -reach;
            ray.step = 2 * reach / static_cast<double>(ray.n_steps);
            for (std::size_t n = 0; n <= ray.n_steps; ++n) {
                const double z = ray.z0 + static_cast<double>(n) * ray.step;
                const double angle = std::atan(z / ray.s) / (2 * pi) + (ray.s < 0 ? 0.5 : 0.0);
                table.winding.push_back(
                    static_cast<float>(std::sqrt(ray.s * ray.s + z * z) / period - angle));
                table.turn.push_back(static_cast<float>(angle));
            }
        }
        table.rays.push_back(ray);
    }
}

} // namespace xrdct::phantom
