// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::frames::detail {

/// ".CBF" of "scan_1.CBF" in lower case.
std::string extension_of(const std::string& name);

/// What is left out of a rising series of numbered names (scan_0012.cbf, scan_0014.cbf, …, in steps
/// of their numbers' greatest common divisor): before which of `names`, and the name. Empty when it
/// is no such series.
std::vector<std::pair<std::size_t, std::string>>
missing_names(const std::vector<std::string>& names);

} // namespace xrdct::frames::detail
