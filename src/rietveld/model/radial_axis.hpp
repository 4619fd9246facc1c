// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// The channels of an integrated pattern: centres and edges in degrees 2θ, and the wavelength that
/// belongs to them. Immutable.
class RadialAxis {
  public:
    /// Channel centres in degrees 2θ, in (0, 180), ascending, at least three; `wavelength` in Å.
    /// Edges lie half-way between neighbouring centres; the first and last channel are symmetric
    /// about their centre. Throws Error for values that are not finite, not ascending or out of
    /// range.
    static RadialAxis from_two_theta(std::span<const double> two_theta, double wavelength);
    /// Channel centres as momentum transfer q = 4π sin θ / λ [1/Å].
    static RadialAxis from_q(std::span<const double> q, double wavelength);
    /// Channel centres as radius [mm] on a flat detector normal to the beam at `distance` [mm].
    static RadialAxis from_radius(std::span<const double> radius, double distance,
                                  double wavelength);

    std::size_t size() const { return centres_.size(); }
    double wavelength() const { return wavelength_; }              ///< Å
    std::span<const double> two_theta() const { return centres_; } ///< centres [deg], n
    std::span<const double> edges() const { return edges_; }       ///< edges [deg], n + 1
    double width(std::size_t channel) const { return edges_[channel + 1] - edges_[channel]; }
    /// The same channels with another wavelength (calibration).
    RadialAxis with_wavelength(double wavelength) const;

  private:
    RadialAxis(std::vector<double> centres, std::vector<double> edges, double wavelength);
    std::vector<double> centres_;
    std::vector<double> edges_;
    double wavelength_ = 0;
};

} // namespace xrdct::rietveld
