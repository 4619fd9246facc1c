// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/smoothness.hpp"

#include "base/assertions.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::dlsr {

std::vector<Smoothness::NeighbourPair>
Smoothness::neighbour_pairs(std::span<const std::size_t> pixels, std::size_t n,
                            std::size_t max_gap) {
    std::vector<std::int32_t> place(n * n, -1);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        place[pixels[v]] = static_cast<std::int32_t>(v);
    std::vector<NeighbourPair> pairs;
    for (const std::size_t along : {std::size_t{1}, n}) {
        const std::size_t across = along == 1 ? n : 1;
        for (std::size_t line = 0; line < n; ++line) {
            std::int32_t last = -1;
            std::size_t last_at = 0;
            for (std::size_t i = 0; i < n; ++i) {
                const std::int32_t here = place[line * across + i * along];
                if (here < 0)
                    continue;
                if (last >= 0 && i - last_at <= max_gap)
                    pairs.push_back({static_cast<std::uint32_t>(last),
                                     static_cast<std::uint32_t>(here),
                                     1.0F / static_cast<float>(i - last_at)});
                last = here;
                last_at = i;
            }
        }
    }
    return pairs;
}

Smoothness::Smoothness(const Unknowns& unknowns, std::size_t n) : unknowns_(unknowns) {
    const auto& fields = unknowns.fields();
    const mpi::NodeTeam& team = unknowns.team();
    unknowns.communicator().collectively([&] {
        pairs_.resize(fields.size());
        std::vector<std::vector<NeighbourPair>> made(fields.size());
        SharedArray<std::size_t> counts;
        counts.resize(team, fields.size());
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f)
                if (team.owns(f) && unknowns.is_per_voxel(f) && fields[f].max_gap > 0) {
                    made[f] = neighbour_pairs(unknowns.model().pixels(fields[f].part), n,
                                              fields[f].max_gap);
                    counts[f] = made[f].size();
                }
        });
        for (std::size_t f = 0; f < fields.size(); ++f)
            pairs_[f].resize(team, counts[f]);
        team.run_and_sync([&] {
            for (std::size_t f = 0; f < fields.size(); ++f)
                std::copy(made[f].begin(), made[f].end(), pairs_[f].begin());
        });
    });
}

std::vector<double> Smoothness::differences(std::size_t f, std::span<const double> values) const {
    std::vector<double> result(values.size(), 0.0);
    for (const NeighbourPair& pair : pairs_[f]) {
        const double difference = static_cast<double>(pair.inverse_distance) / grid_symbol *
                                  (values[pair.a] - values[pair.b]);
        result[pair.a] += difference;
        result[pair.b] -= difference;
    }
    return result;
}

void Smoothness::add_fine_product(std::size_t f, std::span<const double> twice,
                                  std::span<double> out) const {
    const auto four = differences(f, differences(f, twice));
    const auto [from, to] = unknowns_.own_voxels(f);
    const double weight = unknowns_.fields()[f].fineness;
    for (std::size_t v = from; v < to; ++v)
        out[unknowns_.first(f) + v - unknowns_.own().begin] += weight * four[v];
}

double Smoothness::cost(std::span<const double> x, std::span<double> gradient) const {
    XRDCT_ASSERT(x.size() == unknowns_.size(), "the unknowns of all ranks");
    double total = 0;
    for (std::size_t f = 0; f < pairs_.size(); ++f) {
        if (!is_smooth(f) || !unknowns_.owns_some(f))
            continue;
        const std::size_t first = unknowns_.first(f);
        const double* field = x.data() + first;
        const double edge = unknowns_.fields()[f].edge,
                     smoothness = unknowns_.fields()[f].smoothness;
        double cost = 0;
        for (const NeighbourPair& pair : pairs_[f]) {
            const bool counts_here = unknowns_.owns(first + pair.a);
            if (!counts_here && !unknowns_.owns(first + pair.b))
                continue;
            const double difference = field[pair.a] - field[pair.b];
            double slope = difference, of_pair = 0;
            if (std::isfinite(edge)) {
                // The gap's difference is shared by its voxels.
                const double reach = edge / pair.inverse_distance;
                const double root = std::sqrt(1 + difference * difference / (reach * reach));
                of_pair = pair.inverse_distance * reach * reach * (root - 1);
                slope /= root;
            } else {
                of_pair = 0.5 * pair.inverse_distance * difference * difference;
            }
            if (counts_here)
                cost += of_pair;
            if (!gradient.empty())
                add_pair(f, pair, smoothness * pair.inverse_distance * slope, gradient);
        }
        total += smoothness * cost;
    }
    for (std::size_t f = 0; f < pairs_.size(); ++f) {
        if (!is_fine(f) || !unknowns_.owns_some(f))
            continue;
        const auto twice = differences_twice(f, x);
        const auto [from, to] = unknowns_.own_voxels(f);
        for (std::size_t v = from; v < to; ++v)
            total += 0.5 * unknowns_.fields()[f].fineness * twice[v] * twice[v];
        if (!gradient.empty())
            add_fine_product(f, twice, gradient);
    }
    return total;
}

double Smoothness::typical_difference(std::size_t f, std::span<const double> x) const {
    constexpr double median_of_normal = 0.4549; // of the squares
    const std::size_t first = unknowns_.first(f);
    std::vector<double> squares;
    for (const NeighbourPair& pair : pairs_[f])
        if (const double difference = x[first + pair.a] - x[first + pair.b]; difference != 0)
            squares.push_back(static_cast<double>(pair.inverse_distance) * difference * difference);
    return squares.empty() ? 0 : median(std::move(squares)) / median_of_normal;
}

void Smoothness::allocate_weights() {
    weights_.resize(pairs_.size());
    for (std::size_t f = 0; f < pairs_.size(); ++f)
        weights_[f].resize(unknowns_.team(), is_smooth(f) ? pairs_[f].size() : 0);
}

void Smoothness::set_weights(std::span<const double> x) {
    for (std::size_t f = 0; f < pairs_.size(); ++f) {
        if (!is_smooth(f))
            continue;
        const std::size_t first = unknowns_.first(f);
        const double edge = unknowns_.fields()[f].edge;
        const auto [from, to] = unknowns_.team().share(pairs_[f].size());
        for (std::size_t s = from; s < to; ++s) {
            const NeighbourPair& pair = pairs_[f][s];
            double weight = pair.inverse_distance;
            if (std::isfinite(edge)) {
                const double difference = x[first + pair.a] - x[first + pair.b];
                const double reach = edge / pair.inverse_distance;
                weight /= std::sqrt(1 + difference * difference / (reach * reach));
            }
            weights_[f][s] = static_cast<float>(weight);
        }
    }
}

void Smoothness::add_hessian_product(std::span<const double> v, std::span<double> out) const {
    XRDCT_ASSERT(weights_.size() == pairs_.size(), "weights at a point");
    for (std::size_t f = 0; f < pairs_.size(); ++f) {
        if (!is_smooth(f) || !unknowns_.owns_some(f))
            continue;
        const std::size_t first = unknowns_.first(f);
        const double smoothness = unknowns_.fields()[f].smoothness;
        for (std::size_t s = 0; s < pairs_[f].size(); ++s) {
            const NeighbourPair& pair = pairs_[f][s];
            add_pair(f, pair, smoothness * weights_[f][s] * (v[first + pair.a] - v[first + pair.b]),
                     out);
        }
    }
    for (std::size_t f = 0; f < pairs_.size(); ++f)
        if (is_fine(f) && unknowns_.owns_some(f))
            add_fine_product(f, differences_twice(f, v), out);
}

void Smoothness::add_diagonal(std::span<double> diagonal) const {
    for (std::size_t f = 0; f < pairs_.size(); ++f)
        if (unknowns_.team().owns(f) && is_smooth(f))
            for (std::size_t s = 0; s < pairs_[f].size(); ++s) {
                const double weight = unknowns_.fields()[f].smoothness * weights_[f][s];
                diagonal[unknowns_.first(f) + pairs_[f][s].a] += weight;
                diagonal[unknowns_.first(f) + pairs_[f][s].b] += weight;
            }
    for (std::size_t f = 0; f < pairs_.size(); ++f)
        if (unknowns_.team().owns(f) && is_fine(f))
            for (std::size_t v = 0; v < unknowns_.voxels(f); ++v)
                diagonal[unknowns_.first(f) + v] +=
                    mean_fine_symbol * unknowns_.fields()[f].fineness;
}

} // namespace xrdct::dlsr
