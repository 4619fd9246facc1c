// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "maps/statistics.hpp"

#include <string>

namespace xrdct::report {

/// "2.8651 ± 0.0012": mean and spread with the spread's two leading digits; "–" without voxels.
std::string mean_and_spread(const maps::MapStatistics& statistics);

} // namespace xrdct::report
