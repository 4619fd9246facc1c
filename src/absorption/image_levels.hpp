// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// Threshold mask [y][x]: pixels above `threshold` times the 99th percentile of the positive
/// values.
std::vector<unsigned char> sample_mask(std::span<const double> total, double threshold);

/// Constant that brings the upper plateau of an image [y][x] of n × n pixels to `fraction`: the
/// median of the pixels all of whose eight neighbours exceed half of the highest values. Throws
/// Error for fewer than five such pixels.
double plateau_constant(std::span<const float> image, std::size_t n, double fraction);

} // namespace xrdct::absorption
