// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "absorption/can_wall.hpp"
#include "tomography/fbp.hpp"
#include "tomography/scan_geometry.hpp"
#include "tomography/strip_projector.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// Mean of values [row][column] with Gaussian weights, sigmas in rows and columns, times `weight`
/// (values of weight 0 may be NaN); the ends are open, 0 where there is no weight.
std::vector<double> weighted_smooth(std::span<const double> values, std::span<const double> weight,
                                    std::size_t rows, std::size_t columns, double sigma_rows,
                                    double sigma_columns);

/// Outline of a hollow core about the centre of a can wall: radii [mm] in equal steps of direction.
class HollowCore {
  public:
    static constexpr std::size_t directions = 72;

    /// A disc; 0: none.
    explicit HollowCore(double radius = 0) { radius_.fill(radius); }

    /// Where means of the total image [y][x] over sectors have risen, outwards, by 15 % of the way
    /// from the bottom of the hollow to what they are half-way to the wall. The bottom counts as
    /// zero: a correction that is still off lifts or sinks it.
    static HollowCore find(std::span<const float> image, const tomography::ImageGrid& grid,
                           const CanWall& wall);

    double radius(double direction) const;
    double diameter() const; ///< of the disc of equal area [mm]

  private:
    std::array<double, directions> radius_{};
};

/// Share of every pixel [y][x] that belongs to the hollow, 0 or 1, by the total image; `typical`
/// is its radius [mm], roughly. Hollow are the pixels about its border where the image, smoothed
/// over 0.06 mm, has not risen by 5 % of the way from its bottom to what it is half-way to the
/// wall, and all further in.
std::vector<float> hollow_by_total(std::span<const float> image, const tomography::ImageGrid& grid,
                                   const CanWall& wall, double typical);

/// A can wall that shines through all that is inside it; values [rotation][translation].
struct WallLight {
    /// Path in the wall by its corrected amounts less the path it has [mm]; NaN: missing.
    std::span<const float> excess;
    /// How much the former grows per mm of filling that is added to the model of a ray.
    std::span<const float> response;
    std::span<const float> hollow; ///< path in what the model takes for hollow [mm]
};

/// Share of every pixel [y][x] that belongs to the hollow, by the light of the wall (theory in
/// docs): nothing of the wall is inside it, so that what its image shows there is filling that the
/// model has in the wrong place. Tells the hollow from matter that scatters little and needs no
/// threshold of intensity, whatever the model took for hollow. The hollow is the largest connected
/// region, at most 0.8 inner radii from the centre; all 0 when there is none. nullopt when the
/// image, smoothed over 0.04 inner radii, is still too noisy to tell, or nothing is filled.
std::optional<std::vector<float>> hollow_by_wall(tomography::FilteredBackProjection& fbp,
                                                 const tomography::StripProjector& projector,
                                                 const WallLight& light, const CanWall& wall);

} // namespace xrdct::absorption
