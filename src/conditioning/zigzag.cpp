// SPDX-License-Identifier: BSD-3-Clause
#include "conditioning/zigzag.hpp"

#include "base/numbers.hpp"
#include "base/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::conditioning {

namespace {

/// Largest correlation of a(t) with b(t + shift) over whole shifts up to `reach`.
template <class A, class B>
double best_correlation(std::ptrdiff_t n, std::ptrdiff_t reach, A&& a, B&& b) {
    double best = std::numeric_limits<double>::quiet_NaN();
    for (std::ptrdiff_t shift = -reach; shift <= reach; ++shift) {
        double count = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
        for (std::ptrdiff_t t = reach; t < n - reach; ++t) {
            const double u = a(t), v = b(t + shift);
            if (!std::isfinite(u) || !std::isfinite(v))
                continue;
            count += 1;
            x += u;
            y += v;
            xx += u * u;
            yy += v * v;
            xy += u * v;
        }
        const double vx = xx - x * x / count, vy = yy - y * y / count;
        if (count < 16 || !(vx > 0) || !(vy > 0))
            continue;
        const double value = (xy - x * y / count) / std::sqrt(vx * vy);
        if (!(value <= best))
            best = value;
    }
    return best;
}

} // namespace

ZigzagTest test_zigzag(std::span<const float> sinogram, std::size_t n_rotation,
                       std::size_t n_translation, std::size_t reach) {
    ZigzagTest test;
    double n = 0, sum = 0, squares = 0, votes = 0;
    const auto last = static_cast<std::ptrdiff_t>(n_translation) - 1;
    for (std::size_t i = 1; i + 1 < n_rotation; ++i) {
        const float* before = sinogram.data() + (i - 1) * n_translation;
        const float* line = before + n_translation;
        const float* after = line + n_translation;
        const auto around = [&](std::ptrdiff_t t) {
            return 0.5 * (static_cast<double>(before[t]) + static_cast<double>(after[t]));
        };
        const auto r = static_cast<std::ptrdiff_t>(reach);
        const double direct = best_correlation(
            last + 1, r, around, [&](std::ptrdiff_t t) { return static_cast<double>(line[t]); });
        const double mirrored = best_correlation(last + 1, r, around, [&](std::ptrdiff_t t) {
            return static_cast<double>(line[last - t]);
        });
        if (!std::isfinite(direct) || !std::isfinite(mirrored))
            continue;
        n += 1;
        test.direct += direct;
        test.mirrored += mirrored;
        sum += mirrored - direct;
        squares += (mirrored - direct) * (mirrored - direct);
        votes += mirrored > direct ? 1 : mirrored < direct ? -1 : 0;
    }
    if (n < 1)
        return test;
    test.direct /= n;
    test.mirrored /= n;
    // Neighbouring lines share two of their three: no more than a third are independent.
    test.uncertainty = std::sqrt(std::max(0.0, squares / n - (sum / n) * (sum / n)) * 3 / n);
    const double difference = sum / n;
    // How much they differ depends on how lopsided the sample looks at each angle: the lines vote.
    test.decided = std::abs(votes) > 3.5 * std::sqrt(n) && votes * difference > 0 &&
                   std::abs(difference) > 1e-4;
    test.zigzag = test.decided && difference > 0;
    return test;
}

LagEstimate measure_lag(std::span<const float> sinogram, std::size_t n_rotation,
                        std::size_t n_translation, std::size_t reach) {
    LagEstimate estimate;
    const auto r = static_cast<std::ptrdiff_t>(reach);
    std::vector<double> lags, reference(n_translation), squares(2 * reach + 1);
    for (std::size_t i = 1; i + 1 < n_rotation; ++i) {
        const auto line = sinogram.subspan(i * n_translation, n_translation);
        for (std::size_t t = 0; t < n_translation; ++t)
            reference[t] = 0.5 * (static_cast<double>(sinogram[(i - 1) * n_translation + t]) +
                                  static_cast<double>(sinogram[(i + 1) * n_translation + t]));
        // Mean squared misfit over the points that all shifts have in common, the line's level
        // scaled to the reference's.
        double levels = 0, own = 0;
        for (std::size_t t = 0; t < n_translation; ++t)
            if (std::isfinite(line[t]) && std::isfinite(reference[t])) {
                levels += reference[t];
                own += line[t];
            }
        const double gain = own > 0 && levels > 0 ? levels / own : 1;
        bool usable = true;
        for (std::ptrdiff_t s = -r; s <= r; ++s) {
            double sum = 0, n = 0;
            for (std::ptrdiff_t t = r; t < static_cast<std::ptrdiff_t>(n_translation) - r; ++t) {
                const double d = gain * static_cast<double>(line[static_cast<std::size_t>(t + s)]) -
                                 reference[static_cast<std::size_t>(t)];
                if (std::isfinite(d)) {
                    sum += d * d;
                    n += 1;
                }
            }
            usable = usable && n >= 16;
            squares[static_cast<std::size_t>(s + r)] = n > 0 ? sum / n : 0;
        }
        if (!usable)
            continue;
        const auto best =
            static_cast<std::size_t>(std::ranges::min_element(squares) - squares.begin());
        if (best == 0 || best == 2 * reach)
            continue;
        const double left = squares[best - 1], middle = squares[best], right = squares[best + 1];
        const double curvature = left - 2 * middle + right;
        if (!(curvature > 0))
            continue;
        const double shift = static_cast<double>(static_cast<std::ptrdiff_t>(best) - r) +
                             0.5 * (left - right) / curvature;
        lags.push_back(i % 2 == 1 ? shift : -shift);
    }
    if (lags.size() < 8)
        return estimate;
    estimate.used = lags.size();
    estimate.lag = median(lags);
    std::vector<double> deviations;
    deviations.reserve(lags.size());
    for (const double lag : lags)
        deviations.push_back(std::abs(lag - estimate.lag));
    // 1.2533: a median is that much less certain than a mean.
    estimate.uncertainty =
        1.2533 * 1.4826 * median(deviations) / std::sqrt(static_cast<double>(lags.size()));
    estimate.valid = true;
    estimate.significant =
        std::abs(estimate.lag) >= 0.25 && std::abs(estimate.lag) > 5 * estimate.uncertainty;
    return estimate;
}

void reverse_line(std::span<float> line, std::size_t width) {
    const std::size_t n = line.size() / width;
    for (std::size_t t = 0; t < n / 2; ++t)
        std::swap_ranges(line.begin() + static_cast<std::ptrdiff_t>(t * width),
                         line.begin() + static_cast<std::ptrdiff_t>((t + 1) * width),
                         line.begin() + static_cast<std::ptrdiff_t>((n - 1 - t) * width));
}

void shift_line(std::span<float> line, std::size_t width, double shift, bool squared_weights) {
    if (shift == 0)
        return;
    const auto n = static_cast<std::ptrdiff_t>(line.size() / width);
    const double whole = std::floor(shift);
    const auto f = static_cast<float>(shift - whole);
    const float first = squared_weights ? (1 - f) * (1 - f) : 1 - f;
    const float second = squared_weights ? f * f : f;
    const auto offset = static_cast<std::ptrdiff_t>(whole);
    const std::vector<float> old(line.begin(), line.end());
    for (std::ptrdiff_t t = 0; t < n; ++t) {
        float* out = line.data() + t * static_cast<std::ptrdiff_t>(width);
        const std::ptrdiff_t from = t + offset;
        if (from < 0 || from >= n || (f > 0 && from + 1 >= n)) {
            std::fill_n(out, width, missing_value);
            continue;
        }
        const float* a = old.data() + from * static_cast<std::ptrdiff_t>(width);
        if (f == 0) {
            std::copy_n(a, width, out);
            continue;
        }
        const float* b = a + width;
        for (std::size_t k = 0; k < width; ++k)
            out[k] = first * a[k] + second * b[k];
    }
}

} // namespace xrdct::conditioning
