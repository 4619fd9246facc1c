// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"
#include "inspection/lines.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// Weights per channel. Sums with a pattern are its intensity in the strongest lines (at most
/// twelve, 0.7 widths either side) less the level beside them, and their first moment along the
/// beam: intensity times depth [mm], as parallax shows it, from the mean depth. As the tails of the
/// lines are left out, which lie among other lines, both are too small, the moment by about 0.4.
struct MomentWeights {
    std::vector<double> intensity, depth;
};

/// `lines` as of find_lines() on the mean pattern [channel], highest first; `two_theta` [deg]
/// rises; `distance` [mm] from the rotation axis to the detector.
MomentWeights moment_weights(std::span<const ObservedLine> lines, std::span<const double> two_theta,
                             std::span<const double> pattern, double distance);

/// Whether lines move with parallax as a body does that turns the way the geometry says. With
/// P(ω, t) the intensity of a ray and M(ω, t) its first moment in depth, a point at depth z moves
/// by dt = z dω, so that ∂P/∂ω = −∂M/∂t; with one reversed sense of rotation or translation it has
/// the other sign. Returned is the sum of their products over all neighbouring
/// projections, in standard deviations of what projections of other angles give: positive when the
/// senses are right, about 0 where nothing tells. Absorption takes from it, and turns its sign in a
/// body that lets less than 1/e through; intensities over the transmission are free of that. NaN
/// with fewer than twelve neighbours. `index` [row]: of the projections in the scan, rising;
/// `omega` [row]: their angles [rad], with the sense; `intensity`, `depth` [row][translation]: sums
/// with MomentWeights, NaN where missing; `step` [mm]: of the translations, signed.
double agreement_of_senses(std::span<const std::size_t> index, std::span<const double> omega,
                           std::span<const float> intensity, std::span<const float> depth,
                           std::size_t n_translation, double step);

/// A finding where the agreement is that of a reversed sense.
std::vector<Finding> check_senses(double agreement);

} // namespace xrdct::inspection
