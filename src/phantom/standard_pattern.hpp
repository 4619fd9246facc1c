// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"
#include "phantom/design.hpp"

#include <vector>

namespace xrdct::phantom {

/// The pattern of a thin powder standard on the rotation axis, as the scan's instrument would
/// record it: counts by channel at the centres of ScanDesign's channels. Lines as those of the
/// scan (see ScanSimulator), without broadening by the standard itself, over a slowly falling
/// background of a hundredth of the highest channel; the highest channel has `counts` counts on the
/// mean. Poisson noise of its own stream of `scan.seed`, unless `scan.noise` is false. Throws Error
/// when no line of the standard lies in the channels.
std::vector<double> standard_pattern(const ScanDesign& scan, const crystal::Phase& standard,
                                     double counts = 1e5);

} // namespace xrdct::phantom
