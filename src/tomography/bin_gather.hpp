#pragma once

// Private to the library: forward projection of one block of channels. Every sample of the sinogram
// gathers from the few pixels of each image line that lie below it, so that its channels stay in
// registers and nothing is scattered.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tomography/footprint.hpp"
#include "tomography/pixel_gather.hpp"
#include "tomography/simd.hpp"

namespace xrdct::gather {

/// One rotation, seen along the image axis on which its rays lie closest to perpendicular ("fast";
/// the other is "slow"): sample j meets slow line r at fast index origin + j per_sample + r
/// per_line, |per_line| ≤ 1.
struct Ray {
    std::size_t rotation;
    double origin, per_sample, per_line;
    double scale;       // of the weights
    FootprintEdge edge; // in pixels
};

inline constexpr std::size_t most_lines = 32;

struct BinTuning {
    std::size_t lines = 16; // slow lines in a strip, multiple of 8, at most most_lines
    std::size_t tile = 64;  // fast pixels packed together (second-level cache)
    std::size_t group = 8;  // fast pixels whose samples are worked on together (first-level cache)
    std::size_t rotations = 8; // worked on together
};

/// Adds to `out` the sums for the samples [j0, j1) of a ray over the lines of a strip. packed holds
/// pixels [line][fast][width]; `origin` is the fast index of sample 0 on line 0 of the strip,
/// relative to the packed part.
template <std::size_t n_taps, bool with_beam, std::size_t V>
void gather_bins(const Ray& ray, double origin, std::ptrdiff_t j0, std::ptrdiff_t j1,
                 const float* packed, std::size_t pitch, std::size_t lines,
                 std::size_t run_time_taps, float* out) {
    using namespace simd;
    const std::size_t taps = n_taps ? n_taps : run_time_taps;
    constexpr std::size_t width = V * lanes;
    constexpr std::size_t sets = V >= 8 ? 1 : 2;
    FootprintEdge8<with_beam> edge;
    for (std::size_t lane = 0; lane < lanes; ++lane)
        edge.set(lane, ray.edge);
    const double half_width = ray.edge.half_width();
    const Float8 start = broadcast(static_cast<float>(1 - half_width));
    const Float8 slope =
        broadcast(static_cast<float>(ray.per_line)) * Float8{0, 1, 2, 3, 4, 5, 6, 7};
    const Int8 line_offset =
        static_cast<std::int32_t>(pitch * width) * Int8{0, 1, 2, 3, 4, 5, 6, 7};
    const double lowest_line = std::min(0.0, 7 * ray.per_line);
    const auto scale = static_cast<float>(ray.scale);

    // Weights of a few samples first, then the sums: mixed, they wait for each other.
    constexpr std::ptrdiff_t batch = 4;
    alignas(32) float weights[n_taps ? batch * most_lines * n_taps : most_lines * most_taps];
    alignas(32) std::int32_t offsets[batch * most_lines];
    const std::ptrdiff_t at_once = n_taps ? batch : 1;
    for (std::ptrdiff_t first = j0; first < j1; first += at_once) {
        const std::ptrdiff_t last = std::min(first + at_once, j1);
        float* w = weights;
        std::int32_t* offset = offsets;
        for (std::ptrdiff_t j = first; j < last; ++j)
            for (std::size_t line = 0; line < lines; line += lanes, offset += lanes) {
                const double place_0 = origin + static_cast<double>(j) * ray.per_sample +
                                       static_cast<double>(line) * ray.per_line + 0.5 - half_width;
                const double lowest = std::floor(place_0 + lowest_line);
                const Float8 place =
                    maximum(static_cast<float>(place_0 - lowest) + slope, broadcast(0));
                const Int8 pixel = truncate(place);
                const Int8 at =
                    pixel * static_cast<std::int32_t>(width) + line_offset +
                    static_cast<std::int32_t>((static_cast<std::ptrdiff_t>(lowest) +
                                               static_cast<std::ptrdiff_t>(line * pitch)) *
                                              static_cast<std::ptrdiff_t>(width));
                std::memcpy(offset, &at, sizeof at);
                Float8 u = start - (place - to_float(pixel)), before = broadcast(0);
                XRDCT_UNROLL(16)
                for (std::size_t t = 0; t + 1 < taps; ++t, w += lanes) {
                    const Float8 here = edge(u);
                    store(w, here - before);
                    before = here;
                    u += 1.0F;
                }
                store(w, 1.0F - before);
                w += lanes;
            }
        w = weights;
        offset = offsets;
        for (std::ptrdiff_t j = first; j < last; ++j) {
            Float8 total[sets][V];
            for (auto& set : total)
                for (Float8& t : set)
                    t = broadcast(0);
            for (std::size_t line = 0; line < lines;
                 line += lanes, offset += lanes, w += taps * lanes) {
                XRDCT_UNROLL(8)
                for (std::size_t a = 0; a < lanes; ++a) {
                    const float* p = packed + offset[a];
                    XRDCT_UNROLL(16)
                    for (std::size_t t = 0; t < taps; ++t) {
                        const Float8 factor = broadcast(w[t * lanes + a]);
                        XRDCT_UNROLL(8)
                        for (std::size_t v = 0; v < V; ++v)
                            total[a % sets][v] += factor * load(p + t * width + v * lanes);
                    }
                }
            }
            float* const to = out + j * static_cast<std::ptrdiff_t>(width);
            for (std::size_t v = 0; v < V; ++v) {
                Float8 sum = total[0][v];
                if constexpr (sets == 2)
                    sum += total[1][v];
                store(to + v * lanes, load(to + v * lanes) + scale * sum);
            }
        }
    }
}

} // namespace xrdct::gather
