// SPDX-License-Identifier: BSD-3-Clause
#include "crystal/march_dollase.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::crystal {

namespace {

/// Even for r at the ends of its range W is smooth enough for this many nodes on [−1, 1].
constexpr std::size_t nodes = 256;

struct Rule {
    std::array<double, nodes / 2> place{}, weight{}; ///< the nodes above 0
};

/// Gauss–Legendre rule by Newton's method from the usual estimate of the roots.
Rule gauss_legendre() {
    Rule rule;
    for (std::size_t i = 0; i < nodes / 2; ++i) {
        constexpr auto n = static_cast<double>(nodes);
        double x = std::cos(pi * (static_cast<double>(i) + 0.75) / (n + 0.5)), slope = 1;
        for (int iteration = 0; iteration < 8; ++iteration) {
            double before = 1, value = x;
            for (std::size_t l = 2; l <= nodes; ++l) {
                const auto d = static_cast<double>(l);
                const double next = ((2 * d - 1) * x * value - (d - 1) * before) / d;
                before = value;
                value = next;
            }
            slope = n * (x * value - before) / (x * x - 1);
            x -= value / slope;
        }
        rule.place[i] = x;
        rule.weight[i] = 2 / ((1 - x * x) * slope * slope);
    }
    return rule;
}

/// Calls each(i, P_2i(x)) for i < count.
template <class Each>
void even_legendre(double x, std::size_t count, Each&& each) {
    double before = 0, value = 1;
    for (std::size_t l = 0; l < 2 * count; ++l) {
        if (l % 2 == 0)
            each(l / 2, value);
        const auto d = static_cast<double>(l + 1);
        const double next = ((2 * d - 1) * x * value - (d - 1) * before) / d;
        before = value;
        value = next;
    }
}

} // namespace

double march_dollase(double cos_beta, double r) {
    const double square = cos_beta * cos_beta;
    return std::pow(r * r * square + (1 - square) / r, -1.5);
}

std::vector<double> march_coefficients(double r) {
    if (!(r >= min_march && r <= largest_march))
        throw Error(fmt::format("the March coefficient is {}, expected {} to {}", r, min_march,
                                largest_march));
    if (r == 1)
        return {1};
    static const Rule rule = gauss_legendre();
    std::vector<double> w(march_terms, 0.0);
    for (std::size_t i = 0; i < rule.place.size(); ++i) {
        const double density = 2 * rule.weight[i] * march_dollase(rule.place[i], r);
        even_legendre(rule.place[i], march_terms, [&](std::size_t term, double value) {
            w[term] += (2 * static_cast<double>(term) + 0.5) * density * value;
        });
    }
    constexpr double negligible = 1e-8;
    while (w.size() > 1 && std::abs(w.back()) < negligible)
        w.pop_back();
    return w;
}

std::vector<double> axis_moments(const Phase& phase, const UnitCell& cell, const Miller& hkl,
                                 const Miller& axis, std::size_t count) {
    const double length = cell.inverse_d_squared(axis), own = cell.inverse_d_squared(hkl);
    if (!(length > 0 && own > 0))
        throw Error(fmt::format("phase {}: 0 0 0 is no direction", phase.name()));
    const auto family = phase.equivalent_reflections(hkl);
    std::vector<double> moments(count, 0.0);
    for (const Miller& h : family) {
        const double sum = cell.inverse_d_squared({h[0] + axis[0], h[1] + axis[1], h[2] + axis[2]}),
                     difference =
                         cell.inverse_d_squared({h[0] - axis[0], h[1] - axis[1], h[2] - axis[2]});
        const double cosine =
            std::clamp(0.25 * (sum - difference) / std::sqrt(length * own), -1.0, 1.0);
        even_legendre(cosine, count, [&](std::size_t term, double value) {
            moments[term] += value / static_cast<double>(family.size());
        });
    }
    return moments;
}

std::vector<double> ring_weights(std::span<const double> coefficients,
                                 std::span<const double> harmonics) {
    // P_2i(cos ψ) = Σ_k g_k g_(2i−k) cos (2i − 2k)ψ with g_k = (2k)! / (4^k k!²), and P_2i(0) =
    // (−1)^i g_i.
    std::vector<double> g{1};
    for (std::size_t k = 1; k < 2 * coefficients.size(); ++k)
        g.push_back(g.back() * (static_cast<double>(k) - 0.5) / static_cast<double>(k));
    std::vector<double> weights;
    for (std::size_t i = 0; i < coefficients.size(); ++i) {
        double sum = 0;
        for (std::size_t h = 0; h <= std::min(i, harmonics.size() - 1); ++h)
            sum += harmonics[h] * (h == 0 ? 1 : 2) * g[i - h] * g[i + h];
        weights.push_back(coefficients[i] * (i % 2 == 0 ? 1 : -1) * g[i] * sum);
    }
    return weights;
}

} // namespace xrdct::crystal
