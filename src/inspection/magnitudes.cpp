// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/magnitudes.hpp"

#include "base/statistics.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::inspection {

namespace {

bool within(double value, double lower, double upper) {
    return value >= lower && value <= upper;
}

/// The first of the factors that brings a value into the range; NaN: none does.
template <std::size_t n>
double mending(double value, const std::array<double, n>& factors, double lower, double upper) {
    for (const double factor : factors)
        if (within(value * factor, lower, upper))
            return factor;
    return Finding::none;
}

constexpr double least_energy = 5, largest_energy = 300;                       // keV
constexpr double least_distance = 30, largest_distance = 3e4;                  // mm
constexpr double impossible_distance = 5;                                      // mm
constexpr double no_parallax = 1e7;                                            // mm
constexpr double least_range = 0.05, largest_range = 300;                      // mm
constexpr double impossible_range_below = 1e-4, impossible_range_above = 3000; // mm
constexpr double least_spacing = 5;                                            // Å

void check_energy(const Magnitudes& m, std::vector<Finding>& findings) {
    if (std::isnan(m.energy) || within(m.energy, least_energy, largest_energy))
        return;
    // eV as keV; nm, pm and m as Å of a wavelength; MeV as keV.
    const std::array<double, 5> factors{1e-3, 0.1, 100, 1e-10, 1e3};
    findings.push_back({.kind = Kind::energy,
                        .severity = Severity::error,
                        .value = m.energy,
                        .factor = mending(m.energy, factors, least_energy, largest_energy)});
}

void check_lengths(const Magnitudes& m, std::vector<Finding>& findings) {
    const double range = m.translation_range;
    const bool strange_range = !within(range, least_range, largest_range);
    if (strange_range) {
        const bool impossible = !within(range, impossible_range_below, impossible_range_above);
        findings.push_back({.kind = Kind::translation_range,
                            .severity = impossible ? Severity::error : Severity::warning,
                            .value = range,
                            .factor = mending(range, std::array<double, 3>{1e3, 1e-3, 1e-6},
                                              10 * least_range, largest_range)});
    }
    const double ratio = m.beam_width / m.translation_step;
    if (m.beam_width > 0 && !within(ratio, 0.01, 10))
        findings.push_back({.kind = Kind::beam_width, .value = ratio});
    const double d = m.distance;
    if (std::isnan(d) || d >= no_parallax)
        return;
    const std::array<double, 3> factors{1e3, 10, 1e-3};
    const double factor =
        mending(d, factors, std::max(3 * least_distance, 4 * range), largest_distance);
    if (!within(d, least_distance, largest_distance))
        findings.push_back(
            {.kind = Kind::distance,
             .severity = d < impossible_distance ? Severity::error : Severity::warning,
             .value = d,
             .factor = factor});
    else if (!strange_range && d < range)
        findings.push_back({.kind = Kind::distance_body,
                            .severity = Severity::error,
                            .value = d,
                            .limit = range,
                            .factor = factor});
}

void check_angles(const Magnitudes& m, std::vector<Finding>& findings) {
    if (std::isnan(m.two_theta_max) || !within(m.energy, least_energy, largest_energy))
        return;
    const double wavelength = wavelength_from_energy(m.energy);
    const double spacing = wavelength / (2 * std::sin(0.5 * radians(m.two_theta_max)));
    if (spacing < least_spacing)
        return;
    const double turned = degrees(m.two_theta_max);
    const bool radians_meant =
        turned < 180 && wavelength / (2 * std::sin(0.5 * radians(turned))) < least_spacing;
    findings.push_back({.kind = Kind::two_theta_range,
                        .severity = Severity::error,
                        .value = spacing,
                        .factor = radians_meant ? degrees(1) : Finding::none,
                        .position = m.two_theta_max});
}

} // namespace

std::vector<Finding> check_magnitudes(const Magnitudes& magnitudes) {
    std::vector<Finding> findings;
    check_energy(magnitudes, findings);
    check_lengths(magnitudes, findings);
    check_angles(magnitudes, findings);
    return findings;
}

std::vector<Finding> check_rotations(std::span<const double> rotation) {
    std::vector<Finding> findings;
    const std::size_t n = rotation.size();
    if (n < 2)
        return {{.kind = Kind::rotation_range, .severity = Severity::error, .value = 0}};
    std::vector<double> steps, directions;
    for (std::size_t i = 1; i < n; ++i)
        steps.push_back(std::abs(rotation[i] - rotation[i - 1]));
    const double step = midpoint_median(steps);
    const double range = std::abs(rotation[n - 1] - rotation[0]) + step;
    if (range < 30) {
        // Radians and turns are taken for degrees at times.
        double factor = Finding::none;
        for (const double unit : {degrees(1), 360.0})
            for (const double turn : {180.0, 360.0, 720.0})
                if (std::isnan(factor) && std::abs(range * unit / turn - 1) < 0.15)
                    factor = unit;
        return {{.kind = Kind::rotation_range,
                 .severity = Severity::error,
                 .value = range,
                 .factor = factor}};
    }
    if (range > 5000)
        findings.push_back({.kind = Kind::rotation_range,
                            .value = range,
                            .factor = within(1e-3 * range, 90, 1000) ? 1e-3 : Finding::none});
    for (const double angle : rotation)
        directions.push_back(angle - 180 * std::floor(angle / 180));
    std::ranges::sort(directions);
    double gap = directions.front() + 180 - directions.back();
    for (std::size_t i = 1; i < n; ++i)
        gap = std::max(gap, directions[i] - directions[i - 1]);
    if (gap > 40 && gap > 1.5 * step)
        findings.push_back({.kind = Kind::rotation_gap,
                            .severity = gap > 100 ? Severity::error : Severity::warning,
                            .value = gap});
    const auto least = std::ranges::min_element(steps);
    if (*least < 0.05 * step)
        findings.push_back(
            {.kind = Kind::rotation_spacing,
             .value = *least / step,
             .position = rotation[static_cast<std::size_t>(least - steps.begin()) + 1],
             .index = static_cast<std::size_t>(least - steps.begin()) + 1});
    return findings;
}

} // namespace xrdct::inspection
