#include "jobs/report/statistics.hpp"

#include "base/error.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace xrdct::report {

MapStatistics map_statistics(std::span<const double> values, std::span<const double> weights,
                             std::span<const double> errors) {
    if ((!weights.empty() && weights.size() != values.size()) ||
        (!errors.empty() && errors.size() != values.size()))
        throw Error(fmt::format("statistics: {} values with {} weights and {} errors",
                                values.size(), weights.size(), errors.size()));
    MapStatistics result;
    double sum = 0.0, weighted = 0.0;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    std::vector<double> counted_errors;
    const auto weight_of = [&](std::size_t i) {
        const double w = weights.empty() ? 1.0 : weights[i];
        return std::isfinite(values[i]) && std::isfinite(w) && w > 0.0 ? w : 0.0;
    };
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double w = weight_of(i);
        if (w == 0.0)
            continue;
        ++result.count;
        sum += w;
        weighted += w * values[i];
        low = std::min(low, values[i]);
        high = std::max(high, values[i]);
        if (!errors.empty() && std::isfinite(errors[i]))
            counted_errors.push_back(errors[i]);
    }
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    result.median_error = nan;
    if (result.count == 0) {
        result.mean = result.spread = nan;
        return result;
    }
    result.mean = weighted / sum;
    double squares = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i)
        if (const double w = weight_of(i); w > 0.0)
            squares += w * (values[i] - result.mean) * (values[i] - result.mean);
    result.spread = std::sqrt(squares / sum);
    result.uniform = high - low <= 1e-9 * std::max(std::abs(low), std::abs(high));
    if (!counted_errors.empty()) {
        const auto middle =
            counted_errors.begin() + static_cast<std::ptrdiff_t>(counted_errors.size() / 2);
        std::nth_element(counted_errors.begin(), middle, counted_errors.end());
        result.median_error = *middle;
    }
    return result;
}

std::string mean_and_spread(const MapStatistics& s) {
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
