// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"
#include "inspection/lines.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// Weights per channel whose sum with a pattern is its intensity in the strongest lines (at most
/// four, from `lines` as of find_lines()) less the background beside them: what air does not have.
std::vector<double> line_weights(std::span<const ObservedLine> lines,
                                 std::span<const double> two_theta);

/// Whether the body reaches beyond the ends of the translations. `sinogram` [rotation][translation]
/// of line intensities, NaN where missing.
std::vector<Finding> check_ends(std::span<const float> sinogram, std::size_t n_translation);

/// Number of translations from the first to the last with a fifth of the body's line intensity;
/// 0: not known. `sinogram` as in check_ends().
std::size_t body_extent(std::span<const float> sinogram, std::size_t n_translation);

/// Whether the lines are as wide as parallax makes those of a body of `extent` at `distance` (both
/// mm): of a disc 0.87 of extent / distance · sin 2θ cos 2θ [rad] at half the height.
std::vector<Finding> check_distance(std::span<const ObservedLine> lines, double extent,
                                    double distance);

} // namespace xrdct::inspection
