// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "registration/image_grid.hpp"
#include "registration/rigid_transform.hpp"

#include <array>
#include <span>
#include <vector>

namespace xrdct::registration {

/// An image made smooth: values everywhere, and how much they count, 0 to 1. Weights fall off
/// gradually towards missing values, so that the comparison changes smoothly with the transform.
struct SmoothImage {
    PixelGrid grid;
    std::vector<float> values;
    std::vector<float> weight;
};

/// Gaussian smoothing of the valid pixels (normalised convolution); `sigma` in mm. Weights rise
/// from 0 where half of the Gaussian falls on finite values to 1 where all of it does. The weighted
/// mean is taken off and the standard deviation made 1. `grid` chooses the output's grid: a coarser
/// one averages.
SmoothImage smooth_image(std::span<const double> values, const PixelGrid& source,
                         const PixelGrid& grid, double sigma);

/// A grid of the given pixel over the same field, the field's centre staying where it is.
PixelGrid regrid(const PixelGrid& grid, double pixel);

/// Part of the variance that is never explained (pixels, artefacts of the reconstruction): keeps a
/// channel that agrees nearly perfectly, such as a ring of steel, from outweighing all others.
inline constexpr double model_error = 0.003;

/// Correlations of channels put together: the correlation whose unexplained variance 1 − r² is
/// the weighted geometric mean of theirs, each raised by model_error. A channel that agrees tells
/// where the images match; one that does not (amounts that changed) hardly dilutes it. Negative
/// correlations count as 0.
class CombinedCorrelation {
  public:
    void add(double correlation, double weight);
    double value() const;

  private:
    double logarithm_ = 0, weight_ = 0;
};

inline constexpr std::size_t tiles_per_side = 8;
inline constexpr std::size_t n_tiles = tiles_per_side * tiles_per_side;

/// Sums over pixels of products of (1, f, ∂f/∂angle, ∂f/∂x, ∂f/∂y, r); f the moving image at the
/// transformed position, r the reference.
struct Moments {
    std::array<double, 21> sums{}; ///< upper triangle, row by row

    static constexpr std::size_t index(std::size_t i, std::size_t j) {
        return i <= j ? i * 6 - i * (i + 1) / 2 + j : index(j, i);
    }
    double operator()(std::size_t i, std::size_t j) const { return sums[index(i, j)]; }
    Moments& operator+=(const Moments& other);
    Moments operator-(const Moments& other) const;
    /// Pearson's correlation of f and r; 0 when one of them does not vary.
    double correlation() const;
};

/// What the comparison of all channels at one transform gives, by channel and tile.
struct Comparison {
    std::vector<std::array<Moments, n_tiles>> tiles;
    std::vector<Moments> totals;

    double correlation(std::span<const double> weights) const;
    /// The same without one tile.
    double correlation_without(std::size_t tile, std::span<const double> weights) const;
};

/// Pairs of images of all channels at one resolution.
struct ImagePairs {
    std::vector<SmoothImage> reference, moving;
    std::vector<double> weights;

    Comparison compare(const RigidTransform& transform) const;
};

/// Improves the transform by Gauss–Newton steps with Levenberg–Marquardt damping on
/// Σ_c w_c ln(ε + 1 − R_c²), R_c² the part of the reference's variance within tiles that a factor
/// and an offset per tile explain, ε = model_error; `free` says which of angle,
/// shift x and shift y may change.
struct Refined {
    RigidTransform transform;
    double correlation = -1;
    Comparison comparison;
};
Refined refine(const ImagePairs& pairs, const RigidTransform& start,
               const std::array<bool, 3>& free, int max_iterations);

/// Standard deviations of angle [deg], x and y [mm] at an optimum: jackknife over the tiles (noise
/// that is correlated within a tile, changes of the object) and over the channels (systematic
/// differences between them), added in quadrature.
std::array<double, 3> uncertainties(const ImagePairs& pairs, const Comparison& at,
                                    const std::array<bool, 3>& free);

} // namespace xrdct::registration
