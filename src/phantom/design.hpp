// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::phantom {

/// What fills the pores of the coatings and of the separator, and every gap but the hollow core.
inline constexpr const char* electrolyte_formula = "C72H120O72LiPF6";
inline constexpr double electrolyte_density = 1.28; ///< g/cm³

/// What the electrodes contain.
enum class Preset {
    charged,    ///< LiC6 / LiC12 anode, uniform cathode
    discharged, ///< graphite and a dilute Li–C phase, cathode varying in space
    mixed       ///< LiC6 / LiC12 anode, cathode varying in space
};

/// "charged", "discharged" or "mixed"; anything else throws Error.
Preset preset_from_string(std::string_view name);
std::string_view to_string(Preset preset);

/// Thickness of the layers of one winding [mm]. Outwards, a winding is: cathode coating, aluminium,
/// cathode coating, separator, anode coating, copper, anode coating, separator.
struct LayerThickness {
    double cathode = 0.060;
    double aluminium = 0.015;
    double anode = 0.060;
    double copper = 0.010;
    double separator = 0.020;

    double period() const { return 2 * (cathode + anode + separator) + aluminium + copper; }
};

/// Lattice of the primary cathode [Å]: the bulk value and its change where the cathode holds most
/// lithium (near the can, the tab and the core). Where the lithium excess is f (0 to 1), the cell
/// is a + f Δa, c + f Δc. NaN: the value that belongs to the preset.
struct CathodeLattice {
    double a = std::numeric_limits<double>::quiet_NaN();
    double c = std::numeric_limits<double>::quiet_NaN();
    double delta_a = std::numeric_limits<double>::quiet_NaN();
    double delta_c = std::numeric_limits<double>::quiet_NaN();
};

/// A cylindrical jelly-roll cell, cut across its axis. Lengths in mm.
struct CellDesign {
    Preset preset = Preset::mixed;
    double outer_diameter = 10.17;
    double can_thickness = 0.2;
    double core_diameter = 1.6; ///< hollow, about which the spiral starts
    double can_gap = 0.03;      ///< least distance between the roll and the can
    LayerThickness layers;
    int windings_without_cathode = 2; ///< innermost windings of anode and separator only
    double tab_length = 3.0; ///< arc of the cathode foil that carries the aluminium tab instead of
                             ///< coating; 0: no tab

    CathodeLattice cathode;
    bool stepped_lattice = false; ///< lithium excess in sharp-edged regions instead of smooth ones
    double hot_spots_per_mm2 = 0.75; ///< secondary cathode phase; 0: none
    double secondary_a = 2.872;      ///< its cell [Å]
    double secondary_c = 14.25;
    double hot_spot_radius_min = 0.1; ///< half-maximum radius
    double hot_spot_radius_max = 0.3;

    /// Deviation of the metals' cells from their CIFs, parts per million of a.
    double iron_ppm = 0;
    double copper_ppm = 0;
    double aluminium_ppm = 0;

    /// Volume fraction of crystalline solid in the layers; what is left is binder and electrolyte.
    double cathode_solid = 0.62;
    double anode_solid = 0.65;
    double separator_solid = 0.55;

    /// Basal planes (0 0 1) of an electrode's phase that lie along the layers (march < 1) or across
    /// them (march > 1): March–Dollase distribution about the local normal of the spiral.
    struct Texture {
        std::string phase;
        double march = 1;
    };
    std::vector<Texture> textures; ///< of phases that are not named: none

    std::uint64_t seed = 1; ///< of the hot spots and of the lithium distribution

    // How the cell stands in the scan's frame: a point p of the cell, as designed, is found at
    // R(rotation) p + centre; R turns counter-clockwise, from x to y.
    double rotation = 0; ///< degrees
    double centre_x = 0; ///< mm from the rotation axis
    double centre_y = 0;
};

/// Thompson–Cox–Hastings pseudo-Voigt. FWHM in degrees 2θ:
/// Gaussian² = U tan²θ + V tanθ + W, Lorentzian = X / cosθ + Y tanθ + size,
/// size = (180/π) K λ / (L cosθ), K = 0.94. The defaults are 0.0185° at 2θ = 2.2° and 0.0243° at
/// 6.6°, as a CeO2 standard measured at 103.5 keV.
struct InstrumentProfile {
    double u = 0.0668;
    double v = 0;
    double w = 0.00025;
    double x = 0.003;
    double y = 0.03;
};

/// Crystallite sizes L [Å] of the phases.
struct CrystalliteSizes {
    double metal = 2000;
    double cathode = 1500;
    double anode = 700;
};

/// How diffracted light leaves the cell: along the primary beam, or at its 2θ all around the ring.
enum class ExitRays { straight, deviated };

/// "straight" or "deviated"; anything else throws Error.
ExitRays exit_rays_from_string(std::string_view name);
std::string_view to_string(ExitRays rays);

/// One scan of the cell. What "recorded" refers to is the value written to the file.
struct ScanDesign {
    std::size_t translations = 140;
    double step = 0; ///< mm; 0: 1.08 outer diameters over the number of translations
    std::size_t rotations = 220;
    double rotation_range = 180;                ///< degrees, end excluded; 180 or 360
    std::vector<std::size_t> missing_rotations; ///< indices left out of the scan

    std::size_t channels = 700;
    double two_theta_first = 1.2;     ///< centre of the first channel, degrees
    double two_theta_width = 0.00566; ///< degrees
    double wavelength = 0.11979;      ///< Å
    double distance = 1000;           ///< mm, axis to detector; 1e9: no parallax
    int rotation_sense = 1;           ///< ω = rotation_sense · recorded rotation
    int translation_sense = 1;        ///< see axis_offset
    double axis_offset = 0;           ///< mm: the point at lateral position s is hit when
                            ///< translation_sense · recorded translation = s + axis_offset
    double beam_width = -1; ///< mm, box profile; 0: thin; negative: as wide as the step

    InstrumentProfile profile;
    CrystalliteSizes sizes;
    ExitRays exit_rays = ExitRays::straight;

    /// mm by which the standard that gave 2θ and distance stood nearer to the detector than the
    /// axis: recorded are distance − shift and tan 2θ · distance / (distance − shift).
    double calibrant_shift = 0;
    /// Grains of the metals that diffract into one line, per mm of metal along the ray, on the
    /// mean: their number is drawn anew for every line and ray (spotty rings); 0: fine powders.
    double metal_grains = 0;

    double counts = 2000; ///< 99.99th percentile of the noise-free absorbed sinogram
    bool noise = true;    ///< Poisson noise
    std::uint64_t seed = 1;
    double background =
        0.25; ///< diffuse scattering over Bragg scattering, whole cell, all channels
    double separator_peak = 0.04; ///< the polymer's broad peak over Bragg scattering, likewise
    double separator_d = 4.15;    ///< its position, Å
    double separator_fwhm = 0.16; ///< its width, degrees
};

} // namespace xrdct::phantom
