#pragma once

// Private to the library: back-projection of one block of channels. Every pixel gathers from a few
// neighbouring samples of every rotation; its channels stay in registers while the rotations go by.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/simd.hpp"
#include "tomography/footprint.hpp"

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

/// Pitch, not below `least` and in places of `width` floats, of rows of which windows of about five
/// places, nearly below each other, are in use at a time: they spread evenly over the sets of the
/// first-level cache, of which 4 KiB fill each once.
inline std::size_t spread_pitch(std::size_t least, std::size_t width) {
    const std::size_t sets = std::max<std::size_t>(1, 4096 / (width * sizeof(float)));
    return least + (sets + 5 % sets - least % sets) % sets;
}

/// Linear interpolation between the two samples around the place.
struct LinearTaps {
    static constexpr std::size_t taps = 2;
    static constexpr bool last_is_optional = false;
    struct Parameters {};
    /// First sample = floor(place + shift).
    static double shift(const Parameters&) { return 0; }
    struct Lanes {
        void set(std::size_t, const Parameters&) {}
        [[gnu::always_inline]] void weights(simd::Float8 fraction, float* w, std::size_t) const {
            simd::store(w, 1.0F - fraction);
            simd::store(w + simd::width, fraction);
        }
    };
};

/// Strip footprint over at most n_taps samples; 0: a number known at run time only.
template <std::size_t n_taps, bool with_beam>
struct StripTaps {
    static constexpr std::size_t taps = n_taps;
    /// A footprint little wider than taps − 2 samples mostly leaves the last weight 0.
    static constexpr bool last_is_optional = n_taps > 2;
    using Parameters = FootprintEdge;
    static double shift(const Parameters& edge) { return 0.5 - edge.half_width(); }
    struct Lanes {
        FootprintEdge8<with_beam> edge;
        simd::Float8 start;
        void set(std::size_t lane, const Parameters& parameters) {
            edge.set(lane, parameters);
            start[lane] = static_cast<float>(1 - parameters.half_width());
        }
        [[gnu::always_inline]] void weights(simd::Float8 fraction, float* w,
                                            std::size_t count) const {
            edge.template weights<n_taps>(start - fraction, w, count);
        }
    };
};

struct Tuning {
    std::size_t tile =
        48; // pixels, edge of the tile whose samples are packed together (second-level cache)
    std::size_t lines = 16, columns = 4; // pixels, patch worked on at a time, see PatchWalk
    std::size_t rotations = 16;          // worked on at a time, multiple of 8
    std::size_t parts = 4;               // blocks of channels that share weights
};

/// Weights of a few places (pixels or samples) for a run of neighbours, laid out for `accumulate`:
/// per place and group of eight neighbours, the eight offsets and the weights [tap][neighbour]; the
/// last tap, where it is optional, in a list per place of those that are not 0.
class WeightTable {
  public:
    WeightTable(std::size_t places, std::size_t neighbours, std::size_t taps)
        : weights_(places * neighbours * taps), offsets_(places * neighbours),
          extra_weights_(places * neighbours + simd::width),
          extra_offsets_(places * neighbours + simd::width), extra_end_(places) {}

    /// Fills the table from the start. A local object, so that its pointers stay in registers.
    class Writer {
      public:
        explicit Writer(WeightTable& table)
            : weight_(table.weights_.data()), offset_(table.offsets_.data()),
              extra_weight_(table.extra_weights_.data()), first_extra_(extra_weight_),
              extra_offset_(table.extra_offsets_.data()), extra_end_(table.extra_end_.data()) {}
        /// Where the weights of the next eight neighbours go, taps × 8 floats.
        float* weights() { return weight_; }
        /// Takes over eight neighbours whose weights stand in weights().
        template <bool last_is_optional>
        [[gnu::always_inline]] void append(simd::Int8 offsets, std::size_t taps,
                                           std::size_t width) {
            std::memcpy(offset_, &offsets, sizeof offsets);
            if constexpr (last_is_optional) {
                const std::size_t count =
                    simd::store_positive(simd::load(weight_ + (taps - 1) * simd::width),
                                         offsets + static_cast<std::int32_t>((taps - 1) * width),
                                         extra_weight_, extra_offset_);
                extra_weight_ += count;
                extra_offset_ += count;
                weight_ += (taps - 1) * simd::width;
            } else {
                weight_ += taps * simd::width;
            }
            offset_ += simd::width;
        }
        void end_place() {
            *extra_end_++ = static_cast<std::uint32_t>(extra_weight_ - first_extra_);
        }

      private:
        float* weight_;
        std::int32_t* offset_;
        float* extra_weight_;
        const float* first_extra_;
        std::int32_t* extra_offset_;
        std::uint32_t* extra_end_;
    };

    const float* first_weight() const { return weights_.data(); }
    const std::int32_t* first_offset() const { return offsets_.data(); }
    const float* extra_weights() const { return extra_weights_.data(); }
    const std::int32_t* extra_offsets() const { return extra_offsets_.data(); }
    std::size_t extra_end(std::size_t place) const { return extra_end_[place]; }

  private:
    std::vector<float> weights_;
    std::vector<std::int32_t> offsets_;
    std::vector<float> extra_weights_;
    std::vector<std::int32_t> extra_offsets_;
    std::vector<std::uint32_t> extra_end_;
};

/// Reads a WeightTable place by place.
struct WeightCursor {
    const float* weight;
    const std::int32_t* offset;
    std::size_t place = 0, extra = 0;
    explicit WeightCursor(const WeightTable& table)
        : weight(table.first_weight()), offset(table.first_offset()) {}
    /// At any place of a table with so many neighbours per place and so many taps beside the list.
    WeightCursor(const WeightTable& table, std::size_t index, std::size_t neighbours,
                 std::size_t taps)
        : weight(table.first_weight() + index * neighbours * taps),
          offset(table.first_offset() + index * neighbours), place(index),
          extra(index > 0 ? table.extra_end(index - 1) : 0) {}
};

/// total[set][v] += Σ weight · data for the next place, whose neighbours come in `groups` of eight.
template <std::size_t n_taps, bool last_is_optional, std::size_t V, std::size_t sets>
[[gnu::always_inline]] inline void accumulate(const WeightTable& table, WeightCursor& cursor,
                                              std::size_t groups, std::size_t run_time_taps,
                                              const float* data, simd::Float8 (&total)[sets][V]) {
    using namespace simd;
    constexpr std::size_t width = V * simd::width;
    const std::size_t taps = (n_taps ? n_taps : run_time_taps) - (last_is_optional ? 1 : 0);
    for (std::size_t g = 0; g < groups; ++g) {
        XRDCT_UNROLL(8)
        for (std::size_t a = 0; a < simd::width; ++a) {
            const float* p = data + cursor.offset[a];
            XRDCT_UNROLL(16)
            for (std::size_t t = 0; t < taps; ++t) {
                const Float8 factor = broadcast(cursor.weight[t * simd::width + a]);
                XRDCT_UNROLL(8)
                for (std::size_t v = 0; v < V; ++v)
                    total[a % sets][v] += factor * load(p + t * width + v * simd::width);
            }
        }
        cursor.weight += taps * simd::width;
        cursor.offset += simd::width;
    }
    if constexpr (last_is_optional) {
        const std::size_t end = table.extra_end(cursor.place++);
        for (; cursor.extra < end; ++cursor.extra) {
            const float* p = data + table.extra_offsets()[cursor.extra];
            const Float8 factor = broadcast(table.extra_weights()[cursor.extra]);
            XRDCT_UNROLL(8)
            for (std::size_t v = 0; v < V; ++v)
                total[0][v] += factor * load(p + v * simd::width);
        }
    }
}

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

/// Fetches data of the next stretch of work into the second-level cache, a few cache lines at a
/// time, while this one keeps the processor busy.
class Prefetcher {
  public:
    void clear() {
        from_.clear();
        at_ = 0;
        within_ = 0;
    }
    void add(const float* from) { from_.push_back(from); }
    /// Of each address, `channels` floats will be fetched.
    explicit Prefetcher(std::size_t channels) : channels_(channels) {}
    [[gnu::always_inline]] void fetch_line() {
        if (at_ == from_.size())
            return;
        __builtin_prefetch(from_[at_] + within_, 0, 2);
        within_ += 16;
        if (within_ >= channels_) {
            within_ = 0;
            ++at_;
        }
    }

  private:
    std::vector<const float*> from_;
    std::size_t at_ = 0, within_ = 0, channels_;
};

/// One call of gather_pixels.
template <class Taps, std::size_t V>
class PixelGather {
  public:
    PixelGather(const Problem& problem, const std::vector<typename Taps::Parameters>& parameters,
                bool clamp, const float* sinogram, std::size_t sinogram_stride,
                std::size_t channels, const Tuning& tuning, std::size_t run_time_taps)
        : problem_(problem), parameters_(parameters), clamp_(clamp), sinogram_(sinogram),
          sinogram_stride_(sinogram_stride), channels_(channels),
          parts_((channels + width - 1) / width), tuning_(tuning),
          taps_(Taps::taps ? Taps::taps : run_time_taps), groups_(tuning.rotations / simd::width),
          sums_pitch_(tuning.tile + 1), sums_part_(tuning.tile * sums_pitch_ * width),
          lanes_(groups_), first_sample_(tuning.rotations),
          table_(tuning.lines * tuning.columns, tuning.rotations, taps_), prefetcher_(channels) {
        double reach = 0; // samples per pixel along a row or column
        for (const Line& line : problem.lines)
            reach = std::max(reach, std::abs(line.kx) + std::abs(line.ky));
        row_ = spread_pitch(samples_of(reach), width) * width;
        packed_part_ = tuning.rotations * row_;
        packed_ = packed_buffer_.reserve(parts_ * packed_part_);
        sums_ = sums_buffer_.reserve(parts_ * sums_part_);
    }

    void tile(std::size_t x0, std::size_t y0, float* image, std::size_t image_stride, float scale) {
        const RowRange x{x0, std::min(x0 + tuning_.tile, problem_.n)};
        const RowRange y{y0, std::min(y0 + tuning_.tile, problem_.n)};
        bool any = false;
        for (std::size_t iy = y.begin; iy < y.end; ++iy)
            any = any || std::max(problem_.rows[iy].begin, x.begin) <
                             std::min(problem_.rows[iy].end, x.end);
        if (any)
            std::memset(sums_, 0, parts_ * sums_part_ * sizeof(float));
        const std::size_t n_rotations = problem_.lines.size();
        for (std::size_t r0 = 0; any && r0 < n_rotations; r0 += tuning_.rotations) {
            const std::size_t here = std::min(tuning_.rotations, n_rotations - r0);
            pack(r0, here, x0, y0);
            prefetcher_.clear();
            for (std::size_t r = r0 + here;
                 r < std::min(r0 + here + tuning_.rotations, n_rotations); ++r)
                for_samples(r, x0, y0, [&](std::size_t, const float* from) {
                    if (from)
                        prefetcher_.add(from);
                });
            PatchWalk walk(problem_, problem_.lines[r0 + here / 2], x, y, sums_pitch_,
                           tuning_.lines, tuning_.columns);
            while (walk.next(patch_)) {
                // Weights of the patch first, then the sums: mixed, they wait for each other.
                place(r0, here);
                const std::size_t here_groups = (here + simd::width - 1) / simd::width;
                make_weights(here_groups);
                for (std::size_t part = 0; part < parts_; ++part)
                    sum(packed_ + part * packed_part_, sums_ + part * sums_part_, here_groups);
            }
        }
        for (std::size_t iy = y.begin; iy < y.end; ++iy)
            for (std::size_t ix = x.begin; ix < x.end; ++ix) {
                float* const to = image + (iy * problem_.n + ix) * image_stride;
                if (ix < problem_.rows[iy].begin || ix >= problem_.rows[iy].end) {
                    std::memset(to, 0, channels_ * sizeof(float));
                    continue;
                }
                const float* const from = sums_ + ((iy - y0) * sums_pitch_ + (ix - x0)) * width;
                for (std::size_t part = 0; part < parts_; ++part) {
                    const std::size_t count = std::min(width, channels_ - part * width);
                    for (std::size_t c = 0; c < count; ++c)
                        to[part * width + c] = scale * from[part * sums_part_ + c];
                }
            }
    }

  private:
    static constexpr std::size_t width = V * simd::width;
    /// Eight sums at least, to hide the latency of the multiply-add.
    static constexpr std::size_t sets = V >= 8 ? 1 : 2;

    /// Samples that a tile may touch, at |kx| + |ky| = reach; one to spare on each side.
    std::size_t samples_of(double reach) const {
        return static_cast<std::size_t>(std::ceil(reach * static_cast<double>(tuning_.tile - 1))) +
               taps_ + 3;
    }

    std::ptrdiff_t first_sample(std::size_t rotation, std::size_t x0, std::size_t y0) const {
        const Line& line = problem_.lines[rotation];
        const auto edge = static_cast<double>(tuning_.tile - 1);
        const double lowest = line.origin + static_cast<double>(x0) * line.kx +
                              static_cast<double>(y0) * line.ky +
                              Taps::shift(parameters_[rotation]) + std::min(0.0, edge * line.kx) +
                              std::min(0.0, edge * line.ky);
        return static_cast<std::ptrdiff_t>(std::floor(lowest)) - 1;
    }

    /// Calls work(index, address) for the samples of a rotation below a tile; no address: outside.
    template <class Work>
    void for_samples(std::size_t rotation, std::size_t x0, std::size_t y0, Work&& work) const {
        const Line& line = problem_.lines[rotation];
        const auto n = static_cast<std::ptrdiff_t>(problem_.translations);
        const std::ptrdiff_t first = first_sample(rotation, x0, y0);
        const std::size_t count = samples_of(std::abs(line.kx) + std::abs(line.ky));
        const float* const source = sinogram_ + rotation * problem_.translations * sinogram_stride_;
        for (std::size_t s = 0; s < count; ++s) {
            std::ptrdiff_t t = first + static_cast<std::ptrdiff_t>(s);
            if (clamp_)
                t = std::clamp<std::ptrdiff_t>(t, 0, n - 1);
            work(s, t < 0 || t >= n ? nullptr
                                    : source + static_cast<std::size_t>(t) * sinogram_stride_);
        }
    }

    /// Packs the samples below one tile for rotations r0 …, a row per rotation and part.
    void pack(std::size_t r0, std::size_t here, std::size_t x0, std::size_t y0) {
        for (std::size_t r = 0; r < (here + simd::width - 1) / simd::width * simd::width; ++r) {
            Lanes& lanes = lanes_[r / simd::width];
            float* const rows = packed_ + r * row_;
            if (r >= here) { // fills up the last eight
                for (std::size_t part = 0; part < parts_; ++part)
                    std::memset(rows + part * packed_part_, 0, row_ * sizeof(float));
                lanes.kx[r % simd::width] = lanes.ky[r % simd::width] = 0;
                lanes.taps.set(r % simd::width, parameters_[r0 + here - 1]);
                continue;
            }
            lanes.kx[r % simd::width] = static_cast<float>(problem_.lines[r0 + r].kx);
            lanes.ky[r % simd::width] = static_cast<float>(problem_.lines[r0 + r].ky);
            lanes.taps.set(r % simd::width, parameters_[r0 + r]);
            first_sample_[r] = first_sample(r0 + r, x0, y0);
            for_samples(r0 + r, x0, y0, [&](std::size_t s, const float* from) {
                for (std::size_t part = 0; part < parts_; ++part) {
                    float* const to = rows + part * packed_part_ + s * width;
                    if (from)
                        simd::copy_padded(to, from + part * width,
                                          std::min(width, channels_ - part * width), width);
                    else
                        std::memset(to, 0, width * sizeof(float));
                }
            });
        }
    }

    /// Place of the patch on the translation axis at every rotation.
    void place(std::size_t r0, std::size_t here) {
        for (std::size_t r = 0; r < (here + simd::width - 1) / simd::width * simd::width; ++r) {
            Lanes& lanes = lanes_[r / simd::width];
            std::int32_t& offset = reinterpret_cast<std::int32_t*>(&lanes.offset)[r % simd::width];
            lanes.origin[r % simd::width] = 0;
            offset = static_cast<std::int32_t>(r * row_);
            if (r >= here)
                continue;
            const Line& line = problem_.lines[r0 + r];
            const double origin = line.origin + patch_.x * line.kx + patch_.y * line.ky +
                                  Taps::shift(parameters_[r0 + r]);
            double lowest = patch_.corner_dx[0] * line.kx + patch_.corner_dy[0] * line.ky;
            for (std::size_t corner = 1; corner < 4; ++corner)
                lowest = std::min(lowest, patch_.corner_dx[corner] * line.kx +
                                              patch_.corner_dy[corner] * line.ky);
            lowest = std::floor(origin + lowest);
            lanes.origin[r % simd::width] = static_cast<float>(origin - lowest);
            offset +=
                static_cast<std::int32_t>((static_cast<std::ptrdiff_t>(lowest) - first_sample_[r]) *
                                          static_cast<std::ptrdiff_t>(width));
        }
    }

    void make_weights(std::size_t groups) {
        using namespace simd;
        WeightTable::Writer writer(table_);
        for (const Patch::Pixel& pixel : patch_.pixels) {
            for (std::size_t g = 0; g < groups; ++g) {
                const Lanes& lanes = lanes_[g];
                const Float8 place =
                    maximum(lanes.origin + pixel.dx * lanes.kx + pixel.dy * lanes.ky, broadcast(0));
                const Int8 sample = truncate(place);
                lanes.taps.weights(place - to_float(sample), writer.weights(), taps_);
                writer.template append<Taps::last_is_optional>(
                    sample * static_cast<std::int32_t>(width) + lanes.offset, taps_, width);
            }
            writer.end_place();
        }
    }

    void sum(const float* data, float* sums, std::size_t groups) {
        using namespace simd;
        WeightCursor cursor(table_);
        for (const Patch::Pixel& pixel : patch_.pixels) {
            float* const sum = sums + (patch_.sum + pixel.sum) * static_cast<std::ptrdiff_t>(width);
            prefetcher_.fetch_line();
            prefetcher_.fetch_line();
            Float8 total[sets][V];
            for (auto& set : total)
                for (Float8& t : set)
                    t = broadcast(0);
            accumulate<Taps::taps, Taps::last_is_optional>(table_, cursor, groups, taps_, data,
                                                           total);
            // The sums so far, from the second-level cache, are added last: nothing waits for them.
            for (std::size_t v = 0; v < V; ++v) {
                Float8 s = total[0][v];
                if constexpr (sets == 2)
                    s += total[1][v];
                store(sum + v * simd::width, load(sum + v * simd::width) + s);
            }
        }
    }

    struct Lanes { // eight rotations
        simd::Float8 kx{}, ky{}, origin{};
        simd::Int8 offset{};
        typename Taps::Lanes taps;
    };

    const Problem& problem_;
    const std::vector<typename Taps::Parameters>& parameters_;
    bool clamp_;
    const float* sinogram_;
    std::size_t sinogram_stride_, channels_, parts_;
    Tuning tuning_;
    std::size_t taps_, groups_,
        row_ = 0, packed_part_ = 0,
        sums_pitch_ /* odd, so that a column does not fall into one set of a cache */, sums_part_;
    simd::Buffer packed_buffer_, sums_buffer_;
    float* packed_ = nullptr; // [part][rotation][sample]
    float* sums_ = nullptr;   // [part][y][x]
    std::vector<Lanes> lanes_;
    std::vector<std::ptrdiff_t> first_sample_;
    Patch patch_;
    WeightTable table_;
    Prefetcher prefetcher_;
};

/// image[iy][ix][channel] (row strides in floats) = scale Σ_rotations Σ_taps w · sinogram; inactive
/// pixels become 0. At most parts × 8 V channels. Samples outside the translation axis are 0, or
/// repeat the outermost one (clamp).
template <class Taps, std::size_t V>
void gather_pixels(const Problem& problem, const std::vector<typename Taps::Parameters>& parameters,
                   bool clamp, const float* sinogram, std::size_t sinogram_stride, float* image,
                   std::size_t image_stride, std::size_t channels, float scale,
                   const Tuning& tuning, std::size_t run_time_taps = 0) {
    PixelGather<Taps, V> gather(problem, parameters, clamp, sinogram, sinogram_stride, channels,
                                tuning, run_time_taps);
    for (std::size_t y0 = 0; y0 < problem.n; y0 += tuning.tile)
        for (std::size_t x0 = 0; x0 < problem.n; x0 += tuning.tile)
            gather.tile(x0, y0, image, image_stride, scale);
}

/// Calls block.operator()<V>(first channel, channel count) for the channels in blocks of V × 8, V
/// at most `most` (8 or 4), up to `parts` of the widest at a time.
template <std::size_t most, class Block>
void for_channel_blocks(std::size_t channels, std::size_t parts, Block&& block) {
    constexpr std::size_t widest = most * simd::width;
    for (std::size_t first = 0; first < channels;) {
        const std::size_t left = channels - first;
        std::size_t count = left;
        if (left <= simd::width) {
            block.template operator()<1>(first, count);
        } else if (most > 4 && left <= 4 * simd::width) {
            block.template operator()<4>(first, count);
        } else {
            count = std::min(left, parts * widest);
            // A remainder of half a block or less is cheaper by itself.
            if (count > widest && count % widest != 0 && count % widest <= widest / 2)
                count -= count % widest;
            block.template operator()<most>(first, count);
        }
        first += count;
    }
}

} // namespace xrdct::tomography::gather
