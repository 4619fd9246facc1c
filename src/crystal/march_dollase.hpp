// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "crystal/phase.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::crystal {

/// March–Dollase distribution W(β; r) = (r² cos²β + sin²β / r)^(−3/2) of a preferred-orientation
/// direction at angle β from the fibre axis (Dollase, J. Appl. Cryst. 19 (1986) 267); its mean over
/// the sphere is 1. r < 1: platelets that lie across the axis, r = 1: none, r > 1: needles across
/// it.
double march_dollase(double cos_beta, double r);

/// Range of r that the series below are made for.
inline constexpr double min_march = 0.2, largest_march = 5;
/// Terms that suffice for it: l = 0, 2, …
inline constexpr std::size_t march_terms = 81;

/// Coefficients w_l [term] of W = Σ w_l P_l(cos β), l = 0, 2, …, those that matter. Throws Error
/// for an r outside the range.
std::vector<double> march_coefficients(double r);

/// ⟨P_l(cos δ)⟩ [count], l = 0, 2, …, over the symmetry-equivalent reflections of `hkl`, with δ the
/// angle between a reflection and the preferred-orientation direction `axis`, both in reciprocal
/// space. Throws Error for 0 0 0.
std::vector<double> axis_moments(const Phase& phase, const UnitCell& cell, const Miller& hkl,
                                 const Miller& axis, std::size_t count = march_terms);

/// For a fibre axis at angle ψ from the beam, diffraction vectors across the beam (small 2θ) and an
/// azimuthal mean, the factor of a line is
///
///     M(ψ) = (1/2π) ∫ P(α, δ) dχ,     cos α = sin ψ cos χ
///
/// with P(α, δ) the pole density, the mean of W over the circle about the fibre axis. By the
/// addition theorem of the Legendre polynomials, once for either mean,
///
///     M(ψ) = Σ_l w_l P_l(0) ⟨P_l(cos δ)⟩ P_l(cos ψ) = Σ_h m_2h cos 2hψ
///
/// ring_weights() gives [term] the numbers whose product with axis_moments() is
/// Σ_h harmonics[h] m_2h; {1} asks for m_0, the mean over ψ.
std::vector<double> ring_weights(std::span<const double> coefficients,
                                 std::span<const double> harmonics);

} // namespace xrdct::crystal
