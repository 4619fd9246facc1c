// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/body_design.hpp"

#include <array>
#include <memory>
#include <vector>

namespace xrdct::phantom {

class RayRandom;

/// Regions of the bodies, each of one material.
enum Region : int {
    nothing = -1,
    extrudate_core,
    extrudate_shell,
    glass,
    grain_first, ///< and one more for each kind of grain
    grain_last = grain_first + 3,
    pouch_foil,
    electrolyte_gap,
    cathode_coating,
    aluminium_layer,
    separator_layer,
    anode_coating,
    copper_layer,
    n_regions
};
inline constexpr int n_grain_kinds = grain_last - grain_first + 1;

/// What a shape has at a point.
struct Place {
    int region = nothing;
    float depth = 0; ///< mm below the surface of the piece
    float reach = 1; ///< mm, the largest depth in the piece
};

/// The outline of a body as a function of position [mm], about its centre.
class BodyShape {
  public:
    virtual ~BodyShape() = default;
    virtual Place at(double x, double y) const = 0;
    /// No part of the body is further from its centre.
    virtual double radius() const = 0;
    /// No region is thinner, but for corners.
    virtual double thinnest() const = 0;

  protected:
    BodyShape() = default;
    BodyShape(const BodyShape&) = default;
    BodyShape& operator=(const BodyShape&) = default;
    BodyShape(BodyShape&&) = default;
    BodyShape& operator=(BodyShape&&) = default;
};

/// The shape of a design whose lengths have been made definite. Throws Error when the parts do not
/// fit into each other.
std::unique_ptr<const BodyShape> make_shape(const BodyDesign& design);

/// Three overlapping discs at 120° about the centre; sizes and directions vary by some per cent
/// with the seed. `diameter` is that of the circle about them.
class Trilobe : public BodyShape {
  public:
    struct Disc {
        double x, y, radius;
    };
    Trilobe(double diameter, double shell, std::uint64_t seed);
    Place at(double x, double y) const override;
    double radius() const override { return 0.5 * diameter_; }
    double thinnest() const override { return shell_; }
    const std::array<Disc, 3>& discs() const { return discs_; }

  private:
    double depth(double x, double y) const;
    double diameter_, shell_, reach_ = 0;
    std::array<Disc, 3> discs_{};
    struct Corner {
        double x, y;
    };
    std::vector<Corner> corners_; ///< where two discs meet outside the third
};

/// Trilobes of one size on a ring about the centre, a twentieth of their diameter apart.
class Bundle : public BodyShape {
  public:
    Bundle(double diameter, double shell, std::uint64_t seed, int pieces);
    Place at(double x, double y) const override;
    double radius() const override { return radius_; }
    double thinnest() const override { return pieces_.front().shape.thinnest(); }
    struct Piece {
        Trilobe shape;
        double x, y;
    };
    const std::vector<Piece>& pieces() const { return pieces_; }

  private:
    std::vector<Piece> pieces_;
    double radius_ = 0;
};

/// Round grains that do not overlap, packed at random within the wall.
class Capillary : public BodyShape {
  public:
    struct Grain {
        double x, y, radius;
        int kind; ///< 0 to n_grain_kinds − 1
    };
    Capillary(double diameter, double wall, double grain, std::uint64_t seed);
    Place at(double x, double y) const override;
    double radius() const override { return outer_; }
    double thinnest() const override;
    const std::vector<Grain>& grains() const { return grains_; }
    double inner_radius() const { return inner_; }

  private:
    int scatter(RayRandom& random, double radius, double share, int turn);
    void grow(double largest);
    bool add(const Grain& grain);
    template <typename Each>
    void around(double x, double y, double reach, const Each& each) const;
    double outer_, inner_, wall_, pitch_ = 1;
    std::size_t cells_ = 1;
    std::vector<std::vector<int>> buckets_; ///< grains that touch a square of the grid
    std::vector<Grain> grains_;
};

/// Layers along x, stacked along y, in a foil all around; the whole turned by some degrees, which
/// the seed decides: nobody mounts a strip with its layers exactly along the beam.
class PouchStrip : public BodyShape {
  public:
    PouchStrip(double length, double height, const LayerThickness& layers, std::uint64_t seed);
    Place at(double x, double y) const override;
    double radius() const override;
    double thinnest() const override { return thinnest_; }
    struct Layer {
        int region;
        double from, to; ///< mm along y
    };
    const std::vector<Layer>& layers() const { return layers_; }
    /// Half the length of the layers.
    double half_length() const { return half_length_; }
    static constexpr double foil = 0.1; ///< mm, aluminium between polymer
    static constexpr double gap = 0.15; ///< mm of electrolyte at the ends of the layers

  private:
    double half_x_, half_y_, half_length_, thinnest_, cosine_ = 1, sine_ = 0;
    std::vector<Layer> layers_;
};

} // namespace xrdct::phantom
