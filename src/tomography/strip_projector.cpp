// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/strip_projector.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/simd.hpp"
#include "tomography/bin_gather.hpp"
#include "tomography/footprint.hpp"
#include "tomography/pixel_gather.hpp"

namespace xrdct::tomography {

namespace {

using gather::BinTuning;
using gather::Ray;

/// Samples or pixels that a footprint of this width (without the box of the bins themselves) can
/// touch.
std::size_t taps_of(double width) {
    return std::max<std::size_t>(2, static_cast<std::size_t>(std::ceil(width - 1e-9)) + 1);
}

using BinKernel = void (*)(std::span<const gather::BinRun>, const gather::PackedStrip&, std::size_t,
                           gather::BinWork&, float*, std::size_t);

/// Kernels for the usual numbers of taps, and one for any (0).
template <std::size_t V, bool with_beam>
BinKernel bin_kernel(std::size_t taps) {
    if constexpr (V > 1) {
        switch (taps) {
        case 2:
            return &gather::gather_bins<2, with_beam, V>;
        case 3:
            return &gather::gather_bins<3, with_beam, V>;
        case 4:
            return &gather::gather_bins<4, with_beam, V>;
        case 5:
            return &gather::gather_bins<5, with_beam, V>;
        default:
            break;
        }
    }
    return &gather::gather_bins<0, with_beam, V>;
}

} // namespace

struct StripProjector::Impl {
    ScanGeometry geometry;
    ImageGrid grid;
    StripProjectorOptions options;
    std::vector<double> cosine, sine;
    double step = 0, origin = 0;

    gather::Problem problem;
    std::vector<FootprintEdge> sample_edges; // per rotation, in steps
    std::size_t sample_taps = 2;
    bool with_beam = false;
    std::array<std::vector<Ray>, 2> rays; // fast axis x, fast axis y

    Impl(ScanGeometry scan, ImageGrid image, StripProjectorOptions chosen);

    template <std::size_t V>
    void adjoint_block(const float* sinogram, std::size_t stride, std::size_t channels,
                       float* image) const;
    template <std::size_t V>
    void forward_block(const float* image, std::size_t stride, std::size_t channels,
                       float* sinogram) const;
    struct Strip;
    struct Window;
    gather::RowRange range_of(std::size_t line_0, std::size_t lines) const;
    template <std::size_t V>
    void pack(const Strip& strip, const gather::PackedStrip& packed, std::ptrdiff_t packed_0) const;
    void prefetch(const Strip& strip, const gather::PackedStrip& packed, std::ptrdiff_t packed_0,
                  std::ptrdiff_t tile, gather::Prefetcher& prefetcher) const;
    template <std::size_t V>
    void find_runs(std::span<const Ray> some, std::size_t r0, std::size_t r1, const Window& window,
                   std::vector<gather::BinRun>& runs) const;
    template <std::size_t V>
    void forward_strip(std::span<const Ray> some, const Strip& strip, const BinTuning& tuning,
                       gather::BinWork& work, float* out, std::size_t out_part) const;
    void check(std::size_t image_size, std::size_t sinogram_size, std::size_t channels) const;
};

StripProjector::Impl::Impl(ScanGeometry scan, ImageGrid image, StripProjectorOptions chosen)
    : geometry(std::move(scan)), grid(image), options(chosen) {
    geometry.validate();
    grid.validate();
    step = geometry.step();
    origin = geometry.origin_index();
    const double radius = geometry.field_of_view_radius();

    problem.translations = geometry.translation.size();
    problem.n = grid.n;
    for (std::size_t iy = 0; iy < grid.n; ++iy) {
        gather::RowRange row{0, grid.n};
        if (options.field_of_view_only) {
            const double y = grid.coordinate(iy);
            while (row.begin < grid.n && std::hypot(grid.coordinate(row.begin), y) > radius)
                ++row.begin;
            while (row.end > row.begin && std::hypot(grid.coordinate(row.end - 1), y) > radius)
                --row.end;
        }
        problem.rows.push_back(row);
    }

    const double s_pixel = grid.pixel / step, centre = 0.5 * (static_cast<double>(grid.n) - 1);
    const double width = std::abs(step), beam = geometry.beam_width;
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i), c = std::cos(omega), s = std::sin(omega);
        cosine.push_back(c);
        sine.push_back(s);
        const double kx = c * s_pixel, ky = s * s_pixel;
        problem.lines.push_back({origin - centre * (kx + ky), kx, ky});

        const double a = grid.pixel * std::abs(c), b = grid.pixel * std::abs(s);
        sample_edges.emplace_back(a / width, b / width, beam / width);
        sample_taps = std::max(sample_taps, taps_of(2 * sample_edges.back().half_width()));
        with_beam = with_beam || sample_edges.back().beam > 0;

        const bool fast_is_x = std::abs(c) >= std::abs(s);
        const double k_fast = fast_is_x ? kx : ky, k_slow = fast_is_x ? ky : kx;
        const double fast = std::max(a, b), slow = std::min(a, b);
        rays[fast_is_x ? 0 : 1].push_back({i, (centre * (kx + ky) - origin) / k_fast, 1 / k_fast,
                                           -k_slow / k_fast, grid.pixel * grid.pixel / fast,
                                           FootprintEdge(width / fast, slow / fast, beam / fast)});
        const double widest = std::max(sample_edges.back().half_width(),
                                       rays[fast_is_x ? 0 : 1].back().edge.half_width());
        if (taps_of(2 * widest) > max_taps)
            throw Error(fmt::format(
                "projector: pixel {} mm, translation step {} mm and beam_width {} mm differ too "
                "much in size; at most about {} of one may lie below another",
                grid.pixel, width, beam, max_taps - 4));
    }
    // Rays worked on together are to be nearly parallel, in whatever order they were measured.
    for (auto& some : rays)
        std::sort(some.begin(), some.end(),
                  [](const Ray& a, const Ray& b) { return a.per_line < b.per_line; });
}

void StripProjector::Impl::check(std::size_t image_size, std::size_t sinogram_size,
                                 std::size_t channels) const {
    const std::size_t rays_here = geometry.rotation.size() * geometry.translation.size();
    if (channels == 0)
        throw Error("projector: there is no channel");
    if (image_size != grid.size() * channels)
        throw Error(fmt::format("projector: the image holds {} values, expected {} × {} × {}",
                                image_size, grid.n, grid.n, channels));
    if (sinogram_size != rays_here * channels)
        throw Error(fmt::format("projector: the sinogram holds {} values, expected {} × {} × {}",
                                sinogram_size, geometry.rotation.size(),
                                geometry.translation.size(), channels));
}

template <std::size_t V>
void StripProjector::Impl::adjoint_block(const float* sinogram, std::size_t stride,
                                         std::size_t channels, float* image) const {
    const auto scale = static_cast<float>(grid.pixel * grid.pixel / std::abs(step));
    const gather::Tuning tuning;
    const auto run = [&]<std::size_t taps, bool beam>() {
        gather::gather_pixels<gather::StripTaps<taps, beam>, V>(
            problem, sample_edges, false, sinogram, stride, image, stride, channels, scale, tuning,
            sample_taps);
    };
    const auto choose = [&]<bool beam>() {
        if constexpr (V > 1) {
            if (sample_taps <= 3)
                return run.template operator()<3, beam>();
            if (sample_taps == 4)
                return run.template operator()<4, beam>();
        }
        return run.template operator()<0, beam>();
    };
    with_beam ? choose.template operator()<true>() : choose.template operator()<false>();
}

/// Part of an image under forward projection: `lines` slow lines from line_0 on.
struct StripProjector::Impl::Strip {
    bool fast_is_x;
    const float* image;
    std::size_t stride, channels, line_0;
    std::size_t begin, end; ///< of active fast pixels on any of the lines
    float* packed;
};

/// Active fast pixels on any of the lines; the disc looks the same along x and along y.
gather::RowRange StripProjector::Impl::range_of(std::size_t line_0, std::size_t lines) const {
    std::size_t begin = grid.n, end = 0;
    for (std::size_t line = line_0; line < std::min(line_0 + lines, grid.n); ++line) {
        const gather::RowRange row = problem.rows[line];
        if (row.begin < row.end) {
            begin = std::min(begin, row.begin);
            end = std::max(end, row.end);
        }
    }
    return {begin, end};
}

/// Copies the pixels from packed_0 on, zeros where there are none.
template <std::size_t V>
void StripProjector::Impl::pack(const Strip& strip, const gather::PackedStrip& packed,
                                std::ptrdiff_t packed_0) const {
    constexpr std::size_t width = V * simd::width;
    for (std::size_t l = 0; l < packed.lines; ++l) {
        const std::size_t line = strip.line_0 + l;
        const gather::RowRange row = line < grid.n ? problem.rows[line] : gather::RowRange{0, 0};
        for (std::size_t f = 0; f < packed.pitch; ++f) {
            const std::ptrdiff_t at = packed_0 + static_cast<std::ptrdiff_t>(f);
            const bool outside = at < static_cast<std::ptrdiff_t>(row.begin) ||
                                 at >= static_cast<std::ptrdiff_t>(row.end);
            const auto fast = static_cast<std::size_t>(outside ? 0 : at);
            const std::size_t pixel = strip.fast_is_x ? line * grid.n + fast : fast * grid.n + line;
            const float* const from = strip.image + (outside ? 0 : pixel * strip.stride);
            for (std::size_t part = 0; part < packed.parts; ++part) {
                float* const to =
                    strip.packed + part * packed.part_size + (l * packed.pitch + f) * width;
                if (outside)
                    std::memset(to, 0, width * sizeof(float));
                else
                    simd::copy_padded(to, from + part * width,
                                      std::min(width, strip.channels - part * width), width);
            }
        }
    }
}

/// The pixels that the next tile adds.
void StripProjector::Impl::prefetch(const Strip& strip, const gather::PackedStrip& packed,
                                    std::ptrdiff_t packed_0, std::ptrdiff_t tile,
                                    gather::Prefetcher& prefetcher) const {
    prefetcher.clear();
    for (std::size_t l = 0; l < packed.lines && strip.line_0 + l < grid.n; ++l) {
        const gather::RowRange row = problem.rows[strip.line_0 + l];
        const std::ptrdiff_t beyond = packed_0 + static_cast<std::ptrdiff_t>(packed.pitch);
        for (std::ptrdiff_t at = std::max(beyond, static_cast<std::ptrdiff_t>(row.begin));
             at < std::min(beyond + tile, static_cast<std::ptrdiff_t>(row.end)); ++at) {
            const auto fast = static_cast<std::size_t>(at), line = strip.line_0 + l;
            prefetcher.add(strip.image +
                           (strip.fast_is_x ? line * grid.n + fast : fast * grid.n + line) *
                               strip.stride);
        }
    }
}

/// Where samples belong: those that meet the strip's middle line at fast pixels [from, to). The
/// pixels reach to [first, last) with a margin.
struct StripProjector::Impl::Window {
    std::ptrdiff_t from, to, first, last, reach, packed_0;
    std::size_t line_0;
    double middle; ///< line
};

/// Runs of samples of the rays r0 … r1 − 1 in a window.
template <std::size_t V>
void StripProjector::Impl::find_runs(std::span<const Ray> some, std::size_t r0, std::size_t r1,
                                     const Window& window,
                                     std::vector<gather::BinRun>& runs) const {
    constexpr std::size_t width = V * simd::width;
    const auto last_translation = static_cast<std::ptrdiff_t>(problem.translations);
    const double middle = window.middle;
    runs.clear();
    for (std::size_t r = r0; r < r1; ++r) {
        const Ray& ray = some[r];
        const double strip_origin = ray.origin + static_cast<double>(window.line_0) * ray.per_line;
        const double at_middle = strip_origin + middle * ray.per_line;
        // First sample at or beyond a fast index, in the direction of rising samples.
        const auto bound = [&](std::ptrdiff_t fast) {
            const double j = (static_cast<double>(fast) - at_middle) / ray.per_sample;
            const double whole = ray.per_sample > 0 ? std::ceil(j) : std::floor(j) + 1;
            return static_cast<std::ptrdiff_t>(
                std::clamp(whole, 0.0, static_cast<double>(last_translation)));
        };
        // Samples beyond `own` meet none of the pixels.
        const auto own = static_cast<std::ptrdiff_t>(
            std::ceil((middle + 1) * std::abs(ray.per_line) + ray.edge.half_width()) + 1);
        const std::ptrdiff_t from = std::max(window.from, window.first + window.reach - own);
        const std::ptrdiff_t to = std::min(window.to, window.last - window.reach + own);
        if (from >= to)
            continue;
        const std::ptrdiff_t a = bound(from), b = bound(to);
        const std::ptrdiff_t j0 = std::min(a, b), j1 = std::max(a, b);
        if (j0 < j1)
            runs.push_back({&ray, strip_origin - static_cast<double>(window.packed_0), j0, j1,
                            static_cast<std::ptrdiff_t>(r * problem.translations * width)});
    }
}

template <std::size_t V>
void StripProjector::Impl::forward_strip(std::span<const Ray> some, const Strip& strip,
                                         const BinTuning& tuning, gather::BinWork& work, float* out,
                                         std::size_t out_part) const {
    constexpr std::size_t width = V * simd::width;
    const std::size_t parts = (strip.channels + width - 1) / width;
    const std::size_t lines = tuning.lines;
    double half_width = 0;
    for (const Ray& ray : some)
        half_width = std::max(half_width, ray.edge.half_width());
    // A sample belongs to the tile in which it meets the middle line; it reaches this much further
    // on the others.
    const auto reach =
        static_cast<std::ptrdiff_t>(std::ceil(0.5 * static_cast<double>(lines) + half_width)) + 2;
    const auto first = static_cast<std::ptrdiff_t>(strip.begin) - reach;
    const auto last = static_cast<std::ptrdiff_t>(strip.end) + reach;
    const auto tile = static_cast<std::ptrdiff_t>(tuning.tile),
               group = static_cast<std::ptrdiff_t>(tuning.group);
    const std::size_t pitch =
        gather::spread_pitch(tuning.tile + 2 * static_cast<std::size_t>(reach) + 2, width);
    const gather::PackedStrip packed{strip.packed, pitch, lines, parts, pitch * lines * width};
    const double middle = 0.5 * static_cast<double>(lines - 1);

    std::vector<gather::BinRun> runs;
    for (std::ptrdiff_t tile_0 = first; tile_0 < last; tile_0 += tile) {
        const std::ptrdiff_t packed_0 = tile_0 - reach;
        pack<V>(strip, packed, packed_0);
        prefetch(strip, packed, packed_0, tile, work.prefetcher);
        const std::ptrdiff_t tile_1 = std::min(tile_0 + tile, last);
        for (std::size_t r0 = 0; r0 < some.size(); r0 += tuning.rotations) {
            const std::size_t r1 = std::min(r0 + tuning.rotations, some.size());
            std::size_t taps = 2;
            bool beam = false;
            for (const Ray& ray : some.subspan(r0, r1 - r0)) {
                taps = std::max(taps, taps_of(2 * ray.edge.half_width()));
                beam = beam || ray.edge.beam > 0;
            }
            const BinKernel kernel = beam ? bin_kernel<V, true>(taps) : bin_kernel<V, false>(taps);
            for (std::ptrdiff_t g0 = tile_0; g0 < tile_1; g0 += group) {
                find_runs<V>(some, r0, r1,
                             {g0, std::min(g0 + group, tile_1), first, last, reach, packed_0,
                              strip.line_0, middle},
                             runs);
                if (!runs.empty())
                    kernel(runs, packed, taps, work, out, out_part);
            }
        }
    }
}

template <std::size_t V>
void StripProjector::Impl::forward_block(const float* image, std::size_t stride,
                                         std::size_t channels, float* sinogram) const {
    constexpr std::size_t width = V * simd::width;
    const BinTuning tuning;
    const std::size_t parts = (channels + width - 1) / width;
    // Chunks of equal size, of whole batches of rotations: each reads the image once.
    const std::size_t most = std::max(rays[0].size(), rays[1].size());
    const std::size_t chunks = (most + tuning.chunk - 1) / tuning.chunk;
    const std::size_t batches =
        (most + chunks * tuning.rotations - 1) / (chunks * tuning.rotations);
    const std::size_t at_once = std::min(batches * tuning.rotations, most);
    const std::size_t out_part = at_once * problem.translations * width;
    simd::Buffer sums_buffer, packed_buffer;
    float* const sums = sums_buffer.reserve(parts * out_part);
    double half_width = 0, samples_per_pixel = 0;
    for (const auto& some : rays)
        for (const Ray& ray : some) {
            half_width = std::max(half_width, ray.edge.half_width());
            samples_per_pixel = std::max(samples_per_pixel, 1 / std::abs(ray.per_sample));
        }
    const std::size_t pitch = gather::spread_pitch(
        tuning.tile + tuning.lines + 2 * static_cast<std::size_t>(half_width) + 16, width);
    float* const packed = packed_buffer.reserve(parts * pitch * tuning.lines * width);
    const auto max_samples =
        static_cast<std::size_t>(std::ceil(samples_per_pixel * static_cast<double>(tuning.group))) +
        1;
    gather::BinWork work{
        gather::WeightTable(max_samples * tuning.rotations, tuning.lines, taps_of(2 * half_width)),
        {},
        gather::Prefetcher(channels)};

    for (const bool fast_is_x : {true, false}) {
        const std::span<const Ray> all = rays[fast_is_x ? 0 : 1];
        for (std::size_t first = 0; first < all.size(); first += at_once) {
            const auto some = all.subspan(first, std::min(at_once, all.size() - first));
            std::memset(sums, 0, parts * out_part * sizeof(float));
            for (std::size_t line = 0; line < grid.n; line += tuning.lines)
                if (const auto [begin, end] = range_of(line, tuning.lines); begin < end)
                    forward_strip<V>(some,
                                     {fast_is_x, image, stride, channels, line, begin, end, packed},
                                     tuning, work, sums, out_part);
            for (std::size_t r = 0; r < some.size(); ++r)
                for (std::size_t j = 0; j < problem.translations; ++j)
                    for (std::size_t part = 0; part < parts; ++part)
                        std::memcpy(sinogram +
                                        (some[r].rotation * problem.translations + j) * stride +
                                        part * width,
                                    sums + part * out_part + (r * problem.translations + j) * width,
                                    std::min(width, channels - part * width) * sizeof(float));
        }
    }
}

StripProjector::StripProjector(ScanGeometry geometry, ImageGrid grid, StripProjectorOptions options)
    : impl_(std::make_unique<const Impl>(std::move(geometry), grid, options)) {}
StripProjector::~StripProjector() = default;
StripProjector::StripProjector(StripProjector&&) noexcept = default;
StripProjector& StripProjector::operator=(StripProjector&&) noexcept = default;

const ScanGeometry& StripProjector::geometry() const {
    return impl_->geometry;
}
const ImageGrid& StripProjector::grid() const {
    return impl_->grid;
}
std::size_t StripProjector::rays() const {
    return impl_->geometry.rotation.size() * impl_->geometry.translation.size();
}

void StripProjector::forward(std::span<const float> image, std::size_t channels,
                             std::span<float> sinogram) const {
    impl_->check(image.size(), sinogram.size(), channels);
    gather::for_channel_blocks<8>(
        channels, BinTuning{}.parts, [&]<std::size_t V>(std::size_t first, std::size_t count) {
            impl_->forward_block<V>(image.data() + first, channels, count, sinogram.data() + first);
        });
}

void StripProjector::adjoint(std::span<const float> sinogram, std::size_t channels,
                             std::span<float> image) const {
    impl_->check(image.size(), sinogram.size(), channels);
    gather::for_channel_blocks<8>(
        channels, gather::Tuning{}.parts, [&]<std::size_t V>(std::size_t first, std::size_t count) {
            impl_->adjoint_block<V>(sinogram.data() + first, channels, count, image.data() + first);
        });
}

double StripProjector::weight(std::size_t i_rotation, std::size_t i_translation, std::size_t iy,
                              std::size_t ix) const {
    if (!active(iy, ix))
        return 0;
    const gather::Line& line = impl_->problem.lines[i_rotation];
    const FootprintEdge& edge = impl_->sample_edges[i_rotation];
    const double u =
        static_cast<double>(i_translation) -
        (line.origin + static_cast<double>(ix) * line.kx + static_cast<double>(iy) * line.ky);
    const double scale = impl_->grid.pixel * impl_->grid.pixel / std::abs(impl_->step);
    return scale * (edge(u + 0.5) - edge(u - 0.5));
}

double StripProjector::half_width(std::size_t i_rotation) const {
    return (impl_->sample_edges[i_rotation].half_width() + 0.5) * std::abs(impl_->step);
}

bool StripProjector::active(std::size_t iy, std::size_t ix) const {
    const gather::RowRange row = impl_->problem.rows[iy];
    return ix >= row.begin && ix < row.end;
}

} // namespace xrdct::tomography
