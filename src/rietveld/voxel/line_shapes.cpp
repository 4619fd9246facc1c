// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/voxel/line_shapes.hpp"

#include "base/units.hpp"
#include "rietveld/voxel/gauss_shapes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr double shape_taper_start = 0.8;
constexpr double curved_reach = 4;  ///< FWHM, beyond which curvature is left out
constexpr double far_channels = 20; ///< from a line, and
constexpr double far_widths = 3;    ///< FWHM: from there on cubics do
constexpr double smooth_taper = 4;  ///< least FWHM [channels] at which they follow the taper

Pack absolute(const Pack& x) {
    return x < 0.0f ? -x : x;
}

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
    return z * (1.0f - z2 * (1.0f / 3 - z2 * (1.0f / 5 - z2 * (1.0f / 7))));
}

/// Angle in (0, π) with tangent y / x, y > 0, by halving it so often, until it is below 1/4.
inline Pack wide_arctan(const Pack& y, const Pack& x, int halvings) {
    if (halvings == 0) {
        return small_arctan(y / x);
    }
    Pack t = y / (root_of(x * x + y * y) + x);
    for (int i = 1; i < halvings; ++i) {
        t = t / (1.0f + root_of(1.0f + t * t));
    }
    return static_cast<float>(1 << halvings) * small_arctan(t);
}

/// Halvings of the angle that a channel of half-width d [half-widths of the line] is seen in from
/// there, if its middle is at least `c` of these away.
int halvings_of(double c, double d) {
    const double x = 1 + c * c - d * d, y = 2 * d;
    // tan 0.24, 0.48, 0.96; tan 1.92 is negative
    return y < 0.244 * x ? 0 : y < 0.52 * x ? 1 : y < 1.42 * x ? 2 : y > -2.8 * x ? 3 : 4;
}

/// Where the profile's end lies for offsets of `c` half-widths: 0 before the taper, 1 at its end.
inline Pack taper_place(const Pack& c, double range) {
    const auto scale = static_cast<float>(0.5 / range / (1 - shape_taper_start));
    constexpr auto start = static_cast<float>(shape_taper_start / (1 - shape_taper_start));
    const Pack s = absolute(c) * scale - start;
    const Pack above = s > 0.0f ? s : 0.0f * s;
    return above < 1.0f ? above : 0.0f * above + 1.0f;
}

} // namespace

/// A line in what the loops need.
struct LineShapes::Place {
    double position, fwhm;
    float high, low;   ///< of the position
    float inverse;     ///< 2 / FWHM
    double widest = 0; ///< half-width of the channels around, in half-widths of the line

    Place(double at, double width)
        : position(at), fwhm(width), high(static_cast<float>(at)),
          low(static_cast<float>(at - static_cast<double>(high))),
          inverse(static_cast<float>(2 / width)) {}
    /// Offset in half-widths of what lies at `middle` + `rest`.
    Pack offset(const Pack& middle, const Pack& rest) const {
        return ((middle - high) + (rest - low)) * inverse;
    }
};

/// The packs of a line: [first, last) all; [begin, end) without the taper; [close_begin, close_end)
/// where the short series of the arc tangent does not do; [near_begin, near_end) where cubics do
/// not; [far_begin, far_end) what cubics are added for, but for the near ones.
struct LineShapes::Parts {
    std::size_t first, last, begin, end, close_begin, close_end, near_begin, near_end, far_begin,
        far_end;
};

LineShapes::LineShapes(const RadialAxis& axis, double range)
    : n_(axis.size()), packs_(padded(axis.size()) / simd_width), range_(range),
      edges_(axis.edges().begin(), axis.edges().end()), channels_(5, axis.size()),
      coarse_(3, padded(axis.size()) / simd_width) {
    first_ = edges_.front();
    per_degree_ = static_cast<double>(n_) / (edges_.back() - edges_.front());
    const double last = edges_[n_] - edges_[n_ - 1];
    const auto middle_of = [&](std::size_t k) {
        const std::size_t j = std::min(k, n_ - 1);
        return 0.5 * (edges_[j] + edges_[j + 1]) + static_cast<double>(k - j) * last;
    };
    for (std::size_t p = 0; p < padded(packs_); ++p) {
        const std::size_t k = p * simd_width, j = std::min(k, n_ - 1);
        const double middle = 0.5 * (middle_of(k) + middle_of(k + simd_width - 1));
        coarse_[0][p] = static_cast<float>(middle);
        coarse_[1][p] = static_cast<float>(middle - static_cast<double>(coarse_[0][p]));
        coarse_[2][p] = static_cast<float>(0.5 * (edges_[j + 1] - edges_[j]));
        for (std::size_t i = k; i < k + simd_width && p < packs_; ++i) {
            const double at = middle_of(i);
            const std::size_t c = std::min(i, n_ - 1);
            const double half = 0.5 * (edges_[c + 1] - edges_[c]);
            channels_[0][i] = static_cast<float>(at);
            channels_[1][i] = static_cast<float>(at - static_cast<double>(channels_[0][i]));
            channels_[2][i] = static_cast<float>(half);
            channels_[3][i] = static_cast<float>(1 / (2 * pi * half));
            channels_[4][i] = static_cast<float>(at - middle);
        }
    }
}

/// The channel in which an angle lies; the first or last one beyond the axis.
std::size_t LineShapes::channel_at(double two_theta) const {
    const double guess = (two_theta - first_) * per_degree_;
    auto k = static_cast<std::size_t>(std::clamp(guess, 0.0, static_cast<double>(n_ - 1)));
    while (k > 0 && edges_[k] > two_theta) {
        --k;
    }
    while (k + 1 < n_ && edges_[k + 1] <= two_theta) {
        ++k;
    }
    return k;
}

std::size_t LineShapes::pack_at(double two_theta) const {
    return channel_at(two_theta) / simd_width;
}

LineShapes::Parts LineShapes::parts_of(Place& at, bool far) const {
    const double x = at.position, reach = range_ * at.fwhm, core = shape_taper_start * reach;
    Parts parts{};
    parts.first = x - reach > edges_.front() ? pack_at(x - reach) : 0;
    parts.last = x + reach < edges_.back() ? pack_at(x + reach) + 1 : packs_;
    const std::size_t channel = channel_at(x), centre = channel / simd_width;
    // The widest channel around decides.
    double half = 0;
    for (const std::size_t i :
         {centre > 0 ? centre - 1 : 0, centre, std::min(centre + 1, packs_ - 1)}) {
        half = std::max(half, static_cast<double>(coarse_[2][i]));
    }
    at.widest = 2 * half / at.fwhm;
    const double per_width = 1 / (2 * half);
    parts.begin = parts.first;
    parts.end = parts.last;
    if (!far || at.fwhm * per_width < smooth_taper) {
        if (x - core > edges_.front()) {
            parts.begin = std::clamp(pack_at(x - core) + 1, parts.first, parts.last);
        }
        if (x + core < edges_.back()) {
            parts.end = std::clamp(pack_at(x + core), parts.begin, parts.last);
        }
    }
    const auto around = [&](double distance, std::size_t& begin, std::size_t& end) {
        const auto reached = static_cast<std::size_t>(distance * per_width) + 1;
        begin =
            std::clamp((channel - std::min(channel, reached)) / simd_width, parts.begin, parts.end);
        end = std::clamp((channel + reached) / simd_width + 1, parts.begin, parts.end);
    };
    const double ratio = at.widest, square = 8 * ratio + ratio * ratio - 1;
    const double close = square > 0 ? 0.5 * at.fwhm * std::sqrt(square) + half : 0;
    around(close, parts.close_begin, parts.close_end);
    if (!(square > 0)) {
        parts.close_end = parts.close_begin;
    }
    parts.near_begin = parts.begin;
    parts.near_end = parts.end;
    if (far) {
        around(std::max({far_widths * at.fwhm, far_channels * 2 * half, close}), parts.near_begin,
               parts.near_end);
        parts.far_begin = parts.begin;
        parts.far_end = parts.end;
    }
    return parts;
}

// With c and d the offset of a channel's middle and its half-width, both in units of the line's
// half-width: the average is the angle of (1 + c² − d², 2 d) over 2 π times the half-width, and the
// derivatives follow from q = 1 / ((1 + c² − d²)² + 4 d²), the product of the heights at its edges.
template <bool near_centre, std::size_t count>
void LineShapes::add_packs(const Place& at, std::size_t begin, std::size_t end,
                           const ShapeFactors* factors, float* const* targets) const {
    const double area = 2 / (pi * at.fwhm * at.fwhm);
    float value[count], moved[count], widened[count];
    for (std::size_t j = 0; j < count; ++j) {
        value[j] = factors[j].value;
        moved[j] = factors[j].position * static_cast<float>(4 * area);
        widened[j] = factors[j].fwhm * static_cast<float>(area);
    }
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]),
               *half = packs(channels_[2]), *density = packs(channels_[3]);
    const int halvings = near_centre ? halvings_of(0, at.widest) : 0;
    for (std::size_t i = begin; i < end; ++i) {
        const Pack c = at.offset(middle[i], rest[i]), d = at.inverse * half[i];
        const Pack e = c * c - d * d, s = 1.0f + e, twice = d + d;
        Pack average, q;
        if constexpr (near_centre) {
            q = 1.0f / (s * s + twice * twice);
            average = wide_arctan(twice, s, halvings) * density[i];
        } else {
            const Pack r = 1.0f / s, z = twice * r, z2 = z * z;
            const Pack guess = 1.0f - z2 * (1.0f - z2);
            q = r * r * guess * (2.0f - (1.0f + z2) * guess);
            average = small_arctan(z) * density[i];
        }
        const Pack cq = c * q, eq = (e - 1.0f) * q;
        for (std::size_t j = 0; j < count; ++j) {
            packs(targets[j])[i] += value[j] * average + moved[j] * cq + widened[j] * eq;
        }
    }
}

template <std::size_t count>
void LineShapes::add_tapered(const Place& at, std::size_t begin, std::size_t end,
                             const ShapeFactors* factors, float* const* targets) const {
    const double area = 2 / (pi * at.fwhm * at.fwhm);
    if (begin >= end) {
        return;
    }
    // The first pack may begin before the taper.
    const double nearest = 2 * shape_taper_start * range_ - 2 * simd_width * at.widest;
    const int halvings = halvings_of(std::max(nearest, 0.0), at.widest);
    const auto steep = static_cast<float>(30 / ((1 - shape_taper_start) * range_ * at.fwhm));
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]),
               *half = packs(channels_[2]), *density = packs(channels_[3]);
    for (std::size_t i = begin; i < end; ++i) {
        const Pack c = at.offset(middle[i], rest[i]), d = at.inverse * half[i];
        const Pack e = c * c - d * d, s = 1.0f + e, twice = d + d;
        const Pack q = 1.0f / (s * s + twice * twice);
        const Pack average = wide_arctan(twice, s, halvings) * density[i];
        const Pack t = taper_place(c, range_);
        const Pack weight = 1.0f - t * t * t * (10.0f - t * (15.0f - 6.0f * t));
        const Pack fall = steep * t * t * (1.0f - t) * (1.0f - t) * average;
        const Pack slope = c < 0.0f ? fall : -fall;
        for (std::size_t j = 0; j < count; ++j) {
            const auto moved = factors[j].position * static_cast<float>(4 * area);
            const auto widened = factors[j].fwhm * static_cast<float>(area);
            packs(targets[j])[i] += weight * (factors[j].value * average + moved * (c * q) +
                                              widened * ((e - 1.0f) * q)) -
                                    slope * (factors[j].position + factors[j].fwhm * 0.5f * c);
        }
    }
}

template <std::size_t count>
void LineShapes::add_lorentz_to(const Place& at, const Parts& parts, const ShapeFactors* factors,
                                float* const* targets) const {
    add_tapered<count>(at, parts.first, parts.begin, factors, targets);
    add_packs<false, count>(at, parts.near_begin, parts.close_begin, factors, targets);
    add_packs<true, count>(at, parts.close_begin, parts.close_end, factors, targets);
    add_packs<false, count>(at, parts.close_end, parts.near_end, factors, targets);
    add_tapered<count>(at, parts.end, parts.last, factors, targets);
}

namespace {

/// A Lorentzian of height 1 and its four derivatives with respect to c, averaged over channels of
/// half-width d.
inline void lorentz_derivatives(const Pack& c, const Pack& d, Pack (&t)[5]) {
    const Pack c2 = c * c, q = 1.0f / (1.0f + c2), q2 = q * q, q3 = q2 * q;
    t[2] = (6.0f * c2 - 2.0f) * q3;
    t[3] = -24.0f * c * (c2 - 1.0f) * q2 * q2;
    t[4] = (24.0f + 120.0f * c2 * (c2 - 2.0f)) * q3 * q2;
    const Pack sixth = d * d * (1.0f / 6);
    t[0] = q + sixth * t[2];
    t[1] = -2.0f * c * q2 + sixth * t[3];
    t[2] += sixth * t[4];
}

/// Times the taper, by Leibniz' rule; nothing beyond its end.
inline void taper_derivatives(const Pack& c, double range, Pack (&t)[5]) {
    const Pack s = taper_place(c, range);
    const auto unit = static_cast<float>(0.5 / range / (1 - shape_taper_start));
    const Pack none = 0.0f * c, one = none + 1.0f;
    const Pack inside = s < 1.0f ? one : none;
    const Pack rate = (c < 0.0f ? -one : one) * unit * (s > 0.0f ? one : none) * inside;
    const Pack w0 = 1.0f - s * s * s * (10.0f - s * (15.0f - 6.0f * s));
    const Pack w1 = -30.0f * s * s * (1.0f - s) * (1.0f - s) * rate;
    const Pack r2 = rate * rate;
    const Pack w2 = -60.0f * s * (1.0f - s) * (1.0f - 2.0f * s) * r2;
    const Pack w3 = -60.0f * (1.0f - 6.0f * s * (1.0f - s)) * r2 * rate;
    const Pack w4 = 360.0f * (1.0f - 2.0f * s) * r2 * r2;
    t[4] = t[4] * w0 + 4.0f * t[3] * w1 + 6.0f * t[2] * w2 + 4.0f * t[1] * w3 + t[0] * w4;
    t[3] = t[3] * w0 + 3.0f * t[2] * w1 + 3.0f * t[1] * w2 + t[0] * w3;
    t[2] = t[2] * w0 + 2.0f * t[1] * w1 + t[0] * w2;
    t[1] = t[1] * w0 + t[0] * w1;
    t[0] = t[0] * w0;
}

} // namespace

/// 1 for the packs from `lane` on that cubics are added for, else 0.
Pack LineShapes::used_lanes(std::size_t lane, const Parts& parts) {
    Pack used{};
    for (std::size_t i = 0; i < simd_width; ++i) {
        const std::size_t p = lane + i;
        const bool in = p >= parts.far_begin && p < parts.far_end &&
                        (p < parts.near_begin || p >= parts.near_end);
        used[i] = in ? 1.0f : 0.0f;
    }
    return used;
}

// The derivative with position is that along c, turned round; that with the width T / Γ of a shape
// T(c) is −(T + c T′) / Γ, whose n-th derivative is −((n + 1) T⁽ⁿ⁾ + c T⁽ⁿ⁺¹⁾) / Γ.
template <std::size_t count>
void LineShapes::add_far_to(const Place& at, const Parts& parts, const ShapeFactors* factors,
                            float* const* moments) const {
    const double height = 2 / (pi * at.fwhm), inverse = 2 / at.fwhm;
    const double powers[4] = {1, inverse, inverse * inverse / 2, inverse * inverse * inverse / 6};
    float own[count][4], moved[count], widened[count], power[4];
    for (std::size_t i = 0; i < 4; ++i) {
        power[i] = static_cast<float>(powers[i]);
    }
    for (std::size_t j = 0; j < count; ++j) {
        const double kv = height * static_cast<double>(factors[j].value);
        const double kw = -height / at.fwhm * static_cast<double>(factors[j].fwhm);
        for (std::size_t i = 0; i < 4; ++i) {
            own[j][i] = static_cast<float>(powers[i] * (kv + static_cast<double>(i + 1) * kw));
        }
        moved[j] = static_cast<float>(-height * inverse * static_cast<double>(factors[j].position));
        widened[j] = static_cast<float>(kw);
    }
    const Pack *middle = packs(coarse_[0]), *rest = packs(coarse_[1]), *half = packs(coarse_[2]);
    const auto core = static_cast<float>(2 * shape_taper_start * range_);
    for (std::size_t i = parts.far_begin / simd_width; i * simd_width < parts.far_end; ++i) {
        const std::size_t lane = i * simd_width;
        if (lane >= parts.near_begin && lane + simd_width <= parts.near_end) {
            continue;
        }
        const Pack c = at.offset(middle[i], rest[i]);
        Pack t[5];
        lorentz_derivatives(c, at.inverse * half[i], t);
        if (std::max(std::abs(c[0]), std::abs(c[simd_width - 1])) > core) {
            taper_derivatives(c, range_, t);
        }
        if (lane < parts.far_begin || lane + simd_width > parts.far_end ||
            (lane < parts.near_end && lane + simd_width > parts.near_begin)) {
            const Pack used = used_lanes(lane, parts);
            for (Pack& each : t) {
                each *= used;
            }
        }
        const Pack next[4] = {t[1], power[1] * t[2], power[2] * t[3], power[3] * t[4]};
        for (std::size_t j = 0; j < count; ++j) {
            const Pack along = moved[j] + widened[j] * c;
            for (std::size_t k = 0; k < 4; ++k) {
                packs(moments[4 * j + k])[i] += own[j][k] * t[k] + along * next[k];
            }
        }
    }
}

void LineShapes::add_far(FarField& far, float* const* targets) const {
    for (std::size_t j = 0; j < far.targets_; ++j) {
        float* moment[4];
        for (std::size_t k = 0; k < 4; ++k) {
            moment[k] = far.rows_[4 * j + k];
        }
        Pack* target = packs(targets[j]);
        const Pack* offset = packs(channels_[4]);
        for (std::size_t i = 0; i < packs_; ++i) {
            const Pack x = offset[i];
            target[i] += moment[0][i] + x * (moment[1][i] + x * (moment[2][i] + x * moment[3][i]));
        }
        for (float* each : moment) {
            std::fill_n(each, padded(packs_), 0.0f);
        }
    }
}

void LineShapes::add_lorentz(double position, double fwhm, std::span<const ShapeFactors> factors,
                             float* const* targets, FarField* far) const {
    if (!reaches(position, range_ * fwhm)) {
        return;
    }
    Place at(position, fwhm);
    const Parts parts = parts_of(at, far != nullptr);
    const auto add = [&]<std::size_t count>(std::size_t j) {
        add_lorentz_to<count>(at, parts, factors.data() + j, targets + j);
        if (far != nullptr) {
            std::array<float*, 4 * count> moments{};
            for (std::size_t i = 0; i < moments.size(); ++i) {
                moments[i] = far->rows_[4 * j + i];
            }
            add_far_to<count>(at, parts, factors.data() + j, moments.data());
        }
    };
    constexpr std::size_t most = 4;
    for (std::size_t j = 0; j < factors.size(); j += most) {
        switch (std::min(factors.size() - j, most)) {
        case 1:
            add.template operator()<1>(j);
            break;
        case 2:
            add.template operator()<2>(j);
            break;
        case 3:
            add.template operator()<3>(j);
            break;
        default:
            add.template operator()<most>(j);
        }
    }
}

LineShapes::Curvature LineShapes::curvature(double position, double fwhm, double mixing,
                                            const float* weight) const {
    const double reach = std::min(curved_reach, range_) * fwhm;
    if (!reaches(position, reach)) {
        return {};
    }
    const std::size_t first = pack_at(position - reach), last = pack_at(position + reach) + 1;
    const Pack *middle = packs(channels_[0]), *rest = packs(channels_[1]), *r = packs(weight);
    const Place at(position, fwhm);
    Pack position2{}, mixed{}, second{}, third{}, fourth{};
    // L = 1 / (1 + c²) over the width, and exp(−c² ln 2): its derivatives are Hermite polynomials
    // times itself, and that with its variance is half the second one with position.
    constexpr auto argument = static_cast<float>(0.8325546111576977); // √(ln 2)
    for (std::size_t i = first; i < last; ++i) {
        const Pack c = at.offset(middle[i], rest[i]);
        const Pack c2 = c * c, q = 1.0f / (1.0f + c2), q3 = r[i] * q * q * q;
        position2 += q3 * (3.0f * c2 - 1.0f);
        mixed += q3 * c * (c2 - 3.0f);
        const Pack z = argument * c, y = z * z, e = r[i] * exp_minus(y);
        second += e * (4.0f * y - 2.0f);
        third += e * z * (8.0f * y - 12.0f);
        fourth += e * (16.0f * y * y - 48.0f * y + 12.0f);
    }
    const double cube = fwhm * fwhm * fwhm;
    const double lorentz = mixing * 2 / (pi * cube), gauss = (1 - mixing) * gauss_height / cube;
    return {
        8 * lorentz * sum_of(position2) + gauss * gauss_argument * gauss_argument * sum_of(second),
        4 * lorentz * sum_of(mixed) + 0.5 * gauss * gauss_argument * sum_of(third),
        -2 * lorentz * sum_of(position2) + gauss * (0.5 * sum_of(second) + 0.25 * sum_of(fourth))};
}

} // namespace xrdct::rietveld
