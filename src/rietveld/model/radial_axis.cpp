// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/radial_axis.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace xrdct::rietveld {

namespace {

void check_wavelength(double wavelength) {
    if (!std::isfinite(wavelength) || wavelength <= 0) {
        throw Error(
            fmt::format("wavelength is {} angstrom, expected a positive number", wavelength));
    }
}

void check_ascending(std::span<const double> values, const char* what, double low, double high) {
    if (values.size() < 3) {
        throw Error(fmt::format("{}: {} channels, expected at least three", what, values.size()));
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (!std::isfinite(values[i])) {
            throw Error(fmt::format("{}: channel {} is not a finite number", what, i));
        }
        if (values[i] <= low || values[i] >= high) {
            throw Error(fmt::format("{}: channel {} is {}, expected a value between {} and {}",
                                    what, i, values[i], low, high));
        }
        if (i > 0 && values[i] <= values[i - 1]) {
            throw Error(fmt::format("{}: values must ascend, but channel {} is {} after {}", what,
                                    i, values[i], values[i - 1]));
        }
    }
}

/// Edges half-way between centres, in the unit in which the channels were made.
std::vector<double> midpoints(std::span<const double> centres) {
    const std::size_t n = centres.size();
    std::vector<double> edges(n + 1);
    for (std::size_t i = 1; i < n; ++i) {
        edges[i] = 0.5 * (centres[i - 1] + centres[i]);
    }
    edges[0] = 2 * centres[0] - edges[1];
    edges[n] = 2 * centres[n - 1] - edges[n - 1];
    return edges;
}

} // namespace

RadialAxis::RadialAxis(std::vector<double> centres, std::vector<double> edges, double wavelength)
    : centres_(std::move(centres)), edges_(std::move(edges)), wavelength_(wavelength) {}

RadialAxis RadialAxis::from_two_theta(std::span<const double> two_theta, double wavelength) {
    check_wavelength(wavelength);
    check_ascending(two_theta, "two_theta axis [deg]", 0, 180);
    return {std::vector<double>(two_theta.begin(), two_theta.end()), midpoints(two_theta),
            wavelength};
}

RadialAxis RadialAxis::from_q(std::span<const double> q, double wavelength) {
    check_wavelength(wavelength);
    const double largest = 4 * pi / wavelength;
    check_ascending(q, "q axis [1/angstrom]", 0, largest);
    const auto convert = [&](std::vector<double> values) {
        for (double& value : values) {
            value = 2 * degrees(std::asin(std::clamp(value / largest, -1.0, 1.0)));
        }
        return values;
    };
    return {convert(std::vector<double>(q.begin(), q.end())), convert(midpoints(q)), wavelength};
}

RadialAxis RadialAxis::from_radius(std::span<const double> radius, double distance,
                                   double wavelength) {
    check_wavelength(wavelength);
    if (!std::isfinite(distance) || distance <= 0) {
        throw Error(fmt::format("distance is {} mm, expected a positive number", distance));
    }
    check_ascending(radius, "radius axis [mm]", 0, std::numeric_limits<double>::infinity());
    const auto convert = [&](std::vector<double> values) {
        for (double& value : values) {
            value = degrees(std::atan2(value, distance));
        }
        return values;
    };
    return {convert(std::vector<double>(radius.begin(), radius.end())), convert(midpoints(radius)),
            wavelength};
}

RadialAxis RadialAxis::with_wavelength(double wavelength) const {
    check_wavelength(wavelength);
    return {centres_, edges_, wavelength};
}

} // namespace xrdct::rietveld
