// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/order.hpp"

#include "base/statistics.hpp"
#include "inspection/projections.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::inspection {

namespace {

constexpr std::size_t least_rows = 16, most_pairs = 40000;

/// Rows less their mean; empty ones stay empty.
std::vector<Row> deviations(const std::vector<Row>& rows, const Row& mean) {
    std::vector<Row> result;
    for (const Row& row : rows)
        result.push_back(row.empty() ? Row{} : minus(row, mean));
    return result;
}

} // namespace

Likeness compare_projections(std::span<const std::size_t> rows, std::span<const float> sinogram,
                             std::size_t n_translation) {
    Likeness result;
    if (rows.size() < least_rows || n_translation < 8)
        return result;
    const auto projections = prepared_rows(sinogram, n_translation);
    const auto off = deviations(projections, mean_row(projections));
    const std::size_t n = off.size();
    const std::size_t every = 1 + n * (n - 1) / 2 / most_pairs;
    double sum = 0, squares = 0, noise = 0;
    std::size_t pair = 0;
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i + 1; j < n; ++j) {
            const bool near = rows[j] == rows[i] + 1;
            const bool wanted = pair++ % every == 0;
            if (off[i].empty() || off[j].empty() || !(near || wanted))
                continue;
            const double c = correlation(off[i], off[j]);
            if (near) {
                sum += c;
                ++result.near_pairs;
            }
            if (!wanted)
                continue;
            squares += c * c;
            // Turned round, two projections share what chance gives, with the noise's own texture.
            for (const std::size_t part : {std::size_t{4}, std::size_t{2}}) {
                const double other = correlation(off[i], off[j], n_translation / part);
                noise += 0.5 * other * other;
            }
            ++result.pairs;
        }
    if (result.pairs == 0 || result.near_pairs == 0)
        return result;
    const auto pairs = static_cast<double>(result.pairs);
    result.neighbours = sum / static_cast<double>(result.near_pairs);
    result.noise = noise / pairs;
    result.all_squared = squares / pairs - result.noise;
    result.all = std::sqrt(std::max(0.0, result.all_squared));
    return result;
}

std::vector<Finding> judge(const Likeness& l) {
    if (l.near_pairs < 8)
        return {};
    const double scatter = l.noise * std::sqrt(2 / static_cast<double>(l.pairs));
    if (!(l.all_squared > 8 * scatter) || !(l.all_squared > 0.2 * l.noise) ||
        !(l.neighbours < 0.5 * l.all))
        return {};
    return {{.kind = Kind::order, .value = l.neighbours / l.all}};
}

std::vector<Finding> check_places(std::span<const double> rotation, std::span<const float> sinogram,
                                  std::size_t n_translation) {
    const std::size_t n = rotation.size();
    if (n < least_rows || n_translation < 8)
        return {};
    const auto projections = prepared_rows(sinogram, n_translation);
    const auto off = deviations(projections, mean_row(projections));
    const auto like = [&](std::size_t i, std::size_t j) {
        return off[i].empty() || off[j].empty() ? Finding::none : correlation(off[i], off[j]);
    };
    std::vector<double> own(n, Finding::none), known, sizes(n, 0.0);
    for (std::size_t i = 0; i < n; ++i)
        for (const double value : off[i])
            sizes[i] += value * value;
    const double least_size = 0.3 * midpoint_median(sizes);
    for (std::size_t i = 1; i + 1 < n; ++i)
        if (own[i] = std::max(like(i, i - 1), like(i, i + 1)); std::isfinite(own[i]))
            known.push_back(own[i]);
    if (known.size() < least_rows)
        return {};
    const double usual = midpoint_median(known);
    for (double& value : known)
        value = std::abs(value - usual);
    const double limit = usual - std::max(0.25, 6 * 1.4826 * midpoint_median(std::move(known)));
    std::vector<Finding> findings;
    for (std::size_t i = 1; i + 1 < n; ++i) {
        // What hardly differs from the mean is like nothing.
        if (!(own[i] < limit) || sizes[i] < least_size)
            continue;
        Finding found{.kind = Kind::misplaced, .value = own[i], .limit = usual};
        double best = 0.5 * (usual + own[i]);
        for (std::size_t j = 0; j < n; ++j) {
            // The one that took its place lies out of order, too.
            const bool beside = j + 2 > i && j < i + 2;
            if (const double value = beside ? Finding::none : like(i, j); value > best) {
                best = value;
                found.position = rotation[j];
                found.index = i;
            }
        }
        if (std::isfinite(found.position))
            findings.push_back(found);
    }
    // Of two that changed places both are found; a single one is a spot or noise.
    return findings.size() > 1 ? findings : std::vector<Finding>{};
}

namespace {

constexpr long farthest = 3;                     // steps beside half a turn
constexpr std::size_t most_opposite_pairs = 150; // of one scale

struct Opposite {
    std::size_t one, other;
    double weight; ///< likeness of projections that are so far from each other in truth
};

/// Mean correlation of rows 0 … `farthest` apart; for 0 that of 1, which has the noise of two rows.
std::vector<double> likeness_by_lag(const std::vector<Row>& off) {
    std::vector<double> result;
    for (std::size_t lag = 1; lag <= static_cast<std::size_t>(farthest); ++lag) {
        double sum = 0;
        std::size_t count = 0;
        for (std::size_t i = 0; i + lag < off.size(); ++i)
            if (!off[i].empty() && !off[i + lag].empty()) {
                sum += correlation(off[i], off[i + lag]);
                ++count;
            }
        result.push_back(count > 0 ? std::max(0.0, sum / static_cast<double>(count)) : 0);
    }
    result.insert(result.begin(), result.front());
    return result;
}

std::vector<Opposite> opposite_pairs(std::span<const double> rotation, double step, double scale,
                                     const std::vector<double>& likeness) {
    std::vector<Opposite> pairs;
    for (std::size_t i = 0; i < rotation.size(); ++i)
        for (std::size_t j = i + 1; j < rotation.size(); ++j) {
            const double apart = scale * std::abs(rotation[j] - rotation[i]);
            const double lag = std::abs(std::remainder(apart - 180, 360.0)) / (scale * step);
            const double weight =
                lag <= farthest ? likeness[static_cast<std::size_t>(std::lround(lag))] : 0;
            if (weight > 0)
                pairs.push_back({i, j, weight});
        }
    if (pairs.size() > most_opposite_pairs) {
        for (std::size_t k = 0; k < most_opposite_pairs; ++k)
            pairs[k] = pairs[k * pairs.size() / most_opposite_pairs];
        pairs.resize(most_opposite_pairs);
    }
    return pairs;
}

struct Agreement {
    double value = 0;   ///< 1: as alike as neighbours are, 0: not at all
    double scatter = 1; ///< its standard deviation by chance
};

/// How the pairs mirror each other about the best axis.
Agreement agreement(const std::vector<Row>& rows, const std::vector<Opposite>& pairs,
                    double noise) {
    Agreement best;
    double norm = 0;
    for (const auto& pair : pairs)
        norm += pair.weight * pair.weight;
    if (!(norm > 0))
        return best;
    best.scatter = std::sqrt(noise / norm);
    const Row mean = mean_row(rows);
    const auto n = static_cast<double>(mean.size());
    const auto at = [&](double shift) {
        const Row turned = mirrored(mean, shift);
        Row both = mean;
        for (std::size_t t = 0; t < both.size(); ++t)
            both[t] = 0.5 * (both[t] + turned[t]);
        // Of half a turn only the mean of both is symmetric; of a round body the two means
        // separately are free of what the shift by parts of a step costs.
        double symmetric = 0, separate = 0;
        for (const auto& pair : pairs) {
            if (rows[pair.one].empty() || rows[pair.other].empty())
                continue;
            const Row other = mirrored(rows[pair.other], shift);
            symmetric += pair.weight * correlation(minus(rows[pair.one], both), minus(other, both));
            separate +=
                pair.weight * correlation(minus(rows[pair.one], mean), minus(other, turned));
        }
        return std::max(symmetric, separate) / norm;
    };
    double place = 0;
    const auto seek = [&](double from, double to, double by) {
        for (double shift = from; shift <= to; shift += by)
            if (const double value = at(shift); value > best.value) {
                best.value = value;
                place = shift;
            }
    };
    seek(-0.3 * n, 0.3 * n, 1);
    const double middle = place;
    seek(middle - 0.8, middle + 0.8, 0.2);
    return best;
}

/// Sums of neighbouring translations, so that at most 600 are left; NaN where one is missing.
std::vector<float> binned(std::span<const float> sinogram, std::size_t& n_translation) {
    constexpr std::size_t most = 600;
    const std::size_t width = (n_translation + most - 1) / most;
    const std::size_t left = n_translation / width;
    std::vector<float> result;
    for (std::size_t at = 0; at + n_translation <= sinogram.size(); at += n_translation)
        for (std::size_t t = 0; t < left; ++t) {
            float sum = 0;
            for (std::size_t k = 0; k < width; ++k)
                sum += sinogram[at + t * width + k];
            result.push_back(sum);
        }
    n_translation = left;
    return result;
}

/// Whether a range [deg], its end included or not, is that of half a turn or a whole one in
/// gradians.
bool covers_gradians(double range, double step) {
    return std::ranges::any_of(std::array{200.0, 400.0}, [&](double whole) {
        return std::min(std::abs(range - whole), std::abs(range + step - whole)) < 0.3 * step;
    });
}

} // namespace

std::vector<Finding> check_angle_scale(std::span<const double> rotation,
                                       std::span<const float> sinogram, std::size_t n_translation) {
    const std::size_t n = rotation.size();
    if (n < least_rows || n_translation < 8)
        return {};
    std::vector<double> steps;
    for (std::size_t i = 1; i < n; ++i)
        steps.push_back(std::abs(rotation[i] - rotation[i - 1]));
    const double step = midpoint_median(std::move(steps));
    if (!(step > 0))
        return {};
    const auto narrow = binned(sinogram, n_translation);
    const auto rows = prepared_rows(narrow, n_translation);
    const Row mean = mean_row(rows);
    if (mean.empty())
        return {};
    const auto likeness = likeness_by_lag(deviations(rows, mean));
    const double noise = 1.2 / static_cast<double>(n_translation);
    const auto of = [&](double scale) {
        return agreement(rows, opposite_pairs(rotation, step, scale, likeness), noise);
    };
    const Agreement given = of(1);
    const double range = std::abs(rotation.back() - rotation.front());
    if (covers_gradians(range, step)) {
        // Few turn an object by 200 degrees; the projections may say that it was done.
        const Agreement gradians = of(0.9);
        if (gradians.value >= given.value)
            return {{.kind = Kind::angle_scale,
                     .value = given.value,
                     .limit = gradians.value,
                     .factor = 0.9}};
    }
    Finding finding{.kind = Kind::angle_scale, .value = given.value};
    const bool unlike = given.scatter < 0.12 && given.value < 0.4;
    for (const double scale : {0.9, 0.5, 2.0}) {
        const Agreement other = of(scale);
        if (given.value < 0.9 - 3 * given.scatter && other.value > 0.9 &&
            other.value - given.value >
                (unlike ? 2.5 : 5) * std::hypot(given.scatter, other.scatter) &&
            !(other.value < finding.limit)) {
            finding.factor = scale;
            finding.limit = other.value;
        }
    }
    return unlike || !std::isnan(finding.factor) ? std::vector{finding} : std::vector<Finding>{};
}

} // namespace xrdct::inspection
