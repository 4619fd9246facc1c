// SPDX-License-Identifier: BSD-3-Clause
#include "maps/relative_masses.hpp"

#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace xrdct::maps {

namespace {

using Maps = std::vector<std::vector<double>>;

/// Scale factors S and weight fractions W of the phases [phase][voxel].
struct Phases {
    const Maps& scales;
    const Maps& weight_fractions;

    std::size_t count() const { return scales.size(); }
    std::size_t voxels() const { return scales.front().size(); }
    bool has(std::size_t p, std::size_t i) const {
        return scales[p][i] > 0.0 && weight_fractions[p][i] > 0.0;
    }
    bool occurs(std::size_t p) const {
        for (std::size_t i = 0; i < voxels(); ++i)
            if (has(p, i))
                return true;
        return false;
    }
    /// m_q / m_p in the voxels with both, with how many there are.
    std::pair<std::size_t, double> ratio(std::size_t p, std::size_t q) const {
        std::vector<double> ratios;
        for (std::size_t i = 0; i < voxels(); ++i)
            if (has(p, i) && has(q, i))
                ratios.push_back(weight_fractions[q][i] * scales[p][i] /
                                 (scales[q][i] * weight_fractions[p][i]));
        const std::size_t count = ratios.size();
        return std::pair{count, midpoint_median(std::move(ratios))};
    }
};

bool same_sizes(const Phases& phases) {
    if (phases.count() == 0 || phases.weight_fractions.size() != phases.count())
        return false;
    for (std::size_t p = 0; p < phases.count(); ++p)
        if (phases.scales[p].size() != phases.voxels() ||
            phases.weight_fractions[p].size() != phases.voxels())
            return false;
    return true;
}

/// Finds m of the unknown phase that shares most voxels with a known one; false: there is none.
bool find_next(const Phases& phases, const std::vector<bool>& occurs, std::vector<double>& m) {
    std::size_t most = 0, next = phases.count();
    double value = 0.0;
    for (std::size_t q = 0; q < phases.count(); ++q) {
        if (m[q] > 0.0 || !occurs[q])
            continue;
        for (std::size_t p = 0; p < phases.count(); ++p) {
            if (!(m[p] > 0.0))
                continue;
            const auto [count, found] = phases.ratio(p, q);
            if (count > most) {
                most = count;
                next = q;
                value = m[p] * found;
            }
        }
    }
    if (next == phases.count())
        return false;
    m[next] = value;
    return true;
}

} // namespace

std::vector<std::vector<double>>
relative_masses(const std::vector<std::vector<double>>& scales,
                const std::vector<std::vector<double>>& weight_fractions) {
    const Phases known{scales, weight_fractions};
    if (!same_sizes(known))
        return {};
    const std::size_t phases = known.count(), voxels = known.voxels();
    std::vector<double> m(phases, 0.0); // 0: not known yet; never occurring phases stay so
    std::vector<bool> occurs(phases, false);
    for (std::size_t p = 0; p < phases; ++p)
        occurs[p] = known.occurs(p);
    const auto first = std::find(occurs.begin(), occurs.end(), true);
    if (first == occurs.end())
        return {};
    m[static_cast<std::size_t>(first - occurs.begin())] = 1.0;
    while (find_next(known, occurs, m)) {
    }
    for (std::size_t p = 0; p < phases; ++p)
        if (occurs[p] && !(m[p] > 0.0))
            return {};
    std::vector<std::vector<double>> masses(phases, std::vector<double>(voxels, nan_value));
    for (std::size_t i = 0; i < voxels; ++i) {
        double total = 0.0;
        for (std::size_t p = 0; p < phases; ++p)
            if (known.has(p, i))
                total += scales[p][i] * m[p];
        for (std::size_t p = 0; p < phases; ++p)
            masses[p][i] = weight_fractions[p][i] * total;
    }
    return masses;
}

} // namespace xrdct::maps
