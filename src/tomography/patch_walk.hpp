// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the library: what a back-projection is asked for, and the order in which the pixels of
// a tile are worked on.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace xrdct::tomography::gather {

/// Place of pixel (ix, iy) on the translation axis, in samples: origin + ix kx + iy ky.
struct Line {
    double origin, kx, ky;
};

/// Active pixels of a row: [begin, end).
struct RowRange {
    std::size_t begin, end;
};

struct Problem {
    std::vector<Line> lines; // per rotation
    std::size_t translations = 0;
    std::size_t n = 0;          // image n × n
    std::vector<RowRange> rows; // n
};

/// Pixels of a tile that are worked on together, in the order of the work, by their distance
/// from a reference pixel (which need not lie in the image).
struct Patch {
    struct Pixel {
        float dx, dy;
        std::ptrdiff_t sum; // place of its sums, pixels from those of the reference
    };
    std::vector<Pixel> pixels;
    double x = 0, y = 0;             // reference pixel
    std::ptrdiff_t sum = 0;          // place of its sums in the tile
    std::array<double, 4> corner_dx, // a parallelogram around all pixels
        corner_dy;
};

/// Cuts a tile into patches that follow the rays of neighbouring rotations: `columns` pixels wide
/// on the axis on which the rays lie closest to perpendicular, `lines` long on the other, shifted
/// from line to line along the rays, and worked on column by column. Pixels of a column gather from
/// the same few samples, those of the next from one sample further: few enough of all rotations to
/// stay in the first-level cache.
class PatchWalk {
  public:
    /// `along`: a typical one of the rotations. The tile is [x0, x1) × [y0, y1).
    PatchWalk(const Problem& problem, const Line& along, RowRange x, RowRange y, std::size_t pitch,
              std::size_t lines, std::size_t columns)
        : problem_(problem), fast_is_x_(std::abs(along.kx) >= std::abs(along.ky)), x_(x), y_(y),
          pitch_(pitch), columns_(static_cast<std::ptrdiff_t>(columns)), lines_(lines) {
        const double k_fast = fast_is_x_ ? along.kx : along.ky;
        const double k_slow = fast_is_x_ ? along.ky : along.kx;
        slope_ = k_fast != 0 ? -k_slow / k_fast : 0;
        for (std::size_t l = 0; l < lines; ++l)
            shift_.push_back(std::lround(slope_ * static_cast<double>(l)));
        for (std::size_t iy = y.begin; iy < y.end; ++iy)
            all_active_ =
                all_active_ && problem.rows[iy].begin <= x.begin && problem.rows[iy].end >= x.end;
        line_ = slow().begin;
        start_line();
    }

    /// The next patch that has pixels; false: there is none.
    bool next(Patch& patch) {
        for (; line_ < slow().end; line_ += lines_, start_line())
            while (column_ < static_cast<std::ptrdiff_t>(fast().end) - lowest_shift_) {
                fill(patch);
                column_ += columns_;
                if (!patch.pixels.empty())
                    return true;
            }
        return false;
    }

  private:
    const RowRange& fast() const { return fast_is_x_ ? x_ : y_; }
    const RowRange& slow() const { return fast_is_x_ ? y_ : x_; }

    void start_line() {
        here_ = line_ < slow().end ? std::min(lines_, slow().end - line_) : 1;
        lowest_shift_ = std::min<std::ptrdiff_t>(0, shift_[here_ - 1]);
        column_ = static_cast<std::ptrdiff_t>(fast().begin) -
                  std::max<std::ptrdiff_t>(0, shift_[here_ - 1]);
    }

    void fill(Patch& patch) {
        const auto pitch = static_cast<std::ptrdiff_t>(pitch_);
        const auto fast_begin = static_cast<std::ptrdiff_t>(fast().begin),
                   fast_end = static_cast<std::ptrdiff_t>(fast().end);
        const std::ptrdiff_t df = column_ - fast_begin,
                             dl = static_cast<std::ptrdiff_t>(line_ - slow().begin);
        patch.sum = fast_is_x_ ? dl * pitch + df : df * pitch + dl;
        const std::ptrdiff_t last_shift = shift_[here_ - 1];
        const bool whole = all_active_ &&
                           column_ + std::min<std::ptrdiff_t>(0, last_shift) >= fast_begin &&
                           column_ + columns_ + std::max<std::ptrdiff_t>(0, last_shift) <= fast_end;
        // One whole patch has the pixels of the other.
        if (!whole || whole_lines_ != here_)
            list(patch);
        whole_lines_ = whole ? here_ : 0;

        const auto column = static_cast<double>(column_), line = static_cast<double>(line_);
        patch.x = fast_is_x_ ? column : line;
        patch.y = fast_is_x_ ? line : column;
        // The shifts are rounded: half a pixel to both sides.
        const double last = static_cast<double>(here_ - 1), wide = static_cast<double>(columns_);
        for (std::size_t corner = 0; corner < 4; ++corner) {
            const double l = corner / 2 == 0 ? 0 : last;
            const double f = slope_ * l + (corner % 2 == 0 ? -0.5 : wide - 0.5);
            patch.corner_dx[corner] = fast_is_x_ ? f : l;
            patch.corner_dy[corner] = fast_is_x_ ? l : f;
        }
    }

    void list(Patch& patch) const {
        const auto pitch = static_cast<std::ptrdiff_t>(pitch_);
        patch.pixels.clear();
        for (std::ptrdiff_t c = 0; c < columns_; ++c)
            for (std::size_t l = 0; l < here_; ++l) {
                const std::ptrdiff_t d_fast = c + shift_[l], at = column_ + d_fast;
                if (at < static_cast<std::ptrdiff_t>(fast().begin) ||
                    at >= static_cast<std::ptrdiff_t>(fast().end))
                    continue;
                const auto f = static_cast<std::size_t>(at);
                const std::size_t ix = fast_is_x_ ? f : line_ + l, iy = fast_is_x_ ? line_ + l : f;
                const RowRange& row = problem_.rows[iy];
                if (ix < row.begin || ix >= row.end)
                    continue;
                const auto df = static_cast<float>(d_fast), dl = static_cast<float>(l);
                const auto d_line = static_cast<std::ptrdiff_t>(l);
                patch.pixels.push_back(
                    {fast_is_x_ ? df : dl, fast_is_x_ ? dl : df,
                     fast_is_x_ ? d_line * pitch + d_fast : d_fast * pitch + d_line});
            }
    }

    const Problem& problem_;
    bool fast_is_x_;
    RowRange x_, y_;
    std::size_t pitch_;
    std::ptrdiff_t columns_;
    std::size_t lines_;
    double slope_ = 0; // fast pixels per line along the rays
    std::vector<std::ptrdiff_t> shift_;
    bool all_active_ = true;
    std::size_t line_ = 0, here_ = 0, whole_lines_ = 0;
    std::ptrdiff_t column_ = 0, lowest_shift_ = 0;
};

} // namespace xrdct::tomography::gather
