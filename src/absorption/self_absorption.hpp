// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/can_wall.hpp"
#include "tomography/fbp.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::absorption {

/// Where the constant that turns amounts into volumes comes from.
enum class AmountCalibration {
    given,        ///< SelfAbsorptionOptions::constant
    can_wall,     ///< the reference phase is the homogeneous wall of a round can
    plateau,      ///< the upper plateau of the reference phase's map
    transmission, ///< the measured transmission, least squares over all rays
};

struct SelfAbsorptionOptions {
    AmountCalibration calibration = AmountCalibration::can_wall;
    double constant = 0;
    std::size_t reference = 0;     ///< index of the phase that calibrates
    double reference_fraction = 1; ///< its volume fraction there
    double filling = 0; ///< μ [1/mm] of what fills the rest of the sample (binder, electrolyte)
    /// With a can wall the filling fills it but for a hollow disc at its centre, of this diameter
    /// [mm]; nullopt: found from the radial mean of the total image. Without a wall it fills the
    /// places where the total image exceeds mask_threshold times its 99th percentile.
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
    double hollow_diameter = 0;  ///< mm, with a can wall
    std::optional<CanWall> wall; ///< of the last iteration
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
/// With a measured transmission nothing is iterated: the constructor corrects and calibrates the
/// amounts, and the state has converged.
class SelfAbsorption {
  public:
    /// What is passed must live as long as the object. Throws Error for sizes that do not match, an
    /// unknown reference, options out of range, and, with a measured transmission, for all that
    /// step() throws for.
    SelfAbsorption(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                   const SelfAbsorptionInput& input, const SelfAbsorptionOptions& options);
    ~SelfAbsorption();
    SelfAbsorption(const SelfAbsorption&) = delete;
    SelfAbsorption& operator=(const SelfAbsorption&) = delete;

    /// One iteration: where the sample is, the constant, the transmission of every ray; sets
    /// `converged` when neither the transmission nor the hollow's outline changes any more. Throws
    /// Error when fewer than 8 bins of distance see the reference phase, or it fills no region of
    /// 3 × 3 voxels (plateau).
    void step();

    /// All but path lengths, volume fractions and the map of attenuation coefficients, which
    /// finish() makes.
    const SelfAbsorptionResult& state() const;

    /// The result as far as the steps have come. Throws Error when the reference phase does not
    /// look like a can wall that is to calibrate.
    SelfAbsorptionResult finish() &&;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Steps of SelfAbsorption until it has converged or max_iterations are over. `progress` is told
/// iteration and largest change of a transmission; `false` from it stops. Throws Error for the
/// reasons of SelfAbsorption.
SelfAbsorptionResult correct_self_absorption(const tomography::ScanGeometry& geometry,
                                             const tomography::ImageGrid& grid,
                                             const SelfAbsorptionInput& input,
                                             const SelfAbsorptionOptions& options,
                                             const std::function<bool(int, double)>& progress = {});

} // namespace xrdct::absorption
