// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/gauss_shapes.hpp"

#include "base/units.hpp"
#include "rietveld/voxel/line_shapes.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::rietveld {

namespace {

constexpr double gauss_reach = 2.15; ///< FWHM; the height there is 3e-6
constexpr double smooth_gauss = 2.5; ///< least FWHM [channels] of the series below
constexpr double taper_begin = 0.8;  ///< of the range

/// ½ erf z and exp(−z²) between nodes of a table.
class GaussTable {
  public:
    GaussTable() {
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            const double z = spacing * static_cast<double>(i);
            const double density = std::exp(-z * z);
            nodes_[i] = {0.5 * std::erf(z), density / std::sqrt(pi) * spacing, density,
                         -2 * z * density * spacing};
        }
    }
    /// Both at `z` of either sign; beyond the table those of its end.
    void at(double z, double& distribution, double& density) const {
        const double place = std::min(std::abs(z), end) / spacing;
        const auto i = std::min(static_cast<std::size_t>(place), nodes_.size() - 2);
        const double t = place - static_cast<double>(i);
        const Node &a = nodes_[i], &b = nodes_[i + 1];
        const double u = 1 - t, left = u * u * (1 + 2 * t), right = t * t * (3 - 2 * t);
        const double rise = u * u * t, fall = -t * t * u;
        distribution = left * a.distribution + right * b.distribution +
                       rise * a.distribution_slope + fall * b.distribution_slope;
        distribution = std::copysign(distribution, z);
        density =
            left * a.density + right * b.density + rise * a.density_slope + fall * b.density_slope;
    }

  private:
    static constexpr double end = 4.5, spacing = 1.0 / 32;
    struct Node {
        double distribution = 0, distribution_slope = 0, density = 0, density_slope = 0;
    };
    std::array<Node, 145> nodes_;
};

const GaussTable& gauss_table() {
    static const GaussTable table;
    return table;
}

/// Weight and its slope per FWHM of the profiles' end at `offset` FWHM.
struct Taper {
    double weight = 1, slope = 0;
    Taper(double offset, double range) {
        const double t = std::abs(offset) / range;
        if (t <= taper_begin) {
            return;
        }
        const double s = std::min((t - taper_begin) / (1 - taper_begin), 1.0);
        weight = 1 - s * s * s * (10 - s * (15 - 6 * s));
        slope = -30 * s * s * (1 - s) * (1 - s) / ((1 - taper_begin) * range);
        slope = offset < 0 ? std::abs(slope) : -std::abs(slope);
    }
};

/// The average of exp(−z²) over a channel of half-width d about z is exp(−y) P(y), y = z², a series
/// in d² with Hermite polynomials; so are its derivatives, of z up to a factor z, and with the
/// width.
struct GaussSeries {
    std::array<float, 5> average{}, moved{};
    std::array<float, 6> widened{};

    explicit GaussSeries(double d) {
        constexpr double hermite[5][5] = {{1, 0, 0, 0, 0},
                                          {-2, 4, 0, 0, 0},
                                          {12, -48, 16, 0, 0},
                                          {-120, 720, -480, 64, 0},
                                          {1680, -13440, 13440, -3584, 256}};
        constexpr double factorial[5] = {1, 6, 120, 5040, 362880};
        double p[6] = {}, by_width[6] = {}, power = 1;
        for (std::size_t k = 0; k < 5; ++k, power *= d * d) {
            for (std::size_t i = 0; i < 5; ++i) {
                const double term = power / factorial[k] * hermite[k][i];
                p[i] += term;
                by_width[i] += static_cast<double>(2 * k) * term;
            }
        }
        for (std::size_t i = 0; i < 6; ++i) {
            const double derivative = i < 5 ? static_cast<double>(i + 1) * p[i + 1] : 0;
            const double slope = 2 * (derivative - p[i]); // of the average, over z
            const double before =
                i > 0 ? 2 * (static_cast<double>(i) * p[i] - p[i - 1]) : 0; // of y^(i − 1)
            if (i < 5) {
                average[i] = static_cast<float>(p[i]);
                moved[i] = static_cast<float>(slope);
            }
            widened[i] = static_cast<float>(-(p[i] + before + by_width[i]));
        }
    }
};

} // namespace

void LineShapes::add_gauss(double position, double fwhm, std::span<const ShapeFactors> factors,
                           float* const* targets) const {
    const double reach = gauss_reach * fwhm;
    if (!reaches(position, std::min(gauss_reach, range_) * fwhm)) {
        return;
    }
    const std::size_t first = pack_at(position - reach), last = pack_at(position + reach) + 1;
    // Channels hardly differ over so short a way.
    const auto half = static_cast<double>(coarse_[2][pack_at(position)]);
    if (fwhm < smooth_gauss * 2 * half || gauss_reach > taper_begin * range_) {
        add_sharp_gauss(position, fwhm, factors, targets);
        return;
    }
    const GaussSeries series(gauss_argument * half / fwhm);
    const auto high = static_cast<float>(position);
    const auto low = static_cast<float>(position - static_cast<double>(high));
    const auto inverse = static_cast<float>(gauss_argument / fwhm);
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]);
    const double height = gauss_height / fwhm;
    const auto unit = static_cast<float>(height), per_width = static_cast<float>(height / fwhm),
               along = static_cast<float>(-gauss_argument * height / fwhm);
    const auto& [a, m, w] = series;
    for (std::size_t i = first; i < last; ++i) {
        const Pack z = ((middle[i] - high) + (rest[i] - low)) * inverse, y = z * z;
        const Pack e = exp_minus(y);
        const Pack average = unit * e * (a[0] + y * (a[1] + y * (a[2] + y * (a[3] + y * a[4]))));
        const Pack moved = along * e * z * (m[0] + y * (m[1] + y * (m[2] + y * (m[3] + y * m[4]))));
        const Pack widened =
            per_width * e * (w[0] + y * (w[1] + y * (w[2] + y * (w[3] + y * (w[4] + y * w[5])))));
        for (std::size_t j = 0; j < factors.size(); ++j) {
            packs(targets[j])[i] += factors[j].value * average + factors[j].position * moved +
                                    factors[j].fwhm * widened;
        }
    }
}

void LineShapes::add_sharp_gauss(double position, double fwhm,
                                 std::span<const ShapeFactors> factors,
                                 float* const* targets) const {
    const double reach = std::min(gauss_reach, range_) * fwhm;
    const std::size_t first = pack_at(position - reach) * simd_width;
    const std::size_t last = std::min((pack_at(position + reach) + 1) * simd_width, n_);
    const GaussTable& table = gauss_table();
    const double inverse = 1 / fwhm;
    double u0 = (edges_[first] - position) * inverse, below = 0, lower = 0;
    table.at(gauss_argument * u0, below, lower);
    for (std::size_t k = first; k < last; ++k) {
        const double u1 = (edges_[k + 1] - position) * inverse;
        double above = 0, upper = 0;
        table.at(gauss_argument * u1, above, upper);
        const double per_width = 1 / (edges_[k + 1] - edges_[k]);
        double average = (above - below) * per_width;
        double moved = -gauss_height * inverse * (upper - lower) * per_width;
        double widened = -gauss_height * inverse * (u1 * upper - u0 * lower) * per_width;
        const double offset = 0.5 * (u0 + u1);
        if (std::abs(offset) > taper_begin * range_) {
            const Taper taper(offset, range_);
            moved = moved * taper.weight - inverse * average * taper.slope;
            widened = widened * taper.weight - inverse * average * taper.slope * offset;
            average *= taper.weight;
        }
        for (std::size_t j = 0; j < factors.size(); ++j) {
            targets[j][k] += factors[j].value * static_cast<float>(average) +
                             factors[j].position * static_cast<float>(moved) +
                             factors[j].fwhm * static_cast<float>(widened);
        }
        u0 = u1;
        below = above;
        lower = upper;
    }
}

} // namespace xrdct::rietveld
