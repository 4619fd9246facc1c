// SPDX-License-Identifier: BSD-3-Clause
#include "registration/resampling.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::registration {

namespace {

/// Weights closer to zero than this come from rounding of coordinates.
constexpr double negligible = 1e-7;

void check(std::size_t length, const PixelGrid& grid, const char* what) {
    if (length != grid.size())
        throw Error(fmt::format("resampling: {} {} for a map of {} by {} pixels", length, what,
                                grid.ny, grid.nx));
}

} // namespace

ResampledMap resample_map(std::span<const double> values, std::span<const double> errors,
                          const PixelGrid& source, const RigidTransform& transform,
                          const PixelGrid& target) {
    check(values.size(), source, "values");
    if (!errors.empty())
        check(errors.size(), source, "errors");
    ResampledMap out;
    out.values.assign(target.size(), nan_value);
    if (!errors.empty())
        out.errors.assign(target.size(), nan_value);
    const auto parts =
        static_cast<int>(std::clamp(std::ceil(target.pixel / source.pixel - 0.01), 1.0, 64.0));
    const auto nx = static_cast<std::ptrdiff_t>(source.nx),
               ny = static_cast<std::ptrdiff_t>(source.ny);
    std::vector<std::pair<std::size_t, double>> weights;
    for (std::size_t iy = 0; iy < target.ny; ++iy)
        for (std::size_t ix = 0; ix < target.nx; ++ix) {
            weights.clear();
            double finite = 0;
            const auto add = [&](std::ptrdiff_t x, std::ptrdiff_t y, double w) {
                if (w < negligible || x < 0 || y < 0 || x >= nx || y >= ny)
                    return;
                const auto at = static_cast<std::size_t>(y * nx + x);
                if (!std::isfinite(values[at]))
                    return;
                finite += w;
                const auto known = std::find_if(weights.begin(), weights.end(),
                                                [&](const auto& e) { return e.first == at; });
                if (known == weights.end())
                    weights.emplace_back(at, w);
                else
                    known->second += w;
            };
            for (int sy = 0; sy < parts; ++sy)
                for (int sx = 0; sx < parts; ++sx) {
                    const auto offset = [&](int s) { return (s + 0.5) / parts - 0.5; };
                    const auto q = transform(target.x(static_cast<double>(ix) + offset(sx)),
                                             target.y(static_cast<double>(iy) + offset(sy)));
                    const double fx = source.column(q.x), fy = source.row(q.y);
                    if (!(fx > -0.501 && fy > -0.501 && fx < static_cast<double>(nx) - 0.499 &&
                          fy < static_cast<double>(ny) - 0.499))
                        continue;
                    const auto x = static_cast<std::ptrdiff_t>(std::floor(fx)),
                               y = static_cast<std::ptrdiff_t>(std::floor(fy));
                    const double tx = fx - static_cast<double>(x), ty = fy - static_cast<double>(y);
                    add(x, y, (1 - tx) * (1 - ty));
                    add(x + 1, y, tx * (1 - ty));
                    add(x, y + 1, (1 - tx) * ty);
                    add(x + 1, y + 1, tx * ty);
                }
            if (finite < 0.5 * parts * parts)
                continue;
            double value = 0, variance = 0;
            for (const auto& [at, w] : weights) {
                value += w * values[at];
                if (!errors.empty())
                    variance += w * w * errors[at] * errors[at];
            }
            const std::size_t i = iy * target.nx + ix;
            out.values[i] = weights.size() == 1 ? values[weights[0].first] : value / finite;
            if (!errors.empty())
                out.errors[i] = std::sqrt(variance) / finite;
        }
    return out;
}

std::vector<double> resample_codes(std::span<const double> values, const PixelGrid& source,
                                   const RigidTransform& transform, const PixelGrid& target) {
    check(values.size(), source, "codes");
    std::vector<double> out(target.size(), nan_value);
    for (std::size_t iy = 0; iy < target.ny; ++iy)
        for (std::size_t ix = 0; ix < target.nx; ++ix) {
            const auto q =
                transform(target.x(static_cast<double>(ix)), target.y(static_cast<double>(iy)));
            const double fx = std::round(source.column(q.x)), fy = std::round(source.row(q.y));
            if (fx >= 0 && fy >= 0 && fx < static_cast<double>(source.nx) &&
                fy < static_cast<double>(source.ny))
                out[iy * target.nx + ix] =
                    values[static_cast<std::size_t>(fy) * source.nx + static_cast<std::size_t>(fx)];
        }
    return out;
}

} // namespace xrdct::registration
