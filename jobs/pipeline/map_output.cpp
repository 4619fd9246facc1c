#include "jobs/pipeline/map_output.hpp"

#include "base/numbers.hpp"
#include "base/units.hpp"
#include "mpi/nexus/nexus.hpp"

#include <cmath>

namespace xrdct::pipeline {

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

void write_map_axes(hdf5::Group& group, const std::vector<double>& x) {
    nexus::write_axis(group, "y", x, {"mm", "y"});
    nexus::write_axis(group, "x", x, {"mm", "x"});
}

void write_mask_map(hdf5::Group& group, const std::vector<unsigned char>& mask, std::size_t n,
                    const std::string& long_name) {
    const std::vector<std::int32_t> values(mask.begin(), mask.end());
    nexus::write_map(group, "mask", std::span<const std::int32_t>(values), n, n, {"", long_name});
}

void write_amounts(hdf5::Group& group, std::size_t n, const rietveld::PhaseModel& phase,
                   const PhaseMapView& maps, double constant) {
    const auto volumes = cell_volumes(phase, maps);
    const auto& scale = *maps.scale;
    std::vector<double> fraction(n * n, nan_value), density = fraction;
    std::vector<double> fraction_errors, density_errors;
    if (maps.scale_errors)
        fraction_errors = density_errors = fraction;
    for (std::size_t i = 0; i < n * n; ++i) {
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
    const auto write = [&](const std::string& name, const std::vector<double>& values,
                           const std::vector<double>& errors, const nexus::Labels& labels) {
        if (errors.empty())
            nexus::write_map(group, name, values, n, n, labels);
        else
            nexus::write_map(group, name, values, errors, n, n, labels);
    };
    write("volume_fraction", fraction, fraction_errors, {"", "volume fraction"});
    write("density", density, density_errors,
          {"g/cm^3", "mass of the phase per volume of the voxel"});
}

std::vector<WeightFractions> weight_fractions(const std::vector<rietveld::PhaseModel>& phases,
                                              const std::vector<PhaseMapView>& maps) {
    std::vector<WeightFractions> fractions(phases.size());
    if (phases.empty())
        return fractions;
    const std::size_t size = maps.front().scale->size();
    std::vector<std::vector<double>> masses(phases.size());
    std::vector<double> total(size, 0.0);
    bool errors = true;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        masses[p] = cell_volumes(phases[p], maps[p]);
        errors = errors && maps[p].scale_errors;
        for (std::size_t i = 0; i < size; ++i) {
            masses[p][i] *= phases[p].phase.cell_mass();
            const double scale = (*maps[p].scale)[i];
            if (std::isfinite(scale))
                total[i] += scale * masses[p][i];
        }
    }
    for (std::size_t p = 0; p < phases.size(); ++p) {
        auto& fraction = fractions[p];
        fraction.values.assign(size, nan_value);
        if (errors)
            fraction.errors.assign(size, nan_value);
        for (std::size_t i = 0; i < size; ++i) {
            const double scale = (*maps[p].scale)[i];
            if (!std::isfinite(scale) || !(total[i] > 0))
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

void write_mean_pattern(hdf5::Group& stage, const MeanPatternView& pattern,
                        const std::vector<rietveld::PhaseModel>& phases,
                        const std::vector<rietveld::PatternLine>& lines) {
    auto group = nexus::require_data(stage, "mean_pattern", "observed", {"two_theta"});
    const hdf5::Shape shape{pattern.two_theta.size()};
    const auto write = [&](const std::string& name, const std::vector<double>& values) {
        group.write_array(name, shape, std::span<const double>(values))
            .set_attribute("units", pattern.units);
    };
    write("observed", pattern.observed);
    write("calculated", pattern.calculated);
    write("background", pattern.background);
    std::vector<double> difference(pattern.observed.size());
    for (std::size_t k = 0; k < difference.size(); ++k)
        difference[k] = pattern.observed[k] - pattern.calculated[k];
    write("difference", difference);
    nexus::write_axis(group, "two_theta", pattern.two_theta, {"deg", "2theta"});
    group.set_attribute("auxiliary_signals", std::vector<std::string>{"calculated", "background"});
    group.set_attribute("rwp", pattern.rwp);
    group.set_attribute("gof", pattern.gof);
    for (std::size_t p = 0; p < phases.size(); ++p) {
        std::vector<double> ticks;
        for (const auto& line : lines)
            if (line.phase == p)
                ticks.push_back(line.two_theta);
        if (!ticks.empty())
            group
                .write_array("ticks_" + phases[p].name, {ticks.size()},
                             std::span<const double>(ticks))
                .set_attribute("units", "deg");
    }
}

} // namespace xrdct::pipeline
