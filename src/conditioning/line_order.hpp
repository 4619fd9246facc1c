// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::conditioning {

/// Which lines run backwards in what is stored (and are to be turned).
enum class FlipLines { automatic, none, odd, even };

/// How stored lines are brought into place: every second one may run backwards or be displaced.
struct LineOrder {
    FlipLines flip = FlipLines::none;
    double lag = 0;              ///< steps towards higher translations, of displaced lines
    bool even_displaced = false; ///< the lag is that of even lines, not of odd ones

    /// Whether line `stored` (counted from 0 as stored) runs backwards.
    bool is_flipped(std::size_t stored) const;
    /// Steps by which the line is moved back.
    double shift_of(std::size_t stored) const;
    /// Turns and moves a line [translation][`width` values]; `variances`: weights enter squared.
    void apply(std::span<float> line, std::size_t width, std::size_t stored, bool variances) const;
    /// Rows of `plane` [stored line][translation], each in its place: [row][translation].
    std::vector<float> arrange(std::span<const float> plane, std::span<const std::size_t> rows,
                               std::size_t n_translation) const;
};

} // namespace xrdct::conditioning
