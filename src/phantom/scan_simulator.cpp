// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/scan_simulator.hpp"

#include "base/error.hpp"
#include "phantom/poisson.hpp"
#include "phantom/scan_model.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

namespace xrdct::phantom {

float ScanSimulator::Model::angle_to_beam(double s, double z) const {
    // The gradient of r/P − θ/2π, up to a factor.
    const double k = cell.period() / (2 * pi) / std::hypot(s, z);
    return static_cast<float>(std::atan2(std::abs(s + k * z), std::abs(z - k * s)));
}

/// One ray on its way through the cell.
struct ScanSimulator::Model::Walk {
    const Model& model;
    const Ray& ray;
    Workspace& work;
    double depth; ///< of the cell's centre [mm]
    double inverse_pitch = 1 / model.depth_pitch;
    double centre = 0.5 * static_cast<double>(model.depth_bins - 1);
    double attenuation = 0; ///< ∫μ dl so far

    void collect(std::size_t component, double z, double amount) const {
        const double position = (z + depth) * inverse_pitch + centre;
        const auto bin = static_cast<std::size_t>(position);
        const auto part = static_cast<float>(position - static_cast<double>(bin));
        float* row = &work.depth[component * model.depth_bins + bin];
        row[0] += static_cast<float>(amount) * (1 - part);
        row[1] += static_cast<float>(amount) * part;
    }

    void pass(const Material& m, double z, double length) {
        attenuation += m.mu * length;
        work.mass += m.mass * length;
        if (model.exit)
            collect(model.fixed.size(), z, m.mass * length);
        for (int i = 0; i < m.n_parts; ++i) {
            const Material::Part& part = m.part[static_cast<std::size_t>(i)];
            const int to = model.points_of[static_cast<std::size_t>(part.phase)];
            if (to >= 0) {
                const PointComponent& component = model.points[static_cast<std::size_t>(to)];
                work.points[static_cast<std::size_t>(to)].push_back(
                    {component.varying_cell ? m.lithium : 0.0F, static_cast<float>(z + depth),
                     static_cast<float>(part.fraction * length),
                     component.texture ? model.angle_to_beam(ray.s, z) : 0.0F});
            } else {
                collect(static_cast<std::size_t>(part.phase), z, part.fraction * length);
            }
        }
        if (m.polymer > 0)
            collect(model.fixed.size() - 1, z, m.polymer * length);
    }

    void uniform(const Material& m, double from, double to) {
        if (to <= from)
            return;
        const auto n = static_cast<int>(std::ceil((to - from) / model.depth_step));
        const double length = (to - from) / n;
        for (int i = 0; i < n; ++i)
            pass(m, from + (i + 0.5) * length, length);
    }

    void find_layers(const RayTable& table, double rotation,
                     const std::array<float, n_layers + 1>& bounds) const;
    void roll(const RayTable& table, double omega);
};

/// Winding coordinates and layers at the ends of the depth steps.
void ScanSimulator::Model::Walk::find_layers(const RayTable& table, double rotation,
                                             const std::array<float, n_layers + 1>& bounds) const {
    const auto shift =
        static_cast<float>(model.cell.core_radius() / model.cell.period() + rotation);
    const float* winding_row = &table.winding[ray.first];
    const std::size_t n = ray.n_steps + 1;
    work.w.resize(n);
    work.layer.resize(n);
    float* const w = work.w.data();
    int* const layer = work.layer.data();
    for (std::size_t i = 0; i < n; ++i) {
        w[i] = winding_row[i] - shift;
        const float k = std::floor(w[i]), u = w[i] - k;
        int l = 0;
        for (int j = 1; j < n_layers; ++j)
            l += u >= bounds[static_cast<std::size_t>(j)] ? 1 : 0;
        layer[i] = n_layers * static_cast<int>(k) + l;
    }
}

/// Through the layers of the roll.
void ScanSimulator::Model::Walk::roll(const RayTable& table, double omega) {
    const double cosine = std::cos(omega), sine = std::sin(omega);
    const double rotation = omega / (2 * pi);
    std::array<float, n_layers + 1> bounds{};
    for (int i = 0; i <= n_layers; ++i)
        bounds[static_cast<std::size_t>(i)] =
            static_cast<float>(model.cell.layer_bounds()[static_cast<std::size_t>(i)]);
    find_layers(table, rotation, bounds);
    const float* turn_row = &table.turn[ray.first];
    const float* const w = work.w.data();
    const int* const layer = work.layer.data();
    const auto segment = [&](int index, double z, double length, double u_mid, double angle) {
        if (length <= 0)
            return;
        const int k = index >> 3, l = index & 7;
        pass(model.cell.roll(l, u_mid - k, k + angle + rotation, ray.s * cosine - z * sine,
                             ray.s * sine + z * cosine),
             z, length);
    };
    static_assert(n_layers == 8);
    for (std::size_t i = 0; i < ray.n_steps; ++i) {
        const double z = ray.z0 + static_cast<double>(i) * ray.step;
        const double angle = 0.5 * (turn_row[i] + turn_row[i + 1]);
        const double w0 = w[i], slope = static_cast<double>(w[i + 1]) - w0;
        int index = layer[i];
        const int last = layer[i + 1], direction = last > index ? 1 : -1;
        double from = 0;
        while (index != last) {
            const int upper = direction > 0 ? index + 1 : index;
            const double bound = (upper >> 3) + bounds[static_cast<std::size_t>(upper & 7)];
            const double to = std::clamp((bound - w0) / slope, from, 1.0);
            const double middle = 0.5 * (from + to);
            segment(index, z + middle * ray.step, (to - from) * ray.step, w0 + middle * slope,
                    angle);
            from = to;
            index += direction;
        }
        const double middle = 0.5 * (from + 1);
        segment(index, z + middle * ray.step, (1 - from) * ray.step, w0 + middle * slope, angle);
    }
}

/// Walks along one ray; collects amounts by depth and returns ∫μ dl.
double ScanSimulator::Model::trace(const RayTable& table, const Ray& ray, double omega,
                                   double depth, Workspace& work) const {
    std::fill(work.depth.begin(), work.depth.end(), 0.0F);
    work.points.resize(points.size());
    for (auto& list : work.points)
        list.clear();
    work.mass = 0;
    const double outer = cell.outer_radius(), inner = cell.can_inner_radius();
    if (std::abs(ray.s) >= outer)
        return 0;
    Walk walk{*this, ray, work, depth};
    const double z_outer = std::sqrt(outer * outer - ray.s * ray.s);
    const double z_inner = std::abs(ray.s) < inner ? std::sqrt(inner * inner - ray.s * ray.s) : 0.0;
    walk.uniform(cell.can(), -z_outer, -z_inner);
    walk.uniform(cell.can(), z_inner, z_outer);
    if (z_inner == 0)
        return walk.attenuation;
    const double z_roll = ray.n_steps > 0 ? -ray.z0 : 0.0;
    walk.uniform(cell.gap(), -z_inner, -z_roll);
    walk.uniform(cell.gap(), z_roll, z_inner);
    if (ray.n_steps > 0)
        walk.roll(table, omega);
    return walk.attenuation;
}

/// Exit factors of one ray at a depth [mm], by 2θ node.
std::array<float, ExitAbsorption::nodes>
ScanSimulator::Model::leaving_at(float depth, std::span<const float> exit_factors) const {
    std::array<float, ExitAbsorption::nodes> leaving{};
    const float place =
        (depth + static_cast<float>(0.5 * static_cast<double>(depth_bins - 1) * depth_pitch)) /
        static_cast<float>(depth_pitch);
    const auto bin = std::min(static_cast<std::size_t>(place), depth_bins - 2);
    const float between = place - static_cast<float>(bin);
    for (std::size_t j = 0; j < leaving.size(); ++j) {
        const float* factor = &exit_factors[j * depth_bins + bin];
        leaving[j] = factor[0] + between * (factor[1] - factor[0]);
    }
    return leaving;
}

void ScanSimulator::Model::deposit_points(const PointComponent& component,
                                          const std::vector<Point>& list,
                                          std::span<const float> exit_factors,
                                          float* spectrum) const {
    const Smearing& smearing = groups[component.group].smearing;
    const auto origin = static_cast<float>(smearing.origin() * smearing.inverse_step());
    const auto inverse_distance = static_cast<float>(1 / scan.distance);
    const std::size_t padded = component.padded;
    constexpr std::size_t block = 32;
    float position[block], amplitude[block];
    for (const Point& point : list) {
        const float f = point.lithium * static_cast<float>(lattice_nodes);
        const auto node = static_cast<std::size_t>(f);
        const float part = f - static_cast<float>(node);
        const float depth = point.depth * inverse_distance, ratio = 1 - depth;
        // ratio² − 1 without cancellation
        const float square = depth * (depth - 2);
        const float amount = point.amount / (ratio * ratio);
        const float* row = &component.table[node * 4 * padded];
        TextureTable::Place texture{};
        if (component.texture)
            texture = component.texture->at(point.psi);
        std::array<float, ExitAbsorption::nodes> leaving{};
        if (exit)
            leaving = leaving_at(point.depth, exit_factors);
        for (std::size_t first = 0; first < component.lines; first += block) {
            const std::size_t count = std::min(block, padded - first);
            const float* t0 = row + first;
            const float* t1 = t0 + padded;
            const float* i0 = t1 + padded;
            const float* i1 = i0 + padded;
            const float* s2 = &component.sin_squared[first];
            for (std::size_t l = 0; l < count; ++l) {
                position[l] = (t0[l] + part * t1[l]) * ratio - origin;
                // (cos 2θ / cos 2θ')³ = (1 + q)^{3/2}, q = sin² 2θ (ratio² − 1)
                const float q = s2[l] * square;
                amplitude[l] = amount * (i0[l] + part * i1[l]) * (1 + q * (1.5F + 0.375F * q));
            }
            if (component.texture)
                for (std::size_t l = 0; l < count; ++l)
                    amplitude[l] *=
                        texture.value[first + l] + texture.part * texture.slope[first + l];
            if (exit) {
                float factor[block] = {};
                for (std::size_t j = 0; j < leaving.size(); ++j)
                    for (std::size_t l = 0; l < count; ++l)
                        factor[l] += leaving[j] * component.exit_weight[j * padded + first + l];
                for (std::size_t l = 0; l < count; ++l)
                    amplitude[l] *= factor[l];
            }
            const std::size_t real = std::min(block, component.lines - first);
            for (std::size_t l = 0; l < real; ++l) {
                const int bin = static_cast<int>(position[l] + 0.5F);
                Smearing::deposit(spectrum, bin,
                                  Smearing::weights(position[l] - static_cast<float>(bin)) *
                                      amplitude[l]);
            }
        }
    }
}

namespace {

Standing standing_of(const CellDesign& cell) {
    return {cell.outer_diameter, cell.centre_x, cell.centre_y, cell.rotation,
            1.08 * cell.outer_diameter};
}

} // namespace

ScanSimulator::ScanSimulator(const CellDesign& cell, const ScanDesign& scan)
    : Simulation(resolved(scan, standing_of(cell))),
      model_(std::make_unique<Model>(cell, this->scan(), rotation_index())) {}
ScanSimulator::~ScanSimulator() = default;
ScanSimulator::ScanSimulator(ScanSimulator&&) noexcept = default;
ScanSimulator& ScanSimulator::operator=(ScanSimulator&&) noexcept = default;

const CellDesign& ScanSimulator::cell() const {
    return model_->cell.design();
}
const std::vector<PhantomPhase>& ScanSimulator::phases() const {
    return model_->phases;
}
std::string ScanSimulator::sample() const {
    return fmt::format("simulated cell, preset {}", to_string(cell().preset));
}

ScanSimulator::Model::Pose ScanSimulator::Model::pose(std::size_t i_rotation) const {
    const double recorded = static_cast<double>(rotation_index[i_rotation]) * scan.rotation_range /
                            static_cast<double>(scan.rotations);
    const double omega = radians(scan.rotation_sense * recorded);
    const CellDesign& design = cell.design();
    const double cosine = std::cos(omega), sine = std::sin(omega);
    return {design.centre_x * cosine + design.centre_y * sine,
            -design.centre_x * sine + design.centre_y * cosine, omega - radians(design.rotation)};
}

void ScanSimulator::Model::start_rotation(const Pose& pose, Workspace& work) const {
    const std::size_t n = scan.translations;
    work.depth.assign(ray_size(), 0.0F);
    if (exit) {
        work.exit_depth.resize(depth_bins);
        for (std::size_t b = 0; b < depth_bins; ++b)
            work.exit_depth[b] =
                (static_cast<double>(b) - 0.5 * static_cast<double>(depth_bins - 1)) * depth_pitch -
                pose.depth;
        exit->fill(pose.omega, work.exit_depth, work.exit);
        work.exit_factors.resize(exit_nodes() * depth_bins);
        work.leaving.resize(depth_size());
    }
    work.strip_depth.assign(n * depth_size(), 0.0F);
    work.strip_spectra.assign(n * point_bins, 0.0F);
    work.strip_mass.assign(n, 0.0F);
    work.strip_transmission.assign(n, 0.0);
    if (centred.rays.empty())
        make_rays(pose.lateral, work.rays);
}

/// Traces ray i and adds it to the strips.
void ScanSimulator::Model::add_ray(const RayTable& table, std::size_t i, const Pose& pose,
                                   Workspace& work) const {
    const double attenuation = trace(table, table.rays[i], pose.omega, pose.depth, work);
    const double through = std::exp(-attenuation);
    const float* amounts = work.depth.data();
    if (exit) {
        exit->along(work.exit, table.rays[i].s, work.exit_factors);
        for (std::size_t j = 0; j < exit_nodes(); ++j)
            for (std::size_t row = 0; row < depth_rows(); ++row)
                for (std::size_t b = 0; b < depth_bins; ++b)
                    work.leaving[(j * depth_rows() + row) * depth_bins + b] =
                        work.depth[row * depth_bins + b] * work.exit_factors[j * depth_bins + b];
        amounts = work.leaving.data();
    }
    work.spectrum.assign(point_bins, 0.0F);
    bool any_points = false;
    for (std::size_t c = 0; c < points.size(); ++c) {
        if (work.points[c].empty())
            continue;
        any_points = true;
        deposit_points(points[c], work.points[c], work.exit_factors,
                       work.spectrum.data() + point_offset[points[c].group]);
    }
    // Strip j takes rays j n_sub … j n_sub + n_sub − 1 + 2 half.
    const std::size_t width = stencil.size(), amount_count = depth_size();
    const std::size_t first = i + 1 > width ? (i + 1 - width + n_sub - 1) / n_sub : 0;
    for (std::size_t j = first; j < scan.translations && j * n_sub <= i; ++j) {
        const double weight = stencil[i - j * n_sub];
        work.strip_transmission[j] += weight * through;
        if (work.mass == 0)
            continue;
        const auto factor = static_cast<float>(weight * through);
        work.strip_mass[j] += factor * static_cast<float>(work.mass);
        float* depth = &work.strip_depth[j * amount_count];
        for (std::size_t b = 0; b < amount_count; ++b)
            depth[b] += factor * amounts[b];
        if (any_points) {
            float* spectrum = &work.strip_spectra[j * point_bins];
            for (std::size_t b = 0; b < point_bins; ++b)
                spectrum[b] += factor * work.spectrum[b];
        }
    }
}

/// Transmissions, and intensities of diffuse scattering [translation][channel].
void ScanSimulator::Model::write_diffuse(const Workspace& work, std::span<float> intensity,
                                         std::span<float> transmission) const {
    const std::size_t n_channels = scan.channels;
    for (std::size_t t = 0; t < scan.translations; ++t) {
        const std::size_t strip = strip_of(t);
        transmission[t] = static_cast<float>(work.strip_transmission[strip]);
        const float mass = work.strip_mass[strip];
        for (std::size_t k = 0; k < n_channels; ++k)
            intensity[t * n_channels + k] = mass * diffuse[k];
        if (!exit)
            continue;
        std::array<float, ExitAbsorption::nodes> leaving{};
        for (std::size_t j = 0; j < leaving.size(); ++j) {
            const float* row = &work.strip_depth[strip * depth_size() + j * ray_size() +
                                                 fixed.size() * depth_bins];
            leaving[j] = std::accumulate(row, row + depth_bins, 0.0F);
        }
        for (std::size_t k = 0; k < n_channels; ++k) {
            const auto [node, part] = channel_exit[k];
            intensity[t * n_channels + k] =
                (leaving[node] + part * (leaving[node + 1] - leaving[node])) * diffuse[k];
        }
    }
}

/// Relative numbers of grains in reflecting position, by line. Each ray draws from a stream of its
/// own.
void ScanSimulator::Model::draw_grains(std::size_t component, std::size_t i_rotation,
                                       std::size_t translation, Workspace& work) const {
    work.line_factors.assign(fixed[component].n_lines, 1.0F);
    if (!fixed[component].grainy || scan.metal_grains == 0)
        return;
    const float* amounts =
        &work.strip_depth[strip_of(translation) * depth_size() + component * depth_bins];
    const double length = std::accumulate(amounts, amounts + depth_bins, 0.0) /
                          std::max(work.strip_transmission[strip_of(translation)], 1e-30);
    const double grains = scan.metal_grains * length;
    if (!(grains > 0))
        return;
    RayRandom random(scan.seed, rotation_index[i_rotation] + (component + 1) * scan.rotations,
                     translation);
    for (float& factor : work.line_factors)
        factor = static_cast<float>(random.poisson(grains) / grains);
}

/// Adds the lines of a fixed component, by its amounts [depth bin] in one strip, times a factor
/// [line].
void ScanSimulator::Model::deposit_fixed(const FixedComponent& component, const float* amounts,
                                         std::span<const float> line_factors,
                                         float* spectrum) const {
    const std::size_t node_size = ray_size();
    for (std::size_t b = 0; b < depth_bins; ++b) {
        if (amounts[b] == 0)
            continue;
        const Placement* placement = &component.placements[b];
        for (std::size_t l = 0; l < component.n_lines; ++l, placement += depth_bins) {
            float amount = amounts[b];
            if (exit) {
                const auto [node, part] = component.exit[l];
                const float* at = amounts + b + node * node_size;
                amount = at[0] + part * (at[node_size] - at[0]);
            }
            Smearing::deposit(spectrum, placement->bin,
                              placement->weights * (amount * line_factors[l]));
        }
    }
}

/// Line spectra [translation][bin] of a group of phases; false: it has none.
bool ScanSimulator::Model::make_spectra(std::size_t g, std::size_t i_rotation,
                                        Workspace& work) const {
    const std::size_t n = scan.translations, bins = groups[g].smearing.bins();
    work.group_spectra.assign(n * bins, 0.0F);
    bool any = false;
    for (std::size_t t = 0; t < n; ++t) {
        const std::size_t strip = strip_of(t);
        float* spectrum = &work.group_spectra[t * bins];
        if (point_offset[g] != npos) {
            std::copy_n(&work.strip_spectra[strip * point_bins + point_offset[g]], bins, spectrum);
            any = true;
        }
        for (std::size_t c = 0; c < fixed.size(); ++c) {
            if (fixed[c].group != g || fixed[c].n_lines == 0)
                continue;
            any = true;
            draw_grains(c, i_rotation, t, work);
            deposit_fixed(fixed[c], &work.strip_depth[strip * depth_size() + c * depth_bins],
                          work.line_factors, spectrum);
        }
    }
    return any;
}

void ScanSimulator::simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                                      std::span<float> transmission) const {
    check_line(i_rotation, intensity.size(), transmission.size());
    const Model& m = *model_;
    const Model::Pose pose = m.pose(i_rotation);
    thread_local Model::Workspace work;
    m.start_rotation(pose, work);
    const Model::RayTable& table = m.centred.rays.empty() ? work.rays : m.centred;
    for (std::size_t i = 0; i < table.rays.size(); ++i)
        m.add_ray(table, i, pose, work);
    m.write_diffuse(work, intensity, transmission);
    for (std::size_t g = 0; g < m.groups.size(); ++g)
        if (m.make_spectra(g, i_rotation, work))
            m.groups[g].smearing.add(m.scan.translations, work.group_spectra.data(),
                                     intensity.data());
}

} // namespace xrdct::phantom
