// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/standard_pattern.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/poisson.hpp"
#include "phantom/scan_model.hpp"
#include "phantom/smearing.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

constexpr double background_share = 0.01; ///< of the highest channel, at the first one
/// No rotation of a scan has this index.
constexpr std::uint64_t own_stream = ~std::uint64_t{0};

} // namespace

std::vector<double> standard_pattern(const ScanDesign& scan, const crystal::Phase& standard,
                                     double counts) {
    const auto centre = [&](std::size_t k) {
        return scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width;
    };
    const double last = centre(scan.channels) + line_margin;
    const double d_min = scan.wavelength / (2 * std::sin(0.5 * radians(last)));
    std::vector<double> pattern(scan.channels, 0.0);
    for (const crystal::PowderLine& line : merge_coincident(
             standard.reflections(d_min), standard.crystal_system(), standard.unique_axis())) {
        const double sin_squared =
            0.25 * scan.wavelength * scan.wavelength * standard.cell().inverse_d_squared(line.hkl);
        const double two_theta = degrees(2 * std::asin(std::sqrt(sin_squared)));
        const double strength = line.intensity * lorentz_polarisation(sin_squared);
        const PeakShape shape = instrument_shape(scan.profile, 0, scan.wavelength, two_theta);
        for (std::size_t k = 0; k < pattern.size(); ++k)
            pattern[k] += strength * shape.mean(centre(k) - two_theta, scan.two_theta_width);
    }
    const double highest = *std::max_element(pattern.begin(), pattern.end());
    if (!(highest > 0))
        throw Error(fmt::format("simulated standard: no line of {} lies between 2theta {} and {}",
                                standard.name(), centre(0), centre(scan.channels - 1)));
    RayRandom random(scan.seed, own_stream, 0);
    for (std::size_t k = 0; k < pattern.size(); ++k) {
        const double background = background_share * std::exp(-(centre(k) - centre(0)) / 4);
        const double mean = counts * (pattern[k] / highest + background);
        pattern[k] = scan.noise ? random.poisson(mean) : mean;
    }
    return pattern;
}

} // namespace xrdct::phantom
