// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <span>

namespace xrdct::tomography {

/// The intensity of a ray summed over its channels [n], where the channels that are not finite are
/// filled in proportion to the `mean` pattern [n] of all rays (NaN and negative values count as 0):
/// the sum of the others over their share of the mean. NaN when that share is below a half.
double completed_total(std::span<const float> pattern, std::span<const double> mean);

} // namespace xrdct::tomography
