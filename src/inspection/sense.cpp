// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/sense.hpp"

#include "base/units.hpp"
#include "inspection/projections.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace xrdct::inspection {

namespace {

constexpr std::size_t most_lines = 12, least_pairs = 12;
constexpr double reach = 0.7; ///< widths either side of a line
constexpr double clear = 5;   ///< standard deviations

/// A row smoothed over its neighbours, NaN as 0.
Row smoothed(const Row& row) {
    constexpr std::array weights{0.06, 0.24, 0.40, 0.24, 0.06};
    Row result(row.size(), 0.0);
    for (std::size_t t = 0; t < row.size(); ++t)
        for (std::size_t i = 0; i < weights.size(); ++i) {
            const std::size_t from = t + i - weights.size() / 2;
            if (from < row.size() && std::isfinite(row[from]))
                result[t] += weights[i] * row[from];
        }
    return result;
}

/// Change of the intensity from one projection to the next, and minus the slope of the depth.
struct Changes {
    std::vector<Row> turn, slope;
};

Changes changes_of(std::span<const std::size_t> index, std::span<const double> omega,
                   std::span<const float> intensity, std::span<const float> depth,
                   std::size_t n_translation, double step) {
    Changes changes;
    for (std::size_t i = 0; i + 1 < index.size(); ++i) {
        if (index[i + 1] != index[i] + 1 || omega[i + 1] == omega[i])
            continue;
        const auto at = [&](std::span<const float> values, std::size_t row, std::size_t t) {
            return static_cast<double>(values[row * n_translation + t]);
        };
        Row turn(n_translation), slope(n_translation);
        for (std::size_t t = 0; t < n_translation; ++t) {
            turn[t] = (at(intensity, i + 1, t) - at(intensity, i, t)) / (omega[i + 1] - omega[i]);
            const std::size_t low = t > 0 ? t - 1 : t, high = std::min(t + 1, n_translation - 1);
            slope[t] = (at(depth, i, low) + at(depth, i + 1, low) - at(depth, i, high) -
                        at(depth, i + 1, high)) /
                       step;
        }
        changes.turn.push_back(smoothed(turn));
        changes.slope.push_back(smoothed(slope));
    }
    return changes;
}

/// What all projections have, a round body above all, tells nothing.
void remove_mean(std::vector<Row>& rows) {
    const Row mean = mean_row(rows);
    for (Row& row : rows)
        row = minus(row, mean);
}

} // namespace

MomentWeights moment_weights(std::span<const ObservedLine> lines, std::span<const double> two_theta,
                             std::span<const double> pattern, double distance) {
    const std::size_t n = two_theta.size();
    MomentWeights weights{std::vector<double>(n, 0.0), std::vector<double>(n, 0.0)};
    for (std::size_t l = 0; l < std::min(most_lines, lines.size()); ++l) {
        const auto& line = lines[l];
        std::vector<std::size_t> inside, beside;
        double level = 0;
        for (std::size_t k = 0; k < n; ++k) {
            const double off = std::abs(two_theta[k] - line.position) / line.width;
            if (!std::isfinite(pattern[k]) || off > 2.5 * reach)
                continue;
            (off <= reach ? inside : beside).push_back(k);
            if (off > reach)
                level += pattern[k];
        }
        if (inside.size() < 3 || beside.size() < 2)
            continue;
        level /= static_cast<double>(beside.size());
        double sum = 0, first = 0;
        for (const std::size_t k : inside) {
            sum += pattern[k] - level;
            first += (pattern[k] - level) * two_theta[k];
        }
        if (!(sum > 0))
            continue;
        const double centre = first / sum, angle = radians(centre);
        // A part nearer to the detector lights it at a smaller angle.
        const double per_depth = -degrees(0.5 * std::sin(2 * angle)) / distance;
        double moments = 0;
        for (const std::size_t k : inside) {
            const double moment = (two_theta[k] - centre) / per_depth;
            weights.intensity[k] += 1;
            weights.depth[k] += moment;
            moments += moment;
        }
        const auto count = static_cast<double>(beside.size());
        for (const std::size_t k : beside) {
            weights.intensity[k] -= static_cast<double>(inside.size()) / count;
            weights.depth[k] -= moments / count;
        }
    }
    return weights;
}

double agreement_of_senses(std::span<const std::size_t> index, std::span<const double> omega,
                           std::span<const float> intensity, std::span<const float> depth,
                           std::size_t n_translation, double step) {
    auto changes = changes_of(index, omega, intensity, depth, n_translation, step);
    auto &turn = changes.turn, &slope = changes.slope;
    const std::size_t n = turn.size();
    if (n < least_pairs)
        return Finding::none;
    remove_mean(turn);
    remove_mean(slope);
    const auto product = [&](std::size_t shift) {
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i)
            sum += std::inner_product(turn[i].begin(), turn[i].end(),
                                      slope[(i + shift) % n].begin(), 0.0);
        return sum;
    };
    double squares = 0, count = 0;
    for (std::size_t shift = std::max<std::size_t>(3, n / 8); shift + n / 8 < n; ++shift) {
        squares += std::pow(product(shift), 2);
        count += 1;
    }
    return squares > 0 ? product(0) / std::sqrt(squares / count) : 0;
}

std::vector<Finding> check_senses(double agreement) {
    if (!(agreement < -clear))
        return {};
    return {{.kind = Kind::senses, .value = -agreement}};
}

} // namespace xrdct::inspection
