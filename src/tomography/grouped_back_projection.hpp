#pragma once

// Private to the library: back-projection with linear interpolation of rotations that lie close
// together. The sum over a group of neighbouring rotations varies fast across their rays and
// slowly along them. So it is formed on every depth-th line of the image only, at half pixels, and
// each pixel takes it from the two lines around it, displaced along the rays of the group's middle
// rotation. The cost per pixel and rotation falls from 2 weights to about 2 · 2 / depth + 2 /
// rotations of a group.
//
// What that blurs: between two lines a ray of another rotation of the group is off by at most
// `tolerance` samples / 2, and a pixel by at most a quarter pixel along the line; both are zero on
// average, and small against the linear interpolation itself, whose mean square is a sixth of a
// sample.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "base/simd.hpp"
#include "tomography/pixel_gather.hpp"

namespace xrdct::tomography::gather {

struct RotationGroup {
    std::array<std::size_t, simd::width> rotations{};
    std::size_t count = 0;
    bool fast_is_x = true; // axis most nearly perpendicular to the rays
    double shear = 0; // pixels along the fast axis that a ray moves per pixel along the slow one,
                      // is minus this
    std::size_t depth = 1; // lines from one to the next on which the sum is formed
};

inline constexpr double group_tolerance = 0.5; // samples
inline constexpr std::size_t max_depth = 16;
inline constexpr std::size_t group_tile = 49; // pixels; a few depths and one

/// Groups of at most eight rotations.
inline std::vector<RotationGroup>
group_rotations(const std::vector<tomography::gather::Line>& lines) {
    struct Entry {
        double shear;
        std::size_t rotation;
    };
    std::vector<RotationGroup> groups;
    for (const bool fast_is_x : {true, false}) {
        std::vector<Entry> entries;
        for (std::size_t r = 0; r < lines.size(); ++r) {
            const bool is_x = std::abs(lines[r].kx) >= std::abs(lines[r].ky);
            if (is_x == fast_is_x)
                entries.push_back(
                    {is_x ? lines[r].ky / lines[r].kx : lines[r].kx / lines[r].ky, r});
        }
        std::ranges::sort(entries, {}, &Entry::shear);
        const std::size_t count = (entries.size() + simd::width - 1) / simd::width;
        for (std::size_t g = 0, begin = 0; g < count; ++g) {
            const std::size_t end = entries.size() * (g + 1) / count; // even sizes
            RotationGroup group;
            group.fast_is_x = fast_is_x;
            group.shear = 0.5 * (entries[begin].shear + entries[end - 1].shear);
            double most = 0; // samples per pixel of depth
            for (std::size_t i = begin; i < end; ++i) {
                const tomography::gather::Line& line = lines[entries[i].rotation];
                group.rotations[group.count++] = entries[i].rotation;
                most = std::max(most, std::abs((entries[i].shear - group.shear) *
                                               (fast_is_x ? line.kx : line.ky)));
            }
            const double depth =
                most > 0 ? std::floor(group_tolerance / most) : static_cast<double>(max_depth);
            group.depth =
                static_cast<std::size_t>(std::clamp(depth, 1.0, static_cast<double>(max_depth)));
            groups.push_back(group);
            begin = end;
        }
    }
    return groups;
}

/// Multiply-adds per pixel and rotation relative to direct back-projection, roughly.
inline double relative_cost(const std::vector<RotationGroup>& groups, std::size_t rotations) {
    double cost = 0;
    for (const RotationGroup& group : groups)
        cost += 8 * 1.4 * 2 / static_cast<double>(group.depth) + 2;
    return cost / static_cast<double>(rotations);
}

/// image[iy][ix][channel] = Σ_rotations linear interpolation of sinogram rows
/// [rotation][translation][8 V]; inactive pixels become 0; the first `channels` ≤ 8 V are written.
template <std::size_t V>
void back_project_groups(const tomography::gather::Problem& problem,
                         const std::vector<RotationGroup>& groups, const float* sinogram,
                         float* image, std::size_t image_stride, std::size_t channels) {
    using namespace simd;
    constexpr std::size_t width = V * simd::width, tile = group_tile, batch = 16;
    constexpr std::size_t sets = V >= 8 ? 1 : 2;
    const std::size_t n = problem.n;
    const auto last_translation = static_cast<std::ptrdiff_t>(problem.translations) - 1;

    // Sizes for the worst group.
    std::size_t max_samples = 0, max_points = 0;
    const auto margin_of = [](const RotationGroup& group) {
        return static_cast<std::size_t>(
                   std::ceil(static_cast<double>(group.depth) * std::abs(group.shear))) +
               1;
    };
    const auto lines_of = [](const RotationGroup& group) {
        return (tile - 1 + group.depth - 1) / group.depth + 1;
    };
    for (const RotationGroup& group : groups) {
        const std::size_t fast = tile + 2 * margin_of(group);
        const auto slow = static_cast<double>((lines_of(group) - 1) * group.depth);
        for (std::size_t r = 0; r < group.count; ++r) {
            const tomography::gather::Line& line = problem.lines[group.rotations[r]];
            const double reach =
                static_cast<double>(fast) * std::abs(group.fast_is_x ? line.kx : line.ky) +
                slow * std::abs(group.fast_is_x ? line.ky : line.kx);
            max_samples = std::max(max_samples, static_cast<std::size_t>(std::ceil(reach)) + 4);
        }
        max_points = std::max(max_points, lines_of(group) * 2 * fast);
    }
    Buffer packed_buffer, points_buffer, sums_buffer;
    float* const packed = packed_buffer.reserve(simd::width * max_samples * width);
    float* const points = points_buffer.reserve(max_points * width);
    float* const sums = sums_buffer.reserve(tile * tile * width);
    tomography::gather::WeightTable table(batch, simd::width, 2);
    // Not when offsets would overflow, nor when the rows of neighbouring rotations fall onto the
    // same sets of the first-level cache.
    const bool may_read_in_place =
        problem.lines.size() * problem.translations * width < (std::size_t{1} << 31) &&
        problem.translations % 16 % 8 != 0;

    for (std::size_t y0 = 0; y0 < n; y0 += tile)
        for (std::size_t x0 = 0; x0 < n; x0 += tile) {
            const std::size_t y1 = std::min(y0 + tile, n), x1 = std::min(x0 + tile, n);
            const auto row_of = [&](std::size_t iy) {
                const tomography::gather::RowRange row = problem.rows[iy];
                const std::size_t begin = std::clamp(row.begin, x0, x1);
                return tomography::gather::RowRange{begin, std::max(begin, std::min(row.end, x1))};
            };
            bool any = false;
            for (std::size_t iy = y0; iy < y1; ++iy)
                any = any || row_of(iy).begin < row_of(iy).end;
            if (any)
                std::memset(sums, 0, tile * tile * width * sizeof(float));

            for (std::size_t g = 0; any && g < groups.size(); ++g) {
                const RotationGroup& group = groups[g];
                const std::size_t margin = margin_of(group), node_lines = lines_of(group);
                const std::size_t pitch = 2 * (tile + 2 * margin); // points of a line
                const auto fast_0 =
                    static_cast<double>(group.fast_is_x ? x0 : y0) - static_cast<double>(margin);
                const auto slow_0 = static_cast<double>(group.fast_is_x ? y0 : x0);

                // Places of the tile's first point on the samples below the tile. Those are read
                // where they are if all exist, else copied with the outermost ones repeated.
                alignas(32) float place_0[simd::width] = {}, per_point[simd::width] = {},
                                  per_line[simd::width] = {};
                alignas(32) std::int32_t row_offset[simd::width] = {};
                std::array<std::ptrdiff_t, simd::width> first_sample{};
                std::array<std::ptrdiff_t, simd::width> sample_count{};
                bool in_place = group.count == simd::width && may_read_in_place;
                for (std::size_t r = 0; r < group.count; ++r) {
                    const std::size_t rotation = group.rotations[r];
                    const tomography::gather::Line& line = problem.lines[rotation];
                    const double k_fast = group.fast_is_x ? line.kx : line.ky;
                    const double k_slow = group.fast_is_x ? line.ky : line.kx;
                    const double origin = line.origin + fast_0 * k_fast + slow_0 * k_slow;
                    const double reach_fast = 0.5 * static_cast<double>(pitch - 1) * k_fast;
                    const double reach_slow =
                        static_cast<double>((node_lines - 1) * group.depth) * k_slow;
                    const double lowest =
                        std::floor(origin + std::min(0.0, reach_fast) + std::min(0.0, reach_slow));
                    const double highest =
                        origin + std::max(0.0, reach_fast) + std::max(0.0, reach_slow);
                    place_0[r] = static_cast<float>(origin - lowest);
                    per_point[r] = static_cast<float>(0.5 * k_fast);
                    per_line[r] = static_cast<float>(static_cast<double>(group.depth) * k_slow);
                    first_sample[r] = static_cast<std::ptrdiff_t>(lowest);
                    sample_count[r] = std::min(static_cast<std::ptrdiff_t>(max_samples),
                                               static_cast<std::ptrdiff_t>(highest - lowest) + 3);
                    in_place = in_place && first_sample[r] >= 0 &&
                               first_sample[r] + sample_count[r] - 1 <= last_translation;
                }
                const float* const data = in_place ? sinogram : packed;
                for (std::size_t r = 0; r < simd::width; ++r) {
                    if (in_place) {
                        row_offset[r] =
                            static_cast<std::int32_t>((group.rotations[r] * problem.translations +
                                                       static_cast<std::size_t>(first_sample[r])) *
                                                      width);
                        continue;
                    }
                    float* const row = packed + r * max_samples * width;
                    row_offset[r] = static_cast<std::int32_t>(r * max_samples * width);
                    if (r >= group.count) { // a small group: zeros
                        std::memset(row, 0, 2 * width * sizeof(float));
                        continue;
                    }
                    const float* const source =
                        sinogram + group.rotations[r] * problem.translations * width;
                    for (std::ptrdiff_t s = 0; s < sample_count[r]; ++s) {
                        const auto t =
                            std::clamp<std::ptrdiff_t>(first_sample[r] + s, 0, last_translation);
                        copy_padded(row + static_cast<std::size_t>(s) * width,
                                    source + static_cast<std::size_t>(t) * width, width, width);
                    }
                }
                // The next group's samples are fetched meanwhile.
                if (g + 1 < groups.size())
                    for (std::size_t r = 0; r < groups[g + 1].count; ++r) {
                        const std::size_t rotation = groups[g + 1].rotations[r];
                        const tomography::gather::Line& line = problem.lines[rotation];
                        const double lowest = line.origin + static_cast<double>(x0) * line.kx +
                                              static_cast<double>(y0) * line.ky +
                                              static_cast<double>(tile) *
                                                  (std::min(0.0, line.kx) + std::min(0.0, line.ky));
                        const auto samples = static_cast<std::ptrdiff_t>(
                            static_cast<double>(tile) * (std::abs(line.kx) + std::abs(line.ky)));
                        for (std::ptrdiff_t s = 0; s < samples; ++s) {
                            const auto t = std::clamp<std::ptrdiff_t>(
                                static_cast<std::ptrdiff_t>(lowest) + s, 0, last_translation);
                            const float* p = sinogram + (rotation * problem.translations +
                                                         static_cast<std::size_t>(t)) *
                                                            width;
                            for (std::size_t c = 0; c < width; c += 16)
                                __builtin_prefetch(p + c, 0, 2);
                        }
                    }

                const Float8 origin = load(place_0), along = load(per_point),
                             across = load(per_line);
                Int8 rows;
                std::memcpy(&rows, row_offset, sizeof rows);
                for (std::size_t m = 0; m < node_lines; ++m) {
                    const Float8 line_origin = origin + static_cast<float>(m) * across;
                    for (std::size_t first = 0; first < pitch; first += batch) {
                        const std::size_t last = std::min(first + batch, pitch);
                        tomography::gather::WeightTable::Writer writer(table);
                        for (std::size_t q = first; q < last; ++q) {
                            const Float8 place =
                                maximum(line_origin + static_cast<float>(q) * along, broadcast(0));
                            const Int8 sample = truncate(place);
                            const Float8 fraction = place - to_float(sample);
                            store(writer.weights(), 1.0F - fraction);
                            store(writer.weights() + simd::width, fraction);
                            writer.append<false>(sample * static_cast<std::int32_t>(width) + rows,
                                                 2, width);
                        }
                        tomography::gather::WeightCursor cursor(table);
                        for (std::size_t q = first; q < last; ++q) {
                            Float8 total[sets][V];
                            for (auto& set : total)
                                for (Float8& t : set)
                                    t = broadcast(0);
                            accumulate<2, false>(table, cursor, 1, 2, data, total);
                            float* const to = points + (m * pitch + q) * width;
                            for (std::size_t v = 0; v < V; ++v) {
                                Float8 sum = total[0][v];
                                if constexpr (sets == 2)
                                    sum += total[1][v];
                                store(to + v * simd::width, sum);
                            }
                        }
                    }
                }

                // Pixels of one slow line: both lines of points around it, at fixed displacements.
                const std::size_t slow_end = group.fast_is_x ? y1 - y0 : x1 - x0;
                const std::size_t fast_end = group.fast_is_x ? x1 - x0 : y1 - y0;
                const std::size_t to_next = group.fast_is_x ? width : tile * width;
                for (std::size_t slow = 0; slow < slow_end; ++slow) {
                    const std::size_t m = std::min(slow / group.depth, node_lines - 2);
                    const auto beyond = static_cast<double>(slow - m * group.depth);
                    const double part = beyond / static_cast<double>(group.depth);
                    const auto point_of = [&](std::size_t line, double distance) {
                        const double q = 2 * (static_cast<double>(margin) + distance * group.shear);
                        return points +
                               (line * pitch + static_cast<std::size_t>(std::lround(q))) * width;
                    };
                    const float* before = point_of(m, beyond);
                    const float* after = point_of(m + 1, beyond - static_cast<double>(group.depth));
                    const Float8 w0 = broadcast(static_cast<float>(1 - part)),
                                 w1 = broadcast(static_cast<float>(part));
                    float* sum = sums + (group.fast_is_x ? slow * tile : slow) * width;
                    for (std::size_t fast = 0; fast < fast_end; ++fast) {
                        XRDCT_UNROLL(8)
                        for (std::size_t v = 0; v < V; ++v)
                            store(sum + v * simd::width, load(sum + v * simd::width) +
                                                             w0 * load(before + v * simd::width) +
                                                             w1 * load(after + v * simd::width));
                        sum += to_next;
                        before += 2 * width;
                        after += 2 * width;
                    }
                }
            }

            for (std::size_t iy = y0; iy < y1; ++iy) {
                const tomography::gather::RowRange row = row_of(iy);
                for (std::size_t ix = x0; ix < x1; ++ix) {
                    float* to = image + (iy * n + ix) * image_stride;
                    if (ix < row.begin || ix >= row.end)
                        std::memset(to, 0, channels * sizeof(float));
                    else
                        std::memcpy(to, sums + ((iy - y0) * tile + (ix - x0)) * width,
                                    channels * sizeof(float));
                }
            }
        }
}

} // namespace xrdct::tomography::gather
