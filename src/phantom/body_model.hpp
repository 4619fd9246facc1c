// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "phantom/body_shape.hpp"
#include "phantom/simulation.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

namespace xrdct::phantom {

/// Sum of a few plane waves with directions and phases from a seed, between −1 and 1.
class Waves {
  public:
    /// Wavelengths are 0.3 to 0.7 of `extent` [mm].
    Waves(double extent, std::uint64_t seed, std::uint64_t stream);
    double at(double x, double y) const;

  private:
    struct Wave {
        double kx, ky, phase;
    };
    std::array<Wave, 4> waves_{};
};

/// One quantity of one phase as a function of the place: a DepthField and its wave.
class BodyField {
  public:
    BodyField(const DepthField& field, const Waves& waves) : field_(field), waves_(waves) {}
    bool varies() const { return field_.surface != field_.inside; }
    double surface() const { return field_.surface; }
    double inside() const { return field_.inside; }
    double lowest() const { return std::min(field_.surface, field_.inside); }
    double highest() const { return std::max(field_.surface, field_.inside); }
    /// 0: the value of the surface, 1: that of the inside.
    double part(const Place& place, double x, double y) const;
    double at(const Place& place, double x, double y) const {
        return varies() ? field_.surface + (field_.inside - field_.surface) * part(place, x, y)
                        : field_.inside;
    }

  private:
    DepthField field_;
    Waves waves_;
};

/// A body as a function of position: what each region is made of, and how sizes, microstrains and
/// cells vary.
class BodyModel {
  public:
    struct Phase {
        PhantomPhase info;
        crystal::Phase crystal; ///< with the cell of the CIF
        double mu = 0;          ///< 1/mm of the solid crystal
        /// Change of a and c in parts of the field's.
        double along_a = 1, along_c = 1;
        BodyField size, microstrain, cell;
    };
    /// Throws Error, naming the setting, for a design that makes no sense.
    BodyModel(const BodyDesign& design, double wavelength);

    /// With all lengths of the kind.
    const BodyDesign& design() const { return design_; }
    const BodyShape& shape() const { return *shape_; }
    const std::vector<Phase>& phases() const { return phases_; }

    struct Part {
        int phase = 0;
        float fraction = 0; ///< volume fraction
    };
    struct Mixture {
        std::array<Part, 4> part{};
        int n_parts = 0;
        double mu = 0;   ///< 1/mm
        double mass = 0; ///< g/cm³, everything
    };
    /// What a region is made of at a point; amounts of graphite in the extrudate are patchy.
    Mixture mixture(int region, double x, double y) const;

    /// The cell of a phase that deviates by `ppm` from its CIF's.
    crystal::UnitCell cell(const Phase& phase, double ppm) const;

  private:
    void set_phases();
    void set_materials();
    int phase_index(const char* name) const;
    struct Amorphous {
        double mu, mass;
    };
    Amorphous amorphous(const char* formula, double density) const;
    void fill(int region, std::initializer_list<std::pair<const char*, double>> crystals,
              std::initializer_list<std::pair<Amorphous, double>> rest);
    void add_phase(const char* structure, const DepthField& size, const DepthField& microstrain,
                   const DepthField& cell, double along_c);

    BodyDesign design_;
    double energy_ = 0;
    std::unique_ptr<const BodyShape> shape_;
    std::vector<Phase> phases_;
    std::array<Mixture, n_regions> regions_{};
    Waves patches_;
    int patchy_ = -1; ///< phase
};

} // namespace xrdct::phantom
