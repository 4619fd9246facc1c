// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/fbp.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/simd.hpp"
#include "base/units.hpp"
#include "tomography/grouped_back_projection.hpp"
#include "tomography/pixel_gather.hpp"

namespace xrdct::tomography {

std::vector<double> angular_weights(std::span<const double> rotation_degrees,
                                    std::span<const unsigned char> use, double max_gap) {
    struct Entry {
        double angle;
        std::size_t index;
    };
    std::vector<Entry> entries;
    for (std::size_t i = 0; i < rotation_degrees.size(); ++i)
        if (use.empty() || use[i]) {
            double angle = std::fmod(rotation_degrees[i], 180.0);
            entries.push_back({angle < 0 ? angle + 180 : angle, i});
        }
    if (entries.empty())
        throw Error("filtered back-projection: there is no usable rotation");
    std::ranges::stable_sort(entries, {}, &Entry::angle);

    // Start behind the widest gap, so that rotations that coincide stand together.
    const auto gap_to_next = [&](std::size_t i) {
        return i + 1 < entries.size() ? entries[i + 1].angle - entries[i].angle
                                      : entries[0].angle + 180 - entries[i].angle;
    };
    std::size_t widest_at = 0;
    for (std::size_t i = 1; i < entries.size(); ++i)
        if (gap_to_next(i) > gap_to_next(widest_at))
            widest_at = i;
    std::vector<std::size_t> group_size;
    std::vector<double> gaps; // from a group to the next
    const double coincident = 1e-3 * 180 / static_cast<double>(entries.size());
    const auto at = [&](std::size_t i) { return (widest_at + 1 + i) % entries.size(); };
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const double gap = gap_to_next(at(i));
        if (i == 0 || gap_to_next(at(i - 1)) > coincident) {
            group_size.push_back(1);
            gaps.push_back(gap);
        } else {
            ++group_size.back();
            gaps.back() = gap;
        }
    }

    const std::size_t n = gaps.size();
    std::vector<double> sorted = gaps;
    std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(n / 2));
    const double widest = max_gap * sorted[n / 2];
    for (double& gap : gaps)
        gap = std::min(gap, widest);
    const double total = std::accumulate(gaps.begin(), gaps.end(), 0.0);
    std::vector<double> weights(rotation_degrees.size(), 0.0);
    std::size_t i = 0;
    for (std::size_t g = 0; g < n; ++g)
        for (std::size_t member = 0; member < group_size[g]; ++member, ++i)
            weights[entries[at(i)].index] = 0.5 * (gaps[g] + gaps[(g + n - 1) % n]) * pi / total /
                                            static_cast<double>(group_size[g]);
    return weights;
}

namespace {

/// Replaces what is not finite in a column of values `stride` apart; false when nothing is finite.
bool fill_missing(float* values, std::size_t count, std::size_t stride) {
    std::size_t previous = count; // none
    for (std::size_t i = 0; i < count; ++i) {
        if (!std::isfinite(values[i * stride]))
            continue;
        const float here = values[i * stride];
        if (previous == count) {
            for (std::size_t k = 0; k < i; ++k)
                values[k * stride] = here;
        } else {
            const float before = values[previous * stride];
            for (std::size_t k = previous + 1; k < i; ++k)
                values[k * stride] = before + (here - before) * static_cast<float>(k - previous) /
                                                  static_cast<float>(i - previous);
        }
        previous = i;
    }
    if (previous == count)
        return false;
    for (std::size_t k = previous + 1; k < count; ++k)
        values[k * stride] = values[previous * stride];
    return true;
}

} // namespace

struct FilteredBackProjection::Impl {
    ScanGeometry geometry;
    ImageGrid grid;
    FbpOptions options;
    RampFilter filter;
    std::vector<double> weights; // all rotations
    tomography::gather::Problem problem;
    std::vector<tomography::gather::RotationGroup> groups;
    bool grouped = false;
    simd::Buffer work;

    Impl(ScanGeometry scan, ImageGrid image, FbpOptions chosen);

    /// Mean squared weights with which the samples around a point enter its value, [lag], lag 0 for
    /// the two samples next to it; one row of `reach` lags for all rotations, or one per rotation.
    std::vector<float> squared_kernels(std::size_t& reach) const;

    tomography::gather::Problem make_problem(const ImageGrid& image, double shift) const;

    /// Copies a block of channels to the work space [rotation][translation][width], missing samples
    /// replaced, and hands every projection to process(rotation, its samples, its weights per
    /// channel). Rotations without data weigh 0; where a channel has any, its other weights change:
    /// the result of `process` must be proportional to weight^power.
    template <class Process>
    float* prepare(const float* sinogram, std::size_t stride, std::size_t channels,
                   std::size_t width, int power, std::vector<unsigned char>& no_data,
                   Process&& process);

    template <std::size_t V>
    void reconstruct_block(const float* sinogram, std::size_t stride, std::size_t channels,
                           float* image);
    template <std::size_t V>
    void variance_block(const float* variance, std::size_t stride, std::size_t channels,
                        const std::vector<float>& squares, std::size_t reach_size,
                        const tomography::gather::Problem& coarse, float* image);
    void check(std::size_t sinogram_size, std::size_t channels, const ImageGrid& image,
               std::size_t image_size) const;
};

FilteredBackProjection::Impl::Impl(ScanGeometry scan, ImageGrid image, FbpOptions chosen)
    : geometry((scan.validate(), std::move(scan))), grid((image.validate(), image)),
      options(chosen), filter(geometry.translation.size(), geometry.step(), options.filter) {
    if (!(options.max_angular_gap >= 1))
        throw Error(
            fmt::format("filtered back-projection: max_angular_gap is {}, expected 1 or more",
                        options.max_angular_gap));
    weights = angular_weights(geometry.rotation, {}, options.max_angular_gap);
    problem = make_problem(grid, 0);
    groups = tomography::gather::group_rotations(problem.lines);
    grouped = !options.direct &&
              tomography::gather::relative_cost(groups, geometry.rotation.size()) < 0.6;
}

tomography::gather::Problem FilteredBackProjection::Impl::make_problem(const ImageGrid& image,
                                                                       double shift) const {
    tomography::gather::Problem made;
    made.translations = geometry.translation.size();
    made.n = image.n;
    const double step = geometry.step(), origin = geometry.origin_index() + shift;
    const double first = image.coordinate(0);
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i), kx = std::cos(omega) / step,
                     ky = std::sin(omega) / step;
        made.lines.push_back({origin + first * (kx + ky), kx * image.pixel, ky * image.pixel});
    }
    const std::vector<unsigned char> mask = field_of_view_mask(geometry, image);
    for (std::size_t iy = 0; iy < image.n; ++iy) {
        tomography::gather::RowRange row{0, image.n};
        const unsigned char* line = mask.data() + iy * image.n;
        while (row.begin < image.n && !line[row.begin])
            ++row.begin;
        while (row.end > row.begin && !line[row.end - 1])
            --row.end;
        made.rows.push_back(row);
    }
    return made;
}

void FilteredBackProjection::Impl::check(std::size_t sinogram_size, std::size_t channels,
                                         const ImageGrid& image, std::size_t image_size) const {
    const std::size_t rays = geometry.rotation.size() * geometry.translation.size();
    if (channels == 0)
        throw Error("filtered back-projection: there is no channel");
    if (sinogram_size != rays * channels)
        throw Error(fmt::format(
            "filtered back-projection: the sinogram holds {} values, expected {} × {} × {}",
            sinogram_size, geometry.rotation.size(), geometry.translation.size(), channels));
    if (image_size != image.size() * channels)
        throw Error(fmt::format(
            "filtered back-projection: the image holds {} values, expected {} × {} × {}",
            image_size, image.n, image.n, channels));
}

template <class Process>
float* FilteredBackProjection::Impl::prepare(const float* sinogram, std::size_t stride,
                                             std::size_t channels, std::size_t width, int power,
                                             std::vector<unsigned char>& no_data,
                                             Process&& process) {
    using namespace simd;
    const std::size_t n_rotations = geometry.rotation.size(),
                      n_translations = geometry.translation.size();
    const std::size_t size = n_translations * width;
    float* const block = work.reserve(n_rotations * size);
    no_data.assign(channels, 0);
    std::vector<std::vector<unsigned char>> use(channels); // empty: all rotations
    std::vector<float> factors(width);

    for (std::size_t r = 0; r < n_rotations; ++r) {
        float* const rows = block + r * size;
        Float8 finite = broadcast(0); // stays 0 as long as everything is finite
        for (std::size_t t = 0; t < n_translations; ++t) {
            copy_padded(rows + t * width, sinogram + (r * n_translations + t) * stride, channels,
                        width);
            for (std::size_t c = 0; c < width; c += simd::width)
                finite += 0.0F * load(rows + t * width + c);
        }
        float all_finite = 0;
        for (std::size_t lane = 0; lane < simd::width; ++lane)
            all_finite += finite[lane];
        if (all_finite != 0)
            for (std::size_t c = 0; c < channels; ++c)
                if (!fill_missing(rows + c, n_translations, width)) {
                    for (std::size_t t = 0; t < n_translations; ++t)
                        rows[t * width + c] = 0;
                    if (use[c].empty())
                        use[c].assign(n_rotations, 1);
                    use[c][r] = 0;
                }
        std::ranges::fill(factors, static_cast<float>(std::pow(weights[r], power)));
        process(r, rows, factors.data());
    }

    const std::vector<unsigned char>* previous = nullptr; // channels mostly miss the same rotations
    std::vector<double> changed;
    for (std::size_t c = 0; c < channels; ++c) {
        if (use[c].empty())
            continue;
        if (std::ranges::find(use[c], 1) == use[c].end()) {
            no_data[c] = 1;
            continue;
        }
        if (!previous || !std::ranges::equal(*previous, use[c]))
            changed = angular_weights(geometry.rotation, use[c], options.max_angular_gap);
        previous = &use[c];
        for (std::size_t r = 0; r < n_rotations; ++r) {
            if (!use[c][r])
                continue; // zeros
            const auto change = static_cast<float>(std::pow(changed[r] / weights[r], power));
            for (std::size_t t = 0; t < n_translations && change != 1; ++t)
                block[r * size + t * width + c] *= change;
        }
    }
    return block;
}

namespace {

void set_missing(float* image, std::size_t stride, const tomography::gather::Problem& problem,
                 const std::vector<unsigned char>& no_data) {
    for (std::size_t c = 0; c < no_data.size(); ++c)
        if (no_data[c])
            for (std::size_t i = 0; i < problem.n * problem.n; ++i)
                image[i * stride + c] = std::numeric_limits<float>::quiet_NaN();
}

} // namespace

template <std::size_t V>
void FilteredBackProjection::Impl::reconstruct_block(const float* sinogram, std::size_t stride,
                                                     std::size_t channels, float* image) {
    constexpr std::size_t width = V * simd::width;
    std::vector<unsigned char> no_data;
    const float* block = prepare(sinogram, stride, channels, width, 1, no_data,
                                 [&](std::size_t, float* rows, const float* factors) {
                                     filter.apply(rows, width, rows, width, channels, factors);
                                 });
    if (grouped)
        tomography::gather::back_project_groups<V>(problem, groups, block, image, stride, channels);
    else
        tomography::gather::gather_pixels<tomography::gather::LinearTaps, V>(
            problem, std::vector<tomography::gather::LinearTaps::Parameters>(problem.lines.size()),
            true, block, width, image, stride, channels, 1.0F, tomography::gather::Tuning{});
    set_missing(image, stride, problem, no_data);
}

template <std::size_t V>
void FilteredBackProjection::Impl::variance_block(const float* variance, std::size_t stride,
                                                  std::size_t channels,
                                                  const std::vector<float>& squares,
                                                  std::size_t reach_size,
                                                  const tomography::gather::Problem& coarse,
                                                  float* image) {
    using namespace simd;
    constexpr std::size_t width = V * simd::width;
    const std::size_t n_translations = geometry.translation.size();
    const auto reach = static_cast<std::ptrdiff_t>(reach_size);
    Buffer line_buffer;
    float* const line = line_buffer.reserve(n_translations * width);
    std::vector<unsigned char> no_data;
    const float* block = prepare(
        variance, stride, channels, width, 2, no_data,
        [&](std::size_t rotation, float* rows, const float* factors) {
            const float* const square =
                squares.data() + (squares.size() > reach_size ? rotation * reach_size : 0);
            std::memcpy(line, rows, n_translations * width * sizeof(float));
            // Row i: between the samples i and i + 1; beyond the last one as before it.
            for (std::size_t i = 0; i < n_translations; ++i) {
                const auto at = static_cast<std::ptrdiff_t>(std::min(i, n_translations - 2));
                Float8 sum[V];
                for (Float8& s : sum)
                    s = broadcast(0);
                const std::ptrdiff_t from = std::max<std::ptrdiff_t>(0, at + 1 - reach);
                const std::ptrdiff_t to =
                    std::min(static_cast<std::ptrdiff_t>(n_translations), at + 1 + reach);
                for (std::ptrdiff_t j = from; j < to; ++j) {
                    const std::ptrdiff_t lag = j <= at ? at - j : j - at - 1;
                    const Float8 q = broadcast(square[lag]);
                    for (std::size_t v = 0; v < V; ++v)
                        sum[v] +=
                            q * load(line + static_cast<std::size_t>(j) * width + v * simd::width);
                }
                for (std::size_t v = 0; v < V; ++v)
                    store(rows + i * width + v * simd::width,
                          sum[v] * load(factors + v * simd::width));
            }
        });
    tomography::gather::gather_pixels<tomography::gather::LinearTaps, V>(
        coarse, std::vector<tomography::gather::LinearTaps::Parameters>(coarse.lines.size()), true,
        block, width, image, stride, channels, 1.0F, tomography::gather::Tuning{});
    set_missing(image, stride, coarse, no_data);
}

std::vector<float> FilteredBackProjection::Impl::squared_kernels(std::size_t& reach) const {
    // A point between two samples, at fraction f, sees (1 − f) kernel(m) + f kernel(m + 1); the
    // mean of its square over f.
    const std::span<const double> kernel = filter.kernel();
    const auto kernel_at = [&](std::ptrdiff_t lag) {
        const auto m = static_cast<std::size_t>(std::abs(lag));
        return m < kernel.size() ? kernel[m] : 0;
    };
    std::vector<double> squares;
    for (std::size_t m = 0; m < kernel.size(); ++m) {
        const double a = kernel[m], b = kernel_at(static_cast<std::ptrdiff_t>(m) + 1);
        squares.push_back((a * a + a * b + b * b) / 3);
    }
    double tail = 0;
    const double total = std::accumulate(squares.begin(), squares.end(), 0.0);
    while (squares.size() > 1 && tail + squares.back() < 1e-4 * total) {
        tail += squares.back();
        squares.pop_back();
    }
    reach = squares.size();
    if (!grouped)
        return {squares.begin(), squares.end()};

    // Grouped rotations: a pixel takes a rotation at two places near its own, one on either line of
    // points; means over its place between the lines, between the samples and between the points.
    constexpr std::ptrdiff_t max_displacement = 3;
    constexpr int fractions = 6;
    std::vector<float> rows(geometry.rotation.size() * reach);
    std::vector<double> interpolated; // [displacement in 1/fractions samples][lag]
    const auto lags = static_cast<std::ptrdiff_t>(reach);
    const std::ptrdiff_t columns =
        2 * lags; // samples −lags + 1 … lags relative to the one before the point
    for (std::ptrdiff_t place = -max_displacement * fractions;
         place <= (max_displacement + 1) * fractions; ++place) {
        const double u = static_cast<double>(place) / fractions;
        const auto whole = static_cast<std::ptrdiff_t>(std::floor(u));
        const double f = u - static_cast<double>(whole);
        for (std::ptrdiff_t j = 0; j < columns; ++j) {
            const std::ptrdiff_t lag = whole - (j - lags + 1);
            interpolated.push_back((1 - f) * kernel_at(lag) + f * kernel_at(lag + 1));
        }
    }
    const auto row_at = [&](double u) { // linear between the tabulated places
        struct Mix {
            const double *low, *high;
            double part;
        };
        const double at =
            std::clamp((u + max_displacement) * fractions, 0.0,
                       static_cast<double>((2 * max_displacement + 1) * fractions) - 1e-9);
        const auto low = static_cast<std::ptrdiff_t>(at);
        const double* row = interpolated.data() + low * columns;
        return Mix{row, row + columns, at - static_cast<double>(low)};
    };
    // Half-pixel points: three values with the variance of a uniform distribution over ± 1/4 pixel.
    constexpr std::array<double, 3> rounding{-0.17677669529663687, 0, 0.17677669529663687};
    for (const tomography::gather::RotationGroup& group : groups)
        for (std::size_t member = 0; member < group.count; ++member) {
            const std::size_t r = group.rotations[member];
            const tomography::gather::Line& line = problem.lines[r];
            const double k = group.fast_is_x ? line.kx : line.ky,
                         k_slow = group.fast_is_x ? line.ky : line.kx;
            const double drift = k_slow - group.shear * k; // samples per pixel of depth
            std::vector<double> sums(reach, 0.0);
            double count = 0;
            for (std::size_t line_at = 0; line_at < group.depth; ++line_at)
                for (const double rounding_a : rounding)
                    for (const double rounding_b : rounding)
                        for (int i = 0; i < fractions; ++i) {
                            const double part =
                                static_cast<double>(line_at) / static_cast<double>(group.depth);
                            const double f = (i + 0.5) / fractions,
                                         depth = static_cast<double>(group.depth);
                            const auto a = row_at(f - part * depth * drift + rounding_a * k);
                            const auto b = row_at(f + (1 - part) * depth * drift + rounding_b * k);
                            for (std::ptrdiff_t j = 0; j < columns; ++j) {
                                const double va = a.low[j] + a.part * (a.high[j] - a.low[j]);
                                const double vb = b.low[j] + b.part * (b.high[j] - b.low[j]);
                                const double value = (1 - part) * va + part * vb;
                                const std::ptrdiff_t lag = j < lags ? lags - 1 - j : j - lags;
                                sums[static_cast<std::size_t>(lag)] += 0.5 * value * value;
                            }
                            ++count;
                        }
            for (std::size_t m = 0; m < reach; ++m)
                rows[r * reach + m] = static_cast<float>(sums[m] / count);
        }
    return rows;
}

FilteredBackProjection::FilteredBackProjection(ScanGeometry geometry, ImageGrid grid,
                                               FbpOptions options)
    : impl_(std::make_unique<Impl>(std::move(geometry), grid, options)) {}
FilteredBackProjection::~FilteredBackProjection() = default;
FilteredBackProjection::FilteredBackProjection(FilteredBackProjection&&) noexcept = default;
FilteredBackProjection&
FilteredBackProjection::operator=(FilteredBackProjection&&) noexcept = default;

const ScanGeometry& FilteredBackProjection::geometry() const {
    return impl_->geometry;
}
const ImageGrid& FilteredBackProjection::grid() const {
    return impl_->grid;
}

void FilteredBackProjection::reconstruct(std::span<const float> sinogram, std::size_t channels,
                                         std::span<float> image) {
    impl_->check(sinogram.size(), channels, impl_->grid, image.size());
    tomography::gather::for_channel_blocks<4>(
        channels, 1, [&]<std::size_t V>(std::size_t first, std::size_t count) {
            impl_->reconstruct_block<V>(sinogram.data() + first, channels, count,
                                        image.data() + first);
        });
}

void FilteredBackProjection::propagate_variance(std::span<const float> variance_sinogram,
                                                std::size_t channels, const ImageGrid& coarse,
                                                std::span<float> image_variance) {
    coarse.validate();
    impl_->check(variance_sinogram.size(), channels, coarse, image_variance.size());

    std::size_t reach = 0;
    const std::vector<float> squares = impl_->squared_kernels(reach);
    const tomography::gather::Problem problem = impl_->make_problem(coarse, -0.5);
    tomography::gather::for_channel_blocks<4>(
        channels, 1, [&]<std::size_t V>(std::size_t first, std::size_t count) {
            impl_->variance_block<V>(variance_sinogram.data() + first, channels, count, squares,
                                     reach, problem, image_variance.data() + first);
        });
}

} // namespace xrdct::tomography
