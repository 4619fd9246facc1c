#include "phantom/scan_simulator.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/cell_model.hpp"
#include "phantom/exit_absorption.hpp"
#include "phantom/poisson.hpp"
#include "phantom/ring_texture.hpp"
#include "phantom/smearing.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <numeric>
#include <optional>

namespace xrdct::phantom {

namespace {

/// Lines further outside the channels [degrees] do not reach them noticeably.
constexpr double line_margin = 0.5;
/// Distance between the rays [mm] into which a strip is divided.
constexpr double ray_spacing = 0.005;
constexpr double largest_depth_step = 0.02; ///< mm
constexpr double truth_spacing = 0.0025;    ///< mm
constexpr double largest_exit_pitch = 0.02; ///< mm, between depths with exit factors
constexpr std::size_t lattice_nodes = 64;
constexpr std::size_t lane = 8; ///< lines are padded to a multiple of it

/// (1 + cos² 2θ) / (2 sin²θ cosθ): unpolarised beam, azimuthal means corrected for solid angle.
double lorentz_polarisation(double sin_squared) {
    const double c = 1 - 2 * sin_squared;
    return (1 + c * c) / (2 * sin_squared * std::sqrt(1 - sin_squared));
}

double two_theta_of(double sin_squared) {
    return degrees(2 * std::asin(std::sqrt(sin_squared)));
}

/// One line of a phase: where it lies and how strong it is for unit volume fraction and length.
struct Line {
    Miller hkl;
    double factor; ///< Σ m|F|²
};

struct Diffraction {
    double sin_squared_theta, tan_two_theta, sin_squared_two_theta, intensity;
};

void require(bool condition, const char* setting, double value, const char* expected) {
    if (!condition)
        throw Error(fmt::format("simulated scan: {} is {}, expected {}", setting, value, expected));
}

ScanDesign resolved(ScanDesign s, const CellDesign& cell) {
    require(cell.outer_diameter > 0 && std::isfinite(cell.outer_diameter), "outer_diameter",
            cell.outer_diameter, "a positive length in mm");
    require(s.translations >= 1, "translations", 0, "at least 1");
    require(s.rotations >= 1, "rotations", 0, "at least 1");
    require(s.channels >= 1, "channels", 0, "at least 1");
    require(std::isfinite(s.step) && s.step >= 0, "step", s.step, "a positive length in mm");
    if (s.step == 0)
        s.step = 1.08 * cell.outer_diameter / static_cast<double>(s.translations);
    if (s.beam_width < 0)
        s.beam_width = s.step;
    require(std::isfinite(s.beam_width) && s.beam_width < 100 * s.step, "beam_width", s.beam_width,
            "a length in mm");
    require(s.rotation_range > 0 && s.rotation_range <= 360, "rotation_range", s.rotation_range,
            "180 or 360 degrees");
    for (std::size_t i : s.missing_rotations)
        require(i < s.rotations, "missing_rotations", static_cast<double>(i),
                "an index below the number of rotations");
    require(s.two_theta_width > 0, "two_theta_width", s.two_theta_width, "a positive number");
    require(s.two_theta_first > s.two_theta_width, "two_theta_first", s.two_theta_first,
            "more than a channel");
    const double last =
        s.two_theta_first + static_cast<double>(s.channels) * s.two_theta_width + 2 * line_margin;
    require(last < 80, "channels", static_cast<double>(s.channels), "an end below 2θ = 80°");
    require(s.wavelength > 0.01 && s.wavelength < 10, "wavelength", s.wavelength,
            "a wavelength in Å");
    require(std::isfinite(cell.rotation), "rotation", cell.rotation, "an angle in degrees");
    require(std::isfinite(cell.centre_x) && std::abs(cell.centre_x) < 1e3, "centre_x",
            cell.centre_x, "a length in mm");
    require(std::isfinite(cell.centre_y) && std::abs(cell.centre_y) < 1e3, "centre_y",
            cell.centre_y, "a length in mm");
    require(s.distance > 2 * (cell.outer_diameter + std::hypot(cell.centre_x, cell.centre_y)),
            "distance", s.distance, "more than two outer diameters, in mm");
    require(s.rotation_sense == 1 || s.rotation_sense == -1, "rotation_sense", s.rotation_sense,
            "1 or -1");
    require(s.translation_sense == 1 || s.translation_sense == -1, "translation_sense",
            s.translation_sense, "1 or -1");
    require(std::isfinite(s.axis_offset), "axis_offset", s.axis_offset, "a length in mm");
    require(s.counts > 0 && std::isfinite(s.counts), "counts", s.counts, "a positive number");
    require(s.background >= 0, "background", s.background, "zero or more");
    require(s.separator_peak >= 0, "separator_peak", s.separator_peak, "zero or more");
    require(s.separator_d > 0, "separator_d", s.separator_d, "a spacing in Å");
    require(s.separator_fwhm > 0, "separator_fwhm", s.separator_fwhm, "a width in degrees");
    for (const auto& [name, value] :
         {std::pair{"sizes.metal", s.sizes.metal}, std::pair{"sizes.cathode", s.sizes.cathode},
          std::pair{"sizes.anode", s.sizes.anode}})
        require(value > 0, name, value, "a size in Å");
    for (std::size_t k = 0; k < 3; ++k) {
        const double two_theta = s.two_theta_first + 0.5 * static_cast<double>(k) *
                                                         static_cast<double>(s.channels - 1) *
                                                         s.two_theta_width;
        const double fwhm = instrument_shape(s.profile, 0, s.wavelength, two_theta).fwhm;
        require(fwhm > 0.05 * s.two_theta_width && fwhm < 5, "profile (its FWHM in degrees)", fwhm,
                "a width of at least a twentieth of a channel");
    }
    std::sort(s.missing_rotations.begin(), s.missing_rotations.end());
    s.missing_rotations.erase(std::unique(s.missing_rotations.begin(), s.missing_rotations.end()),
                              s.missing_rotations.end());
    require(s.missing_rotations.size() < s.rotations, "missing_rotations",
            static_cast<double>(s.missing_rotations.size()), "fewer than there are rotations");
    return s;
}

} // namespace

struct ScanSimulator::Model {
    ScanDesign scan;
    CellModel cell;
    std::vector<PhantomPhase> phases;
    std::vector<std::size_t> rotation_index; ///< of the full scan
    double background_factor = 0;            ///< diffuse intensity per mm and g/cm³
    std::vector<float> diffuse;              ///< [channel], shape times background_factor

    // Depths at which the fixed-cell phases are collected before their lines are placed; linear
    // assignment.
    std::size_t depth_bins = 2;
    double depth_pitch = 1;

    /// Phases of equal width share line spectra and smearing.
    struct Group {
        Smearing smearing;
        std::size_t offset = 0; ///< of its spectrum among those of a ray
    };
    std::vector<Group> groups;
    std::size_t spectrum_size = 0; ///< of all groups together

    /// Where the lines of a fixed-cell component fall, [line][depth bin].
    struct Placement {
        int bin;
        Smearing::Vector weights;
    };
    struct FixedComponent {
        std::size_t group;
        std::size_t n_lines = 0;
        std::vector<Placement> placements;
        std::vector<ExitAbsorption::Place> exit; ///< by line; only with deviated exit rays
    };
    std::vector<FixedComponent> fixed; ///< by phase; the last one is the separator polymer
    std::vector<std::size_t> group_of; ///< by phase

    /// A phase whose lines depend on the place: on the lithium excess (the primary cathode), on how
    /// the layers lie to the beam (texture). Its lines are placed point by point.
    struct PointComponent {
        std::size_t phase, group;
        bool varying_cell;
        std::size_t lines = 0, padded = 0;
        /// Values and slopes at nodes of the lithium excess, [node][quantity][line]; one node
        /// without slope for a cell that does not vary.
        std::vector<float> table;
        std::vector<float> sin_squared; ///< sin² 2θ of the lines
        std::optional<TextureTable> texture;
        std::vector<float> exit_weight; ///< [2θ node][line]; only with deviated exit rays
    };
    std::vector<PointComponent> points;
    std::vector<int> points_of; ///< by phase, index into points; −1: placed by depth
    /// Their spectra, one for each group of them, and all of them of a ray.
    std::vector<std::size_t> point_offset; ///< by group; npos: none
    std::size_t point_bins = 0;
    static constexpr std::size_t npos = static_cast<std::size_t>(-1);

    std::optional<ExitAbsorption> exit;              ///< only with deviated exit rays
    std::vector<ExitAbsorption::Place> channel_exit; ///< by channel, likewise
    std::size_t exit_nodes() const { return exit ? ExitAbsorption::nodes : 1; }
    /// Rows of amounts by depth: the fixed components and, for exit rays, the mass.
    std::size_t depth_rows() const { return fixed.size() + (exit ? 1 : 0); }

    // Rays: a strip is n_sub of them. F = r/P − φ/2π and A = φ/2π at the ends of depth steps.
    std::size_t n_sub = 4;
    std::vector<double> stencil; ///< weights of rays −half … n_sub − 1 + half about a strip
    std::size_t half = 0;
    struct Ray {
        double s = 0;            ///< mm
        std::size_t first = 0;   ///< index into winding and turn
        std::size_t n_steps = 0; ///< 0: misses the roll
        double z0 = 0, step = 0;
    };
    struct RayTable {
        std::vector<Ray> rays;
        std::vector<float> winding, turn;
    };
    RayTable centred; ///< empty for a cell off the axis: its rays differ from rotation to rotation
    double depth_step = 0.02;

    Model(const CellDesign& cell_design, const ScanDesign& scan_design);

    Smearing::Channels channels() const {
        return {scan.channels, scan.two_theta_first, scan.two_theta_width};
    }
    std::vector<Line> lines_of(const Phase& phase) const;
    Diffraction diffraction(const UnitCell& unit_cell, const Line& line) const;
    double lowest() const { return scan.two_theta_first - 0.5 * scan.two_theta_width; }
    double highest() const {
        return lowest() + static_cast<double>(scan.channels) * scan.two_theta_width;
    }
    double largest_shift() const {
        const double t = std::tan(radians(highest() + line_margin));
        return degrees(t * reach() / scan.distance);
    }
    /// No point of the cell is further from the rotation axis [mm].
    double reach() const { return cell.outer_radius() + off_axis(); }
    double off_axis() const { return std::hypot(cell.design().centre_x, cell.design().centre_y); }
    bool within_reach(double two_theta) const {
        return two_theta > lowest() - line_margin && two_theta < highest() + line_margin;
    }
    void place(FixedComponent& component, const std::vector<Diffraction>& lines) const;
    void set_up_lines();
    void set_up_points(PointComponent& component, const std::vector<Line>& lines) const;
    void set_up_rays();
    /// Rays through a cell whose centre lies at the lateral position `centre` [mm]; positions s are
    /// relative to it.
    void make_rays(double centre, RayTable& table) const;

    struct Workspace;
    struct Point {
        float lithium, depth, amount, psi;
    };
    /// Angle ψ between the beam and the normal of the spiral at depth z of the ray s, both relative
    /// to the cell's centre [rad], 0 to π/2.
    float angle_to_beam(double s, double z) const;
    /// `omega` is relative to the cell's own frame, `depth` the depth of the cell's centre.
    double trace(const RayTable& table, const Ray& ray, double omega, double depth,
                 Workspace& work) const;
    void deposit_points(const PointComponent& component, const std::vector<Point>& list,
                        std::span<const float> exit_factors, float* spectrum) const;
};

struct ScanSimulator::Model::Workspace {
    std::vector<float> w;                   ///< winding coordinate at the ends of steps
    std::vector<int> layer;                 ///< winding × layers + layer there
    std::vector<float> depth;               ///< [row][depth bin], amounts of one ray
    std::vector<std::vector<Point>> points; ///< by point component
    std::vector<float> spectrum;            ///< lines of one ray's points
    ExitAbsorption::Table exit;             ///< of one rotation
    std::vector<double> exit_depth;
    std::vector<float> exit_factors; ///< [2θ node][depth bin] of one ray
    std::vector<float> leaving;      ///< [2θ node][row][depth bin], amounts times factors
    double mass = 0;
    RayTable rays; ///< of one rotation, when the cell is off the axis

    // Of all strips: [strip][…]
    std::vector<float> strip_depth, strip_spectra, strip_mass, group_spectra, intensity;
    std::vector<double> strip_transmission;
};

ScanSimulator::Model::Model(const CellDesign& cell_design, const ScanDesign& scan_design)
    : scan(resolved(scan_design, cell_design)), cell(cell_design, scan.sizes, scan.wavelength) {
    for (const auto& phase : cell.phases())
        phases.push_back(phase.info);
    for (std::size_t i = 0; i < scan.rotations; ++i)
        if (!std::binary_search(scan.missing_rotations.begin(), scan.missing_rotations.end(), i))
            rotation_index.push_back(i);
    set_up_lines();
    set_up_rays();
}

std::vector<Line> ScanSimulator::Model::lines_of(const Phase& phase) const {
    // A little beyond, for cells that vary.
    const double theta = 0.5 * radians(highest() + line_margin + 0.3);
    const double d_min = scan.wavelength / (2 * std::sin(theta));
    std::vector<Line> lines;
    for (const PowderLine& line :
         merge_coincident(phase.reflections(d_min), phase.crystal_system(), phase.unique_axis()))
        if (line.intensity > 0)
            lines.push_back({line.hkl, line.intensity});
    return lines;
}

Diffraction ScanSimulator::Model::diffraction(const UnitCell& unit_cell, const Line& line) const {
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
        const UnitCell middle_cell = cell_at(0.5);
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

void ScanSimulator::Model::set_up_lines() {
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

    point_offset.assign(groups.size(), npos);
    std::vector<double> bragg(phases.size(), 0.0); ///< per volume, summed over the channels' range
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const auto& phase = cell.phases()[p];
        FixedComponent component{group_of[p], 0, {}, {}};
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

    // Amounts over the whole cell set the strength of the peak of the separator and of the diffuse
    // scattering.
    constexpr int samples = 500;
    double total_bragg = 0, total_polymer = 0, total_mass = 0;
    for (int iy = 0; iy < samples; ++iy)
        for (int ix = 0; ix < samples; ++ix) {
            const Material m = cell.at(((ix + 0.5) / samples * 2 - 1) * cell.outer_radius(),
                                       ((iy + 0.5) / samples * 2 - 1) * cell.outer_radius());
            for (int i = 0; i < m.n_parts; ++i)
                total_bragg +=
                    m.part[static_cast<std::size_t>(i)].fraction *
                    bragg[static_cast<std::size_t>(m.part[static_cast<std::size_t>(i)].phase)];
            total_polymer += m.polymer;
            total_mass += m.mass;
        }
    FixedComponent polymer{groups.size() - 1, 0, {}, {}};
    const double sine = scan.wavelength / (2 * scan.separator_d);
    if (scan.separator_peak > 0 && sine < 0.7 && within_reach(two_theta_of(sine * sine)) &&
        total_polymer > 0) {
        const double two_theta = radians(two_theta_of(sine * sine));
        place(polymer,
              {{sine * sine, std::tan(two_theta), std::sin(two_theta) * std::sin(two_theta),
                scan.separator_peak * total_bragg / total_polymer}});
    }
    fixed.push_back(std::move(polymer));

    diffuse.resize(scan.channels);
    std::vector<double> shape(scan.channels);
    double sum = 0;
    for (std::size_t k = 0; k < scan.channels; ++k) {
        const double two_theta =
            scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width;
        shape[k] = std::exp(-two_theta / 1.6) + 0.12;
        sum += shape[k] * scan.two_theta_width;
    }
    for (std::size_t k = 0; k < scan.channels; ++k)
        diffuse[k] =
            static_cast<float>(scan.background * total_bragg / total_mass * shape[k] / sum);
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

    // Box of the step convolved with the box of the beam, integrated over the width of each ray.
    const double a = 0.5 * scan.step, b = 0.5 * scan.beam_width;
    const auto ramp_integral = [](double x) { return x > 0 ? 0.5 * x * x : 0.0; };
    const auto cumulative = [&](double x) {
        if (b < 1e-9 * a)
            return std::clamp((x + a) / (2 * a), 0.0, 1.0);
        return (ramp_integral(x + a + b) - ramp_integral(x + a - b) - ramp_integral(x - a + b) +
                ramp_integral(x - a - b)) /
               (4 * a * b);
    };
    half = static_cast<std::size_t>(std::ceil(b / spacing - 1e-9));
    for (std::size_t i = 0; i < n_sub + 2 * half; ++i) {
        const double left = -a + (static_cast<double>(i) - static_cast<double>(half)) * spacing;
        stencil.push_back(cumulative(left + spacing) - cumulative(left));
    }

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

float ScanSimulator::Model::angle_to_beam(double s, double z) const {
    // The gradient of r/P − θ/2π, up to a factor.
    const double k = cell.period() / (2 * pi) / std::hypot(s, z);
    return static_cast<float>(std::atan2(std::abs(s + k * z), std::abs(z - k * s)));
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
    double attenuation = 0;
    const double inverse_pitch = 1 / depth_pitch,
                 centre = 0.5 * static_cast<double>(depth_bins - 1);
    const auto collect = [&](std::size_t component, double z, double amount) {
        const double position = (z + depth) * inverse_pitch + centre;
        const auto bin = static_cast<std::size_t>(position);
        const auto part = static_cast<float>(position - static_cast<double>(bin));
        float* row = &work.depth[component * depth_bins + bin];
        row[0] += static_cast<float>(amount) * (1 - part);
        row[1] += static_cast<float>(amount) * part;
    };
    const std::size_t polymer = fixed.size() - 1;
    const auto pass = [&](const Material& m, double z, double length) {
        attenuation += m.mu * length;
        work.mass += m.mass * length;
        if (exit)
            collect(fixed.size(), z, m.mass * length);
        for (int i = 0; i < m.n_parts; ++i) {
            const Material::Part& part = m.part[static_cast<std::size_t>(i)];
            const int to = points_of[static_cast<std::size_t>(part.phase)];
            if (to >= 0) {
                const PointComponent& component = points[static_cast<std::size_t>(to)];
                work.points[static_cast<std::size_t>(to)].push_back(
                    {component.varying_cell ? m.lithium : 0.0F, static_cast<float>(z + depth),
                     static_cast<float>(part.fraction * length),
                     component.texture ? angle_to_beam(ray.s, z) : 0.0F});
            } else {
                collect(static_cast<std::size_t>(part.phase), z, part.fraction * length);
            }
        }
        if (m.polymer > 0)
            collect(polymer, z, m.polymer * length);
    };
    const auto uniform = [&](const Material& m, double from, double to) {
        if (to <= from)
            return;
        const auto n = static_cast<int>(std::ceil((to - from) / depth_step));
        const double length = (to - from) / n;
        for (int i = 0; i < n; ++i)
            pass(m, from + (i + 0.5) * length, length);
    };

    const double z_outer = std::sqrt(outer * outer - ray.s * ray.s);
    const double z_inner = std::abs(ray.s) < inner ? std::sqrt(inner * inner - ray.s * ray.s) : 0.0;
    uniform(cell.can(), -z_outer, -z_inner);
    uniform(cell.can(), z_inner, z_outer);
    if (z_inner == 0)
        return attenuation;
    const double z_roll = ray.n_steps > 0 ? -ray.z0 : 0.0;
    uniform(cell.gap(), -z_inner, -z_roll);
    uniform(cell.gap(), z_roll, z_inner);
    if (ray.n_steps == 0)
        return attenuation;

    const double cosine = std::cos(omega), sine = std::sin(omega);
    const double rotation = omega / (2 * pi);
    const auto shift = static_cast<float>(cell.core_radius() / cell.period() + rotation);
    const float* winding_row = &table.winding[ray.first];
    const float* turn_row = &table.turn[ray.first];
    const std::size_t n = ray.n_steps + 1;
    work.w.resize(n);
    work.layer.resize(n);
    std::array<float, n_layers + 1> bounds{};
    for (int i = 0; i <= n_layers; ++i)
        bounds[static_cast<std::size_t>(i)] =
            static_cast<float>(cell.layer_bounds()[static_cast<std::size_t>(i)]);
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

    const auto segment = [&](int index, double z, double length, double u_mid, double angle) {
        if (length <= 0)
            return;
        const int k = index >> 3, l = index & 7;
        pass(cell.roll(l, u_mid - k, k + angle + rotation, ray.s * cosine - z * sine,
                       ray.s * sine + z * cosine),
             z, length);
    };
    static_assert(n_layers == 8);
    for (std::size_t i = 0; i + 1 < n; ++i) {
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
    return attenuation;
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
        if (exit) {
            const float place =
                (point.depth +
                 static_cast<float>(0.5 * static_cast<double>(depth_bins - 1) * depth_pitch)) /
                static_cast<float>(depth_pitch);
            const auto bin = std::min(static_cast<std::size_t>(place), depth_bins - 2);
            const float between = place - static_cast<float>(bin);
            for (std::size_t j = 0; j < leaving.size(); ++j) {
                const float* factor = &exit_factors[j * depth_bins + bin];
                leaving[j] = factor[0] + between * (factor[1] - factor[0]);
            }
        }
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

ScanSimulator::ScanSimulator(const CellDesign& cell, const ScanDesign& scan)
    : model_(std::make_unique<Model>(cell, scan)) {}
ScanSimulator::~ScanSimulator() = default;
ScanSimulator::ScanSimulator(ScanSimulator&&) noexcept = default;
ScanSimulator& ScanSimulator::operator=(ScanSimulator&&) noexcept = default;

const CellDesign& ScanSimulator::cell() const {
    return model_->cell.design();
}
const ScanDesign& ScanSimulator::scan() const {
    return model_->scan;
}
std::size_t ScanSimulator::n_rotations() const {
    return model_->rotation_index.size();
}
std::size_t ScanSimulator::n_translations() const {
    return model_->scan.translations;
}
std::size_t ScanSimulator::n_channels() const {
    return model_->scan.channels;
}
const std::vector<PhantomPhase>& ScanSimulator::phases() const {
    return model_->phases;
}

std::vector<double> ScanSimulator::rotation() const {
    std::vector<double> angles;
    for (const std::size_t i : model_->rotation_index)
        angles.push_back(static_cast<double>(i) * model_->scan.rotation_range /
                         static_cast<double>(model_->scan.rotations));
    return angles;
}

std::vector<double> ScanSimulator::axis() const {
    const std::size_t n = model_->scan.translations;
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i)
        values[i] =
            (static_cast<double>(i) - 0.5 * (static_cast<double>(n) - 1)) * model_->scan.step;
    return values;
}

std::vector<double> ScanSimulator::translation() const {
    return axis();
}

std::vector<double> ScanSimulator::two_theta() const {
    std::vector<double> values(model_->scan.channels);
    for (std::size_t k = 0; k < values.size(); ++k)
        values[k] =
            model_->scan.two_theta_first + static_cast<double>(k) * model_->scan.two_theta_width;
    return values;
}

void ScanSimulator::simulate_rotation(std::size_t i_rotation, std::span<float> intensity,
                                      std::span<float> transmission) const {
    const Model& m = *model_;
    const std::size_t n = m.scan.translations, n_channels = m.scan.channels;
    if (i_rotation >= m.rotation_index.size() || intensity.size() != n * n_channels ||
        transmission.size() != n)
        throw Error(
            fmt::format("simulated scan: rotation {} of {} with room for {} intensities and {} "
                        "transmissions, expected {} and {}",
                        i_rotation, m.rotation_index.size(), intensity.size(), transmission.size(),
                        n * n_channels, n));
    const double recorded = static_cast<double>(m.rotation_index[i_rotation]) *
                            m.scan.rotation_range / static_cast<double>(m.scan.rotations);
    const double omega = radians(m.scan.rotation_sense * recorded);
    const CellDesign& design = m.cell.design();
    const double cosine = std::cos(omega), sine = std::sin(omega);
    const double lateral = design.centre_x * cosine + design.centre_y * sine,
                 depth_of_centre = -design.centre_x * sine + design.centre_y * cosine;
    const double own_omega = omega - radians(design.rotation);

    thread_local Model::Workspace work;
    const std::size_t components = m.fixed.size(), ray_size = m.depth_rows() * m.depth_bins,
                      depth_size = m.exit_nodes() * ray_size, point_bins = m.point_bins;
    work.depth.assign(ray_size, 0.0F);
    if (m.exit) {
        work.exit_depth.resize(m.depth_bins);
        for (std::size_t b = 0; b < m.depth_bins; ++b)
            work.exit_depth[b] =
                (static_cast<double>(b) - 0.5 * static_cast<double>(m.depth_bins - 1)) *
                    m.depth_pitch -
                depth_of_centre;
        m.exit->fill(own_omega, work.exit_depth, work.exit);
        work.exit_factors.resize(m.exit_nodes() * m.depth_bins);
        work.leaving.resize(depth_size);
    }
    work.strip_depth.assign(n * depth_size, 0.0F);
    work.strip_spectra.assign(n * point_bins, 0.0F);
    work.strip_mass.assign(n, 0.0F);
    work.strip_transmission.assign(n, 0.0);

    if (m.centred.rays.empty())
        m.make_rays(lateral, work.rays);
    const Model::RayTable& table = m.centred.rays.empty() ? work.rays : m.centred;
    for (std::size_t i = 0; i < table.rays.size(); ++i) {
        const double attenuation = m.trace(table, table.rays[i], own_omega, depth_of_centre, work);
        const double through = std::exp(-attenuation);
        const float* amounts = work.depth.data();
        if (m.exit) {
            m.exit->along(work.exit, table.rays[i].s, work.exit_factors);
            for (std::size_t j = 0; j < m.exit_nodes(); ++j)
                for (std::size_t row = 0; row < m.depth_rows(); ++row)
                    for (std::size_t b = 0; b < m.depth_bins; ++b)
                        work.leaving[(j * m.depth_rows() + row) * m.depth_bins + b] =
                            work.depth[row * m.depth_bins + b] *
                            work.exit_factors[j * m.depth_bins + b];
            amounts = work.leaving.data();
        }
        work.spectrum.assign(point_bins, 0.0F);
        bool any_points = false;
        for (std::size_t c = 0; c < m.points.size(); ++c) {
            if (work.points[c].empty())
                continue;
            any_points = true;
            m.deposit_points(m.points[c], work.points[c], work.exit_factors,
                             work.spectrum.data() + m.point_offset[m.points[c].group]);
        }
        // Strip j takes rays j n_sub … j n_sub + n_sub − 1 + 2 half.
        const std::size_t width = m.stencil.size();
        const std::size_t first = i + 1 > width ? (i + 1 - width + m.n_sub - 1) / m.n_sub : 0;
        for (std::size_t j = first; j < n && j * m.n_sub <= i; ++j) {
            const double weight = m.stencil[i - j * m.n_sub];
            work.strip_transmission[j] += weight * through;
            if (work.mass == 0)
                continue;
            const auto factor = static_cast<float>(weight * through);
            work.strip_mass[j] += factor * static_cast<float>(work.mass);
            float* depth = &work.strip_depth[j * depth_size];
            for (std::size_t b = 0; b < depth_size; ++b)
                depth[b] += factor * amounts[b];
            if (any_points) {
                float* spectrum = &work.strip_spectra[j * point_bins];
                for (std::size_t b = 0; b < point_bins; ++b)
                    spectrum[b] += factor * work.spectrum[b];
            }
        }
    }

    // Strips in the order of the recorded translations.
    const auto strip_of = [&](std::size_t t) {
        return m.scan.translation_sense > 0 ? t : n - 1 - t;
    };
    for (std::size_t t = 0; t < n; ++t) {
        transmission[t] = static_cast<float>(work.strip_transmission[strip_of(t)]);
        const float mass = work.strip_mass[strip_of(t)];
        for (std::size_t k = 0; k < n_channels; ++k)
            intensity[t * n_channels + k] = mass * m.diffuse[k];
        if (!m.exit)
            continue;
        std::array<float, ExitAbsorption::nodes> leaving{};
        for (std::size_t j = 0; j < leaving.size(); ++j) {
            const float* row = &work.strip_depth[strip_of(t) * depth_size + j * ray_size +
                                                 components * m.depth_bins];
            leaving[j] = std::accumulate(row, row + m.depth_bins, 0.0F);
        }
        for (std::size_t k = 0; k < n_channels; ++k) {
            const auto [node, part] = m.channel_exit[k];
            intensity[t * n_channels + k] =
                (leaving[node] + part * (leaving[node + 1] - leaving[node])) * m.diffuse[k];
        }
    }
    for (std::size_t g = 0; g < m.groups.size(); ++g) {
        const Smearing& smearing = m.groups[g].smearing;
        const std::size_t bins = smearing.bins();
        work.group_spectra.assign(n * bins, 0.0F);
        bool empty = true;
        for (std::size_t t = 0; t < n; ++t) {
            const std::size_t strip = strip_of(t);
            float* spectrum = &work.group_spectra[t * bins];
            if (m.point_offset[g] != Model::npos) {
                std::copy_n(&work.strip_spectra[strip * point_bins + m.point_offset[g]], bins,
                            spectrum);
                empty = false;
            }
            for (std::size_t c = 0; c < components; ++c) {
                const Model::FixedComponent& component = m.fixed[c];
                if (component.group != g || component.n_lines == 0)
                    continue;
                empty = false;
                const float* amounts = &work.strip_depth[strip * depth_size + c * m.depth_bins];
                for (std::size_t b = 0; b < m.depth_bins; ++b) {
                    if (amounts[b] == 0)
                        continue;
                    const Model::Placement* placement = &component.placements[b];
                    if (m.exit) {
                        for (std::size_t l = 0; l < component.n_lines;
                             ++l, placement += m.depth_bins) {
                            const auto [node, part] = component.exit[l];
                            const float* amount = amounts + b + node * ray_size;
                            Smearing::deposit(
                                spectrum, placement->bin,
                                placement->weights *
                                    (amount[0] + part * (amount[ray_size] - amount[0])));
                        }
                        continue;
                    }
                    for (std::size_t l = 0; l < component.n_lines; ++l, placement += m.depth_bins)
                        Smearing::deposit(spectrum, placement->bin,
                                          placement->weights * amounts[b]);
                }
            }
        }
        if (!empty)
            smearing.add(n, work.group_spectra.data(), intensity.data());
    }
}

double ScanSimulator::counts_scale(const LogHistogram& histogram) const {
    const double level = histogram.quantile(0.9999);
    if (!(level > 0))
        throw Error("simulated scan: no intensity in any channel; check the range of two_theta");
    return model_->scan.counts / level;
}

void ScanSimulator::finish_rotation(std::size_t i_rotation, double scale,
                                    std::span<float> intensity) const {
    const Model& m = *model_;
    const std::size_t n = m.scan.translations, n_channels = m.scan.channels;
    if (i_rotation >= m.rotation_index.size() || intensity.size() != n * n_channels)
        throw Error(
            fmt::format("simulated scan: rotation {} of {} with {} intensities, expected {}",
                        i_rotation, m.rotation_index.size(), intensity.size(), n * n_channels));
    for (std::size_t t = 0; t < n; ++t) {
        RayRandom random(m.scan.seed, m.rotation_index[i_rotation], t);
        for (std::size_t k = 0; k < n_channels; ++k) {
            float& value = intensity[t * n_channels + k];
            const double mean = scale * value;
            value = static_cast<float>(m.scan.noise ? random.poisson(mean) : mean);
        }
    }
}

std::vector<TruthMap> ScanSimulator::truth_rows(std::size_t y_begin, std::size_t y_end,
                                                double counts_scale) const {
    const Model& m = *model_;
    const std::size_t n = m.scan.translations;
    if (y_begin > y_end || y_end > n)
        throw Error(fmt::format("simulated scan: truth of rows {} to {} of {}", y_begin, y_end, n));
    const std::size_t n_values = (y_end - y_begin) * n;
    const std::size_t n_phases = m.phases.size();
    const auto samples =
        std::max<std::size_t>(8, static_cast<std::size_t>(std::ceil(m.scan.step / truth_spacing)));
    const auto primary = static_cast<std::size_t>(m.cell.primary_cathode());

    enum { fraction, density, weight, scale, cell_a, cell_c, n_quantities };
    std::vector<TruthMap> maps;
    const std::array<std::pair<const char*, const char*>, n_quantities> quantities{
        {{"volume_fraction", ""},
         {"density", "g/cm^3"},
         {"weight_fraction", ""},
         {"scale", ""},
         {"a", "angstrom"},
         {"c", "angstrom"}}};
    for (const PhantomPhase& phase : m.phases)
        for (const auto& [quantity, units] : quantities)
            maps.push_back({phase.name, quantity, units, std::vector<double>(n_values, 0.0)});
    maps.push_back({"", "mu", "1/mm", std::vector<double>(n_values, 0.0)});

    // Density, scale and cell of the cathode as functions of its lithium excess.
    const auto& crystal = m.cell.phases()[primary];
    const double reference_volume = crystal.info.cell.volume();

    const std::vector<double> centres = axis();
    const CellDesign& design = m.cell.design();
    const double cosine = std::cos(radians(design.rotation)),
                 sine = std::sin(radians(design.rotation));
    const double inverse = 1.0 / static_cast<double>(samples * samples);
    std::vector<std::array<double, n_quantities>> sums(n_phases);
    for (std::size_t iy = y_begin; iy < y_end; ++iy)
        for (std::size_t ix = 0; ix < n; ++ix) {
            for (auto& sum : sums)
                sum.fill(0);
            double mu = 0;
            const double margin = m.scan.step;
            if (std::hypot(centres[ix] - design.centre_x, centres[iy] - design.centre_y) >
                m.cell.outer_radius() + margin) {
                // nothing there
            } else {
                for (std::size_t sy = 0; sy < samples; ++sy)
                    for (std::size_t sx = 0; sx < samples; ++sx) {
                        const auto offset = [&](std::size_t s) {
                            return ((static_cast<double>(s) + 0.5) / static_cast<double>(samples) -
                                    0.5) *
                                   m.scan.step;
                        };
                        const double dx = centres[ix] + offset(sx) - design.centre_x,
                                     dy = centres[iy] + offset(sy) - design.centre_y;
                        const Material material =
                            m.cell.at(dx * cosine + dy * sine, -dx * sine + dy * cosine);
                        mu += material.mu;
                        for (int i = 0; i < material.n_parts; ++i) {
                            const auto& part = material.part[static_cast<std::size_t>(i)];
                            const auto p = static_cast<std::size_t>(part.phase);
                            const PhantomPhase& info = m.phases[p];
                            const double phi = part.fraction;
                            UnitCell unit_cell = info.cell;
                            double volume = 0, rho = info.density;
                            if (p == primary && info.varying_cell) {
                                unit_cell = m.cell.cathode_cell(material.lithium);
                                volume = unit_cell.volume();
                                rho *= reference_volume / volume;
                            }
                            auto& sum = sums[p];
                            sum[fraction] += phi;
                            sum[density] += phi * rho;
                            sum[scale] += volume > 0 ? phi / (volume * volume) : 0;
                            sum[cell_a] += phi * unit_cell.a;
                            sum[cell_c] += phi * unit_cell.c;
                        }
                    }
            }
            const std::size_t pixel = (iy - y_begin) * n + ix;
            double total = 0;
            for (const auto& sum : sums)
                total += sum[density];
            for (std::size_t p = 0; p < n_phases; ++p) {
                const auto& sum = sums[p];
                TruthMap* map = &maps[p * n_quantities];
                const double volume = m.phases[p].cell.volume();
                const double scaled = p == primary && m.phases[p].varying_cell
                                          ? sum[scale]
                                          : sum[fraction] / (volume * volume);
                map[fraction].values[pixel] = sum[fraction] * inverse;
                map[density].values[pixel] = sum[density] * inverse;
                map[weight].values[pixel] = total > 0 ? sum[density] / total : NAN;
                map[scale].values[pixel] = counts_scale * scaled * inverse;
                map[cell_a].values[pixel] = sum[fraction] > 0 ? sum[cell_a] / sum[fraction] : NAN;
                map[cell_c].values[pixel] = sum[fraction] > 0 ? sum[cell_c] / sum[fraction] : NAN;
            }
            maps.back().values[pixel] = mu * inverse;
        }
    return maps;
}

} // namespace xrdct::phantom
