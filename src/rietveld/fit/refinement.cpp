// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/refinement.hpp"

#include "base/error.hpp"
#include "base/statistics.hpp"
#include "rietveld/fit/refiner.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::rietveld {

std::string_view to_string(FitStatus status) {
    switch (status) {
    case FitStatus::converged:
        return "converged";
    case FitStatus::masked:
        return "masked";
    case FitStatus::no_signal:
        return "no signal";
    case FitStatus::not_converged:
        return "not converged";
    case FitStatus::singular:
        return "singular";
    case FitStatus::at_bound:
        return "at bound";
    }
    return "unknown";
}

Agreement agreement(std::span<const double> observed, std::span<const double> variance,
                    std::span<const double> calculated, std::size_t parameters) {
    Agreement result;
    result.parameters = parameters;
    double difference = 0, sum = 0, weighted = 0;
    for (std::size_t k = 0; k < observed.size(); ++k) {
        const double v = variance.empty() ? 1 : variance[k];
        if (!std::isfinite(observed[k]) || !std::isfinite(v) || v <= 0) {
            continue;
        }
        const double r = observed[k] - calculated[k];
        ++result.observations;
        difference += std::abs(r);
        sum += std::abs(observed[k]);
        result.chi_squared += r * r / v;
        weighted += observed[k] * observed[k] / v;
    }
    const double freedom =
        static_cast<double>(result.observations) - static_cast<double>(parameters);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    result.rp = sum > 0 ? difference / sum : nan;
    result.rwp = weighted > 0 ? std::sqrt(result.chi_squared / weighted) : nan;
    result.rexp = weighted > 0 && freedom > 0 ? std::sqrt(freedom / weighted) : nan;
    result.gof = freedom > 0 ? std::sqrt(result.chi_squared / freedom) : nan;
    return result;
}

std::vector<double> estimate_variance(const RadialAxis& axis, std::span<const double> intensity) {
    const std::size_t n = axis.size();
    if (intensity.size() != n) {
        throw Error(fmt::format("the pattern has {} channels, its axis {}", intensity.size(), n));
    }
    std::size_t finite = 0;
    for (const double value : intensity) {
        finite += std::isfinite(value) ? 1 : 0;
    }
    if (finite < 20) {
        throw Error(fmt::format("{} finite channels are too few to estimate a variance", finite));
    }
    std::vector<double> level(n, 0.0);
    for (std::size_t k = 0; k < n; ++k) {
        double sum = 0;
        int count = 0;
        for (std::size_t i = k > 1 ? k - 2 : 0; i < std::min(k + 3, n); ++i) {
            if (std::isfinite(intensity[i])) {
                sum += std::abs(intensity[i]);
                ++count;
            }
        }
        level[k] = count > 0 ? sum / count : 0;
    }
    // A third difference 1 −3 3 −1 of independent values has 20 times their variance; the median of
    // a squared normal deviate is 0.4549.
    std::vector<double> ratios, levels;
    for (std::size_t k = 0; k + 3 < n; ++k) {
        const double d =
            intensity[k] - 3 * intensity[k + 1] + 3 * intensity[k + 2] - intensity[k + 3];
        const double mean = 0.5 * (level[k + 1] + level[k + 2]);
        if (std::isfinite(d) && mean > 0) {
            ratios.push_back(d * d / 20 / mean);
        }
    }
    for (const double value : level) {
        if (value > 0) {
            levels.push_back(value);
        }
    }
    const double gain = ratios.empty() ? 0 : median(ratios) / 0.4549;
    std::vector<double> variance(n, 0.0);
    if (!(gain > 0)) {
        // Exact or constant data: any constant will do.
        for (std::size_t k = 0; k < n; ++k) {
            variance[k] = std::isfinite(intensity[k]) ? 1 : 0;
        }
        return variance;
    }
    const double floor = std::max(gain * gain, 0.01 * gain * median(levels));
    for (std::size_t k = 0; k < n; ++k) {
        variance[k] = std::isfinite(intensity[k]) ? std::max(gain * level[k], floor) : 0;
    }
    return variance;
}

double refinement_cell_margin(double cell_search) {
    return std::max(0.06, 1.5 * cell_search);
}

RefinementResult refine(const RadialAxis& axis, std::span<const double> intensity,
                        std::span<const double> variance, const PatternModel& start,
                        const RefinementOptions& options) {
    if (intensity.size() != axis.size()) {
        throw Error(
            fmt::format("the pattern has {} channels, its axis {}", intensity.size(), axis.size()));
    }
    if (!variance.empty() && variance.size() != axis.size()) {
        throw Error(
            fmt::format("the variance has {} channels, the axis {}", variance.size(), axis.size()));
    }
    if (options.max_iterations < 0 || !(options.tolerance > 0) || !(options.cell_search >= 0) ||
        options.cell_search > 0.2) {
        throw Error(
            "refinement: max_iterations ≥ 0, tolerance > 0 and cell_search between 0 and 0.2 "
            "are expected");
    }
    return Refiner(axis, intensity, variance, start, options).run();
}

} // namespace xrdct::rietveld
