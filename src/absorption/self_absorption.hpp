#pragma once

#include "tomography/fbp.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::absorption {

/// A ring such as the wall of a can, found from the amounts of a phase along all rays.
struct RingFit {
    double centre_x = 0, centre_y = 0;         ///< mm
    double outer_radius = 0, inner_radius = 0; ///< mm
    double constant = 0; ///< factor that turns the amounts into path lengths [mm] of the full ring
    double misfit = 0;   ///< rms of the relative difference of the mean profile
};

/// Fits amounts [rotation][translation] of one phase by a homogeneous circular ring seen through
/// the strip of step and beam: centre from the centre of mass of every projection, radii and
/// constant from the mean profile about it. NaN rays are left out. Throws Error when no ring
/// explains the profile (misfit above 0.25) or fewer than 8 rays see the phase.
RingFit fit_ring(const tomography::ScanGeometry& geometry, std::span<const float> amounts);

/// Where the constant that turns amounts into volumes comes from.
enum class AmountCalibration {
    given,        ///< SelfAbsorptionOptions::constant
    ring,         ///< the reference phase is a homogeneous ring: fit_ring
    plateau,      ///< the upper plateau of the reference phase's map
    transmission, ///< the measured transmission, least squares over all rays
};

struct SelfAbsorptionOptions {
    AmountCalibration calibration = AmountCalibration::ring;
    double constant = 0;
    std::size_t reference = 0;     ///< index of the phase that calibrates
    double reference_fraction = 1; ///< its volume fraction there
    double filling = 0; ///< μ [1/mm] of what fills the rest of the sample (binder, electrolyte)
    /// With a ring the filling fills it but for a hollow disc at its centre, of this diameter [mm];
    /// nullopt: found from the radial mean of the total image. Without a ring it fills the places
    /// where the total image exceeds mask_threshold times its 99th percentile.
    std::optional<double> hollow_diameter;
    double mask_threshold = 0.025;
    tomography::FbpOptions fbp;
    double tolerance = 1e-3; ///< largest change of any ray's transmission at the end
    int max_iterations = 30;
};

/// What is known of the sample before the correction; index order [rotation][translation], NaN:
/// missing.
struct SelfAbsorptionInput {
    /// Per phase, amounts ∫ S V² dl seen through the sample (not corrected), V the cell volume: up
    /// to one constant the path length in the phase.
    std::vector<std::vector<float>> amounts;
    std::vector<double> mu;              ///< per phase, of the solid crystal [1/mm]
    std::span<const float> total;        ///< summed intensity, not corrected
    std::span<const float> transmission; ///< measured; empty: to be found
};

struct SelfAbsorptionResult {
    bool converged = false;
    int iterations = 0;
    std::vector<double> changes; ///< largest change of a transmission per iteration
    double constant = 0;         ///< K: path length [mm] = K ∫ S V² dl, volume fraction K S V²
    double hollow_diameter = 0;  ///< mm, with a ring
    std::optional<RingFit> ring; ///< of the last iteration
    std::vector<float> transmission;                  ///< [rotation][translation]
    std::vector<std::vector<float>> path_lengths;     ///< per phase [rotation][translation], mm
    std::vector<std::vector<float>> volume_fractions; ///< per phase [y][x]
    std::vector<unsigned char> sample;                ///< [y][x], the region that the filling fills
    std::vector<float> mu_map;                        ///< [y][x], 1/mm
    std::size_t opaque =
        0; ///< rays held at the least transmission: the model has no solution there
};

/// Zero-order self-absorption from the phases themselves (Vamvakeros et al., Small Methods 6 (2022)
/// 2100512; theory in docs): amounts over transmission are calibrated to path lengths, path lengths
/// and mass attenuation give the transmission, until it no longer changes. It works on rays, where
/// the blur of step and beam is that of the transmission itself; images are made of the result.
///
/// With a measured transmission nothing is iterated: amounts are corrected, calibrated and imaged.
/// `progress` is told iteration and largest change; `false` from it stops. Throws Error for sizes
/// that do not match, an unknown reference, fit_ring's reasons.
SelfAbsorptionResult correct_self_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const SelfAbsorptionInput& input,
                                             const SelfAbsorptionOptions& options,
                                             const std::function<bool(int, double)>& progress = {});

/// Threshold mask [y][x]: pixels above `threshold` times the 99th percentile of the positive
/// values.
std::vector<unsigned char> sample_mask(std::span<const double> total, double threshold);

} // namespace xrdct::absorption
