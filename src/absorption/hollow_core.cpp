// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/hollow_core.hpp"

#include "base/error.hpp"
#include "base/units.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

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

/// Sums of an image over rings of pixels about the wall's centre, and over sectors of them.
struct SectorSums {
    double width = 0; // of a bin of radius [mm]
    std::size_t bins = 0;
    std::vector<double> sum, count;  // [direction][bin], values and pixels
    std::vector<double> all, of_all; // [bin]
};

SectorSums sum_sectors(std::span<const float> image, const tomography::ImageGrid& grid,
                       const CanWall& wall) {
    // Fine pixels are noisy, and layers finer than this are none of the hollow's outline.
    SectorSums sums;
    sums.width = std::max(grid.pixel, wall.inner_radius / 70);
    sums.bins = static_cast<std::size_t>(wall.inner_radius / sums.width) + 1;
    const std::size_t bins = sums.bins;
    sums.sum.assign(HollowCore::directions * bins, 0.0);
    sums.count = sums.sum;
    sums.all.assign(bins, 0.0);
    sums.of_all = sums.all;
    for (std::size_t y = 0; y < grid.n; ++y)
        for (std::size_t x = 0; x < grid.n; ++x) {
            const double u = grid.coordinate(x) - wall.centre_x,
                         v = grid.coordinate(y) - wall.centre_y, r = std::hypot(u, v);
            if (r >= wall.inner_radius)
                continue;
            const auto k = static_cast<std::size_t>(r / sums.width);
            sums.all[k] += image[y * grid.n + x];
            sums.of_all[k] += 1;
            // A sector takes the pixels within 7.5 degrees of its direction.
            const double turn = (std::atan2(v, u) / (2 * pi) + 1) * HollowCore::directions;
            for (long d = -1; d <= 1; ++d) {
                const auto sector =
                    static_cast<std::size_t>(std::lround(turn) + d + HollowCore::directions) %
                    HollowCore::directions;
                sums.sum[sector * bins + k] += image[y * grid.n + x];
                sums.count[sector * bins + k] += 1;
            }
        }
    return sums;
}

/// Of the total image: the bottom of the hollow, and what it has risen to at the border.
struct Levels {
    double low, border;
};

/// None: nothing darker about the centre than half-way to the wall.
std::optional<Levels> find_levels(const SectorSums& sums, const CanWall& wall) {
    std::vector<double> middle;
    double low = std::numeric_limits<double>::infinity(), low_sum = 0, low_count = 0;
    for (std::size_t k = 0; k < sums.bins; ++k) {
        if (sums.of_all[k] == 0)
            continue;
        const double r = (static_cast<double>(k) + 0.5) * sums.width;
        if (r > 0.4 * wall.inner_radius && r < 0.8 * wall.inner_radius)
            middle.push_back(sums.all[k] / sums.of_all[k]);
        low_sum += sums.all[k];
        low_count += sums.of_all[k];
        // A few pixels about the centre say nothing by themselves.
        if (low_count >= 12 && r < 0.5 * wall.inner_radius) {
            low = std::min(low, low_sum / low_count);
            low_sum = low_count = 0;
        }
    }
    if (middle.empty())
        return std::nullopt;
    const auto half = middle.begin() + static_cast<std::ptrdiff_t>(middle.size() / 2);
    std::nth_element(middle.begin(), half, middle.end());
    const double high = *half;
    if (!(low < 0.5 * high))
        return std::nullopt;
    return Levels{low, low + 0.15 * (high - low)};
}

/// Radius [mm] where means over three bins reach the border's level, outwards from bin `from` to
/// bin `to`: thin layers of the sample may be as dark as the hollow. 0: nowhere darker.
double crossing(const SectorSums& sums, const Levels& levels, const double* total,
                const double* pixels, std::size_t from, std::size_t to) {
    const auto mean = [&](std::size_t k) {
        double value = 0, number = 0;
        for (std::size_t m = k > 0 ? k - 1 : 0; m <= std::min(k + 1, sums.bins - 1); ++m) {
            value += total[m];
            number += pixels[m];
        }
        return number > 0 ? value / number : levels.low;
    };
    std::size_t k = from;
    while (k < std::min(to, sums.bins - 1) && mean(k) <= levels.border)
        ++k;
    if (k == from)
        return 0.0;
    const double below = mean(k - 1), above = mean(k);
    const double part =
        above > below ? std::clamp((levels.border - below) / (above - below), 0.0, 1.0) : 0.5;
    return (static_cast<double>(k) - 0.5 + part) * sums.width;
}

/// Images that the light of the wall makes of hollows.
class WallImage {
  public:
    WallImage(tomography::FilteredBackProjection& fbp, const tomography::StripProjector& projector,
              const WallLight& light, const CanWall& wall)
        : fbp_(fbp), projector_(projector), light_(light), grid_(fbp.grid()), image_(grid_.size()),
          sinogram_(projector.rays()), radius_(grid_.size()) {
        for (std::size_t i = 0; i < radius_.size(); ++i)
            radius_[i] = std::hypot(grid_.coordinate(i % grid_.n) - wall.centre_x,
                                    grid_.coordinate(i / grid_.n) - wall.centre_y);
    }

    /// Distances of the pixels [y][x] from the wall's centre [mm].
    const std::vector<double>& radius() const { return radius_; }

    /// The image of the hollow as if the model knew none.
    std::vector<double> hollow() {
        for (std::size_t i = 0; i < sinogram_.size(); ++i)
            sinogram_[i] = light_.excess[i] + light_.response[i] * light_.hollow[i];
        fbp_.reconstruct(sinogram_, 1, image_);
        return {image_.begin(), image_.end()};
    }

    /// The value it has in a hollow disc of that radius [mm].
    double strength(double disc) {
        for (std::size_t i = 0; i < image_.size(); ++i)
            image_[i] =
                static_cast<float>(std::clamp((disc - radius_[i]) / grid_.pixel + 0.5, 0.0, 1.0));
        projector_.forward(image_, 1, sinogram_);
        for (std::size_t i = 0; i < sinogram_.size(); ++i)
            sinogram_[i] *= light_.response[i];
        fbp_.reconstruct(sinogram_, 1, image_);
        double sum = 0, count = 0;
        for (std::size_t i = 0; i < image_.size(); ++i)
            if (radius_[i] < disc - grid_.pixel) {
                sum += image_[i];
                count += 1;
            }
        return count > 0 ? sum / count : 0.0;
    }

  private:
    tomography::FilteredBackProjection& fbp_;
    const tomography::StripProjector& projector_;
    const WallLight& light_;
    const tomography::ImageGrid& grid_;
    std::vector<float> image_, sinogram_;
    std::vector<double> radius_;
};

struct Smoothed {
    std::vector<double> image;
    double sigma = 0; // pixels
};

/// An image [y][x], smoothed by as little as its noise within the radius `reach` [mm] asks for;
/// none where 0.04 inner radii of the wall are not enough. `strength` is what a hollow has in it.
std::optional<Smoothed> smooth_by_need(std::span<const double> seen,
                                       const tomography::ImageGrid& grid,
                                       std::span<const double> radius, double reach,
                                       double strength, const CanWall& wall) {
    const std::vector<double> ones(seen.size(), 1.0);
    for (double sigma = 0.7;; sigma *= 1.3) {
        Smoothed out{weighted_smooth(seen, ones, grid.n, grid.n, sigma, sigma), sigma};
        // A hollow lifts values only, so that those below zero are noise.
        double squares = 0, count = 0;
        for (std::size_t i = 0; i < out.image.size(); ++i)
            if (radius[i] < reach && out.image[i] < 0) {
                squares += out.image[i] * out.image[i];
                count += 1;
            }
        if (36 * squares < strength * strength * count)
            return out;
        if (1.3 * sigma * grid.pixel > 0.04 * wall.inner_radius)
            return std::nullopt;
    }
}

/// Share of every pixel [y][x] up to the radius `reach` [mm] in which `share`, interpolated,
/// exceeds a half: where a border crosses a pixel, the part inside counts.
std::vector<float> draw_border(const std::vector<double>& share, std::span<const double> radius,
                               const tomography::ImageGrid& grid, double reach) {
    constexpr int fine = 4;
    std::vector<float> hollow(share.size(), 0.0F);
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
                            const CanWall& wall) {
    const SectorSums sums = sum_sectors(image, grid, wall);
    const auto levels = find_levels(sums, wall);
    if (!levels)
        return HollowCore();
    const double typical =
        crossing(sums, *levels, sums.all.data(), sums.of_all.data(), 2, sums.bins / 2);
    if (typical < 2 * sums.width)
        return HollowCore();
    HollowCore hollow;
    const auto from = static_cast<std::size_t>(0.5 * typical / sums.width),
               to = static_cast<std::size_t>(1.6 * typical / sums.width) + 1;
    for (std::size_t d = 0; d < directions; ++d)
        hollow.radius_[d] =
            std::max(0.5 * typical, crossing(sums, *levels, sums.sum.data() + d * sums.bins,
                                             sums.count.data() + d * sums.bins, from, to));
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
                                   const CanWall& wall, double typical) {
    const double sigma = std::max(0.7, 0.06 / grid.pixel);
    const auto calm =
        weighted_smooth(std::vector<double>(image.begin(), image.end()),
                        std::vector<double>(image.size(), 1.0), grid.n, grid.n, sigma, sigma);
    const auto radius = [&](std::size_t i) {
        return std::hypot(grid.coordinate(i % grid.n) - wall.centre_x,
                          grid.coordinate(i / grid.n) - wall.centre_y);
    };
    double bottom = 0, count = 0;
    std::vector<double> middle;
    for (std::size_t i = 0; i < calm.size(); ++i) {
        const double r = radius(i);
        if (r < 0.6 * typical) {
            bottom += calm[i];
            count += 1;
        } else if (r > 0.4 * wall.inner_radius && r < 0.8 * wall.inner_radius) {
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

std::optional<std::vector<float>> hollow_by_wall(tomography::FilteredBackProjection& fbp,
                                                 const tomography::StripProjector& projector,
                                                 const WallLight& light, const CanWall& wall) {
    const tomography::ImageGrid& grid = fbp.grid();
    const std::size_t pixels = grid.size(), rays = projector.rays();
    if (light.excess.size() != rays || light.response.size() != rays || light.hollow.size() != rays)
        throw Error(fmt::format("hollow core: {}, {} and {} values for {} rays",
                                light.excess.size(), light.response.size(), light.hollow.size(),
                                rays));
    WallImage light_image(fbp, projector, light, wall);
    const std::vector<double>& radius = light_image.radius();
    const std::vector<double> seen = light_image.hollow();

    const double reach = 0.8 * wall.inner_radius;
    double disc = 0.3 * wall.inner_radius;
    std::vector<double> share;
    // The strength depends on the size a little.
    for (int round = 0; round < 3; ++round) {
        const double strength = light_image.strength(disc);
        if (!(strength > 0))
            return std::nullopt;
        auto smoothed = smooth_by_need(seen, grid, radius, reach, strength, wall);
        if (!smoothed)
            return std::nullopt;
        share = std::move(smoothed->image);
        const double sigma = smoothed->sigma;
        double area = 0;
        for (std::size_t i = 0; i < pixels; ++i)
            share[i] = radius[i] > reach ? 0.0 : share[i] / strength;
        keep_largest(share, grid.n, 4 * pi * sigma * sigma);
        for (const double value : share)
            area += value > 0.5;
        disc = std::max(std::sqrt(area / pi), 3.0) * grid.pixel;
    }

    return draw_border(share, radius, grid, reach);
}

} // namespace xrdct::absorption
