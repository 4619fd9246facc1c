// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Internal to the simulation of bodies: what a scan is computed from.

#include "phantom/body_model.hpp"
#include "phantom/body_simulator.hpp"
#include "phantom/scan_model.hpp"
#include "phantom/smearing.hpp"

#include <array>
#include <cstdint>
#include <vector>

namespace xrdct::phantom {

struct BodySimulator::Model {
    ScanDesign scan;
    BodyModel body;
    std::vector<PhantomPhase> phases;
    std::vector<std::size_t> rotation_index;
    std::vector<float> diffuse; ///< [channel], intensity per mm and g/cm³

    /// The values of a width at which profiles are made.
    struct Nodes {
        std::vector<double> value;
        bool inverse = false; ///< linear in 1/value between them
        /// Index of the lower node and the share of the next.
        struct At {
            std::uint16_t node;
            float part;
        };
        At at(double value) const;
    };
    struct Component {
        Nodes sizes, strains;
        std::vector<Smearing> smearing; ///< [size node][strain node]
        std::size_t lines = 0;
        double cell_from = 0, cells_per_ppm = 0; ///< lattice node of a deviation
        /// tan 2θ, sin² 2θ and intensity, [lattice node][line]
        std::vector<float> tangent, sin_squared, intensity;
    };
    std::vector<Component> components; ///< by phase

    std::size_t n_sub = 6, half = 0; ///< rays of a strip, and those that the beam adds at each end
    std::vector<double> stencil;     ///< weights of the rays about a strip
    double depth_step = 0.02;        ///< mm, of what varies within a region
    double border_step = 0.02;       ///< mm, of the search for borders

    Model(const BodyDesign& design, const ScanDesign& resolved_scan,
          std::vector<std::size_t> rotations);

    double lowest() const { return scan.two_theta_first - 0.5 * scan.two_theta_width; }
    double highest() const {
        return lowest() + static_cast<double>(scan.channels) * scan.two_theta_width;
    }
    double reach() const;
    void set_up_component(std::size_t phase);
    void set_up_rays();
    void set_up_diffuse();
    double bragg(std::size_t phase) const;

    /// A piece of one phase on a ray.
    struct Point {
        std::uint16_t phase;
        Nodes::At size, strain;
        float cell;   ///< lattice nodes
        float depth;  ///< mm from the axis towards the detector
        float amount; ///< mm
    };
    struct Ray {
        std::vector<Point> points;
        double mass = 0, through = 1;
    };
    struct Walk;
    struct Workspace {
        std::vector<Ray> rays;
        std::vector<float> spectra; ///< [translation][bin]
        std::vector<float> grains;  ///< [translation][line] of one phase; empty: fine powder
    };
    void trace(double s, double omega, Ray& ray) const;
    void deposit(std::size_t phase, std::size_t size_node, std::size_t strain_node,
                 Workspace& work) const;
    void draw_grains(std::size_t phase, std::size_t i_rotation, Workspace& work) const;
    std::size_t strip_of(std::size_t translation) const {
        return scan.translation_sense > 0 ? translation : scan.translations - 1 - translation;
    }

    enum Quantity { fraction, density, weight, scale, cell_a, cell_c, size, microstrain };
    static constexpr std::size_t n_quantities = 8;
    struct PixelTruth {
        std::vector<std::array<double, n_quantities>> sums; ///< by phase
        double mu = 0;
    };
    void sum_pixel(double x, double y, std::size_t samples, PixelTruth& truth) const;
};

} // namespace xrdct::phantom
