// SPDX-License-Identifier: BSD-3-Clause
#include "support/structures.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <random>

namespace xrdct::test {

namespace {

std::string cif(const std::string& symmetry, double a, double b, double c, double alpha,
                double beta, double gamma, const std::string& atoms) {
    return fmt::format("data_x\n_cell_length_a {}\n_cell_length_b {}\n_cell_length_c {}\n"
                       "_cell_angle_alpha {}\n_cell_angle_beta {}\n_cell_angle_gamma {}\n"
                       "_symmetry_space_group_name_H-M '{}'\n"
                       "loop_\n_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n"
                       "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
                       "_atom_site_B_iso_or_equiv\n{}",
                       a, b, c, alpha, beta, gamma, symmetry, atoms);
}

} // namespace

crystal::Phase iron(const std::string& name) {
    return crystal::Phase::from_cif_text(
        cif("I m -3 m", 2.8665, 2.8665, 2.8665, 90, 90, 90, "Fe1 Fe 0 0 0 1 0.4\n"), "iron", name);
}

crystal::Phase copper(const std::string& name) {
    return crystal::Phase::from_cif_text(
        cif("F m -3 m", 3.6149, 3.6149, 3.6149, 90, 90, 90, "Cu1 Cu 0 0 0 1 0.5\n"), "copper",
        name);
}

crystal::Phase aluminium(const std::string& name) {
    return crystal::Phase::from_cif_text(
        cif("F m -3 m", 4.0495, 4.0495, 4.0495, 90, 90, 90, "Al1 Al 0 0 0 1 0.8\n"), "aluminium",
        name);
}

crystal::Phase dilute_lithium_graphite(const std::string& name) {
    return crystal::Phase::from_cif_text(cif("P 6/m m m", 4.288, 4.288, 7.065, 90, 90, 120,
                                             "C1 C 0.3333333 0 0.25 1 0.6\nLi1 Li 0 0 0 1 1.5\n"),
                                         "dilute lithium graphite", name);
}

crystal::Phase cathode(const std::string& name) {
    return crystal::Phase::from_cif_text(cif("R -3 m", 2.87, 2.87, 14.25, 90, 90, 120,
                                             "Li1 Li 0 0 0 1 1\nNi1 Ni 0 0 0.5 0.5 0.4\n"
                                             "Mn1 Mn 0 0 0.5 0.3 0.4\nCo1 Co 0 0 0.5 0.2 0.4\n"
                                             "O1 O 0 0 0.2585 1 0.8\n"),
                                         "cathode", name);
}

crystal::Phase lithium_graphite(const std::string& name) {
    return crystal::Phase::from_cif_text(cif("P 6/m m m", 4.305, 4.305, 3.706, 90, 90, 120,
                                             "C1 C 0.3333333 0 0.5 1 0.6\nLi1 Li 0 0 0 1 1.5\n"),
                                         "lithium graphite", name);
}

crystal::Phase triclinic(const std::string& name) {
    return crystal::Phase::from_cif_text(cif("P -1", 4.1, 4.7, 5.3, 83, 97, 106,
                                             "Si1 Si 0.1 0.2 0.3 1 0.5\nO1 O 0.4 0.1 0.7 1 0.9\n"),
                                         "triclinic", name);
}

crystal::Phase monoclinic(const std::string& name) {
    return crystal::Phase::from_cif_text(
        cif("P 1 21/c 1", 4.6, 5.1, 5.4, 90, 99, 90,
            "Ti1 Ti 0.27 0.04 0.2 1 0.5\nO1 O 0.07 0.33 0.34 1 0.6\n"),
        "monoclinic", name);
}

rietveld::RadialAxis cell_axis(std::size_t channels) {
    std::vector<double> two_theta;
    for (std::size_t i = 0; i < channels; ++i) {
        two_theta.push_back(1.2 + 0.00566 * static_cast<double>(i));
    }
    return rietveld::RadialAxis::from_two_theta(two_theta, 0.11979);
}

std::vector<double> simple_pattern(const rietveld::RadialAxis& axis,
                                   const std::vector<SimpleSample>& samples) {
    const double pi = std::acos(-1.0), degree = pi / 180;
    const double wavelength = axis.wavelength();
    std::vector<double> y(axis.size(), 0.0);
    for (const SimpleSample& sample : samples) {
        const double d_min = wavelength / (2 * std::sin(axis.edges().back() * degree / 2)) * 0.9;
        for (const crystal::Reflection& r :
             sample.phase.reflections(d_min, {12.398419843320026 / wavelength})) {
            const double h = r.hkl[0], k = r.hkl[1], l = r.hkl[2];
            const double inverse = sample.c == 0
                                       ? (h * h + k * k + l * l) / (sample.a * sample.a)
                                       : 4.0 / 3 * (h * h + h * k + k * k) / (sample.a * sample.a) +
                                             l * l / (sample.c * sample.c);
            const double theta = std::asin(wavelength * std::sqrt(inverse) / 2);
            const double position = 2 * theta / degree;
            const double factor = (1 + std::pow(std::cos(2 * theta), 2)) /
                                  (2 * std::pow(std::sin(theta), 2) * std::cos(theta));
            const double area = sample.scale * r.multiplicity * r.structure_factor_squared * factor;
            for (std::size_t i = 0; i < axis.size(); ++i) {
                if (std::abs(axis.two_theta()[i] - position) > 1.5) {
                    continue;
                }
                double sum = 0;
                for (int q = 0; q < 16; ++q) {
                    const double x = axis.edges()[i] + axis.width(i) * (q + 0.5) / 16 - position;
                    const double g = sample.gauss / 2.3548200450309493;
                    sum += (1 - sample.mixing) * std::exp(-0.5 * x * x / (g * g)) /
                           (g * std::sqrt(2 * pi));
                    if (sample.mixing > 0) {
                        const double half = sample.lorentz / 2;
                        sum += sample.mixing * half / (pi * (x * x + half * half));
                    }
                }
                y[i] += area * sum / 16;
            }
        }
    }
    return y;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

double robust_spread(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const auto at = [&](double q) {
        return values[static_cast<std::size_t>(
            std::lround(q * static_cast<double>(values.size() - 1)))];
    };
    return (at(0.84135) - at(0.15865)) / 2;
}

NoisyPattern noisy_pattern(const std::vector<double>& exact, double counts, unsigned seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    const double highest = *std::max_element(exact.begin(), exact.end());
    NoisyPattern p;
    for (const double value : exact) {
        const double variance = highest * (std::max(value, 0.0) + 0.02 * highest) / counts;
        p.y.push_back(static_cast<float>(value + std::sqrt(variance) * normal(random)));
        p.variance.push_back(static_cast<float>(variance));
    }
    return p;
}

} // namespace xrdct::test
