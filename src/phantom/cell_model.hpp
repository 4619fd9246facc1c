// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "phantom/design.hpp"
#include "phantom/scan_simulator.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace xrdct::phantom {

/// Layers of one winding, outwards.
enum Layer : int {
    cathode_inner,
    aluminium_foil,
    cathode_outer,
    separator_inner,
    anode_inner,
    copper_foil,
    anode_outer,
    separator_outer
};
inline constexpr int n_layers = 8;

/// What is found at one point.
struct Material {
    struct Part {
        int phase = 0;
        float fraction = 0; ///< volume fraction
    };
    std::array<Part, 2> part{};
    int n_parts = 0;
    float lithium = 0; ///< excess in the cathode, 0 to 1
    float polymer = 0; ///< volume fraction of separator polymer
    float mu = 0;      ///< 1/mm
    float mass = 0;    ///< g/cm³, everything
};

class RayRandom;

/// The cell as a function of position. Windings are one Archimedean spiral: with polar coordinates
/// (r, θ) and period P, w = (r − r_core)/P − θ/2π counts windings outwards; its fraction says which
/// layer, and floor(w) + θ/2π how far along the spiral the point is (in turns).
class CellModel {
  public:
    struct CrystalPhase {
        PhantomPhase info;
        crystal::Phase crystal; ///< with the true cell
        double mu = 0;          ///< 1/mm of the solid crystal
    };

    CellModel(const CellDesign& design, const CrystalliteSizes& sizes, double wavelength);

    const CellDesign& design() const { return design_; }
    const std::vector<CrystalPhase>& phases() const { return phases_; }
    int primary_cathode() const { return primary_; }
    crystal::UnitCell cathode_cell(double lithium) const;

    double outer_radius() const { return outer_radius_; }
    double can_inner_radius() const { return can_inner_radius_; }
    double core_radius() const { return core_radius_; }
    double period() const { return period_; }
    double turns() const { return turns_; }
    /// No part of the roll is further from the axis.
    double roll_radius() const { return core_radius_ + period_ * (turns_ + 1); }

    /// Lower bounds of the layers in the fraction of w; [n_layers] is 1.
    const std::array<double, n_layers + 1>& layer_bounds() const { return bounds_; }

    /// Inside the can: `layer` at a fraction `u` of w, `turn` along the spiral, at (x, y) mm.
    Material roll(int layer, double u, double turn, double x, double y) const;
    const Material& can() const { return can_; }
    const Material& gap() const { return gap_; } ///< between the roll and the can

    /// Any point.
    Material at(double x, double y) const;

  private:
    struct Field {
        float lithium, secondary;
    };
    /// A hot spot of the secondary cathode phase [mm].
    struct Spot {
        double x, y, radius;
    };
    void set_shape();
    void set_phases(const CrystalliteSizes& sizes);
    void set_textures();
    void set_tab();
    int add_phase(const char* name, const char* structure, double a, double c, double size);
    void make_fields();
    std::vector<Spot> draw_spots(RayRandom& random, double roll) const;
    std::vector<double> heat_of(const std::vector<Spot>& spots) const;
    Field field(double x, double y) const;
    void make_materials();
    /// A matrix with two phases in it; no second one when its fraction is 0.
    Material mixture(const Material& matrix, int first, float first_fraction, int second,
                     float second_fraction, float lithium) const;
    double energy_ = 0;

    CellDesign design_;
    std::vector<CrystalPhase> phases_;
    int iron_ = -1, copper_ = -1, aluminium_ = -1, primary_ = -1, secondary_ = -1;
    int anode_surface_ = -1; ///< LiC6 or the dilute phase: more of it towards the separator
    int anode_bulk_ = -1;    ///< LiC12 or graphite
    crystal::UnitCell cathode_bulk_;
    double delta_a_ = 0, delta_c_ = 0;

    double outer_radius_ = 0, can_inner_radius_ = 0, core_radius_ = 0, period_ = 0, turns_ = 0;
    std::array<double, n_layers + 1> bounds_{};
    double tab_from_ = 0, tab_to_ = -1; ///< turns
    double tab_x_ = 0, tab_y_ = 0;

    struct Solid {
        float mu, density;
    };
    std::vector<Solid> solids_; ///< by phase
    Material empty_, gap_, can_, copper_layer_, aluminium_layer_, separator_layer_;
    Material cathode_matrix_, anode_matrix_; ///< binder and electrolyte of the coatings
    double mu_electrolyte_ = 0, mu_binder_ = 0, mu_polymer_ = 0; ///< 1/mm

    std::size_t field_size_ = 0;
    double field_pitch_ = 1, field_origin_ = 0;
    std::vector<Field> fields_; ///< [y][x], interpolated bilinearly
};

} // namespace xrdct::phantom
