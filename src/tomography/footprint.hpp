// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the library: closed forms of the strip footprint.

#include <algorithm>
#include <cmath>

#include "base/simd.hpp"

namespace xrdct::tomography {

/// Most samples under one pixel, or pixels under one sample, that the projector takes.
inline constexpr std::size_t max_taps = 64;

/// Cumulative distribution of the sum of up to three centred boxes of unit area, widths in one
/// unit. Differences of it over a fourth box of the width of a bin are the weights; neighbouring
/// bins share an edge.
struct FootprintEdge {
    FootprintEdge(double width_1, double width_2, double width_3)
        : wide(std::max(width_1, width_2)), narrow(std::min(width_1, width_2)), beam(width_3) {
        // Boxes this narrow change a weight by less than 1e-7 and only cost digits.
        if (narrow < 1e-6)
            narrow = 0;
        if (beam < 1e-3)
            beam = 0;
    }
    double wide, narrow, beam;

    double half_width() const { return 0.5 * (wide + narrow + beam); }
    double operator()(double u) const;
};

/// The same in single precision for eight places at once. Without a beam the distribution is
/// piecewise quadratic. With one, it is the difference of its integral at both ends of the beam,
/// where the integral is max(u, 0) + a remainder of compact support, so that no digits are lost far
/// from the centre.
template <bool with_beam>
struct FootprintEdge8 {
    // One parameter per element: the eight may be rotations or pixels of one rotation.
    simd::Float8 flat, narrow, inverse_wide, quadratic, cubic, half_beam, inverse_beam;

    [[gnu::always_inline]] simd::Float8 without_beam(simd::Float8 u) const {
        using namespace simd;
        const Float8 inner = clamp(u, flat), outer = clamp(u, flat + narrow);
        const Float8 q = outer - inner;
        return 0.5F + outer * inverse_wide - q * absolute(q) * quadratic;
    }
    [[gnu::always_inline]] simd::Float8 remainder(simd::Float8 u) const {
        using namespace simd;
        const Float8 v = absolute(u);
        const Float8 m = minimum(v, flat);
        const Float8 r = minimum(maximum(flat + narrow - v, broadcast(0)), narrow);
        return r * r * r * cubic + (flat - m) * (0.5F - 0.5F * (flat + m) * inverse_wide);
    }
    [[gnu::always_inline]] simd::Float8 operator()(simd::Float8 u) const {
        using namespace simd;
        if constexpr (with_beam) {
            const Float8 a = u + half_beam, b = u - half_beam;
            return (maximum(a, broadcast(0)) - maximum(b, broadcast(0)) +
                    (remainder(a) - remainder(b))) *
                   inverse_beam;
        } else {
            return without_beam(u);
        }
    }

    /// Weights of `taps` bins, [tap][lane]: the first ends at `first_edge`, relative to the centre
    /// of the footprint, which begins in it and ends before the upper edge of the last.
    template <std::size_t n_taps>
    [[gnu::always_inline]] void weights(simd::Float8 first_edge, float* w, std::size_t taps) const {
        using namespace simd;
        if constexpr (n_taps == 3 && !with_beam) {
            // The trapezoid up to d ≤ 1 from its lower end, and beyond e from its upper end, which
            // lies in the ramp or the flat part: the trapezoid is at most 2 wide, e at most half.
            const Float8 half = flat + narrow, d = minimum(first_edge + half, half + half);
            const Float8 e = maximum(half - 1.0F - first_edge, broadcast(0));
            const Float8 d_rise = minimum(d, narrow), e_rise = minimum(e, narrow);
            const Float8 d_fall = maximum(d - (flat + half), broadcast(0));
            const Float8 first =
                quadratic * (d_rise * d_rise - d_fall * d_fall) + inverse_wide * (d - d_rise);
            const Float8 last = quadratic * (e_rise * e_rise) + inverse_wide * (e - e_rise);
            store(w, first);
            store(w + simd::width, 1.0F - first - last);
            store(w + 2 * simd::width, last);
        } else {
            Float8 u = first_edge, before = broadcast(0);
            XRDCT_UNROLL(16)
            for (std::size_t t = 0; t + 1 < taps; ++t) {
                const Float8 here = (*this)(u);
                store(w + t * simd::width, here - before);
                before = here;
                u += 1.0F;
            }
            store(w + (taps - 1) * simd::width, 1.0F - before);
        }
    }

    void set(std::size_t lane, const FootprintEdge& edge) {
        flat[lane] = static_cast<float>(0.5 * (edge.wide - edge.narrow));
        narrow[lane] = static_cast<float>(edge.narrow);
        inverse_wide[lane] = static_cast<float>(1 / edge.wide);
        quadratic[lane] = edge.narrow > 0 ? static_cast<float>(0.5 / (edge.wide * edge.narrow)) : 0;
        cubic[lane] = edge.narrow > 0 ? static_cast<float>(1 / (6 * edge.wide * edge.narrow)) : 0;
        half_beam[lane] = static_cast<float>(0.5 * edge.beam);
        inverse_beam[lane] = edge.beam > 0 ? static_cast<float>(1 / edge.beam) : 0;
    }
    /// The same in all elements.
    void set(const FootprintEdge& edge) {
        set(0, edge);
        for (simd::Float8* parameter :
             {&flat, &narrow, &inverse_wide, &quadratic, &cubic, &half_beam, &inverse_beam})
            *parameter = simd::broadcast((*parameter)[0]);
    }
};

inline double FootprintEdge::operator()(double u) const {
    const double flat = 0.5 * (wide - narrow);
    const auto distribution = [&](double x) {
        const double v = std::abs(x);
        const double q = std::clamp(v - flat, 0.0, narrow);
        const double g = (std::min(v, flat) + q - (narrow > 0 ? q * q / (2 * narrow) : 0)) / wide;
        return 0.5 + std::copysign(g, x);
    };
    if (beam == 0)
        return distribution(u);
    const auto remainder = [&](double x) {
        const double v = std::abs(x), m = std::min(v, flat);
        const double r = std::clamp(flat + narrow - v, 0.0, narrow);
        return (narrow > 0 ? r * r * r / (6 * wide * narrow) : 0) +
               (flat - m) * (0.5 - 0.5 * (flat + m) / wide);
    };
    const double a = u + 0.5 * beam, b = u - 0.5 * beam;
    return (std::max(a, 0.0) - std::max(b, 0.0) + remainder(a) - remainder(b)) / beam;
}

} // namespace xrdct::tomography
