// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/ring_texture.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace xrdct::phantom {

namespace {

constexpr std::size_t steps = 180; ///< of half a degree

/// W as a function of β has its poles at tan β = ± i r^1.5, and what the trapezoidal rule leaves
/// out of a period falls with exp(−n Im β).
std::size_t trapezoid_points(double r) {
    const double pole = std::atanh(std::min({std::pow(r, 1.5), std::pow(r, -1.5), 0.9}));
    return static_cast<std::size_t>(std::ceil(18 / pole));
}

} // namespace

double ring_texture(double r, double cos_psi, double sin_theta, double cos_delta) {
    if (!(r >= min_texture && r <= largest_texture))
        throw Error(fmt::format("the March coefficient is {}, expected {} to {}", r, min_texture,
                                largest_texture));
    const auto root = [](double cosine) { return std::sqrt(std::max(0.0, 1 - cosine * cosine)); };
    const double sin_psi = root(cos_psi), cos_theta = root(sin_theta), sin_delta = root(cos_delta);
    // The halves of both circles are alike: mid-points of the upper ones.
    const std::size_t n = (trapezoid_points(r) + 1) / 2;
    const double square_factor = r * r - 1 / r, rest = 1 / r;
    std::vector<double> cosines(n);
    for (std::size_t i = 0; i < n; ++i)
        cosines[i] = std::cos(pi * (static_cast<double>(i) + 0.5) / static_cast<double>(n));
    double sum = 0;
    for (const double cos_chi : cosines) {
        const double cos_alpha = cos_theta * sin_psi * cos_chi - sin_theta * cos_psi;
        const double along = cos_alpha * cos_delta, across = root(cos_alpha) * sin_delta;
        for (const double cos_phi : cosines) {
            const double cos_beta = along + across * cos_phi;
            const double base = square_factor * cos_beta * cos_beta + rest;
            sum += 1 / (base * std::sqrt(base));
        }
    }
    return sum / static_cast<double>(n * n);
}

double cos_to_basal_normal(const crystal::UnitCell& cell, const crystal::Miller& hkl) {
    return std::min(1.0, std::abs(hkl[2]) / (cell.c * std::sqrt(cell.inverse_d_squared(hkl))));
}

TextureTable::TextureTable(double r, std::span<const Line> lines, std::size_t padded)
    : padded_(padded), table_((steps + 1) * 2 * padded, 0.0F) {
    for (std::size_t i = 0; i <= steps; ++i) {
        float* value = &table_[i * 2 * padded];
        std::fill_n(value, padded, 1.0F);
        const double cos_psi = std::cos(0.5 * pi * static_cast<double>(i) / steps);
        for (std::size_t l = 0; l < lines.size(); ++l)
            value[l] = static_cast<float>(
                ring_texture(r, cos_psi, lines[l].sin_theta, lines[l].cos_delta));
    }
    for (std::size_t i = 0; i < steps; ++i) {
        float* value = &table_[i * 2 * padded];
        for (std::size_t l = 0; l < padded; ++l)
            value[padded + l] = value[2 * padded + l] - value[l];
    }
}

TextureTable::Place TextureTable::at(float psi) const {
    constexpr auto per_radian = static_cast<float>(steps / (0.5 * pi));
    const float position = psi * per_radian;
    const auto i = std::min(static_cast<std::size_t>(position), steps);
    const float* value = &table_[i * 2 * padded_];
    return {value, value + padded_, position - static_cast<float>(i)};
}

} // namespace xrdct::phantom
