// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// Whether beam and sample kept still, from the first moments of the projections: the sum of a
/// projection is that of the one half a turn apart, and its centre of mass moves by small steps
/// from one to the next. Projections of a scan at about equal steps: `rotation` [deg], monotonic,
/// `sinogram` [rotation][translation], NaN where missing.
std::vector<Finding> check_steadiness(std::span<const double> rotation,
                                      std::span<const float> sinogram, std::size_t n_translation);

} // namespace xrdct::inspection
