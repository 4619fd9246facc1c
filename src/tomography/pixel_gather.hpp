// SPDX-License-Identifier: BSD-3-Clause
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
#include "tomography/patch_walk.hpp"
#include "tomography/weight_table.hpp"

namespace xrdct::tomography::gather {

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
