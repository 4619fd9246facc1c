// SPDX-License-Identifier: BSD-3-Clause
#include "maps/lithium.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "maps/statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace xrdct::maps {

namespace {

constexpr double min_significance = 5.0; ///< of the host in a voxel [e.s.d.]
constexpr double min_host = 0.05;        ///< of the 99th percentile
constexpr double min_covered = 0.9;      ///< of a voxel's host, by phases with a content

using Cell = std::map<std::string, Estimate>;

double value_of(const Cell& cell, const std::string& name) {
    const auto at = cell.find(name);
    return at == cell.end() ? nan_value : at->second.value;
}

double volume_of(const Cell& cell, double gamma_of_a_and_c) {
    if (const double v = value_of(cell, "cell_volume"); !std::isnan(v))
        return v;
    const bool only_a = !cell.contains("b") && !cell.contains("c");
    const double a = value_of(cell, "a");
    const double b = cell.contains("b") ? value_of(cell, "b") : a;
    const double c = cell.contains("c") ? value_of(cell, "c") : a;
    const auto angle = [&](const char* name, double otherwise) {
        return (cell.contains(name) ? value_of(cell, name) : otherwise) * std::numbers::pi / 180.0;
    };
    const double same = only_a && cell.contains("alpha") ? value_of(cell, "alpha") : 90.0;
    const bool a_and_c = cell.contains("c") && !cell.contains("b");
    const double alpha = std::cos(angle("alpha", 90.0)), beta = std::cos(angle("beta", same)),
                 gamma = std::cos(angle("gamma", a_and_c ? gamma_of_a_and_c : same));
    return a * b * c *
           std::sqrt(1.0 - alpha * alpha - beta * beta - gamma * gamma +
                     2.0 * alpha * beta * gamma);
}

double quantity_of(const LithiumCalibration& calibration, const Cell& cell) {
    if (calibration.parameter == "c/a")
        return value_of(cell, "c") / value_of(cell, "a");
    if (calibration.parameter == "volume")
        return volume_of(cell, calibration.gamma);
    // Symmetry keeps a = b where a product has a alone, and all three in a cubic cell.
    if (calibration.parameter == "b" && !cell.contains("b"))
        return value_of(cell, "a");
    if (calibration.parameter == "c" && !cell.contains("c") && !cell.contains("b"))
        return value_of(cell, "a");
    return value_of(cell, calibration.parameter);
}

bool beyond_table(const LithiumCalibration& calibration, double lattice) {
    const auto [low, high] =
        std::minmax_element(calibration.table.begin(), calibration.table.end());
    return lattice < low->first || lattice > high->first;
}

/// Tables in other units are off by factors of ten or more; a state of charge is not by a quarter.
void check_units(const LithiumPhase& phase) {
    if (phase.calibration.table.empty())
        return;
    std::vector<double> values;
    for (const Estimate& e : phase.lattice)
        values.push_back(e.value);
    const double typical = weighted_median(values, phase.amount);
    if (std::isnan(typical))
        return;
    const auto [low, high] =
        std::minmax_element(phase.calibration.table.begin(), phase.calibration.table.end());
    if (typical < 0.8 * low->first || typical > 1.25 * high->first)
        throw Error(fmt::format(
            "lithium: {} of phase '{}' is about {:.5g}, its table spans {:.5g} to {:.5g}: another "
            "unit, parameter or phase?",
            phase.calibration.parameter, phase.calibration.phase, typical, low->first,
            high->first));
}

} // namespace

Estimate interpolate_lithium(const LithiumCalibration& calibration, Estimate lattice) {
    if (calibration.table.size() < 2 || !std::isfinite(lattice.value))
        return {nan_value, nan_value};
    auto table = calibration.table;
    if (table.front().first > table.back().first)
        std::reverse(table.begin(), table.end());
    if (beyond_table(calibration, lattice.value)) {
        if (!calibration.clamp)
            return {nan_value, nan_value};
        return {lattice.value < table.front().first ? table.front().second : table.back().second,
                nan_value};
    }
    const auto above =
        std::upper_bound(table.begin() + 1, table.end() - 1, lattice.value,
                         [](double value, const auto& pair) { return value < pair.first; });
    const auto& [x1, y1] = *above;
    const auto& [x0, y0] = *(above - 1);
    const double slope = (y1 - y0) / (x1 - x0);
    return {y0 + slope * (lattice.value - x0), std::abs(slope) * lattice.error};
}

Estimate lattice_quantity(const LithiumCalibration& calibration, const Cell& cell) {
    const double value = quantity_of(calibration, cell);
    if (!std::isfinite(value))
        return {nan_value, nan_value};
    double variance = 0.0;
    for (const auto& [name, parameter] : cell) {
        const double step = 1e-5 * std::max(std::abs(parameter.value), 1e-3);
        Cell shifted = cell;
        shifted[name].value = parameter.value + step;
        const double up = quantity_of(calibration, shifted);
        shifted[name].value = parameter.value - step;
        const double slope = (up - quantity_of(calibration, shifted)) / (2.0 * step);
        // A parameter that is fixed by symmetry or not refined has no e.s.d. and adds none.
        if (slope != 0.0 && std::isfinite(parameter.error))
            variance += slope * slope * parameter.error * parameter.error;
    }
    return {value, variance > 0.0 ? std::sqrt(variance) : nan_value};
}

namespace {

double host_mass(const LithiumPhase& phase) {
    return std::isnan(phase.calibration.host_mass) ? 1.0 : phase.calibration.host_mass;
}

/// Moles of host of a phase in a voxel.
double host(const LithiumPhase& phase, std::size_t i) {
    return std::isfinite(phase.amount[i]) && phase.amount[i] > 0.0
               ? phase.amount[i] / host_mass(phase)
               : 0.0;
}

double host_error(const LithiumPhase& phase, std::size_t i) {
    if (phase.amount_errors.empty() || !std::isfinite(phase.amount_errors[i]))
        return 0.0;
    return phase.amount_errors[i] / host_mass(phase);
}

void check_sizes(std::span<const LithiumPhase> phases, std::size_t voxels) {
    for (const LithiumPhase& phase : phases) {
        const bool fixed = phase.calibration.table.empty();
        if (phase.amount.size() != voxels || (!fixed && phase.lattice.size() != voxels) ||
            (!phase.amount_errors.empty() && phase.amount_errors.size() != voxels))
            throw Error(fmt::format("lithium: the maps of phase '{}' have other sizes than those "
                                    "of '{}'",
                                    phase.calibration.phase, phases.front().calibration.phase));
        check_units(phase);
    }
}

/// Moles of host that a voxel of the electrode has at least.
double host_threshold(std::vector<double> hosts) {
    if (hosts.empty())
        return 0.0;
    const auto place = static_cast<std::size_t>(0.99 * static_cast<double>(hosts.size()));
    return min_host * order_statistic(std::move(hosts), place);
}

/// What the phases of an electrode hold in one voxel.
struct VoxelContent {
    std::vector<Estimate> contents; ///< [phase]; NaN: unknown
    double covered = 0.0;           ///< moles of host of the phases with a content
    double sum = 0.0;               ///< of their lithium
    bool missing = false, beyond = false;
};

VoxelContent content_of_voxel(std::span<const LithiumPhase> phases, std::size_t i) {
    VoxelContent voxel;
    for (const LithiumPhase& phase : phases) {
        Estimate content{phase.calibration.content, 0.0};
        if (!phase.calibration.table.empty()) {
            content = interpolate_lithium(phase.calibration, phase.lattice[i]);
            const bool outside = beyond_table(phase.calibration, phase.lattice[i].value);
            if (host(phase, i) > 0.0) {
                voxel.beyond = voxel.beyond || outside;
                voxel.missing = voxel.missing || std::isnan(phase.lattice[i].value);
            }
        }
        voxel.contents.push_back(content);
        if (std::isnan(content.value))
            continue;
        voxel.covered += host(phase, i);
        voxel.sum += host(phase, i) * content.value;
    }
    return voxel;
}

/// Standard deviation of the mean content of a voxel; NaN: unknown.
double error_of_voxel(std::span<const LithiumPhase> phases, const VoxelContent& voxel, double mean,
                      std::size_t i) {
    double error = 0.0;
    bool known = false;
    for (std::size_t p = 0; p < phases.size(); ++p) {
        const Estimate& content = voxel.contents[p];
        if (std::isnan(content.value))
            continue;
        const double share = host(phases[p], i) / voxel.covered;
        if (std::isfinite(content.error) && content.error > 0.0) {
            error += share * share * content.error * content.error;
            known = true;
        }
        const double by_amount = (content.value - mean) / voxel.covered * host_error(phases[p], i);
        if (by_amount != 0.0) {
            error += by_amount * by_amount;
            known = true;
        }
    }
    // A clamped content is known no better than the table reaches.
    for (std::size_t p = 0; p < phases.size(); ++p)
        if (std::isnan(voxel.contents[p].error) && !std::isnan(voxel.contents[p].value) &&
            host(phases[p], i) > 0.0)
            known = false;
    return known ? std::sqrt(error) : nan_value;
}

} // namespace

LithiumMap lithium_map(std::span<const LithiumPhase> phases) {
    LithiumMap map;
    if (phases.empty())
        return map;
    const std::size_t voxels = phases.front().amount.size();
    check_sizes(phases, voxels);
    const bool errors_known = std::none_of(phases.begin(), phases.end(), [](const auto& phase) {
        return phase.amount_errors.empty();
    });
    std::vector<double> hosts(voxels, 0.0);
    for (std::size_t i = 0; i < voxels; ++i)
        for (const LithiumPhase& phase : phases)
            hosts[i] += host(phase, i);
    const double threshold = host_threshold(hosts);

    map.values.assign(voxels, nan_value);
    map.errors.assign(voxels, nan_value);
    map.weights.assign(voxels, 0.0);
    for (std::size_t i = 0; i < voxels; ++i) {
        double variance = 0.0;
        for (const LithiumPhase& phase : phases)
            variance += host_error(phase, i) * host_error(phase, i);
        if (!(hosts[i] > threshold) ||
            (errors_known && hosts[i] < min_significance * std::sqrt(variance)))
            continue;
        ++map.electrode;
        map.weights[i] = hosts[i];
        const VoxelContent voxel = content_of_voxel(phases, i);
        map.beyond += voxel.beyond ? 1 : 0;
        if (!(voxel.covered >= min_covered * hosts[i])) {
            map.no_lattice += voxel.missing && !voxel.beyond ? 1 : 0;
            continue;
        }
        const double mean = voxel.sum / voxel.covered;
        map.values[i] = mean;
        map.errors[i] = error_of_voxel(phases, voxel, mean, i);
    }
    return map;
}

} // namespace xrdct::maps
