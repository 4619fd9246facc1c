// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/half_turn.hpp"

#include "base/statistics.hpp"
#include "inspection/projections.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

namespace {

struct Pair {
    const Row* one;
    const Row* other;
};

/// Of a projection and another at `at(t)`, linearly interpolated and 0 outside.
template <class At>
double difference(const Pair& pair, At at) {
    double squares = 0, norm = 0;
    const auto n = static_cast<double>(pair.other->size());
    for (std::size_t t = 0; t < pair.one->size(); ++t) {
        const double place = at(static_cast<double>(t));
        double value = 0;
        if (place >= 0 && place <= n - 1) {
            const auto k = std::min(static_cast<std::size_t>(place), pair.other->size() - 2);
            const double f = place - static_cast<double>(k);
            value = (1 - f) * (*pair.other)[k] + f * (*pair.other)[k + 1];
        }
        const double d = (*pair.one)[t] - value;
        squares += d * d;
        norm += (*pair.one)[t] * (*pair.one)[t] + value * value;
    }
    return norm > 0 ? 2 * squares / norm : 0;
}

/// The least mean difference for one shift of all pairs; the shift is sought in half steps, then in
/// tenths.
double best_difference(const std::vector<Pair>& pairs, bool mirror) {
    if (pairs.empty())
        return Finding::none;
    const auto n = static_cast<double>(pairs.front().one->size());
    const auto mean = [&](double shift) {
        double sum = 0;
        for (const Pair& pair : pairs)
            sum += mirror ? difference(pair, [&](double t) { return n - 1 + shift - t; })
                          : difference(pair, [&](double t) { return t + shift; });
        return sum / static_cast<double>(pairs.size());
    };
    double best = mean(0);
    double place = 0;
    const auto seek = [&](double from, double to, double by) {
        for (double shift = from; shift <= to; shift += by)
            if (const double d = mean(shift); d < best) {
                best = d;
                place = shift;
            }
    };
    seek(-0.5 * n, 0.5 * n, 1);
    const double middle = place;
    seek(middle - 0.9, middle + 0.9, 0.1);
    return best;
}

double angle_between(double a, double b) {
    const double d = std::abs(a - b);
    return d - 360 * std::floor(d / 360);
}

/// At most `limit` pairs of rows `turn` apart within `tolerance` [deg], spread over the scan.
std::vector<Pair> pairs_apart(std::span<const double> rotation, const std::vector<Row>& rows,
                              double turn, double tolerance, std::size_t limit) {
    std::vector<Pair> pairs;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        double nearest = tolerance;
        Pair pair{&rows[i], nullptr};
        for (std::size_t j = i + 1; j < rows.size(); ++j) {
            const double off = std::abs(angle_between(rotation[i], rotation[j]) - turn);
            if (off <= nearest && !rows[i].empty() && !rows[j].empty()) {
                nearest = off;
                pair.other = &rows[j];
            }
        }
        if (pair.other != nullptr)
            pairs.push_back(pair);
    }
    if (pairs.size() > limit) {
        for (std::size_t k = 0; k < limit; ++k)
            pairs[k] = pairs[k * pairs.size() / limit];
        pairs.resize(limit);
    }
    return pairs;
}

} // namespace

HalfTurn compare_half_turn(std::span<const double> rotation, std::span<const float> sinogram,
                           std::size_t n_translation, double step) {
    HalfTurn result;
    result.n_translation = n_translation;
    if (n_translation < 8)
        return result;
    const auto rows = prepared_rows(sinogram, n_translation);
    const double tolerance = 1.2 * step;
    const auto opposite = pairs_apart(rotation, rows, 180, tolerance, 12);
    result.pairs = opposite.size();
    result.mirrored = best_difference(opposite, true);
    result.straight = best_difference(opposite, false);
    double sum = 0;
    const auto near = pairs_apart(rotation, rows, step, 0.5 * step, 12);
    result.near_pairs = near.size();
    for (const Pair& pair : near)
        sum += difference(pair, [](double t) { return t; });
    if (!near.empty())
        result.neighbours = sum / static_cast<double>(near.size());
    result.neighbours_mirrored = best_difference(near, true);
    // Two angles, as angles that are wrong by a factor of two make half a turn of one of them.
    for (const double turn : {60.0, 90.0}) {
        const double misfit =
            best_difference(pairs_apart(rotation, rows, turn, std::max(tolerance, 10.0), 12), true);
        if (!(misfit <= result.unrelated))
            result.unrelated = misfit;
    }
    return result;
}

std::vector<Finding> judge(const HalfTurn& c) {
    const double floor = std::max(c.neighbours, 2e-5);
    // Five standard deviations of a sum of squares of noise.
    const auto excess = [&](std::size_t pairs) {
        return 1 + 5 * std::sqrt(2 / static_cast<double>(c.n_translation * pairs));
    };
    if (c.near_pairs > 2 && c.neighbours > 2e-5 &&
        c.neighbours > 1.2 * excess(c.near_pairs) * c.neighbours_mirrored)
        return {{.kind = Kind::zigzag, .value = c.neighbours / c.neighbours_mirrored}};
    if (c.pairs == 0 || !(c.mirrored > excess(c.pairs) * floor))
        return {};
    const double misfit = (c.mirrored - floor) / (c.unrelated - floor);
    if (c.mirrored > 2 * excess(c.pairs) * c.straight)
        return {{.kind = Kind::turn_mistaken, .value = misfit}};
    // A body that looks alike from everywhere mirrors at every angle, too.
    if (!(c.unrelated > 1.5 * floor) || !(misfit > 0.4))
        return {};
    return {{.kind = Kind::not_mirrored, .value = misfit}};
}

namespace {

/// Mean over the finite ones of `count` values `stride` apart; NaN without any.
double strided_mean(std::span<const float> values, std::size_t first, std::size_t count,
                    std::size_t stride) {
    double sum = 0;
    std::size_t n = 0;
    for (std::size_t i = 0; i < count; ++i)
        if (const float value = values[first + i * stride]; std::isfinite(value)) {
            sum += value;
            ++n;
        }
    return n > 0 ? sum / static_cast<double>(n) : Finding::none;
}

struct Profile {
    double ends = 0;   ///< mean of the outermost two values over the largest
    double spread = 0; ///< standard deviation over mean
};

Profile describe(const std::vector<double>& values, double lowest) {
    Profile profile;
    double sum = 0, squares = 0, largest = 0;
    for (const double value : values) {
        const double v = value - lowest;
        sum += v;
        squares += v * v;
        largest = std::max(largest, v);
    }
    const auto n = static_cast<double>(values.size());
    const double mean = sum / n;
    if (!(mean > 0) || !(largest > 0))
        return {1, 0};
    profile.spread = std::sqrt(std::max(0.0, squares / n - mean * mean)) / mean;
    profile.ends = (std::max(values.front(), values.back()) - lowest) / largest;
    return profile;
}

} // namespace

std::vector<Finding> check_axes(std::span<const float> sinogram, std::size_t n_translation) {
    const std::size_t n_rotation = n_translation > 0 ? sinogram.size() / n_translation : 0;
    if (n_rotation < 8 || n_translation < 8)
        return {};
    std::vector<double> projections, rays;
    for (std::size_t i = 0; i < n_rotation; ++i)
        projections.push_back(strided_mean(sinogram, i * n_translation, n_translation, 1));
    for (std::size_t t = 0; t < n_translation; ++t)
        rays.push_back(strided_mean(sinogram, t, n_rotation, n_translation));
    projections = finite_values(std::span<const double>(projections));
    rays = finite_values(std::span<const double>(rays));
    if (projections.size() < 8 || rays.size() < 8)
        return {};
    const double lowest =
        std::min(*std::ranges::min_element(projections), *std::ranges::min_element(rays));
    const Profile over_rotations = describe(projections, lowest);
    const Profile over_translations = describe(rays, lowest);
    if (over_rotations.ends < 0.3 && over_rotations.spread > 0.1 && over_translations.ends > 0.5 &&
        over_translations.spread < 0.5 * over_rotations.spread)
        return {{.kind = Kind::axes_swapped,
                 .severity = Severity::error,
                 .value = over_rotations.spread,
                 .limit = over_translations.spread}};
    return {};
}

} // namespace xrdct::inspection
