// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/model/peak_profile.hpp"

#include "base/units.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::rietveld {

namespace {

constexpr double gauss_argument = 1.6651092223153956; // 2 √(ln 2)
constexpr double gauss_height = 0.9394372786996513;   // 2 √(ln 2 / π), at fwhm 1
constexpr double lorentz_height = 0.6366197723675814; // 2 / π, at fwhm 1
constexpr double gauss_extent = 3.4;                  // FWHM; erfc there is 1e-15
constexpr double taper_start = 0.8;

/// atan b − atan a for b > a, without cancellation far from 0.
double arctan_difference(double a, double b) {
    const double denominator = 1 + a * b;
    if (denominator > 0) {
        const double z = (b - a) / denominator;
        if (z < 0.02) {
            const double z2 = z * z;
            return z * (1 - z2 * (1.0 / 3 - z2 * (1.0 / 5 - z2 * (1.0 / 7))));
        }
        return std::atan(z);
    }
    return std::atan(b) - std::atan(a);
}

} // namespace

PeakWidths peak_widths(const InstrumentProfile& instrument, double two_theta, double wavelength,
                       double size, double microstrain, double gauss_microstrain) {
    const double theta = radians(two_theta) / 2;
    const double tangent = std::tan(theta);
    const double cosine = std::cos(theta);
    const double strain_width = degrees(4 * gauss_microstrain * tangent);
    const double gauss_squared = (instrument.u * tangent + instrument.v) * tangent + instrument.w +
                                 strain_width * strain_width;
    PeakWidths widths;
    widths.gauss = gauss_squared > 0 ? std::sqrt(gauss_squared) : 0;
    widths.lorentz = instrument.x / cosine + instrument.y * tangent + instrument.z +
                     degrees(scherrer_constant * wavelength / (size * cosine)) +
                     degrees(4 * microstrain * tangent);
    return widths;
}

PseudoVoigt pseudo_voigt(const PeakWidths& widths) {
    const double g = std::max(widths.gauss, 0.0);
    const double l = std::max(widths.lorentz, 0.0);
    const double g2 = g * g, l2 = l * l;
    const double sum = g2 * g2 * g + 2.69269 * g2 * g2 * l + 2.42843 * g2 * g * l2 +
                       4.47163 * g2 * l2 * l + 0.07842 * g * l2 * l2 + l2 * l2 * l;
    PseudoVoigt result;
    result.fwhm = std::pow(sum, 0.2);
    if (result.fwhm <= 0) {
        return result;
    }
    const double f = result.fwhm;
    const double denominator = 1 / (5 * f * f * f * f);
    result.fwhm_gauss = (5 * g2 * g2 + 4 * 2.69269 * g2 * g * l + 3 * 2.42843 * g2 * l2 +
                         2 * 4.47163 * g * l2 * l + 0.07842 * l2 * l2) *
                        denominator;
    result.fwhm_lorentz = (2.69269 * g2 * g2 + 2 * 2.42843 * g2 * g * l + 3 * 4.47163 * g2 * l2 +
                           4 * 0.07842 * g * l2 * l + 5 * l2 * l2) *
                          denominator;
    const double q = l / f;
    result.mixing = q * (1.36603 - q * (0.47719 - q * 0.11116));
    const double slope = 1.36603 - q * (2 * 0.47719 - q * 3 * 0.11116);
    result.mixing_gauss = -slope * q / f * result.fwhm_gauss;
    result.mixing_lorentz = slope / f * (1 - q * result.fwhm_lorentz);
    return result;
}

void channel_averaged_profile(const RadialAxis& axis, double position, double fwhm, double mixing,
                              double range, bool derivatives, ProfileBuffer& out) {
    const auto centres = axis.two_theta();
    const auto edges = axis.edges();
    const double reach = range * fwhm;
    const auto begin = std::lower_bound(centres.begin(), centres.end(), position - reach);
    const auto end = std::upper_bound(begin, centres.end(), position + reach);
    const auto first = static_cast<std::size_t>(begin - centres.begin());
    const auto count = static_cast<std::size_t>(end - begin);
    out.first = first;
    out.value.resize(count);
    const std::size_t derivative_count = derivatives ? count : 0;
    out.position.resize(derivative_count);
    out.fwhm.resize(derivative_count);
    out.mixing.resize(derivative_count);

    const double inverse_fwhm = 1 / fwhm;
    double gauss_distribution = 0; // (1 + erf) / 2 − 1 / 2 at the lower edge
    double gauss_density = 0, lorentz_density = 0;
    const auto gauss_at = [&](double u, double& distribution, double& density) {
        if (std::abs(u) < gauss_extent) {
            const double z = gauss_argument * u;
            distribution = 0.5 * std::erf(z);
            density = gauss_height * std::exp(-z * z);
        } else {
            distribution = u < 0 ? -0.5 : 0.5;
            density = 0;
        }
    };
    double u0 = count > 0 ? (edges[first] - position) * inverse_fwhm : 0;
    gauss_at(u0, gauss_distribution, gauss_density);
    lorentz_density = lorentz_height / (1 + 4 * u0 * u0);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t k = first + i;
        const double u1 = (edges[k + 1] - position) * inverse_fwhm;
        double next_distribution = 0, next_gauss = 0;
        gauss_at(u1, next_distribution, next_gauss);
        const double next_lorentz = lorentz_height / (1 + 4 * u1 * u1);
        const double inverse_width = 1 / (edges[k + 1] - edges[k]);
        const double gauss = (next_distribution - gauss_distribution) * inverse_width;
        const double lorentz = arctan_difference(2 * u0, 2 * u1) / pi * inverse_width;
        const double average = mixing * lorentz + (1 - mixing) * gauss;

        double weight = 1, slope = 0; // of the taper, slope per FWHM
        const double offset = (centres[k] - position) * inverse_fwhm;
        const double t = std::abs(offset) / range;
        if (t > taper_start) {
            const double s = std::min((t - taper_start) / (1 - taper_start), 1.0);
            weight = 1 - s * s * s * (10 - s * (15 - 6 * s));
            slope = -30 * s * s * (1 - s) * (1 - s) / ((1 - taper_start) * range);
            if (offset < 0) {
                slope = -slope;
            }
        }
        out.value[i] = average * weight;
        if (derivatives) {
            const double lower = mixing * lorentz_density + (1 - mixing) * gauss_density;
            const double upper = mixing * next_lorentz + (1 - mixing) * next_gauss;
            out.position[i] =
                inverse_fwhm * (-(upper - lower) * inverse_width * weight - average * slope);
            out.fwhm[i] = inverse_fwhm * (-(u1 * upper - u0 * lower) * inverse_width * weight -
                                          average * slope * offset);
            out.mixing[i] = (lorentz - gauss) * weight;
        }
        u0 = u1;
        gauss_distribution = next_distribution;
        gauss_density = next_gauss;
        lorentz_density = next_lorentz;
    }
}

} // namespace xrdct::rietveld
