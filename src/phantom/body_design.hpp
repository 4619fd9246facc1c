// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "phantom/design.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace xrdct::phantom {

/// Samples that are no jelly roll.
enum class BodyKind {
    extrudate, ///< a catalyst: trilobe of porous alumina with one phase near its surface only
    capillary, ///< grains of several phases in a glass tube
    pouch      ///< a strip of a pouch cell: stacked layers in a rectangle, in its foil
};

/// "extrudate", "capillary" or "pouch"; anything else throws Error.
BodyKind body_from_string(std::string_view name);
std::string_view to_string(BodyKind kind);

/// What carries the phases of the extrudate.
enum class Support {
    glassy, ///< porous alumina that absorbs, does not diffract
    gamma,  ///< nanocrystalline gamma-Al2O3 (60 Å)
    none    ///< nothing: all that absorbs diffracts
};

/// "glassy", "gamma" or "none"; anything else throws Error.
Support support_from_string(std::string_view name);

/// How a quantity of one phase varies: `surface` at the surface of the piece (extrudate, grain,
/// ends of the strip), `inside` from the depth `length` on, as a parabola in between; a gentle wave
/// that the seed decides comes on top, within the two values. Equal values: the same everywhere.
struct DepthField {
    std::string phase;
    double surface = 0, inside = 0;
    double length = 0; ///< mm; 0: the largest depth in the piece
};

/// A body of one of the kinds, cut across its axis. Lengths in mm; 0 and NaN: what belongs to the
/// kind.
struct BodyDesign {
    BodyKind kind = BodyKind::extrudate;
    /// Circle about a trilobe (0: 3), outside of the capillary (0: 3), length of the strip (0:
    /// 4).
    double diameter = 0;
    double height = 0;     ///< of the strip, across its layers (0: 1.6)
    double shell = 0;      ///< of the phase near the surface of the extrudate (0: 0.12 diameters)
    double wall = 0;       ///< of the capillary (0: 0.04 diameters)
    double grain = 0;      ///< mean diameter of the capillary's grains (0: 0.14 diameters)
    LayerThickness layers; ///< of the strip
    Support support = Support::glassy; ///< of the extrudate
    int pieces = 1;                    ///< extrudates side by side, each of another seed

    std::vector<DepthField> sizes;        ///< crystallite size [Å]
    std::vector<DepthField> microstrains; ///< ε: Lorentzian FWHM 4 ε tan θ
    std::vector<DepthField> cells;        ///< deviation of the cell from the CIF's [ppm]

    std::uint64_t seed = 1; ///< of the shape, of the grains and of the waves

    // A point p of the body, as designed, is found at R(rotation) p + centre.
    double rotation = 0; ///< degrees
    double centre_x = 0; ///< mm from the rotation axis
    double centre_y = 0;
};

/// The design with the lengths of its kind for those that are 0. Throws Error, naming the setting,
/// for lengths that make no sense.
BodyDesign definite_body(BodyDesign design);

/// What does not diffract in the body, as who made it describes it: formula or name, and its mass
/// in a volume that no crystals take [g/cm³], 0 for a pure material. Empty: nothing throughout.
std::pair<std::string, double> filling_of(const BodyDesign& design);

} // namespace xrdct::phantom
