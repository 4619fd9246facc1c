// SPDX-License-Identifier: BSD-3-Clause
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
inline std::vector<RotationGroup> group_rotations(const std::vector<Line>& lines) {
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
                const Line& line = lines[entries[i].rotation];
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

/// One call of back_project_groups.
template <std::size_t V>
class GroupedBackProjection {
  public:
    GroupedBackProjection(const Problem& problem, const std::vector<RotationGroup>& groups,
                          const float* sinogram)
        : problem_(problem), groups_(groups), sinogram_(sinogram),
          last_translation_(static_cast<std::ptrdiff_t>(problem.translations) - 1),
          may_read_in_place_(problem.lines.size() * problem.translations * width <
                                 (std::size_t{1} << 31) &&
                             problem.translations % 16 % 8 != 0),
          table_(batch, simd::width, 2) {
        // Sizes for the worst group.
        std::size_t max_points = 0;
        for (const RotationGroup& group : groups_) {
            const std::size_t fast = edge + 2 * margin_of(group);
            const auto slow = static_cast<double>((lines_of(group) - 1) * group.depth);
            for (std::size_t r = 0; r < group.count; ++r) {
                const Line& line = problem_.lines[group.rotations[r]];
                const double reach =
                    static_cast<double>(fast) * std::abs(group.fast_is_x ? line.kx : line.ky) +
                    slow * std::abs(group.fast_is_x ? line.ky : line.kx);
                max_samples_ =
                    std::max(max_samples_, static_cast<std::size_t>(std::ceil(reach)) + 4);
            }
            max_points = std::max(max_points, lines_of(group) * 2 * fast);
        }
        packed_ = packed_buffer_.reserve(simd::width * max_samples_ * width);
        points_ = points_buffer_.reserve(max_points * width);
        sums_ = sums_buffer_.reserve(edge * edge * width);
    }

    /// One tile of the image, the first `channels` of it.
    void tile(std::size_t x0, std::size_t y0, float* image, std::size_t image_stride,
              std::size_t channels) {
        const Tile tile{x0, std::min(x0 + edge, problem_.n), y0, std::min(y0 + edge, problem_.n)};
        bool any = false;
        for (std::size_t iy = tile.y0; iy < tile.y1; ++iy)
            any = any || row_of(tile, iy).begin < row_of(tile, iy).end;
        if (any)
            std::memset(sums_, 0, edge * edge * width * sizeof(float));
        for (std::size_t g = 0; any && g < groups_.size(); ++g) {
            Samples at = find_samples(groups_[g], tile);
            if (!at.in_place)
                pack(groups_[g], at);
            else
                point_at(groups_[g], at);
            if (g + 1 < groups_.size())
                prefetch(groups_[g + 1], tile);
            sum_points(groups_[g], at);
            add_points(groups_[g], tile);
        }
        write(tile, image, image_stride, channels);
    }

  private:
    static constexpr std::size_t width = V * simd::width, edge = group_tile, batch = 16;
    static constexpr std::size_t sets = V >= 8 ? 1 : 2;

    /// [x0, x1) × [y0, y1).
    struct Tile {
        std::size_t x0, x1, y0, y1;
    };

    /// Places of the tile's first point on the samples below the tile, one per rotation of a group.
    /// The samples are read where they are if all exist, else copied with the outermost ones
    /// repeated.
    struct Samples {
        alignas(32) float place_0[simd::width] = {}, per_point[simd::width] = {},
                          per_line[simd::width] = {};
        alignas(32) std::int32_t row_offset[simd::width] = {};
        std::array<std::ptrdiff_t, simd::width> first_sample{}, sample_count{};
        bool in_place = false;
    };

    static std::size_t margin_of(const RotationGroup& group) {
        return static_cast<std::size_t>(
                   std::ceil(static_cast<double>(group.depth) * std::abs(group.shear))) +
               1;
    }
    static std::size_t lines_of(const RotationGroup& group) {
        return (edge - 1 + group.depth - 1) / group.depth + 1;
    }
    static std::size_t pitch_of(const RotationGroup& group) { // points of a line
        return 2 * (edge + 2 * margin_of(group));
    }
    RowRange row_of(const Tile& tile, std::size_t iy) const {
        const RowRange row = problem_.rows[iy];
        const std::size_t begin = std::clamp(row.begin, tile.x0, tile.x1);
        return RowRange{begin, std::max(begin, std::min(row.end, tile.x1))};
    }

    Samples find_samples(const RotationGroup& group, const Tile& tile) const {
        const std::size_t margin = margin_of(group), node_lines = lines_of(group);
        const std::size_t pitch = pitch_of(group);
        const auto fast_0 =
            static_cast<double>(group.fast_is_x ? tile.x0 : tile.y0) - static_cast<double>(margin);
        const auto slow_0 = static_cast<double>(group.fast_is_x ? tile.y0 : tile.x0);
        Samples at;
        at.in_place = group.count == simd::width && may_read_in_place_;
        for (std::size_t r = 0; r < group.count; ++r) {
            const std::size_t rotation = group.rotations[r];
            const Line& line = problem_.lines[rotation];
            const double k_fast = group.fast_is_x ? line.kx : line.ky;
            const double k_slow = group.fast_is_x ? line.ky : line.kx;
            const double origin = line.origin + fast_0 * k_fast + slow_0 * k_slow;
            const double reach_fast = 0.5 * static_cast<double>(pitch - 1) * k_fast;
            const double reach_slow = static_cast<double>((node_lines - 1) * group.depth) * k_slow;
            const double lowest =
                std::floor(origin + std::min(0.0, reach_fast) + std::min(0.0, reach_slow));
            const double highest = origin + std::max(0.0, reach_fast) + std::max(0.0, reach_slow);
            at.place_0[r] = static_cast<float>(origin - lowest);
            at.per_point[r] = static_cast<float>(0.5 * k_fast);
            at.per_line[r] = static_cast<float>(static_cast<double>(group.depth) * k_slow);
            at.first_sample[r] = static_cast<std::ptrdiff_t>(lowest);
            at.sample_count[r] = std::min(static_cast<std::ptrdiff_t>(max_samples_),
                                          static_cast<std::ptrdiff_t>(highest - lowest) + 3);
            at.in_place = at.in_place && at.first_sample[r] >= 0 &&
                          at.first_sample[r] + at.sample_count[r] - 1 <= last_translation_;
        }
        return at;
    }

    void point_at(const RotationGroup& group, Samples& at) const {
        for (std::size_t r = 0; r < simd::width; ++r)
            at.row_offset[r] =
                static_cast<std::int32_t>((group.rotations[r] * problem_.translations +
                                           static_cast<std::size_t>(at.first_sample[r])) *
                                          width);
    }

    void pack(const RotationGroup& group, Samples& at) const {
        for (std::size_t r = 0; r < simd::width; ++r) {
            float* const row = packed_ + r * max_samples_ * width;
            at.row_offset[r] = static_cast<std::int32_t>(r * max_samples_ * width);
            if (r >= group.count) { // a small group: zeros
                std::memset(row, 0, 2 * width * sizeof(float));
                continue;
            }
            const float* const source =
                sinogram_ + group.rotations[r] * problem_.translations * width;
            for (std::ptrdiff_t s = 0; s < at.sample_count[r]; ++s) {
                const auto t =
                    std::clamp<std::ptrdiff_t>(at.first_sample[r] + s, 0, last_translation_);
                simd::copy_padded(row + static_cast<std::size_t>(s) * width,
                                  source + static_cast<std::size_t>(t) * width, width, width);
            }
        }
    }

    /// Fetches the samples of the next group meanwhile.
    void prefetch(const RotationGroup& group, const Tile& tile) const {
        for (std::size_t r = 0; r < group.count; ++r) {
            const std::size_t rotation = group.rotations[r];
            const Line& line = problem_.lines[rotation];
            const double lowest =
                line.origin + static_cast<double>(tile.x0) * line.kx +
                static_cast<double>(tile.y0) * line.ky +
                static_cast<double>(edge) * (std::min(0.0, line.kx) + std::min(0.0, line.ky));
            const auto samples = static_cast<std::ptrdiff_t>(
                static_cast<double>(edge) * (std::abs(line.kx) + std::abs(line.ky)));
            for (std::ptrdiff_t s = 0; s < samples; ++s) {
                const auto t = std::clamp<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(lowest) + s,
                                                          0, last_translation_);
                const float* p =
                    sinogram_ +
                    (rotation * problem_.translations + static_cast<std::size_t>(t)) * width;
                for (std::size_t c = 0; c < width; c += 16)
                    __builtin_prefetch(p + c, 0, 2);
            }
        }
    }

    /// points = sums over the group's rotations at half pixels of every depth-th line.
    void sum_points(const RotationGroup& group, const Samples& at) {
        using namespace simd;
        const std::size_t node_lines = lines_of(group), pitch = pitch_of(group);
        const float* const data = at.in_place ? sinogram_ : packed_;
        float* const points = points_;
        const Float8 origin = load(at.place_0), along = load(at.per_point),
                     across = load(at.per_line);
        Int8 rows;
        std::memcpy(&rows, at.row_offset, sizeof rows);
        for (std::size_t m = 0; m < node_lines; ++m) {
            const Float8 line_origin = origin + static_cast<float>(m) * across;
            for (std::size_t first = 0; first < pitch; first += batch) {
                const std::size_t last = std::min(first + batch, pitch);
                WeightTable::Writer writer(table_);
                for (std::size_t q = first; q < last; ++q) {
                    const Float8 place =
                        maximum(line_origin + static_cast<float>(q) * along, broadcast(0));
                    const Int8 sample = truncate(place);
                    const Float8 fraction = place - to_float(sample);
                    store(writer.weights(), 1.0F - fraction);
                    store(writer.weights() + simd::width, fraction);
                    writer.append<false>(sample * static_cast<std::int32_t>(width) + rows, 2,
                                         width);
                }
                WeightCursor cursor(table_);
                for (std::size_t q = first; q < last; ++q) {
                    Float8 total[sets][V];
                    for (auto& set : total)
                        for (Float8& t : set)
                            t = broadcast(0);
                    accumulate<2, false>(table_, cursor, 1, 2, data, total);
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
    }

    /// Pixels of one slow line: both lines of points around it, at fixed displacements.
    void add_points(const RotationGroup& group, const Tile& tile) {
        using namespace simd;
        const std::size_t margin = margin_of(group), node_lines = lines_of(group);
        const std::size_t pitch = pitch_of(group);
        const float* const points = points_;
        float* const sums = sums_;
        const std::size_t slow_end = group.fast_is_x ? tile.y1 - tile.y0 : tile.x1 - tile.x0;
        const std::size_t fast_end = group.fast_is_x ? tile.x1 - tile.x0 : tile.y1 - tile.y0;
        const std::size_t to_next = group.fast_is_x ? width : edge * width;
        for (std::size_t slow = 0; slow < slow_end; ++slow) {
            const std::size_t m = std::min(slow / group.depth, node_lines - 2);
            const auto beyond = static_cast<double>(slow - m * group.depth);
            const double part = beyond / static_cast<double>(group.depth);
            const auto point_of = [&](std::size_t line, double distance) {
                const double q = 2 * (static_cast<double>(margin) + distance * group.shear);
                return points + (line * pitch + static_cast<std::size_t>(std::lround(q))) * width;
            };
            const float* before = point_of(m, beyond);
            const float* after = point_of(m + 1, beyond - static_cast<double>(group.depth));
            const Float8 w0 = broadcast(static_cast<float>(1 - part)),
                         w1 = broadcast(static_cast<float>(part));
            float* sum = sums + (group.fast_is_x ? slow * edge : slow) * width;
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

    void write(const Tile& tile, float* image, std::size_t image_stride,
               std::size_t channels) const {
        for (std::size_t iy = tile.y0; iy < tile.y1; ++iy) {
            const RowRange row = row_of(tile, iy);
            for (std::size_t ix = tile.x0; ix < tile.x1; ++ix) {
                float* to = image + (iy * problem_.n + ix) * image_stride;
                if (ix < row.begin || ix >= row.end)
                    std::memset(to, 0, channels * sizeof(float));
                else
                    std::memcpy(to, sums_ + ((iy - tile.y0) * edge + (ix - tile.x0)) * width,
                                channels * sizeof(float));
            }
        }
    }

    const Problem& problem_;
    const std::vector<RotationGroup>& groups_;
    const float* sinogram_;
    std::ptrdiff_t last_translation_;
    // Not when offsets would overflow, nor when the rows of neighbouring rotations fall onto the
    // same sets of the first-level cache.
    bool may_read_in_place_;
    std::size_t max_samples_ = 0;
    simd::Buffer packed_buffer_, points_buffer_, sums_buffer_;
    float* packed_ = nullptr; // [rotation of the group][sample]
    float* points_ = nullptr; // [line][half pixel]
    float* sums_ = nullptr;   // [y][x] of the tile
    WeightTable table_;
};

/// image[iy][ix][channel] = Σ_rotations linear interpolation of sinogram rows
/// [rotation][translation][8 V]; inactive pixels become 0; the first `channels` ≤ 8 V are written.
template <std::size_t V>
void back_project_groups(const Problem& problem, const std::vector<RotationGroup>& groups,
                         const float* sinogram, float* image, std::size_t image_stride,
                         std::size_t channels) {
    GroupedBackProjection<V> projection(problem, groups, sinogram);
    for (std::size_t y0 = 0; y0 < problem.n; y0 += group_tile)
        for (std::size_t x0 = 0; x0 < problem.n; x0 += group_tile)
            projection.tile(x0, y0, image, image_stride, channels);
}

} // namespace xrdct::tomography::gather
