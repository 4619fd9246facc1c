// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/fit.hpp"

namespace xrdct::dlsr {

/// Two steps on some of the projections with depths as they are and with depths reversed, which is
/// what a reversed rotation or translation amounts to (both together mirror the maps only), and
/// a remark on which fits better. Leaves the fit where it is. Collective.
void check_handedness(Fit& fit);

} // namespace xrdct::dlsr
