// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Wavelength, distance and beam size of a scan: set by the caller or found in the file.
#include "mpi/scan/sinogram_axes.hpp"

#include <string>

namespace xrdct::scan::detail {

/// Origin of what the caller of SinogramFile set.
inline const std::string by_caller = "set by the caller";

/// Each sets its part of `metadata` and the origin of it; what is not known stays NaN or empty.
/// Throws Error for values that are not positive or contradict each other, and unknown units.
void read_wavelength(const ScanGroups& groups, const SinogramSource& source,
                     SinogramMetadata& metadata);
void read_distance(const ScanGroups& groups, const SinogramSource& source,
                   SinogramMetadata& metadata);
void read_beam_extent(const ScanGroups& groups, const SinogramSource& source,
                      SinogramMetadata& metadata);

} // namespace xrdct::scan::detail
