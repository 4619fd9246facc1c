// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/stripes.hpp"

#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace xrdct::conditioning {

namespace {

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

/// By how much a value exceeds (or falls below) both values two places away; 0 if it lies between
/// them, NaN where one is missing.
std::vector<double> standing_out(const std::vector<double>& values) {
    std::vector<double> result(values.size(), nan_value);
    for (std::size_t t = 2; t + 2 < values.size(); ++t) {
        const double left = values[t] - values[t - 2], right = values[t] - values[t + 2];
        if (std::isfinite(left) && std::isfinite(right))
            result[t] = left * right > 0
                            ? std::copysign(std::min(std::abs(left), std::abs(right)), left)
                            : 0.0;
    }
    return result;
}

/// Standard deviation of the values that standing_out() makes `spikes` of; half of them are 0 by
/// the way they are made. 70 % of a Gaussian's lie within 0.776 σ, and 85 % within 1.44 σ.
double scatter_of(const std::vector<double>& spikes, double fraction) {
    std::vector<double> sizes;
    for (const double spike : spikes)
        if (std::isfinite(spike))
            sizes.push_back(std::abs(spike));
    return sizes.empty() ? nan_value : quantile(sizes, fraction) / (fraction > 0.8 ? 1.44 : 0.776);
}

/// Logarithms of a projection at the mirrored places, by cubic interpolation.
std::vector<float> mirrored(const float* log_line, std::size_t n, double centre) {
    std::vector<float> result(n, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t t = 0; t < n; ++t) {
        const double place = 2 * centre - static_cast<double>(t);
        const double below = std::floor(place + 1e-6);
        const double f = std::max(place - below, 0.0);
        const auto i = static_cast<std::ptrdiff_t>(below);
        if (i < 0 || i >= static_cast<std::ptrdiff_t>(n))
            continue;
        if (f < 1e-6) {
            result[t] = log_line[i];
            continue;
        }
        if (i < 1 || i + 2 >= static_cast<std::ptrdiff_t>(n))
            continue;
        result[t] = static_cast<float>(
            -f * (1 - f) * (2 - f) / 6 * log_line[i - 1] + (1 - f * f) * (2 - f) / 2 * log_line[i] +
            f * (1 + f) * (2 - f) / 2 * log_line[i + 1] - f * (1 - f * f) / 6 * log_line[i + 2]);
    }
    return result;
}

/// What projections half a turn apart say about gains.
struct HalfTurn {
    std::vector<double> spike; ///< [translation] standing_out of the logarithmic ratio; NaN unknown
    std::vector<double> local; ///< [translation] what the pairs differ by
    double noise = nan_value;
    std::size_t pairs = 0;
};

/// By how much the ratios [pair][translation] differ from pair to pair, per translation.
std::vector<double> local_scatter(const std::vector<std::vector<float>>& ratios,
                                  std::size_t n_translation) {
    std::vector<double> local(n_translation, nan_value), values;
    for (std::size_t t = 2; t + 2 < n_translation; ++t)
        for (const std::size_t beside : {t - 2, t + 2}) {
            values.clear();
            for (const auto& ratio : ratios)
                if (const double value = ratio[t] - ratio[beside]; std::isfinite(value))
                    values.push_back(value);
            if (values.empty())
                continue;
            const double middle = median(values);
            for (double& value : values)
                value = std::abs(value - middle);
            local[t] = std::fmax(local[t], quantile(values, 0.7));
        }
    return local;
}

HalfTurn compare_half_turn(std::span<const float> sinogram, std::span<const double> rotation,
                           std::size_t n_translation, double centre,
                           const std::vector<double>& mean) {
    HalfTurn best;
    const std::size_t n_rotation = rotation.size();
    if (n_rotation < 2 || n_translation < 5)
        return best;
    const double step =
        std::abs(rotation.back() - rotation.front()) / static_cast<double>(n_rotation - 1);
    std::vector<float> logs(sinogram.size());
    std::transform(sinogram.begin(), sinogram.end(), logs.begin(), [](float value) {
        return value > 0 ? std::log(value) : std::numeric_limits<float>::quiet_NaN();
    });
    const double strongest = *std::ranges::max_element(mean);
    std::vector<std::vector<float>> mirrors(n_rotation);

    // The farther apart, the more pairs, and the more the sample has turned between them.
    for (const double reach : {0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0}) {
        if (reach > 1 && reach * step > 45)
            break;
        std::vector<std::vector<float>> ratios; // [pair][translation]
        for (std::size_t r = 0; r < n_rotation; ++r)
            for (std::size_t q = 0; q < n_rotation; ++q) {
                if (std::abs(std::abs(rotation[r] - rotation[q]) - 180) > 1.001 * reach * step)
                    continue;
                if (mirrors[q].empty())
                    mirrors[q] = mirrored(logs.data() + q * n_translation, n_translation, centre);
                auto& ratio = ratios.emplace_back(mirrors[q]);
                for (std::size_t t = 0; t < n_translation; ++t)
                    ratio[t] = logs[r * n_translation + t] - ratio[t];
            }
        if (ratios.size() < 2)
            continue;
        HalfTurn result;
        result.pairs = ratios.size();
        std::vector<double> level(n_translation, nan_value), values;
        for (std::size_t t = 0; t < n_translation; ++t) {
            values.clear();
            for (const auto& ratio : ratios)
                if (std::isfinite(ratio[t]))
                    values.push_back(ratio[t]);
            if (2 * values.size() > ratios.size() && mean[t] > 0.02 * strongest)
                level[t] = median(values);
        }
        result.spike = standing_out(level);
        result.noise = scatter_of(result.spike, 0.7);
        if (!std::isfinite(result.noise) || (best.pairs > 0 && !(result.noise < best.noise)))
            continue;
        result.local = local_scatter(ratios, n_translation);
        best = std::move(result);
        if (best.pairs > 400)
            break;
    }
    return best;
}

/// Per translation: mean intensity, and the logarithmic deviation from its surroundings: the median
/// over the rotations and the range of most of them; NaN unknown.
struct Lines {
    std::vector<double> mean, own, least, most;
};

Lines compare_lines(std::span<const float> sinogram, std::size_t n_translation,
                    std::ptrdiff_t reach) {
    const std::size_t n_rotation = sinogram.size() / n_translation;
    std::vector<double> mean(n_translation, 0), own(n_translation, nan_value),
        least = own, most = own, ratios, around;
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
    return {std::move(mean), std::move(own), std::move(least), std::move(most)};
}

/// What broad structure leaves varies slowly; a stripe stands alone.
void take_off_broad(Lines& lines, std::ptrdiff_t reach) {
    const std::vector<double> broad = lines.own;
    std::vector<double> around;
    const auto n = static_cast<std::ptrdiff_t>(broad.size());
    for (std::ptrdiff_t t = 0; t < n; ++t) {
        around.clear();
        for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, t - reach);
             i <= std::min(n - 1, t + reach); ++i)
            if (i != t && std::isfinite(broad[static_cast<std::size_t>(i)]))
                around.push_back(broad[static_cast<std::size_t>(i)]);
        const double level = median(around);
        for (auto* values : {&lines.own, &lines.least, &lines.most})
            (*values)[static_cast<std::size_t>(t)] -= level;
    }
}

/// By how much a translation deviates from the mirrored one, and from all within a step of that in
/// nearly all rotations.
struct Excess {
    std::vector<double> excess, beyond;
};

Excess compare_mirrored(const Lines& lines, double centre) {
    const std::size_t n_translation = lines.own.size();
    Excess result;
    result.excess.assign(n_translation, nan_value);
    result.beyond.assign(n_translation, 0);
    for (std::size_t t = 0; t < n_translation; ++t) {
        const double place = 2 * centre - static_cast<double>(t);
        result.excess[t] = lines.own[t] - at(lines.own, place);
        if (!std::isfinite(result.excess[t]))
            continue;
        // At an edge of the sample half a step decides: what occurs within a step of the mirrored
        // place is no stripe.
        double low = at(lines.own, place), high = low;
        for (const double d : {-1.0, -0.5, 0.5, 1.0}) {
            const double value = at(lines.own, place + d);
            low = std::isfinite(value) ? std::min(low, value)
                                       : -std::numeric_limits<double>::infinity();
            high = std::isfinite(value) ? std::max(high, value)
                                        : std::numeric_limits<double>::infinity();
        }
        // Nor is what is not there in nearly all rotations.
        result.beyond[t] = lines.least[t] > high ? lines.own[t] - high
                           : lines.most[t] < low ? low - lines.own[t]
                                                 : 0.0;
    }
    return result;
}

/// How much the logarithm of the mean intensity at the mirrored place may be off.
double uncertainty_at(const std::vector<double>& mean, double place) {
    // At the rim of a sample the intensity changes much within a step, and the axis is not
    // known to much better than a tenth of one; a wall hardly a step thick is interpolated
    // badly between two places.
    const auto log_mean = [&](double where) { return std::log(at(mean, where)); };
    const double slope = std::max(std::abs(log_mean(place + 1) - log_mean(place)),
                                  std::abs(log_mean(place - 1) - log_mean(place)));
    const double below = std::floor(place + 1e-6);
    const double f = std::max(place - below, 0.0);
    double bend = 0;
    if (f > 1e-6)
        for (const double where : {below, below + 1})
            bend = std::max(
                bend, std::abs(log_mean(where - 1) - 2 * log_mean(where) + log_mean(where + 1)));
    return 0.3 * slope + 0.5 * f * (1 - f) * bend;
}

/// What a gain must exceed to count.
struct Limits {
    const StripeOptions& options;
    double uncertain;
    bool stands_out(double size, double noise) const {
        return size > options.threshold * noise && size > options.smallest && size > uncertain;
    }
};

/// The logarithmic gain that pairs half a turn apart show at a translation; 0: none. `undecided`
/// when they do not tell on which side it is.
double gain_by_half_turn(const HalfTurn& half_turn, const Lines& lines, std::size_t t, double there,
                         const Limits& limits, bool& undecided) {
    if (half_turn.pairs == 0 || !std::isfinite(half_turn.spike[t]) ||
        !limits.stands_out(std::abs(half_turn.spike[t]), half_turn.noise) ||
        !(std::abs(half_turn.spike[t]) > half_turn.local[t]))
        return 0;
    const double ratio = half_turn.spike[t], size = std::abs(ratio);
    const double rough_without = std::abs(lines.own[t] - ratio) + std::abs(there),
                 rough_if_there = std::abs(lines.own[t]) + std::abs(there + ratio);
    const bool lasts = (ratio > 0 ? lines.least[t] : -lines.most[t]) > 0.3 * size;
    if (!(rough_without < rough_if_there) || !lasts)
        return 0;
    if (rough_without < 0.8 * size)
        return ratio;
    undecided = true;
    return 0;
}

/// The logarithmic gain by the comparison of the two sides; 0: none.
double gain_by_sides(double excess, double alone, double sides_noise, const HalfTurn& half_turn,
                     double own, std::size_t t, double there, const Limits& limits) {
    const double spike = std::copysign(1.0, excess) * alone;
    const double size = std::min(std::abs(excess), spike);
    const bool unconfirmed = half_turn.pairs > 0 &&
                             limits.options.threshold * half_turn.noise < size &&
                             !(std::copysign(1.0, excess) * half_turn.spike[t] > 0.5 * size);
    if (limits.stands_out(spike, sides_noise) && !unconfirmed && std::abs(own) > std::abs(there))
        return std::copysign(size, excess);
    return 0;
}

} // namespace

Stripes find_stripes(std::span<const float> sinogram, std::span<const double> rotation,
                     std::size_t n_translation, double centre, const StripeOptions& options) {
    Stripes stripes;
    stripes.factor.assign(n_translation, 1.0F);
    const auto reach = static_cast<std::ptrdiff_t>(options.reach);
    Lines lines = compare_lines(sinogram, n_translation, reach);
    take_off_broad(lines, reach);
    const auto [excess, beyond] = compare_mirrored(lines, centre);
    const auto& [mean, own, least, most] = lines;

    // The whole intensity against that of the mirrored place, and what of it stands alone: a sample
    // may differ from side to side, but over several translations.
    std::vector<double> sides(n_translation, nan_value);
    for (std::size_t t = 0; t < n_translation; ++t)
        if (std::isfinite(own[t]))
            sides[t] = std::log(mean[t] / at(mean, 2 * centre - static_cast<double>(t)));
    const auto alone = standing_out(sides);
    const double sides_noise = scatter_of(alone, 0.85);
    const auto half_turn = rotation.empty()
                               ? HalfTurn{}
                               : compare_half_turn(sinogram, rotation, n_translation, centre, mean);
    stripes.pairs = half_turn.pairs;
    stripes.noise =
        half_turn.pairs > 0 && !(sides_noise < half_turn.noise) ? half_turn.noise : sides_noise;
    for (std::size_t t = 0; t < n_translation; ++t) {
        const double place = 2 * centre - static_cast<double>(t);
        const Limits limits{options, uncertainty_at(mean, place)};
        const double there = at(own, place);
        if (!std::isfinite(own[t]) || !std::isfinite(limits.uncertain) || !std::isfinite(there))
            continue;
        bool undecided = false;
        double gain = gain_by_half_turn(half_turn, lines, t, there, limits, undecided);
        if (undecided)
            stripes.undecided.push_back(t);
        if (gain == 0 && beyond[t] > options.smallest)
            gain = gain_by_sides(excess[t], alone[t], sides_noise, half_turn, own[t], t, there,
                                 limits);
        if (gain != 0) {
            stripes.factor[t] = static_cast<float>(std::exp(-gain));
            stripes.translations.push_back(t);
        }
    }
    std::erase_if(stripes.undecided, [&](std::size_t t) { return stripes.factor[t] != 1; });
    return stripes;
}

} // namespace xrdct::conditioning
