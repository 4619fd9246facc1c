// SPDX-License-Identifier: BSD-3-Clause
#include "maps/amounts.hpp"

#include "base/numbers.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace xrdct::maps {

std::vector<double> cell_volumes(const rietveld::PhaseModel& phase, const PhaseMapView& maps) {
    std::vector<double> volumes(maps.scale->size()), values(phase.cell.size());
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        for (std::size_t j = 0; j < values.size(); ++j) {
            const double voxel = maps.cell[j] ? (*maps.cell[j])[i] : nan_value;
            values[j] = std::isfinite(voxel) ? voxel : phase.cell[j].value;
        }
        volumes[i] =
            cell_from_independent(phase.phase.crystal_system(), values, phase.phase.unique_axis())
                .volume();
    }
    return volumes;
}

PhaseAmounts phase_amounts(const rietveld::PhaseModel& phase, const PhaseMapView& maps,
                           double constant) {
    const auto volumes = cell_volumes(phase, maps);
    const auto& scale = *maps.scale;
    std::vector<double> fraction(scale.size(), nan_value), density = fraction;
    std::vector<double> fraction_errors, density_errors;
    if (maps.scale_errors)
        fraction_errors = density_errors = fraction;
    for (std::size_t i = 0; i < scale.size(); ++i) {
        if (!std::isfinite(scale[i]))
            continue;
        const double rho = atomic_mass_g_per_cm3 * phase.phase.cell_mass() / volumes[i];
        const double factor = constant * volumes[i] * volumes[i];
        fraction[i] = factor * scale[i];
        density[i] = rho * fraction[i];
        if (maps.scale_errors) {
            fraction_errors[i] = factor * (*maps.scale_errors)[i];
            density_errors[i] = rho * fraction_errors[i];
        }
    }
    return {{std::move(fraction), std::move(fraction_errors)},
            {std::move(density), std::move(density_errors)}};
}

std::vector<WeightFractions> weight_fractions(const std::vector<rietveld::PhaseModel>& phases,
                                              const std::vector<PhaseMapView>& maps) {
    std::vector<WeightFractions> fractions(phases.size());
    if (phases.empty())
        return fractions;
    const std::size_t size = maps.front().scale->size();
    std::vector<std::vector<double>> masses(phases.size());
    std::vector<double> total(size, 0.0), variance_of_total(size, 0.0);
    bool errors = true;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        masses[p] = cell_volumes(phases[p], maps[p]);
        errors = errors && maps[p].scale_errors;
        for (std::size_t i = 0; i < size; ++i) {
            masses[p][i] *= phases[p].phase.cell_mass();
            const double scale = (*maps[p].scale)[i];
            if (!std::isfinite(scale))
                continue;
            total[i] += scale * masses[p][i];
            if (maps[p].scale_errors)
                variance_of_total[i] += std::pow((*maps[p].scale_errors)[i] * masses[p][i], 2);
        }
    }
    const auto significant = [&](std::size_t i) {
        return total[i] > 0 &&
               !(errors && total[i] < min_mass_significance * std::sqrt(variance_of_total[i]));
    };
    for (std::size_t p = 0; p < phases.size(); ++p) {
        auto& fraction = fractions[p];
        fraction.values.assign(size, nan_value);
        if (errors)
            fraction.errors.assign(size, nan_value);
        for (std::size_t i = 0; i < size; ++i) {
            const double scale = (*maps[p].scale)[i];
            if (!std::isfinite(scale) || !significant(i))
                continue;
            fraction.values[i] = scale * masses[p][i] / total[i];
            if (!errors)
                continue;
            double variance = 0;
            for (std::size_t q = 0; q < phases.size(); ++q) {
                // A phase that is not in the voxel has none of its uncertainty either.
                if (!std::isfinite((*maps[q].scale)[i]))
                    continue;
                const double slope =
                    masses[q][i] / total[i] * ((q == p ? 1.0 : 0.0) - fraction.values[i]);
                variance += std::pow(slope * (*maps[q].scale_errors)[i], 2);
            }
            fraction.errors[i] = std::sqrt(variance);
        }
    }
    return fractions;
}

std::size_t main_phase(std::span<const PhaseRole> phases) {
    const auto best = [&](const auto& wanted) {
        std::optional<std::size_t> found;
        for (std::size_t p = 0; p < phases.size(); ++p)
            if (wanted(phases[p]) && phases[p].mass > 0 &&
                (!found || phases[p].mass > phases[*found].mass))
                found = p;
        return found;
    };
    if (const auto p = best([](const PhaseRole& phase) { return phase.varies; }))
        return *p;
    if (const auto p = best([](const PhaseRole& phase) { return !phase.is_reference; }))
        return *p;
    return best([](const PhaseRole&) { return true; }).value_or(0);
}

PhaseDensities phase_densities(const std::vector<rietveld::PhaseModel>& phases,
                               std::span<const std::vector<float>> volume_fractions,
                               std::span<const unsigned char> sample) {
    PhaseDensities result;
    std::vector<double> sum(sample.size(), 0.0), masses;
    double mass = 0;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const auto& phase = phases[p];
        const double rho =
            atomic_mass_g_per_cm3 * phase.phase.cell_mass() / phase.unit_cell().volume();
        auto& density = result.density.emplace_back();
        for (const float fraction : volume_fractions[p])
            density.push_back(rho * fraction);
        double total = 0;
        for (std::size_t i = 0; i < sum.size(); ++i) {
            sum[i] += density[i];
            total += density[i];
        }
        masses.push_back(total);
        mass += total;
    }
    double highest = 0;
    for (std::size_t i = 0; i < sum.size(); ++i)
        if (sample[i])
            highest = std::max(highest, sum[i]);
    for (std::size_t p = 0; p < phases.size(); ++p) {
        auto& weight = result.weight_fraction.emplace_back(sum.size(), nan_value);
        for (std::size_t i = 0; i < weight.size(); ++i)
            if (sum[i] > 0.02 * highest)
                weight[i] = result.density[p][i] / sum[i];
        result.mean_weight_fraction.push_back(mass > 0 ? masses[p] / mass : 0.0);
    }
    return result;
}

} // namespace xrdct::maps
