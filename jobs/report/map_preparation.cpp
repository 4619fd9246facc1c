// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/map_preparation.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "jobs/report/picture_axes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

namespace xrdct::report {

namespace {

/// gnuplot's images are regular grids: uneven axes (missing rotations) go to the nearest pixel of
/// one with the usual spacing. `lone_step` is the extent of a pixel when there is one only.
RegularAxis regular_axis(const std::vector<double>& values, double lone_step) {
    RegularAxis axis;
    const std::size_t n = values.size();
    if (n == 1) {
        axis.first = values[0];
        axis.step = lone_step;
        axis.source = {0};
        return axis;
    }
    const bool rising = values[1] > values[0];
    const auto index = [&](std::size_t i) { return rising ? i : n - 1 - i; };
    axis.first = values[index(0)];
    const double last = values[index(n - 1)];
    std::vector<double> steps(n - 1);
    for (std::size_t i = 0; i + 1 < n; ++i)
        steps[i] = values[index(i + 1)] - values[index(i)];
    const double mean = (last - axis.first) / static_cast<double>(n - 1);
    const auto [least, largest] = std::minmax_element(steps.begin(), steps.end());
    if (*largest - *least < 0.02 * mean) {
        axis.step = mean;
        axis.source.resize(n);
        for (std::size_t i = 0; i < n; ++i)
            axis.source[i] = static_cast<std::ptrdiff_t>(index(i));
        return axis;
    }
    constexpr double most = 4096;
    axis.step = std::max(median(std::move(steps)), (last - axis.first) / most);
    const auto count = static_cast<std::size_t>(std::lround((last - axis.first) / axis.step)) + 1;
    axis.source.assign(count, -1);
    std::size_t nearest = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const double at = axis.first + axis.step * static_cast<double>(k);
        while (nearest + 1 < n &&
               std::abs(values[index(nearest + 1)] - at) <= std::abs(values[index(nearest)] - at))
            ++nearest;
        if (std::abs(values[index(nearest)] - at) <= 0.75 * axis.step)
            axis.source[k] = static_cast<std::ptrdiff_t>(index(nearest));
    }
    return axis;
}

double lone_step(const Axis& axis) {
    if (axis.values.size() < 2)
        return 1.0;
    return std::abs(axis.values.back() - axis.values.front()) /
           static_cast<double>(axis.values.size() - 1);
}

constexpr double largest_code = 1e9; // beyond, a number is no code

/// Voxels that were never to be fitted, or where there is nothing to fit, are no failures:
/// recognised by their meaning.
bool says(const std::string& meaning, std::initializer_list<const char*> words) {
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return meaning.find(word) != std::string::npos; });
}

void prepare_categories(const MapPicture& picture, PreparedMap& map) {
    std::map<int, std::size_t> counts;
    for (const auto& [code, meaning] : picture.categories)
        counts[code] = 0;
    for (const double v : picture.values)
        if (std::abs(v) < largest_code)
            ++counts[static_cast<int>(std::lround(v))];
    std::map<int, int> index;
    std::size_t colour = 0;
    for (const auto& [code, count] : counts) {
        const auto known = picture.categories.find(code);
        const std::string meaning =
            known != picture.categories.end() ? known->second : fmt::format("code {}", code);
        // An outcome keeps its colour whether or not others occur; the legend lists those that
        // occur.
        const Rgb shade =
            says(meaning, {"outside", "not in the mask", "not in the model", "masked"})
                ? missing_colour
            : says(meaning, {"insignificant", "no signal", "absent"}) ? neutral_colour
                                                                      : outcome_colour(colour++);
        if (count == 0)
            continue;
        index[code] = static_cast<int>(map.categories.size());
        map.categories.push_back(fmt::format("{} ({})", meaning, count));
        map.category_colours.push_back(shade);
    }
    // The legend counts upward and is read downward.
    std::reverse(map.categories.begin(), map.categories.end());
    std::reverse(map.category_colours.begin(), map.category_colours.end());
    const int last = static_cast<int>(map.categories.size()) - 1;
    for (double& v : map.values)
        if (std::isfinite(v))
            v = last - index.at(static_cast<int>(std::lround(v)));
    map.range = {-0.5, static_cast<double>(std::max<std::size_t>(map.categories.size(), 1)) - 0.5};
}

/// The values on the regular grid of `map`.
void fill_grid(const MapPicture& picture, PreparedMap& map) {
    // gnuplot refuses images of fewer than two rows or columns.
    const std::size_t repeat_x = map.x.source.size() == 1 ? 2 : 1;
    const std::size_t repeat_y = map.y.source.size() == 1 ? 2 : 1;
    map.columns = map.x.source.size() * repeat_x;
    map.rows = map.y.source.size() * repeat_y;
    map.values.assign(map.columns * map.rows, nan_value);
    for (std::size_t j = 0; j < map.rows; ++j)
        for (std::size_t i = 0; i < map.columns; ++i) {
            const auto sy = map.y.source[j / repeat_y], sx = map.x.source[i / repeat_x];
            if (sy < 0 || sx < 0)
                continue;
            const double v = picture.values[static_cast<std::size_t>(sy) * picture.x.values.size() +
                                            static_cast<std::size_t>(sx)];
            if (std::isfinite(v) && (picture.categories.empty() || std::abs(v) < largest_code))
                map.values[j * map.columns + i] = v;
        }
    map.empty = std::none_of(map.values.begin(), map.values.end(),
                             [](double v) { return std::isfinite(v); });
}

} // namespace

PreparedMap prepare(const MapPicture& picture, const std::string& name) {
    const std::size_t columns = picture.x.values.size(), rows = picture.y.values.size();
    if (columns == 0 || rows == 0 || picture.values.size() != columns * rows)
        throw Error(fmt::format("picture {}: {} values do not fill a map of {} by {} pixels", name,
                                picture.values.size(), rows, columns));
    check_axis(picture.x, columns, name);
    check_axis(picture.y, rows, name);

    PreparedMap map;
    map.quantity = describe_quantity(picture.quantity);
    map.palette = picture.palette.value_or(map.quantity.palette);
    map.same_units = picture.x.units == picture.y.units;
    map.x = regular_axis(picture.x.values, map.same_units ? lone_step(picture.y) : 1.0);
    map.y = regular_axis(picture.y.values, map.same_units ? lone_step(picture.x) : 1.0);
    fill_grid(picture, map);
    if (!picture.categories.empty()) {
        prepare_categories(picture, map);
        return map;
    }
    map.range = picture.range.value_or(robust_range(picture.values, map.quantity.from_zero));
    if (!std::isfinite(map.range.low) || !std::isfinite(map.range.high) ||
        !(map.range.high > map.range.low))
        throw Error(fmt::format("picture {}: the colour range {} to {} is empty", name,
                                map.range.low, map.range.high));
    const double slack = 1e-9 * (map.range.high - map.range.low);
    for (const double v : map.values) {
        map.clipped_below |= v < map.range.low - slack;
        map.clipped_above |= v > map.range.high + slack;
    }
    map.exponent = common_exponent(map.range.low, map.range.high);
    const double factor = std::pow(10.0, -map.exponent);
    for (double& v : map.values)
        v *= factor;
    map.range.low *= factor;
    map.range.high *= factor;
    return map;
}

} // namespace xrdct::report
