// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "tomography/scan_geometry.hpp"

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// The wall of a can: a homogeneous circular ring, found from the amounts of its phase along all
/// rays.
struct CanWall {
    double centre_x = 0, centre_y = 0;         ///< mm
    double outer_radius = 0, inner_radius = 0; ///< mm
    double constant = 0; ///< factor that turns the amounts into path lengths [mm] in the full wall
    double misfit = 0;   ///< rms of the relative difference of the mean profile
};

/// Throws Error when no wall explains the profile (misfit above 0.25 or no constant).
void check_can_wall(const CanWall& wall);

/// Lateral offsets [mm], sorted, of the lines that sample a ray's strip: the box of the step
/// convolved with that of the beam; 24 of them, each standing for the same share.
std::vector<double> strip_offsets(double step, double beam);

/// Path [mm] of a line at the lateral distance s [mm] from the centre through a disc.
inline double chord(double radius, double s) {
    const double h = radius * radius - s * s;
    return h > 0 ? 2 * std::sqrt(h) : 0;
}

/// Means over a strip across the edge of an absorbing wall, relative to its mean path.
struct StripMeans {
    double length = 0;       ///< mean path in the wall [mm]
    double transmission = 1; ///< mean of exp(−μ path) over exp(−μ mean path)
    double amount = 1; ///< mean of path · exp(−μ path) over mean path and mean exp(−μ path)
};

/// `offsets` [mm] sample the strip about the distance s [mm] from the centre of a wall of these
/// radii [mm] and attenuation coefficient mu [1/mm].
StripMeans strip_means(const std::vector<double>& offsets, double outer, double inner, double mu,
                       double s);

/// Amounts of one phase averaged over all rotations, against the distance from its centre, in bins
/// of a quarter of a step.
class MeanProfile {
  public:
    /// `amounts` [rotation][translation], NaN: missing. The centre comes from the outer edges of
    /// the projections.
    MeanProfile(const tomography::ScanGeometry& geometry, std::span<const float> amounts);

    /// Takes other amounts about the same centre.
    void set(std::span<const float> amounts);

    /// Throws Error when fewer than 8 bins see the phase.
    void check_seen() const;

    double distance(std::size_t ray) const { return distance_[ray]; } ///< from the centre [mm]
    /// Mean path of a ray in a wall about the same centre [mm].
    double path_in(const CanWall& wall, std::size_t ray) const;
    /// strip_offsets of the geometry [mm].
    const std::vector<double>& offsets() const { return offsets_; }

    /// Radii of the wall that fits best, and how well, in relative residuals, so that the flat
    /// middle counts as much as the steep edge. `constant` 0: free; `start`: a wall nearby.
    CanWall fit(double constant, std::optional<CanWall> start = {}) const;

  private:
    std::vector<double> offsets_, distance_;
    double step_;
    double centre_x_ = 0, centre_y_ = 0;                  // mm
    std::vector<double> radius_, mean_, weight_;          // per bin
    double highest_ = 0, at_highest_ = 0, outermost_ = 0; // mean, and radii [mm]
    std::size_t seen_ = 0; // bins with more than 5 % of the highest mean
};

} // namespace xrdct::absorption
