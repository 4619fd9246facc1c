// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tomography/scan_geometry.hpp"
#include "tomography/strip_projector.hpp"

#include <span>
#include <vector>

namespace xrdct::absorption {

/// An image of what attenuates, and what it does to the rays.
struct BodyImage {
    std::vector<float> mu;    ///< [y][x], 1/mm, not negative
    std::vector<float> depth; ///< optical depth of every ray in it [rotation][translation]
    /// Root mean square of K a − P exp(−P − b) over the rays, relative to that of K a.
    double misfit = 0;
    double change = 0; ///< of the transmission in the last step, all but 1 % of the rays
    int steps = 0;
    bool converged = false;
};

struct BodyImageOptions {
    int max_steps = 40;
    int inner_steps = 12;    ///< of conjugate gradients in each
    double tolerance = 1e-3; ///< of BodyImage::change
};

/// Finds what attenuates from amounts that are seen through it: for a ray of true optical depth P
/// in what is seen and b in all else, the seen amount is a = P exp(−P − b) / K. A single ray has
/// two solutions P, or none in noise, and near P = 1 tells nothing; all rays together have one
/// image:
///
///     Σ w (K a − P exp(−P − b))² → min,   P = ∫ μ dl,   μ ≥ 0
///
/// by Gauss-Newton steps from below, each by conjugate gradients with those pixels free that are
/// not held at 0. Rays that a step has near P = 1 keep a least slope.
class BodyImageSolver {
  public:
    /// `seen` [rotation][translation]: a, NaN: missing; `variance` of a up to a factor, positive.
    /// Throws Error for sizes that do not match and the geometry's reasons.
    BodyImageSolver(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                    std::span<const float> seen, std::span<const double> variance);

    /// `constant`: K; `known`: b of every ray, empty: none; `start`: an image to start from, empty:
    /// none. Not collective.
    BodyImage solve(double constant, std::span<const double> known, std::span<const float> start,
                    const BodyImageOptions& options = {}) const;

    const tomography::StripProjector& projector() const { return projector_; }

  private:
    struct Linearisation;
    double look(const BodyImage& image, double constant, std::span<const double> known,
                Linearisation& at) const;
    void improve(const Linearisation& at, std::vector<float>& mu, int inner) const;

    tomography::StripProjector projector_;
    std::vector<double> seen_, weight_; // weight 0: missing
};

} // namespace xrdct::absorption
