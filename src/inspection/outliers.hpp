// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "inspection/finding.hpp"

#include <span>
#include <vector>

namespace xrdct::inspection {

/// Channels that are dead or hot. A dead one lies below two fifths of its six neighbours in the
/// mean `pattern`, by more than noise; a hot one has more than twice its neighbours' intensity in
/// the pattern of the `air` beside the sample, where no line is (empty: not known). `two_theta`
/// [deg]; NaN marks what is masked. At most five.
std::vector<Finding> check_channels(std::span<const double> two_theta,
                                    std::span<const double> pattern, std::span<const double> air);

/// Projections much brighter or darker than the four beside them. `rotation` [deg] and `sums` are
/// of neighbouring projections, NaN where missing. At most five, the farthest first.
std::vector<Finding> check_projections(std::span<const double> rotation,
                                       std::span<const double> sums);

} // namespace xrdct::inspection
