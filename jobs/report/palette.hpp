// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

namespace xrdct::report {

using Rgb = std::array<std::uint8_t, 3>;

/// Colour maps of the pictures; all but `diverging` run from dark to light in even steps of
/// lightness.
enum class Palette { viridis, inferno, magma, cividis, diverging };

/// Equidistant anchor colours, lowest value first; colours between them are linear in RGB.
std::span<const Rgb> palette_anchors(Palette palette);

/// The n-th colour for things that have no order (phases, statuses), told apart with any colour
/// vision; repeats after 8.
Rgb category_colour(std::size_t n);
/// Of lines of categories, gnuplot's number: another one where the colours begin anew.
std::size_t category_dashes(std::size_t n);

/// The n-th colour for outcomes of a fit: the first pale (all is well), the others standing out
/// from it.
Rgb outcome_colour(std::size_t n);

/// Colour of outcomes that say "nothing here" rather than "something failed".
inline constexpr Rgb neutral_colour{247, 240, 220};

/// "#rrggbb".
std::string hex_colour(Rgb colour);

/// Colour of voxels without a value (NaN).
inline constexpr Rgb missing_colour{226, 226, 226};

} // namespace xrdct::report
