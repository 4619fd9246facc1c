// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the simulation of scans: what a scan is computed from, and one rotation's working
// space.

#include "base/units.hpp"
#include "phantom/cell_model.hpp"
#include "phantom/exit_absorption.hpp"
#include "phantom/ring_texture.hpp"
#include "phantom/scan_simulator.hpp"
#include "phantom/smearing.hpp"

#include <array>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::phantom {

/// Lines further outside the channels [degrees] do not reach them noticeably.
inline constexpr double line_margin = 0.5;
inline constexpr std::size_t lattice_nodes = 64;

/// One line of a phase: where it lies and how strong it is for unit volume fraction and length.
struct Line {
    crystal::Miller hkl;
    double factor; ///< Σ m|F|²
};

/// (1 + cos² 2θ) / (2 sin²θ cosθ) of sin²θ: unpolarised beam, azimuthal means corrected for solid
/// angle.
double lorentz_polarisation(double sin_squared);
/// Weights of the n_sub rays of a strip and of `half` more at each end: a box one `step` wide
/// convolved with the beam's box [mm], integrated over the width of each ray.
std::vector<double> strip_stencil(double step, double beam, std::size_t n_sub, std::size_t half);
/// Shape of the diffuse scattering [channel]; its integral over 2θ [degrees] is 1.
std::vector<double> diffuse_shape(const ScanDesign& scan);

struct Diffraction {
    double sin_squared_theta, tan_two_theta, sin_squared_two_theta, intensity;
};

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
        bool grainy = false;                     ///< made of few grains (metal_grains)
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

    /// `rotations`: indices in the full scan.
    Model(const CellDesign& cell_design, const ScanDesign& resolved_scan,
          std::vector<std::size_t> rotations);

    Smearing::Channels channels() const {
        return {scan.channels, scan.two_theta_first, scan.two_theta_width};
    }
    std::vector<Line> lines_of(const crystal::Phase& phase) const;
    Diffraction diffraction(const crystal::UnitCell& unit_cell, const Line& line) const;
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
    void set_up_depths();
    void set_up_groups();
    std::vector<double> set_up_phases();
    struct Totals {
        double bragg = 0, polymer = 0, mass = 0;
    };
    Totals totals(const std::vector<double>& bragg) const;
    void set_up_polymer(const Totals& total);
    void set_up_diffuse(const Totals& total);
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
    std::array<float, ExitAbsorption::nodes> leaving_at(float depth,
                                                        std::span<const float> exit_factors) const;
    void deposit_points(const PointComponent& component, const std::vector<Point>& list,
                        std::span<const float> exit_factors, float* spectrum) const;
    struct Walk;

    /// One rotation: lateral position and depth of the cell's centre [mm], and the angle relative
    /// to the cell's own frame [rad].
    struct Pose {
        double lateral, depth, omega;
    };
    Pose pose(std::size_t i_rotation) const;
    std::size_t ray_size() const { return depth_rows() * depth_bins; }
    std::size_t depth_size() const { return exit_nodes() * ray_size(); }
    /// Strips in the order of the recorded translations.
    std::size_t strip_of(std::size_t translation) const {
        return scan.translation_sense > 0 ? translation : scan.translations - 1 - translation;
    }
    void start_rotation(const Pose& pose, Workspace& work) const;
    void add_ray(const RayTable& table, std::size_t i, const Pose& pose, Workspace& work) const;
    void write_diffuse(const Workspace& work, std::span<float> intensity,
                       std::span<float> transmission) const;
    void deposit_fixed(const FixedComponent& component, const float* amounts,
                       std::span<const float> line_factors, float* spectrum) const;
    void draw_grains(std::size_t component, std::size_t i_rotation, std::size_t translation,
                     Workspace& work) const;
    bool make_spectra(std::size_t group, std::size_t i_rotation, Workspace& work) const;

    struct PixelTruth;
    void sum_pixel(double x, double y, std::size_t samples, PixelTruth& truth) const;
    void write_truth(const PixelTruth& truth, double inverse, double counts_scale,
                     std::size_t pixel, std::vector<TruthMap>& maps) const;
};

struct ScanSimulator::Model::Workspace {
    std::vector<float> w;                   ///< winding coordinate at the ends of steps
    std::vector<int> layer;                 ///< winding × layers + layer there
    std::vector<float> depth;               ///< [row][depth bin], amounts of one ray
    std::vector<std::vector<Point>> points; ///< by point component
    std::vector<float> spectrum;            ///< lines of one ray's points
    std::vector<float> line_factors;        ///< of one component with few grains
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

} // namespace xrdct::phantom
