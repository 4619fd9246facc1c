// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/line_shapes.hpp"

#include "base/units.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::rietveld {

namespace {

constexpr double gauss_argument = 1.6651092223153956; // 2 √(ln 2)
constexpr double gauss_height = 0.9394372786996513;   // 2 √(ln 2 / π), at fwhm 1
constexpr double gauss_reach = 2.4;                   // FWHM; the height there is 1e-7
constexpr double shape_taper_start = 0.8;
constexpr double curved_reach = 4; ///< FWHM, beyond which curvature is left out

Pack root_of(const Pack& x) {
    Pack root;
    for (std::size_t i = 0; i < simd_width; ++i) {
        root[i] = std::sqrt(x[i]);
    }
    return root;
}

/// atan z, |z| ≤ 1/4.
inline Pack small_arctan(const Pack& z) {
    const Pack z2 = z * z;
    return z * (1.0f - z2 * (1.0f / 3 - z2 * (1.0f / 5 - z2 * (1.0f / 7 - z2 * (1.0f / 9)))));
}

/// Angle in (0, π) with tangent y / x, y > 0, by halving it four times.
Pack wide_arctan(const Pack& y, const Pack& x) {
    Pack t = y / (root_of(x * x + y * y) + x);
    for (int i = 0; i < 3; ++i) {
        t = t / (1.0f + root_of(1.0f + t * t));
    }
    return 16.0f * small_arctan(t);
}

/// ½ erf z and exp(−z²), z ≥ 0, between nodes of a table.
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
        if (t <= shape_taper_start) {
            return;
        }
        const double s = std::min((t - shape_taper_start) / (1 - shape_taper_start), 1.0);
        weight = 1 - s * s * s * (10 - s * (15 - 6 * s));
        slope = -30 * s * s * (1 - s) * (1 - s) / ((1 - shape_taper_start) * range);
        slope = std::copysign(slope, -offset);
    }
};

} // namespace

LineShapes::LineShapes(const RadialAxis& axis, double range)
    : n_(axis.size()), packs_(padded(axis.size()) / simd_width), range_(range),
      edges_(axis.edges().begin(), axis.edges().end()), channels_(4, axis.size()) {
    first_ = edges_.front();
    per_degree_ = static_cast<double>(n_) / (edges_.back() - edges_.front());
    const double last = edges_[n_] - edges_[n_ - 1];
    for (std::size_t k = 0; k < padded(n_); ++k) {
        const double beyond = k < n_ ? 0 : static_cast<double>(k - n_ + 1) * last;
        const std::size_t j = std::min(k, n_ - 1);
        const double middle = 0.5 * (edges_[j] + edges_[j + 1]) + beyond;
        const double half = 0.5 * (edges_[j + 1] - edges_[j]);
        channels_[0][k] = static_cast<float>(middle);
        channels_[1][k] = static_cast<float>(middle - static_cast<double>(channels_[0][k]));
        channels_[2][k] = static_cast<float>(half);
        channels_[3][k] = static_cast<float>(1 / (2 * pi * half));
    }
}

/// The pack in which the channel at an angle lies; the first or last one beyond the axis.
std::size_t LineShapes::pack_at(double two_theta) const {
    const double guess = (two_theta - first_) * per_degree_;
    auto k = static_cast<std::size_t>(std::clamp(guess, 0.0, static_cast<double>(n_ - 1)));
    while (k > 0 && edges_[k] > two_theta) {
        --k;
    }
    while (k + 1 < n_ && edges_[k + 1] <= two_theta) {
        ++k;
    }
    return k / simd_width;
}

// With c and d the offset of a channel's middle and its half-width, both in units of the line's
// half-width: the average is the angle of (1 + c² − d², 2 d) over 2 π times the half-width, and the
// derivatives follow from q = 1 / ((1 + c² − d²)² + 4 d²), the product of the heights at its edges.
template <std::size_t count>
void LineShapes::add_lorentz_to(double position, double fwhm, const ShapeFactors* factors,
                                float* const* targets) const {
    const double reach = range_ * fwhm;
    if (position + reach < edges_.front() || position - reach > edges_.back()) {
        return;
    }
    const auto high = static_cast<float>(position);
    const auto low = static_cast<float>(position - static_cast<double>(high));
    const auto inverse = static_cast<float>(2 / fwhm);
    const double area = 2 / (pi * fwhm * fwhm);
    float value[count], moved[count], widened[count];
    for (std::size_t j = 0; j < count; ++j) {
        value[j] = factors[j].value;
        moved[j] = factors[j].position * static_cast<float>(4 * area);
        widened[j] = factors[j].fwhm * static_cast<float>(area);
    }
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]),
               *half = packs(channels_[2]), *density = packs(channels_[3]);
    const auto offset = [&](std::size_t i) {
        return ((middle[i] - high) + (rest[i] - low)) * inverse;
    };
    const auto store = [&](std::size_t i, const Pack& average, const Pack& cq, const Pack& eq) {
        for (std::size_t j = 0; j < count; ++j) {
            packs(targets[j])[i] += value[j] * average + moved[j] * cq + widened[j] * eq;
        }
    };
    const auto far = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const Pack c = offset(i), d = inverse * half[i];
            const Pack e = c * c - d * d;
            const Pack r = 1.0f / (1.0f + e);
            const Pack z = (d + d) * r, z2 = z * z;
            const Pack guess = 1.0f - z2 * (1.0f - z2);
            const Pack q = r * r * guess * (2.0f - (1.0f + z2) * guess);
            store(i, small_arctan(z) * density[i], c * q, (e - 1.0f) * q);
        }
    };
    const auto near = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const Pack c = offset(i), d = inverse * half[i];
            const Pack e = c * c - d * d, s = 1.0f + e, twice = d + d;
            const Pack q = 1.0f / (s * s + twice * twice);
            store(i, wide_arctan(twice, s) * density[i], c * q, (e - 1.0f) * q);
        }
    };
    const auto tapered = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
            const Pack c = offset(i), d = inverse * half[i];
            const Pack e = c * c - d * d, s = 1.0f + e, twice = d + d;
            const Pack q = 1.0f / (s * s + twice * twice);
            const Pack average = wide_arctan(twice, s) * density[i];
            Pack weight, slope;
            for (std::size_t lane = 0; lane < simd_width; ++lane) {
                const Taper taper(0.5 * static_cast<double>(c[lane]), range_);
                weight[lane] = static_cast<float>(taper.weight);
                slope[lane] = static_cast<float>(taper.slope / fwhm);
            }
            for (std::size_t j = 0; j < count; ++j) {
                packs(targets[j])[i] +=
                    weight *
                        (value[j] * average + moved[j] * (c * q) + widened[j] * (e - 1.0f) * q) -
                    slope * average * (factors[j].position + factors[j].fwhm * 0.5f * c);
            }
        }
    };
    // The widest channel decides how far the short series of the arc tangent does not do.
    const double core = shape_taper_start * reach;
    const std::size_t first = pack_at(position - reach), last = pack_at(position + reach) + 1;
    const std::size_t centre = pack_at(position);
    double widest = 0;
    for (const std::size_t i :
         {centre > 0 ? centre - 1 : 0, centre, std::min(centre + 1, packs_ - 1)}) {
        widest = std::max(widest, static_cast<double>(channels_[2][i * simd_width]));
    }
    const double ratio = 2 * widest / fwhm;
    const double close =
        0.5 * fwhm * std::sqrt(std::max(8 * ratio + ratio * ratio - 1, 0.0)) + widest;
    const auto within = [&](std::size_t i) { return std::clamp(i, first, last); };
    std::size_t begin =
        within(position - core <= edges_.front() ? first : pack_at(position - core) + 1);
    std::size_t end = within(position + core >= edges_.back() ? last : pack_at(position + core));
    end = std::max(end, begin);
    const auto inside = [&](std::size_t i) { return std::clamp(i, begin, end); };
    const std::size_t near_begin = inside(pack_at(position - close)),
                      near_end = inside(pack_at(position + close) + 1);
    tapered(first, begin);
    far(begin, near_begin);
    near(near_begin, near_end);
    far(near_end, end);
    tapered(end, last);
}

void LineShapes::add_lorentz(double position, double fwhm, std::span<const ShapeFactors> factors,
                             float* const* targets) const {
    constexpr std::size_t most = 4;
    for (std::size_t j = 0; j < factors.size(); j += most) {
        const ShapeFactors* f = factors.data() + j;
        switch (std::min(factors.size() - j, most)) {
        case 1:
            add_lorentz_to<1>(position, fwhm, f, targets + j);
            break;
        case 2:
            add_lorentz_to<2>(position, fwhm, f, targets + j);
            break;
        case 3:
            add_lorentz_to<3>(position, fwhm, f, targets + j);
            break;
        default:
            add_lorentz_to<most>(position, fwhm, f, targets + j);
        }
    }
}

void LineShapes::add_gauss(double position, double fwhm, std::span<const ShapeFactors> factors,
                           float* const* targets) const {
    const double reach = std::min(gauss_reach, range_) * fwhm;
    if (position + reach < edges_.front() || position - reach > edges_.back()) {
        return;
    }
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
        if (std::abs(offset) > shape_taper_start * range_) {
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

LineShapes::Curvature LineShapes::curvature(double position, double fwhm, double mixing,
                                            const float* weight) const {
    const double reach = std::min(curved_reach, range_) * fwhm;
    if (position + reach < edges_.front() || position - reach > edges_.back()) {
        return {};
    }
    const std::size_t first = pack_at(position - reach), last = pack_at(position + reach) + 1;
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]), *r = packs(weight);
    const auto high = static_cast<float>(position);
    const auto low = static_cast<float>(position - static_cast<double>(high));
    const auto inverse = static_cast<float>(2 / fwhm);
    Pack position2{}, mixed{}, fwhm2{};
    // L = 1 / (1 + c²) over the width: second derivatives in units of 1 / FWHM²
    for (std::size_t i = first; i < last; ++i) {
        const Pack c = ((middle[i] - high) + (rest[i] - low)) * inverse;
        const Pack c2 = c * c, q = 1.0f / (1.0f + c2), q3 = r[i] * q * q * q;
        position2 += q3 * (3.0f * c2 - 1.0f);
        mixed += q3 * c * (c2 - 3.0f);
        fwhm2 += q3 * (1.0f - 3.0f * c2);
    }
    const double lorentz = mixing * 2 / (pi * fwhm * fwhm * fwhm);
    Curvature sum{8 * lorentz * sum_of(position2), 4 * lorentz * sum_of(mixed),
                  2 * lorentz * sum_of(fwhm2)};
    if (mixing < 1) {
        add_gauss_curvature(position, fwhm, 1 - mixing, weight, sum);
    }
    return sum;
}

// The derivatives of exp(−z²) are Hermite polynomials times itself, and a Gaussian's derivative
// with its variance is half its second one with position.
void LineShapes::add_gauss_curvature(double position, double fwhm, double part, const float* weight,
                                     Curvature& sum) const {
    constexpr double extent = 2;
    const double reach = std::min(extent, range_) * fwhm;
    if (position + reach < edges_.front() || position - reach > edges_.back()) {
        return;
    }
    const std::size_t first = pack_at(position - reach) * simd_width;
    const std::size_t last = std::min((pack_at(position + reach) + 1) * simd_width, n_);
    const GaussTable& table = gauss_table();
    double second = 0, third = 0, fourth = 0;
    for (std::size_t k = first; k < last; ++k) {
        const double z = gauss_argument * (0.5 * (edges_[k] + edges_[k + 1]) - position) / fwhm;
        double ignored = 0, density = 0;
        table.at(z, ignored, density);
        density *= static_cast<double>(weight[k]);
        const double z2 = z * z;
        second += density * (4 * z2 - 2);
        third += density * z * (8 * z2 - 12);
        fourth += density * (16 * z2 * z2 - 48 * z2 + 12);
    }
    const double height = part * gauss_height / (fwhm * fwhm * fwhm);
    sum.position += height * gauss_argument * gauss_argument * second;
    sum.mixed += 0.5 * height * gauss_argument * third;
    sum.fwhm += height * (0.5 * second + 0.25 * fourth);
}

} // namespace xrdct::rietveld
