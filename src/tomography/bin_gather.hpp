// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the library: forward projection of one block of channels. Every sample of the sinogram
// gathers from the few pixels of each image line that lie below it, so that its channels stay in
// registers and nothing is scattered.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "base/simd.hpp"
#include "tomography/footprint.hpp"
#include "tomography/pixel_gather.hpp"

namespace xrdct::tomography::gather {

/// One rotation, seen along the image axis on which its rays lie closest to perpendicular ("fast";
/// the other is "slow"): sample j meets slow line r at fast index origin + j per_sample + r
/// per_line, |per_line| ≤ 1.
struct Ray {
    std::size_t rotation;
    double origin, per_sample, per_line;
    double scale;       // of the weights
    FootprintEdge edge; // in pixels
};

struct BinTuning {
    std::size_t lines = 16; // slow lines in a strip, multiple of 8
    std::size_t tile = 64;  // fast pixels packed together (second-level cache)
    std::size_t group = 8;  // fast pixels whose samples are worked on together (first-level cache)
    std::size_t rotations = 12; // worked on together
    std::size_t chunk = 108;    // rotations whose sums are held at a time (third-level cache)
    std::size_t parts = 4;      // blocks of channels that share weights
};

/// Part of an image strip, copied to pixels [part][line][fast][8 V].
struct PackedStrip {
    const float* data;
    std::size_t pitch, lines, parts, part_size;
};

/// Samples [j0, j1) of one ray. `origin` is the fast index of sample 0 on line 0 of the strip,
/// relative to the packed part; `sums` the place of sample 0 among the sums of a part, in floats.
struct BinRun {
    const Ray* ray;
    double origin;
    std::ptrdiff_t j0, j1;
    std::ptrdiff_t sums;
};

/// Work space of gather_bins.
struct BinWork {
    struct Place {
        std::size_t index; // in the table
        std::ptrdiff_t sums;
        float scale;
    };
    WeightTable table;
    std::vector<Place> places;
    Prefetcher prefetcher;
};

/// Weights of all samples of the runs; returns the length of the longest run.
template <std::size_t n_taps, bool with_beam, std::size_t V>
std::ptrdiff_t make_bin_weights(std::span<const BinRun> runs, const PackedStrip& strip,
                                std::size_t taps, WeightTable& table, const float* out,
                                std::size_t out_part) {
    using namespace simd;
    constexpr bool last_is_optional = n_taps > 2;
    constexpr std::size_t width = V * simd::width;
    const Int8 line_offset =
        static_cast<std::int32_t>(strip.pitch * width) * Int8{0, 1, 2, 3, 4, 5, 6, 7};

    WeightTable::Writer writer(table);
    std::ptrdiff_t longest = 0;
    for (const BinRun& run : runs) {
        const Ray& ray = *run.ray;
        FootprintEdge8<with_beam> edge;
        edge.set(ray.edge);
        const double half_width = ray.edge.half_width();
        const Float8 start = broadcast(static_cast<float>(1 - half_width));
        const Float8 slope =
            broadcast(static_cast<float>(ray.per_line)) * Float8{0, 1, 2, 3, 4, 5, 6, 7};
        const double lowest_line = std::min(0.0, 7 * ray.per_line);
        longest = std::max(longest, run.j1 - run.j0);
        for (std::ptrdiff_t j = run.j0; j < run.j1; ++j) {
            // The sums are on their way from the third-level cache while the weights are made.
            const float* const sums = out + run.sums + j * static_cast<std::ptrdiff_t>(width);
            for (std::size_t part = 0; part < strip.parts; ++part)
                for (std::size_t c = 0; c < width; c += 16)
                    __builtin_prefetch(sums + part * out_part + c, 1, 2);
            for (std::size_t line = 0; line < strip.lines; line += simd::width) {
                const double place_0 = run.origin + static_cast<double>(j) * ray.per_sample +
                                       static_cast<double>(line) * ray.per_line + 0.5 - half_width;
                const double lowest = std::floor(place_0 + lowest_line);
                const Float8 place =
                    maximum(static_cast<float>(place_0 - lowest) + slope, broadcast(0));
                const Int8 pixel = truncate(place);
                edge.template weights<n_taps>(start - (place - to_float(pixel)), writer.weights(),
                                              taps);
                const std::ptrdiff_t base = static_cast<std::ptrdiff_t>(lowest) +
                                            static_cast<std::ptrdiff_t>(line * strip.pitch);
                writer.append<last_is_optional>(
                    pixel * static_cast<std::int32_t>(width) + line_offset +
                        static_cast<std::int32_t>(base * static_cast<std::ptrdiff_t>(width)),
                    taps, width);
            }
            writer.end_place();
        }
    }
    return longest;
}

/// The order of the samples: the runs take turns.
template <std::size_t V>
void order_bins(std::span<const BinRun> runs, std::ptrdiff_t longest,
                std::vector<BinWork::Place>& places) {
    constexpr std::size_t width = V * simd::width;
    places.clear();
    for (std::ptrdiff_t turn = 0; turn < longest; ++turn) {
        std::size_t first = 0;
        for (const BinRun& run : runs) {
            const std::ptrdiff_t count = run.j1 - run.j0;
            const std::ptrdiff_t step = run.ray->per_sample > 0 ? turn : count - 1 - turn;
            if (turn < count)
                places.push_back({first + static_cast<std::size_t>(step),
                                  run.sums + (run.j0 + step) * static_cast<std::ptrdiff_t>(width),
                                  static_cast<float>(run.ray->scale)});
            first += static_cast<std::size_t>(count);
        }
    }
}

/// Adds to out (a part is out_part floats) the sums over the lines of a strip for runs of samples
/// of neighbouring rotations that lie below the same few pixels. They take turns: sample by sample
/// along the fast axis, so that all read the same pixels while these are in the first-level cache.
template <std::size_t n_taps, bool with_beam, std::size_t V>
void gather_bins(std::span<const BinRun> runs, const PackedStrip& strip, std::size_t run_time_taps,
                 BinWork& work, float* out, std::size_t out_part) {
    using namespace simd;
    constexpr bool last_is_optional = n_taps > 2;
    constexpr std::size_t sets = V >= 8 ? 1 : 2;
    const std::size_t taps = n_taps ? n_taps : run_time_taps;
    // Weights of the samples first, then the sums: mixed, they wait for each other.
    const std::ptrdiff_t longest =
        make_bin_weights<n_taps, with_beam, V>(runs, strip, taps, work.table, out, out_part);
    order_bins<V>(runs, longest, work.places);
    for (std::size_t part = 0; part < strip.parts; ++part) {
        const float* const data = strip.data + part * strip.part_size;
        for (const BinWork::Place& place : work.places) {
            work.prefetcher.fetch_line();
            work.prefetcher.fetch_line();
            Float8 total[sets][V];
            for (auto& set : total)
                for (Float8& t : set)
                    t = broadcast(0);
            WeightCursor cursor(work.table, place.index, strip.lines,
                                taps - (last_is_optional ? 1 : 0));
            accumulate<n_taps, last_is_optional>(work.table, cursor, strip.lines / simd::width,
                                                 taps, data, total);
            float* const to = out + part * out_part + place.sums;
            for (std::size_t v = 0; v < V; ++v) {
                Float8 sum = total[0][v];
                if constexpr (sets == 2)
                    sum += total[1][v];
                store(to + v * simd::width, load(to + v * simd::width) + place.scale * sum);
            }
        }
    }
}

} // namespace xrdct::tomography::gather
