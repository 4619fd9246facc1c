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
        64; // pixels, edge of the tile whose samples are packed together (second-level cache)
    std::size_t patch = 8;      // pixels, edge of the patch worked on at a time (first-level cache)
    std::size_t rotations = 32; // packed at a time, multiple of 8
    std::size_t turn = 16;      // of them, worked on at a time
};

/// image[iy][ix][channel] (row strides in floats) = scale Σ_rotations Σ_taps w · sinogram; inactive
/// pixels become 0. width = 8 V floats are computed, `channels` ≤ width of them read and written.
/// Samples outside the translation axis are 0, or repeat the outermost one (clamp).
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
    const std::size_t n = problem.n, n_rotations = problem.lines.size();
    const auto n_translations = static_cast<std::ptrdiff_t>(problem.translations);

    double reach = 0; // samples per pixel along a row or column
    for (const Line& line : problem.lines)
        reach = std::max(reach, std::abs(line.kx) + std::abs(line.ky));
    const std::size_t tile = tuning.tile, patch = tuning.patch;
    const std::size_t samples =
        static_cast<std::size_t>(std::ceil(reach * static_cast<double>(tile))) + taps + 2;
    const std::size_t packed_rotations = tuning.rotations;

    Buffer packed_buffer, tile_buffer;
    float* const packed = packed_buffer.reserve(packed_rotations * samples * width);
    float* const sums = tile_buffer.reserve(tile * tile * width);

    const std::size_t groups = packed_rotations / lanes;
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

    const std::size_t turn_groups = tuning.turn / lanes;
    Buffer weight_buffer, offset_buffer;
    float* const weights = weight_buffer.reserve(patch * turn_groups * taps * lanes);
    std::vector<std::int32_t> offset_store(patch * turn_groups * lanes);
    std::int32_t* const offsets = offset_store.data();

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
            std::memset(sums, 0, tile * tile * width * sizeof(float));

            for (std::size_t r0 = 0; any && r0 < n_rotations; r0 += packed_rotations) {
                const std::size_t here = std::min(packed_rotations, n_rotations - r0);
                const std::size_t here_groups = (here + lanes - 1) / lanes;
                for (std::size_t r = 0; r < here_groups * lanes; ++r) {
                    float* row = packed + r * samples * width;
                    Places& place = places[r / lanes];
                    if (r >= here) { // fills up the last eight
                        std::memset(row, 0, samples * width * sizeof(float));
                        place.kx[r % lanes] = place.ky[r % lanes] = 0;
                        tap_lanes[r / lanes].set(r % lanes, parameters[r0 + here - 1]);
                        continue;
                    }
                    const Line& line = problem.lines[r0 + r];
                    const auto& parameter = parameters[r0 + r];
                    tap_lanes[r / lanes].set(r % lanes, parameter);
                    place.kx[r % lanes] = static_cast<float>(line.kx);
                    place.ky[r % lanes] = static_cast<float>(line.ky);
                    const double edge = static_cast<double>(tile - 1);
                    const double lowest = line.origin + static_cast<double>(x0) * line.kx +
                                          static_cast<double>(y0) * line.ky +
                                          Taps::shift(parameter) + std::min(0.0, edge * line.kx) +
                                          std::min(0.0, edge * line.ky);
                    const auto first = static_cast<std::ptrdiff_t>(std::floor(lowest));
                    first_sample[r] = first;
                    const float* source =
                        sinogram + (r0 + r) * problem.translations * sinogram_stride;
                    for (std::size_t s = 0; s < samples; ++s) {
                        std::ptrdiff_t t = first + static_cast<std::ptrdiff_t>(s);
                        if (clamp)
                            t = std::clamp<std::ptrdiff_t>(t, 0, n_translations - 1);
                        if (t < 0 || t >= n_translations)
                            std::memset(row + s * width, 0, width * sizeof(float));
                        else
                            copy_padded(row + s * width,
                                        source + static_cast<std::size_t>(t) * sinogram_stride,
                                        channels, width);
                    }
                }

                for (std::size_t py = y0; py < y1; py += patch)
                    for (std::size_t px = x0; px < x1; px += patch) {
                        const std::size_t py1 = std::min(py + patch, y1),
                                          px1 = std::min(px + patch, x1);
                        const double edge = static_cast<double>(patch - 1);
                        for (std::size_t r = 0; r < here_groups * lanes; ++r) {
                            PatchPlaces& place = patch_places[r / lanes];
                            place.origin[r % lanes] = 0;
                            place.offset[r % lanes] =
                                static_cast<std::int32_t>(r * samples * width);
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
                            for (std::size_t iy = py; iy < py1; ++iy) {
                                const RowRange row = row_of(iy, px, px1);
                                // Weights of a row of the patch first, then the sums: mixed, they
                                // wait for each other.
                                float* w = weights;
                                std::int32_t* offset = offsets;
                                const auto dy = static_cast<float>(iy - py);
                                for (std::size_t ix = row.begin; ix < row.end; ++ix) {
                                    const auto dx = static_cast<float>(ix - px);
                                    for (std::size_t g = g0; g < g1;
                                         ++g, w += taps * lanes, offset += lanes) {
                                        const Float8 place =
                                            maximum(patch_places[g].origin + dx * places[g].kx +
                                                        dy * places[g].ky,
                                                    broadcast(0));
                                        const Int8 sample = truncate(place);
                                        tap_lanes[g].weights(place - to_float(sample), w, taps);
                                        const Int8 at = sample * static_cast<std::int32_t>(width) +
                                                        patch_places[g].offset;
                                        std::memcpy(offset, &at, sizeof at);
                                    }
                                }
                                const float* weight = weights;
                                const std::int32_t* place = offsets;
                                for (std::size_t ix = row.begin; ix < row.end; ++ix) {
                                    float* const sum =
                                        sums + ((iy - y0) * tile + (ix - x0)) * width;
                                    Float8 total[sets][V];
                                    for (std::size_t v = 0; v < V; ++v) {
                                        total[0][v] = load(sum + v * lanes);
                                        if constexpr (sets == 2)
                                            total[1][v] = broadcast(0);
                                    }
                                    for (std::size_t g = g0; g < g1;
                                         ++g, weight += taps * lanes, place += lanes) {
                                        XRDCT_UNROLL(8)
                                        for (std::size_t a = 0; a < lanes; ++a) {
                                            const float* p = packed + place[a];
                                            XRDCT_UNROLL(16)
                                            for (std::size_t t = 0; t < taps; ++t) {
                                                const Float8 factor =
                                                    broadcast(weight[t * lanes + a]);
                                                XRDCT_UNROLL(8)
                                                for (std::size_t v = 0; v < V; ++v)
                                                    total[a % sets][v] +=
                                                        factor * load(p + t * width + v * lanes);
                                            }
                                        }
                                    }
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

            for (std::size_t iy = y0; iy < y1; ++iy) {
                const RowRange row = row_of(iy, x0, x1);
                for (std::size_t ix = x0; ix < x1; ++ix) {
                    float* to = image + (iy * n + ix) * image_stride;
                    if (ix < row.begin || ix >= row.end) {
                        std::memset(to, 0, channels * sizeof(float));
                        continue;
                    }
                    const float* from = sums + ((iy - y0) * tile + (ix - x0)) * width;
                    for (std::size_t c = 0; c < channels; ++c)
                        to[c] = scale * from[c];
                }
            }
        }
}

/// Calls block.operator()<V>(first channel, channel count) for the channels in blocks of 8 V
/// floats.
template <class Block>
void for_channel_blocks(std::size_t channels, Block&& block) {
    for (std::size_t first = 0; first < channels;) {
        const std::size_t left = channels - first;
        if (left > 4 * simd::lanes)
            block.template operator()<8>(first, std::min(left, 8 * simd::lanes));
        else if (left > simd::lanes)
            block.template operator()<4>(first, left);
        else
            block.template operator()<1>(first, left);
        first += std::min(left, 8 * simd::lanes);
    }
}

} // namespace xrdct::gather
