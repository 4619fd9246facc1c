#include "absorption/hollow_core.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Keeps the largest connected region of values above a half; others above it become 0, and so does
/// a largest one of fewer than `least` pixels.
void keep_largest(std::vector<double>& share, std::size_t n, double least) {
    std::vector<std::size_t> region(share.size(), 0), sizes{0}, open;
    for (std::size_t from = 0; from < share.size(); ++from) {
        const auto visit = [&](std::size_t i) {
            if (region[i] == 0 && share[i] > 0.5) {
                region[i] = sizes.size();
                open.push_back(i);
            }
        };
        visit(from);
        if (open.empty())
            continue;
        std::size_t size = 0;
        while (!open.empty()) {
            const std::size_t i = open.back(), x = i % n, y = i / n;
            open.pop_back();
            ++size;
            if (x > 0)
                visit(i - 1);
            if (x + 1 < n)
                visit(i + 1);
            if (y > 0)
                visit(i - n);
            if (y + 1 < n)
                visit(i + n);
        }
        sizes.push_back(size);
    }
    const auto largest = std::max_element(sizes.begin(), sizes.end());
    const auto kept = static_cast<double>(*largest) < least
                          ? sizes.size()
                          : static_cast<std::size_t>(largest - sizes.begin());
    for (std::size_t i = 0; i < share.size(); ++i)
        if (region[i] > 0 && region[i] != kept)
            share[i] = 0;
}

} // namespace

std::vector<double> weighted_smooth(std::span<const double> values, std::span<const double> weight,
                                    std::size_t rows, std::size_t columns, double sigma_rows,
                                    double sigma_columns) {
    std::vector<double> top(values.size()), bottom(weight.begin(), weight.end());
    for (std::size_t i = 0; i < values.size(); ++i)
        top[i] = weight[i] > 0 ? weight[i] * values[i] : 0;
    const auto pass = [&](std::vector<double>& data, std::size_t count, std::size_t stride,
                          std::size_t lines, std::size_t line_stride, double sigma) {
        const auto reach = static_cast<std::ptrdiff_t>(std::ceil(3 * sigma));
        std::vector<double> kernel, line(count);
        for (std::ptrdiff_t k = 0; k <= reach; ++k)
            kernel.push_back(std::exp(-0.5 * static_cast<double>(k * k) / (sigma * sigma)));
        for (std::size_t l = 0; l < lines; ++l) {
            double* from = data.data() + l * line_stride;
            for (std::size_t i = 0; i < count; ++i)
                line[i] = from[i * stride];
            for (std::size_t i = 0; i < count; ++i) {
                double sum = 0;
                for (std::ptrdiff_t k = -reach; k <= reach; ++k) {
                    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(i) + k;
                    if (at >= 0 && at < static_cast<std::ptrdiff_t>(count))
                        sum += kernel[static_cast<std::size_t>(std::abs(k))] *
                               line[static_cast<std::size_t>(at)];
                }
                from[i * stride] = sum;
            }
        }
    };
    for (auto* data : {&top, &bottom}) {
        if (sigma_rows > 0)
            pass(*data, rows, columns, columns, 1, sigma_rows);
        if (sigma_columns > 0)
            pass(*data, columns, 1, rows, columns, sigma_columns);
    }
    for (std::size_t i = 0; i < top.size(); ++i)
        top[i] = bottom[i] > 0 ? top[i] / bottom[i] : 0;
    return top;
}

HollowCore HollowCore::find(std::span<const float> image, const tomography::ImageGrid& grid,
                            const RingFit& ring) {
    // Fine pixels are noisy, and layers finer than this are none of the hollow's outline.
    const double width = std::max(grid.pixel, ring.inner_radius / 70);
    const auto bins = static_cast<std::size_t>(ring.inner_radius / width) + 1;
    std::vector<double> sum(directions * bins, 0.0), count(sum), all(bins, 0.0), of_all(bins, 0.0);
    for (std::size_t y = 0; y < grid.n; ++y)
        for (std::size_t x = 0; x < grid.n; ++x) {
            const double u = grid.coordinate(x) - ring.centre_x,
                         v = grid.coordinate(y) - ring.centre_y, r = std::hypot(u, v);
            if (r >= ring.inner_radius)
                continue;
            const auto k = static_cast<std::size_t>(r / width);
            all[k] += image[y * grid.n + x];
            of_all[k] += 1;
            // A sector takes the pixels within 7.5 degrees of its direction.
            const double turn = (std::atan2(v, u) / (2 * pi) + 1) * directions;
            for (long d = -1; d <= 1; ++d) {
                const auto sector =
                    static_cast<std::size_t>(std::lround(turn) + d + directions) % directions;
                sum[sector * bins + k] += image[y * grid.n + x];
                count[sector * bins + k] += 1;
            }
        }
    std::vector<double> middle;
    double low = std::numeric_limits<double>::infinity(), low_sum = 0, low_count = 0;
    for (std::size_t k = 0; k < bins; ++k) {
        if (of_all[k] == 0)
            continue;
        const double r = (static_cast<double>(k) + 0.5) * width;
        if (r > 0.4 * ring.inner_radius && r < 0.8 * ring.inner_radius)
            middle.push_back(all[k] / of_all[k]);
        low_sum += all[k];
        low_count += of_all[k];
        // A few pixels about the centre say nothing by themselves.
        if (low_count >= 12 && r < 0.5 * ring.inner_radius) {
            low = std::min(low, low_sum / low_count);
            low_sum = low_count = 0;
        }
    }
    if (middle.empty())
        return HollowCore();
    const auto half = middle.begin() + static_cast<std::ptrdiff_t>(middle.size() / 2);
    std::nth_element(middle.begin(), half, middle.end());
    const double high = *half;
    if (!(low < 0.5 * high))
        return HollowCore();
    const double level = low + 0.15 * (high - low);
    // Outwards: thin layers of the sample may be as dark as the hollow.
    const auto crossing = [&](const double* total, const double* pixels, std::size_t from,
                              std::size_t to) {
        const auto mean = [&](std::size_t k) {
            double value = 0, number = 0;
            for (std::size_t m = k > 0 ? k - 1 : 0; m <= std::min(k + 1, bins - 1); ++m) {
                value += total[m];
                number += pixels[m];
            }
            return number > 0 ? value / number : low;
        };
        std::size_t k = from;
        while (k < std::min(to, bins - 1) && mean(k) <= level)
            ++k;
        if (k == from)
            return 0.0;
        const double below = mean(k - 1), above = mean(k);
        const double part =
            above > below ? std::clamp((level - below) / (above - below), 0.0, 1.0) : 0.5;
        return (static_cast<double>(k) - 0.5 + part) * width;
    };
    const double typical = crossing(all.data(), of_all.data(), 2, bins / 2);
    if (typical < 2 * width)
        return HollowCore();
    HollowCore hollow;
    const auto from = static_cast<std::size_t>(0.5 * typical / width),
               to = static_cast<std::size_t>(1.6 * typical / width) + 1;
    for (std::size_t d = 0; d < directions; ++d)
        hollow.radius_[d] = std::max(
            0.5 * typical, crossing(sum.data() + d * bins, count.data() + d * bins, from, to));
    return hollow;
}

double HollowCore::radius(double direction) const {
    const double turn = (direction / (2 * pi) + 1) * directions, whole = std::floor(turn);
    const auto d = static_cast<std::size_t>(whole) % directions;
    const double part = turn - whole;
    return (1 - part) * radius_[d] + part * radius_[(d + 1) % directions];
}

double HollowCore::diameter() const {
    double squares = 0;
    for (const double r : radius_)
        squares += r * r;
    return 2 * std::sqrt(squares / directions);
}

std::vector<float> hollow_by_total(std::span<const float> image, const tomography::ImageGrid& grid,
                                   const RingFit& ring, double typical) {
    const double sigma = std::max(0.7, 0.06 / grid.pixel);
    const auto calm =
        weighted_smooth(std::vector<double>(image.begin(), image.end()),
                        std::vector<double>(image.size(), 1.0), grid.n, grid.n, sigma, sigma);
    const auto radius = [&](std::size_t i) {
        return std::hypot(grid.coordinate(i % grid.n) - ring.centre_x,
                          grid.coordinate(i / grid.n) - ring.centre_y);
    };
    double bottom = 0, count = 0;
    std::vector<double> middle;
    for (std::size_t i = 0; i < calm.size(); ++i) {
        const double r = radius(i);
        if (r < 0.6 * typical) {
            bottom += calm[i];
            count += 1;
        } else if (r > 0.4 * ring.inner_radius && r < 0.8 * ring.inner_radius) {
            middle.push_back(calm[i]);
        }
    }
    std::vector<float> inside(calm.size(), 0.0F);
    if (count == 0 || middle.empty())
        return inside;
    bottom /= count;
    const auto half = middle.begin() + static_cast<std::ptrdiff_t>(middle.size() / 2);
    std::nth_element(middle.begin(), half, middle.end());
    const double level = bottom + 0.05 * (*half - bottom);
    for (std::size_t i = 0; i < calm.size(); ++i) {
        const double r = radius(i);
        inside[i] = r < 0.6 * typical || (r < 1.4 * typical && calm[i] < level) ? 1.0F : 0.0F;
    }
    return inside;
}

std::optional<std::vector<float>> hollow_by_ring(tomography::FilteredBackProjection& fbp,
                                                 const tomography::StripProjector& projector,
                                                 const RingLight& light, const RingFit& ring) {
    const tomography::ImageGrid& grid = fbp.grid();
    const std::size_t pixels = grid.size(), rays = projector.rays();
    if (light.excess.size() != rays || light.response.size() != rays || light.hollow.size() != rays)
        throw Error(fmt::format("hollow core: {}, {} and {} values for {} rays",
                                light.excess.size(), light.response.size(), light.hollow.size(),
                                rays));
    std::vector<double> radius(pixels);
    for (std::size_t i = 0; i < pixels; ++i)
        radius[i] = std::hypot(grid.coordinate(i % grid.n) - ring.centre_x,
                               grid.coordinate(i / grid.n) - ring.centre_y);
    // The image of the hollow as if the model knew none.
    const std::vector<double> ones(pixels, 1.0);
    std::vector<float> image(pixels), sinogram(rays);
    for (std::size_t i = 0; i < rays; ++i)
        sinogram[i] = light.excess[i] + light.response[i] * light.hollow[i];
    fbp.reconstruct(sinogram, 1, image);
    const std::vector<double> seen(image.begin(), image.end());
    // The value it has in a hollow disc of that radius.
    const auto strength_of = [&](double disc) {
        for (std::size_t i = 0; i < pixels; ++i)
            image[i] =
                static_cast<float>(std::clamp((disc - radius[i]) / grid.pixel + 0.5, 0.0, 1.0));
        projector.forward(image, 1, sinogram);
        for (std::size_t i = 0; i < rays; ++i)
            sinogram[i] *= light.response[i];
        fbp.reconstruct(sinogram, 1, image);
        double sum = 0, count = 0;
        for (std::size_t i = 0; i < pixels; ++i)
            if (radius[i] < disc - grid.pixel) {
                sum += image[i];
                count += 1;
            }
        return count > 0 ? sum / count : 0.0;
    };

    const double reach = 0.8 * ring.inner_radius;
    double disc = 0.3 * ring.inner_radius, sigma = 0;
    std::vector<double> share;
    // The strength depends on the size a little.
    for (int round = 0; round < 3; ++round) {
        const double strength = strength_of(disc);
        if (!(strength > 0))
            return std::nullopt;
        // No more smoothing than the noise asks for.
        for (sigma = 0.7;; sigma *= 1.3) {
            share = weighted_smooth(seen, ones, grid.n, grid.n, sigma, sigma);
            // A hollow lifts values only, so that those below zero are noise.
            double squares = 0, count = 0;
            for (std::size_t i = 0; i < pixels; ++i)
                if (radius[i] < reach && share[i] < 0) {
                    squares += share[i] * share[i];
                    count += 1;
                }
            if (36 * squares < strength * strength * count)
                break;
            if (1.3 * sigma * grid.pixel > 0.04 * ring.inner_radius)
                return std::nullopt;
        }
        double area = 0;
        for (std::size_t i = 0; i < pixels; ++i)
            share[i] = radius[i] > reach ? 0.0 : share[i] / strength;
        keep_largest(share, grid.n, 4 * pi * sigma * sigma);
        for (const double value : share)
            area += value > 0.5;
        disc = std::max(std::sqrt(area / pi), 3.0) * grid.pixel;
    }

    // Where a border crosses a pixel, the part inside counts.
    constexpr int fine = 4;
    std::vector<float> hollow(pixels, 0.0F);
    for (std::size_t y = 1; y + 1 < grid.n; ++y)
        for (std::size_t x = 1; x + 1 < grid.n; ++x) {
            if (radius[y * grid.n + x] > reach + 2 * grid.pixel)
                continue;
            int in = 0;
            for (int v = 0; v < fine; ++v)
                for (int u = 0; u < fine; ++u) {
                    const double fx = static_cast<double>(x) + (u + 0.5) / fine - 0.5,
                                 fy = static_cast<double>(y) + (v + 0.5) / fine - 0.5;
                    const auto ix = static_cast<std::size_t>(fx), iy = static_cast<std::size_t>(fy);
                    const double tx = fx - static_cast<double>(ix),
                                 ty = fy - static_cast<double>(iy);
                    const double* at = share.data() + iy * grid.n + ix;
                    in += (1 - ty) * ((1 - tx) * at[0] + tx * at[1]) +
                              ty * ((1 - tx) * at[grid.n] + tx * at[grid.n + 1]) >
                          0.5;
                }
            hollow[y * grid.n + x] = static_cast<float>(in) / (fine * fine);
        }
    return hollow;
}

} // namespace xrdct::absorption
