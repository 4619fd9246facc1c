// SPDX-License-Identifier: BSD-3-Clause
#include "base/statistics.hpp"
#include "mpi/patterns/rows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace xrdct::patterns::detail {

namespace {

/// What the rows say of their standard deviations, as medians.
struct SigmaFigures {
    double scatter = 0;   ///< of neighbours, in standard deviations: 1 where these are right
    double intensity = 0; ///< over the standard deviation
    double counts = 0;    ///< square root of the intensity over the standard deviation
    double largest = 0, smallest = 0;
};

/// Second differences of neighbours hardly see the pattern, and of three independent values with
/// standard deviations s have the variance s₁² + 4 s₂² + s₃²; the median of the absolute value of
/// a normal distribution is 0.6745 standard deviations.
SigmaFigures figures_of(const Rows& rows) {
    const auto& y = rows.intensity;
    const auto& s = rows.sigma;
    const auto good = [&](std::size_t i) {
        return std::isfinite(y[i]) && std::isfinite(s[i]) && s[i] > 0;
    };
    std::vector<double> scatter, intensity, counts;
    SigmaFigures f;
    for (std::size_t i = 0; i < y.size(); ++i) {
        if (!good(i))
            continue;
        f.largest = std::max(f.largest, s[i]);
        f.smallest = f.smallest > 0 ? std::min(f.smallest, s[i]) : s[i];
        intensity.push_back(std::abs(y[i]) / s[i]);
        counts.push_back(std::sqrt(std::max(y[i], 1.0)) / s[i]);
        if (i > 0 && i + 1 < y.size() && good(i - 1) && good(i + 1))
            scatter.push_back(
                std::abs(y[i - 1] - 2 * y[i] + y[i + 1]) /
                std::sqrt(s[i - 1] * s[i - 1] + 4 * s[i] * s[i] + s[i + 1] * s[i + 1]));
    }
    f.scatter = median(std::move(scatter)) / 0.6745;
    f.intensity = median(std::move(intensity));
    f.counts = median(std::move(counts));
    return f;
}

bool is_near_one(double ratio) {
    return ratio > 1.0 / 3 && ratio < 3;
}

} // namespace

void judge_sigma(Rows& rows) {
    constexpr std::size_t fewest = 10;
    if (rows.sigma.size() < fewest)
        return;
    const auto f = figures_of(rows);
    if (!(f.smallest > 0))
        return; // none is positive, which is said elsewhere
    const bool constant = f.largest - f.smallest <= 1e-6 * f.largest;
    if (constant && (f.largest == 1 || !(is_near_one(f.scatter) || is_near_one(f.counts)))) {
        rows.sigma.clear();
        rows.notes.push_back(fmt::format("the column of standard deviations is {:.6g} in all rows; "
                                         "it is no standard deviation and is not used",
                                         f.largest));
        return;
    }
    // A third column of calculated or repeated intensities; as an error it would be 100 %.
    if (!constant && f.intensity > 0.5 && f.intensity < 2 && f.scatter < 0.2) {
        rows.sigma.clear();
        rows.notes.emplace_back("the column of standard deviations is as large as the intensities, "
                                "which scatter much less; it is no standard deviation and is not "
                                "used");
        return;
    }
    if (f.scatter > 10 || (f.scatter > 0 && f.scatter < 0.05))
        rows.notes.push_back(fmt::format(
            "neighbouring points scatter by {:.3g} of the file's standard deviations; are these "
            "such? (noise.model = \"counts\" or \"estimate\" does without them)",
            f.scatter));
}

} // namespace xrdct::patterns::detail
