// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/simulation.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "phantom/poisson.hpp"
#include "phantom/scan_model.hpp"
#include "phantom/smearing.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

void require_scan(bool condition, const char* setting, double value, const char* expected) {
    if (!condition)
        throw Error(fmt::format("simulated scan: {} is {}, expected {}", setting, value, expected));
}

void check_signs_and_strengths(const ScanDesign& s) {
    require_scan(s.rotation_sense == 1 || s.rotation_sense == -1, "rotation_sense",
                 s.rotation_sense, "1 or -1");
    require_scan(s.translation_sense == 1 || s.translation_sense == -1, "translation_sense",
                 s.translation_sense, "1 or -1");
    require_scan(std::isfinite(s.axis_offset), "axis_offset", s.axis_offset, "a length in mm");
    require_scan(s.counts > 0 && std::isfinite(s.counts), "counts", s.counts, "a positive number");
    require_scan(s.background >= 0, "background", s.background, "zero or more");
    require_scan(s.separator_peak >= 0, "separator_peak", s.separator_peak, "zero or more");
    require_scan(s.metal_grains >= 0 && std::isfinite(s.metal_grains), "metal_grains",
                 s.metal_grains, "a number of grains per mm");
    require_scan(std::abs(s.calibrant_shift) < 0.1 * s.distance, "calibrant_shift",
                 s.calibrant_shift, "less than a tenth of the distance, in mm");
    require_scan(s.separator_d > 0, "separator_d", s.separator_d, "a spacing in Å");
    require_scan(s.separator_fwhm > 0, "separator_fwhm", s.separator_fwhm, "a width in degrees");
    for (const auto& [name, value] :
         {std::pair{"sizes.metal", s.sizes.metal}, std::pair{"sizes.cathode", s.sizes.cathode},
          std::pair{"sizes.anode", s.sizes.anode}})
        require_scan(value > 0, name, value, "a size in Å");
}

} // namespace

ScanDesign resolved(ScanDesign s, const Standing& cell) {
    require_scan(cell.diameter > 0 && std::isfinite(cell.diameter), "outer_diameter", cell.diameter,
                 "a positive length in mm");
    require_scan(s.translations >= 1, "translations", 0, "at least 1");
    require_scan(s.rotations >= 1, "rotations", 0, "at least 1");
    require_scan(s.channels >= 1, "channels", 0, "at least 1");
    require_scan(std::isfinite(s.step) && s.step >= 0, "step", s.step, "a positive length in mm");
    if (s.step == 0)
        s.step = cell.field / static_cast<double>(s.translations);
    if (s.beam_width < 0)
        s.beam_width = s.step;
    require_scan(std::isfinite(s.beam_width) && s.beam_width < 100 * s.step, "beam_width",
                 s.beam_width, "a length in mm");
    require_scan(s.rotation_range > 0 && s.rotation_range <= 360, "rotation_range",
                 s.rotation_range, "180 or 360 degrees");
    for (std::size_t i : s.missing_rotations)
        require_scan(i < s.rotations, "missing_rotations", static_cast<double>(i),
                     "an index below the number of rotations");
    require_scan(s.two_theta_width > 0, "two_theta_width", s.two_theta_width, "a positive number");
    require_scan(s.two_theta_first > s.two_theta_width, "two_theta_first", s.two_theta_first,
                 "more than a channel");
    const double last =
        s.two_theta_first + static_cast<double>(s.channels) * s.two_theta_width + 2 * line_margin;
    require_scan(last < 80, "channels", static_cast<double>(s.channels), "an end below 2θ = 80°");
    require_scan(s.wavelength > 0.01 && s.wavelength < 10, "wavelength", s.wavelength,
                 "a wavelength in Å");
    require_scan(std::isfinite(cell.rotation), "rotation", cell.rotation, "an angle in degrees");
    require_scan(std::isfinite(cell.centre_x) && std::abs(cell.centre_x) < 1e3, "centre_x",
                 cell.centre_x, "a length in mm");
    require_scan(std::isfinite(cell.centre_y) && std::abs(cell.centre_y) < 1e3, "centre_y",
                 cell.centre_y, "a length in mm");
    require_scan(s.distance > 2 * (cell.diameter + std::hypot(cell.centre_x, cell.centre_y)),
                 "distance", s.distance, "more than two outer diameters, in mm");
    check_signs_and_strengths(s);
    for (std::size_t k = 0; k < 3; ++k) {
        const double two_theta = s.two_theta_first + 0.5 * static_cast<double>(k) *
                                                         static_cast<double>(s.channels - 1) *
                                                         s.two_theta_width;
        const double fwhm = instrument_shape(s.profile, 0, s.wavelength, two_theta).fwhm;
        require_scan(fwhm > 0.05 * s.two_theta_width && fwhm < 5, "profile (its FWHM in degrees)",
                     fwhm, "a width of at least a twentieth of a channel");
    }
    std::sort(s.missing_rotations.begin(), s.missing_rotations.end());
    s.missing_rotations.erase(std::unique(s.missing_rotations.begin(), s.missing_rotations.end()),
                              s.missing_rotations.end());
    require_scan(s.missing_rotations.size() < s.rotations, "missing_rotations",
                 static_cast<double>(s.missing_rotations.size()), "fewer than there are rotations");
    return s;
}

double lorentz_polarisation(double sin_squared) {
    const double c = 1 - 2 * sin_squared;
    return (1 + c * c) / (2 * sin_squared * std::sqrt(1 - sin_squared));
}

std::vector<double> strip_stencil(double step, double beam, std::size_t n_sub, std::size_t half) {
    const double a = 0.5 * step, b = 0.5 * beam, spacing = step / static_cast<double>(n_sub);
    const auto ramp_integral = [](double x) { return x > 0 ? 0.5 * x * x : 0.0; };
    const auto cumulative = [&](double x) {
        if (b < 1e-9 * a)
            return std::clamp((x + a) / (2 * a), 0.0, 1.0);
        return (ramp_integral(x + a + b) - ramp_integral(x + a - b) - ramp_integral(x - a + b) +
                ramp_integral(x - a - b)) /
               (4 * a * b);
    };
    std::vector<double> stencil;
    for (std::size_t i = 0; i < n_sub + 2 * half; ++i) {
        const double left = -a + (static_cast<double>(i) - static_cast<double>(half)) * spacing;
        stencil.push_back(cumulative(left + spacing) - cumulative(left));
    }
    return stencil;
}

std::vector<double> diffuse_shape(const ScanDesign& scan) {
    std::vector<double> shape(scan.channels);
    double sum = 0;
    for (std::size_t k = 0; k < scan.channels; ++k) {
        const double two_theta =
            scan.two_theta_first + static_cast<double>(k) * scan.two_theta_width;
        shape[k] = std::exp(-two_theta / 1.6) + 0.12;
        sum += shape[k] * scan.two_theta_width;
    }
    for (double& value : shape)
        value /= sum;
    return shape;
}

Simulation::Simulation(ScanDesign scan) : scan_(std::move(scan)) {
    const auto& missing = scan_.missing_rotations;
    for (std::size_t i = 0; i < scan_.rotations; ++i)
        if (!std::binary_search(missing.begin(), missing.end(), i))
            rotation_index_.push_back(i);
}

std::vector<double> Simulation::rotation() const {
    std::vector<double> angles;
    for (const std::size_t i : rotation_index_)
        angles.push_back(static_cast<double>(i) * scan_.rotation_range /
                         static_cast<double>(scan_.rotations));
    return angles;
}

std::vector<double> Simulation::axis() const {
    const std::size_t n = scan_.translations;
    std::vector<double> values(n);
    for (std::size_t i = 0; i < n; ++i)
        values[i] = (static_cast<double>(i) - 0.5 * (static_cast<double>(n) - 1)) * scan_.step;
    return values;
}

std::vector<double> Simulation::translation() const {
    return axis();
}

double Simulation::distance() const {
    return scan_.distance - scan_.calibrant_shift;
}

std::vector<double> Simulation::two_theta() const {
    std::vector<double> values(scan_.channels);
    const double stretch = scan_.distance / distance();
    for (std::size_t k = 0; k < values.size(); ++k) {
        values[k] = scan_.two_theta_first + static_cast<double>(k) * scan_.two_theta_width;
        if (stretch != 1)
            values[k] = degrees(std::atan(stretch * std::tan(radians(values[k]))));
    }
    return values;
}

void Simulation::check_line(std::size_t i_rotation, std::size_t intensities,
                            std::size_t transmissions) const {
    const std::size_t n = scan_.translations, n_channels = scan_.channels;
    if (i_rotation >= n_rotations() || intensities != n * n_channels || transmissions != n)
        throw Error(
            fmt::format("simulated scan: rotation {} of {} with room for {} intensities and {} "
                        "transmissions, expected {} and {}",
                        i_rotation, n_rotations(), intensities, transmissions, n * n_channels, n));
}

double Simulation::counts_scale(const LogHistogram& histogram) const {
    const double level = histogram.quantile(0.9999);
    if (!(level > 0))
        throw Error("simulated scan: no intensity in any channel; check the range of two_theta");
    return scan_.counts / level;
}

void Simulation::finish_rotation(std::size_t i_rotation, double scale,
                                 std::span<float> intensity) const {
    const std::size_t n = scan_.translations, n_channels = scan_.channels;
    if (i_rotation >= rotation_index_.size() || intensity.size() != n * n_channels)
        throw Error(
            fmt::format("simulated scan: rotation {} of {} with {} intensities, expected {}",
                        i_rotation, rotation_index_.size(), intensity.size(), n * n_channels));
    for (std::size_t t = 0; t < n; ++t) {
        RayRandom random(scan_.seed, rotation_index_[i_rotation], t);
        for (std::size_t k = 0; k < n_channels; ++k) {
            float& value = intensity[t * n_channels + k];
            const double mean = scale * value;
            value = static_cast<float>(scan_.noise ? random.poisson(mean) : mean);
        }
    }
}

} // namespace xrdct::phantom
