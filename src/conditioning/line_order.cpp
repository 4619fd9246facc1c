// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/line_order.hpp"

#include "conditioning/zigzag.hpp"

#include <algorithm>

namespace xrdct::conditioning {

bool LineOrder::is_flipped(std::size_t stored) const {
    return (flip == FlipLines::odd && stored % 2 == 1) ||
           (flip == FlipLines::even && stored % 2 == 0);
}

double LineOrder::shift_of(std::size_t stored) const {
    return (stored % 2 == 0) == even_displaced ? lag : 0.0;
}

void LineOrder::apply(std::span<float> line, std::size_t width, std::size_t stored,
                      bool variances) const {
    if (is_flipped(stored))
        reverse_line(line, width);
    shift_line(line, width, shift_of(stored), variances);
}

std::vector<float> LineOrder::arrange(std::span<const float> plane,
                                      std::span<const std::size_t> rows,
                                      std::size_t n_translation) const {
    std::vector<float> result(rows.size() * n_translation);
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const std::span<float> line(result.data() + row * n_translation, n_translation);
        std::ranges::copy(plane.subspan(rows[row] * n_translation, n_translation), line.begin());
        apply(line, 1, rows[row], false);
    }
    return result;
}

} // namespace xrdct::conditioning
