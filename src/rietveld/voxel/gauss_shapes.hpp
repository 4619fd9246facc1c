// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the voxel fitter.

#include "rietveld/voxel/simd_rows.hpp"

#include <cstdint>
#include <cstring>

namespace xrdct::rietveld {

inline constexpr double gauss_argument = 1.6651092223153956; ///< 2 √(ln 2)
inline constexpr double gauss_height = 0.9394372786996513;   ///< 2 √(ln 2 / π), at FWHM 1

/// exp(−y), y ≥ 0, relative error 3e-7; 0 beyond 80.
inline Pack exp_minus(const Pack& y) {
    using Integers = std::int32_t __attribute__((vector_size(simd_width * sizeof(float))));
    const Pack bounded = y < 80.0f ? y : 0.0f * y + 80.0f;
    const Pack place = -1.44269504f * bounded;
    const Integers whole = __builtin_convertvector(place - 0.5f, Integers);
    const Pack part = place - __builtin_convertvector(whole, Pack); // −½ … ½
    const Pack x = 0.693147181f * part;
    const Pack power =
        1.0f +
        x * (1.0f + x * (0.5f + x * (1.0f / 6 + x * (1.0f / 24 + x * (1.0f / 120 + x / 720.0f)))));
    const Integers bits = (whole + 127) << 23;
    Pack scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

} // namespace xrdct::rietveld
