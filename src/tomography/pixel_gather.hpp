#pragma once

// Private to the library: back-projection of one block of channels. Every pixel gathers from a few
// neighbouring samples of every rotation; its channels stay in registers while the rotations go by.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "tomography/footprint.hpp"
#include "tomography/simd.hpp"

namespace xrdct::gather {

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
            simd::store(w + simd::lanes, fraction);
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
            using namespace simd;
            // Upper edge of the first sample relative to the place; the footprint begins below it
            // and ends before the upper edge of the last.
            Float8 u = start - fraction;
            Float8 before = broadcast(0);
            XRDCT_UNROLL(16)
            for (std::size_t t = 0; t + 1 < count; ++t) {
                const Float8 here = edge(u);
                store(w + t * lanes, here - before);
                before = here;
                u += 1.0F;
            }
            store(w + (count - 1) * lanes, 1.0F - before);
        }
    };
};

struct Tuning {
    std::size_t tile =
        48; // pixels, edge of the tile whose samples are packed together (second-level cache)
    std::size_t patch = 8;      // pixels, edge of the patch worked on at a time (first-level cache)
    std::size_t rotations = 16; // packed at a time, multiple of 8
    std::size_t turn = 16;      // of them, worked on at a time
    std::size_t parts = 2;      // blocks of channels that share weights
};

/// Weights of a few places (pixels or samples) for a run of neighbours, laid out for `accumulate`:
/// per place and group of eight neighbours, the eight offsets and the weights [tap][neighbour]; the
/// last tap, where it is optional, in a list per place of those that are not 0.
class WeightTable {
  public:
    WeightTable(std::size_t places, std::size_t neighbours, std::size_t taps)
        : weights_(places * neighbours * taps), offsets_(places * neighbours),
          extra_weights_(places * neighbours + simd::lanes),
          extra_offsets_(places * neighbours + simd::lanes), extra_end_(places) {}

    void clear() {
        weight_ = weights_.data();
        offset_ = offsets_.data();
        extras_ = 0;
        places_ = 0;
    }
    /// Where the weights of the next eight neighbours go, taps × 8 floats.
    float* weights() { return weight_; }
    /// Takes over eight neighbours whose weights stand in weights().
    template <bool last_is_optional>
    [[gnu::always_inline]] void append(simd::Int8 offsets, std::size_t taps, std::size_t width) {
        std::memcpy(offset_, &offsets, sizeof offsets);
        if constexpr (last_is_optional) {
            extras_ += simd::store_positive(simd::load(weight_ + (taps - 1) * simd::lanes),
                                            offsets + static_cast<std::int32_t>((taps - 1) * width),
                                            extra_weights_.data() + extras_,
                                            extra_offsets_.data() + extras_);
            weight_ += (taps - 1) * simd::lanes;
        } else {
            weight_ += taps * simd::lanes;
        }
        offset_ += simd::lanes;
    }
    void end_place() { extra_end_[places_++] = static_cast<std::uint32_t>(extras_); }

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
    float* weight_ = nullptr;
    std::int32_t* offset_ = nullptr;
    std::size_t extras_ = 0, places_ = 0;
};

/// Reads a WeightTable place by place.
struct WeightCursor {
    const float* weight;
    const std::int32_t* offset;
    std::size_t place = 0, extra = 0;
    explicit WeightCursor(const WeightTable& table)
        : weight(table.first_weight()), offset(table.first_offset()) {}
};

/// total[set][v] += Σ weight · data for the next place, whose neighbours come in `groups` of eight.
template <std::size_t n_taps, bool last_is_optional, std::size_t V, std::size_t sets>
[[gnu::always_inline]] inline void accumulate(const WeightTable& table, WeightCursor& cursor,
                                              std::size_t groups, std::size_t run_time_taps,
                                              const float* data, simd::Float8 (&total)[sets][V]) {
    using namespace simd;
    constexpr std::size_t width = V * lanes;
    const std::size_t taps = (n_taps ? n_taps : run_time_taps) - (last_is_optional ? 1 : 0);
    for (std::size_t g = 0; g < groups; ++g) {
        XRDCT_UNROLL(8)
        for (std::size_t a = 0; a < lanes; ++a) {
            const float* p = data + cursor.offset[a];
            XRDCT_UNROLL(16)
            for (std::size_t t = 0; t < taps; ++t) {
                const Float8 factor = broadcast(cursor.weight[t * lanes + a]);
                XRDCT_UNROLL(8)
                for (std::size_t v = 0; v < V; ++v)
                    total[a % sets][v] += factor * load(p + t * width + v * lanes);
            }
        }
        cursor.weight += taps * lanes;
        cursor.offset += lanes;
    }
    if constexpr (last_is_optional) {
        const std::size_t end = table.extra_end(cursor.place++);
        for (; cursor.extra < end; ++cursor.extra) {
            const float* p = data + table.extra_offsets()[cursor.extra];
            const Float8 factor = broadcast(table.extra_weights()[cursor.extra]);
            XRDCT_UNROLL(8)
            for (std::size_t v = 0; v < V; ++v)
                total[0][v] += factor * load(p + v * lanes);
        }
    }
}

/// image[iy][ix][channel] (row strides in floats) = scale Σ_rotations Σ_taps w · sinogram; inactive
/// pixels become 0. At most parts × 8 V channels. Samples outside the translation axis are 0, or
/// repeat the outermost one (clamp).
template <class Taps, std::size_t V>
void gather_pixels(const Problem& problem, const std::vector<typename Taps::Parameters>& parameters,
                   bool clamp, const float* sinogram, std::size_t sinogram_stride, float* image,
                   std::size_t image_stride, std::size_t channels, float scale,
                   const Tuning& tuning, std::size_t run_time_taps = 0) {
    using namespace simd;
    const std::size_t taps = Taps::taps ? Taps::taps : run_time_taps;
    constexpr std::size_t width = V * lanes;
    constexpr std::size_t sets =
        V >= 8 ? 1 : 2; // eight sums at least, to hide the latency of the multiply-add
    const std::size_t parts = (channels + width - 1) / width;
    const std::size_t n = problem.n, n_rotations = problem.lines.size();
    const auto n_translations = static_cast<std::ptrdiff_t>(problem.translations);

    double reach = 0; // samples per pixel along a row or column
    for (const Line& line : problem.lines)
        reach = std::max(reach, std::abs(line.kx) + std::abs(line.ky));
    const std::size_t tile = tuning.tile, patch = tuning.patch;
    const std::size_t samples =
        static_cast<std::size_t>(std::ceil(reach * static_cast<double>(tile))) + taps + 2;
    const std::size_t row_size = samples * width, packed_rotations = tuning.rotations;
    const std::size_t packed_part = packed_rotations * row_size, sums_part = tile * tile * width;

    Buffer packed_buffer, tile_buffer;
    float* const packed = packed_buffer.reserve(parts * packed_part);
    float* const sums = tile_buffer.reserve(parts * sums_part);

    const std::size_t groups = packed_rotations / lanes, turn_groups = tuning.turn / lanes;
    std::vector<typename Taps::Lanes> tap_lanes(groups);
    struct Places {
        Float8 kx, ky;
    };
    std::vector<Places> places(groups);
    std::vector<std::ptrdiff_t> first_sample(packed_rotations);
    struct PatchPlaces {
        Float8 origin;
        Int8 offset;
    };
    std::vector<PatchPlaces> patch_places(groups);
    WeightTable table(patch * patch, turn_groups * lanes, taps);

    // Packs the samples below one tile for rotations r0 …, a row per rotation and part.
    const auto pack = [&](std::size_t r0, std::size_t here, std::size_t x0, std::size_t y0) {
        for (std::size_t r = 0; r < (here + lanes - 1) / lanes * lanes; ++r) {
            Places& place = places[r / lanes];
            float* const rows = packed + r * row_size;
            if (r >= here) { // fills up the last eight
                for (std::size_t part = 0; part < parts; ++part)
                    std::memset(rows + part * packed_part, 0, row_size * sizeof(float));
                place.kx[r % lanes] = place.ky[r % lanes] = 0;
                tap_lanes[r / lanes].set(r % lanes, parameters[r0 + here - 1]);
                continue;
            }
            const Line& line = problem.lines[r0 + r];
            const auto& parameter = parameters[r0 + r];
            tap_lanes[r / lanes].set(r % lanes, parameter);
            place.kx[r % lanes] = static_cast<float>(line.kx);
            place.ky[r % lanes] = static_cast<float>(line.ky);
            const auto edge = static_cast<double>(tile - 1);
            const double lowest = line.origin + static_cast<double>(x0) * line.kx +
                                  static_cast<double>(y0) * line.ky + Taps::shift(parameter) +
                                  std::min(0.0, edge * line.kx) + std::min(0.0, edge * line.ky);
            const auto first = static_cast<std::ptrdiff_t>(std::floor(lowest));
            first_sample[r] = first;
            const float* source = sinogram + (r0 + r) * problem.translations * sinogram_stride;
            for (std::size_t s = 0; s < samples; ++s) {
                std::ptrdiff_t t = first + static_cast<std::ptrdiff_t>(s);
                if (clamp)
                    t = std::clamp<std::ptrdiff_t>(t, 0, n_translations - 1);
                const bool outside = t < 0 || t >= n_translations;
                const float* const from =
                    source + (outside ? 0 : static_cast<std::size_t>(t) * sinogram_stride);
                // The next rotation's samples lie nearly at the same place of the next row.
                if (!outside && r0 + r + 1 < n_rotations)
                    for (std::size_t c = 0; c < channels; c += 16)
                        __builtin_prefetch(from + problem.translations * sinogram_stride + c, 0, 2);
                for (std::size_t part = 0; part < parts; ++part) {
                    float* to = rows + part * packed_part + s * width;
                    if (outside)
                        std::memset(to, 0, width * sizeof(float));
                    else
                        copy_padded(to, from + part * width,
                                    std::min(width, channels - part * width), width);
                }
            }
        }
    };

    for (std::size_t y0 = 0; y0 < n; y0 += tile)
        for (std::size_t x0 = 0; x0 < n; x0 += tile) {
            const std::size_t y1 = std::min(y0 + tile, n), x1 = std::min(x0 + tile, n);
            const auto row_of = [&](std::size_t iy, std::size_t from, std::size_t to) {
                const RowRange row = problem.rows[iy];
                const std::size_t begin = std::clamp(row.begin, from, to);
                return RowRange{begin, std::max(begin, std::min(row.end, to))};
            };
            bool any = false;
            for (std::size_t iy = y0; iy < y1; ++iy) {
                const RowRange row = row_of(iy, x0, x1);
                any = any || row.begin < row.end;
            }
            if (any)
                std::memset(sums, 0, parts * sums_part * sizeof(float));

            for (std::size_t r0 = 0; any && r0 < n_rotations; r0 += packed_rotations) {
                const std::size_t here = std::min(packed_rotations, n_rotations - r0);
                const std::size_t here_groups = (here + lanes - 1) / lanes;
                pack(r0, here, x0, y0);

                for (std::size_t py = y0; py < y1; py += patch)
                    for (std::size_t px = x0; px < x1; px += patch) {
                        const std::size_t py1 = std::min(py + patch, y1),
                                          px1 = std::min(px + patch, x1);
                        const auto edge = static_cast<double>(patch - 1);
                        for (std::size_t r = 0; r < here_groups * lanes; ++r) {
                            PatchPlaces& place = patch_places[r / lanes];
                            place.origin[r % lanes] = 0;
                            place.offset[r % lanes] = static_cast<std::int32_t>(r * row_size);
                            if (r >= here)
                                continue;
                            const Line& line = problem.lines[r0 + r];
                            const double origin = line.origin + static_cast<double>(px) * line.kx +
                                                  static_cast<double>(py) * line.ky +
                                                  Taps::shift(parameters[r0 + r]);
                            const double lowest =
                                std::floor(origin + std::min(0.0, edge * line.kx) +
                                           std::min(0.0, edge * line.ky));
                            place.origin[r % lanes] = static_cast<float>(origin - lowest);
                            const auto first =
                                static_cast<std::ptrdiff_t>(lowest) - first_sample[r];
                            place.offset[r % lanes] += static_cast<std::int32_t>(
                                first * static_cast<std::ptrdiff_t>(width));
                        }
                        for (std::size_t g0 = 0; g0 < here_groups; g0 += turn_groups) {
                            const std::size_t g1 = std::min(g0 + turn_groups, here_groups);
                            // Weights of the patch first, then the sums: mixed, they wait for each
                            // other.
                            table.clear();
                            for (std::size_t iy = py; iy < py1; ++iy) {
                                const RowRange row = row_of(iy, px, px1);
                                const auto dy = static_cast<float>(iy - py);
                                for (std::size_t ix = row.begin; ix < row.end; ++ix) {
                                    const auto dx = static_cast<float>(ix - px);
                                    for (std::size_t g = g0; g < g1; ++g) {
                                        const Float8 place =
                                            maximum(patch_places[g].origin + dx * places[g].kx +
                                                        dy * places[g].ky,
                                                    broadcast(0));
                                        const Int8 sample = truncate(place);
                                        tap_lanes[g].weights(place - to_float(sample),
                                                             table.weights(), taps);
                                        table.append<Taps::last_is_optional>(
                                            sample * static_cast<std::int32_t>(width) +
                                                patch_places[g].offset,
                                            taps, width);
                                    }
                                    table.end_place();
                                }
                            }
                            for (std::size_t part = 0; part < parts; ++part) {
                                const float* const data = packed + part * packed_part;
                                WeightCursor cursor(table);
                                for (std::size_t iy = py; iy < py1; ++iy) {
                                    const RowRange row = row_of(iy, px, px1);
                                    for (std::size_t ix = row.begin; ix < row.end; ++ix) {
                                        float* const sum = sums + part * sums_part +
                                                           ((iy - y0) * tile + (ix - x0)) * width;
                                        Float8 total[sets][V];
                                        for (std::size_t v = 0; v < V; ++v) {
                                            total[0][v] = load(sum + v * lanes);
                                            if constexpr (sets == 2)
                                                total[1][v] = broadcast(0);
                                        }
                                        accumulate<Taps::taps, Taps::last_is_optional>(
                                            table, cursor, g1 - g0, taps, data, total);
                                        for (std::size_t v = 0; v < V; ++v) {
                                            Float8 s = total[0][v];
                                            if constexpr (sets == 2)
                                                s += total[1][v];
                                            store(sum + v * lanes, s);
                                        }
                                    }
                                }
                            }
                        }
                    }
            }

            for (std::size_t iy = y0; iy < y1; ++iy) {
                const RowRange row = row_of(iy, x0, x1);
                for (std::size_t ix = x0; ix < x1; ++ix) {
                    float* to = image + (iy * n + ix) * image_stride;
                    if (ix < row.begin || ix >= row.end) {
                        std::memset(to, 0, channels * sizeof(float));
                        continue;
                    }
                    for (std::size_t part = 0; part < parts; ++part) {
                        const float* from =
                            sums + part * sums_part + ((iy - y0) * tile + (ix - x0)) * width;
                        const std::size_t count = std::min(width, channels - part * width);
                        for (std::size_t c = 0; c < count; ++c)
                            to[part * width + c] = scale * from[c];
                    }
                }
            }
        }
}

/// Calls block.operator()<V>(first channel, channel count) for the channels in blocks of V × 8, V
/// at most `most` (8 or 4), up to `parts` of the widest at a time.
template <std::size_t most, class Block>
void for_channel_blocks(std::size_t channels, std::size_t parts, Block&& block) {
    constexpr std::size_t widest = most * simd::lanes;
    for (std::size_t first = 0; first < channels;) {
        const std::size_t left = channels - first;
        std::size_t count = left;
        if (left <= simd::lanes) {
            block.template operator()<1>(first, count);
        } else if (most > 4 && left <= 4 * simd::lanes) {
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

} // namespace xrdct::gather
