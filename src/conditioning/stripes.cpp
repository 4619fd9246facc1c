#include "conditioning/stripes.hpp"

#include "conditioning/quantile.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct {

namespace {

constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();

/// Linear interpolation; NaN outside or beside a missing value.
double at(const std::vector<double>& values, double place) {
    const double below = std::floor(place);
    const double f = place - below;
    const auto i = static_cast<std::ptrdiff_t>(below);
    const auto n = static_cast<std::ptrdiff_t>(values.size());
    if (i < 0 || i >= n || (f > 1e-9 && i + 1 >= n))
        return nan_value;
    if (f <= 1e-9)
        return values[static_cast<std::size_t>(i)];
    return (1 - f) * values[static_cast<std::size_t>(i)] +
           f * values[static_cast<std::size_t>(i + 1)];
}

} // namespace

Stripes find_stripes(std::span<const float> sinogram, std::size_t n_rotation,
                     std::size_t n_translation, double centre, const StripeOptions& options) {
    Stripes stripes;
    stripes.factor.assign(n_translation, 1.0F);

    // Logarithmic deviation of each translation from its surroundings, and mean intensity.
    std::vector<double> mean(n_translation, 0), own(n_translation, nan_value),
        least = own, most = own, ratios, around;
    const auto reach = static_cast<std::ptrdiff_t>(options.reach);
    const auto n = static_cast<std::ptrdiff_t>(n_translation);
    for (std::ptrdiff_t t = 0; t < n; ++t) {
        ratios.clear();
        double sum = 0, count = 0;
        for (std::size_t r = 0; r < n_rotation; ++r) {
            const float* line = sinogram.data() + r * n_translation;
            const double value = line[t];
            if (!std::isfinite(value))
                continue;
            sum += value;
            count += 1;
            around.clear();
            for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, t - reach);
                 i <= std::min(n - 1, t + reach); ++i)
                if (i != t && std::isfinite(line[i]))
                    around.push_back(line[i]);
            const double local = median(around);
            if (local > 0 && value > 0)
                ratios.push_back(std::log(value / local));
        }
        mean[static_cast<std::size_t>(t)] = count > 0 ? sum / count : 0;
        if (2 * ratios.size() > n_rotation) {
            own[static_cast<std::size_t>(t)] = median(ratios);
            least[static_cast<std::size_t>(t)] = quantile(ratios, 0.15);
            most[static_cast<std::size_t>(t)] = quantile(ratios, 0.85);
        }
    }
    const double strongest = *std::ranges::max_element(mean);
    for (std::size_t t = 0; t < n_translation; ++t)
        if (!(mean[t] > 0.02 * strongest))
            own[t] = nan_value;

    // What broad structure leaves varies slowly; a stripe stands alone.
    const std::vector<double> broad = own;
    for (std::ptrdiff_t t = 0; t < n; ++t) {
        around.clear();
        for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, t - reach);
             i <= std::min(n - 1, t + reach); ++i)
            if (i != t && std::isfinite(broad[static_cast<std::size_t>(i)]))
                around.push_back(broad[static_cast<std::size_t>(i)]);
        const double level = median(around);
        for (auto* values : {&own, &least, &most})
            (*values)[static_cast<std::size_t>(t)] -= level;
    }
    std::vector<double> excess(n_translation, nan_value), beyond(n_translation, 0);
    for (std::size_t t = 0; t < n_translation; ++t) {
        const double place = 2 * centre - static_cast<double>(t);
        excess[t] = own[t] - at(own, place);
        if (!std::isfinite(excess[t]))
            continue;
        // At an edge of the sample half a step decides: what occurs within a step of the mirrored
        // place is no stripe.
        double low = at(own, place), high = low;
        for (const double d : {-1.0, -0.5, 0.5, 1.0}) {
            const double value = at(own, place + d);
            low = std::isfinite(value) ? std::min(low, value)
                                       : -std::numeric_limits<double>::infinity();
            high = std::isfinite(value) ? std::max(high, value)
                                        : std::numeric_limits<double>::infinity();
        }
        // Nor is what is not there in nearly all rotations.
        beyond[t] = least[t] > high ? own[t] - high : most[t] < low ? low - own[t] : 0.0;
    }

    // The whole intensity against that of the mirrored place, and what of it stands alone: a sample
    // may differ from side to side, but over several translations.
    std::vector<double> sides(n_translation, nan_value), alone(n_translation, 0), spikes;
    for (std::size_t t = 0; t < n_translation; ++t)
        if (std::isfinite(own[t]))
            sides[t] = std::log(mean[t] / at(mean, 2 * centre - static_cast<double>(t)));
    for (std::size_t t = 2; t + 2 < n_translation; ++t) {
        const double left = sides[t] - sides[t - 2], right = sides[t] - sides[t + 2];
        if (!std::isfinite(left) || !std::isfinite(right))
            continue;
        alone[t] =
            left * right > 0 ? std::copysign(std::min(std::abs(left), std::abs(right)), left) : 0.0;
        spikes.push_back(std::abs(alone[t]));
    }
    // Half of them are 0 by the way they are made; 85 % of a Gaussian lie within 1.44 σ.
    stripes.noise = quantile(spikes, 0.85) / 1.44;
    for (std::size_t t = 0; t < n_translation; ++t) {
        if (!(beyond[t] > options.smallest))
            continue;
        // At the rim of a sample the intensity changes much within a step, and the axis is not
        // known to much better than a tenth of one.
        const double place = 2 * centre - static_cast<double>(t);
        const double slope = std::max(std::abs(std::log(at(mean, place + 1) / at(mean, place))),
                                      std::abs(std::log(at(mean, place - 1) / at(mean, place))));
        const double spike = std::copysign(1.0, excess[t]) * alone[t];
        if (!(spike > options.threshold * stripes.noise) || !(spike > options.smallest) ||
            !(spike > 0.3 * slope))
            continue;
        if (std::abs(own[t]) <= std::abs(at(own, 2 * centre - static_cast<double>(t))))
            continue;
        stripes.factor[t] = static_cast<float>(
            std::exp(-std::copysign(std::min(std::abs(excess[t]), spike), excess[t])));
        stripes.translations.push_back(t);
    }
    return stripes;
}

} // namespace xrdct
