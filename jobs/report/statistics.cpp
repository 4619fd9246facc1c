// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/statistics.hpp"

#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace xrdct::report {

std::string mean_and_spread(const maps::MapStatistics& s) {
    if (s.count == 0)
        return "–";
    if (s.uniform || !(s.spread > 0.0))
        return format_number(s.mean, 6);
    const double magnitude = std::max(std::abs(s.mean), s.spread);
    if (magnitude < 1e-4 || magnitude >= 1e7)
        return fmt::format("{} ± {}", format_number(s.mean, 4), format_number(s.spread, 2));
    const int decimals = std::clamp(1 - static_cast<int>(std::floor(std::log10(s.spread))), 0, 8);
    return fmt::format("{:.{}f} ± {:.{}f}", s.mean, decimals, s.spread, decimals);
}

} // namespace xrdct::report
