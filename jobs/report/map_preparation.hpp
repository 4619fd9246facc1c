// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/labels.hpp"
#include "jobs/report/palette.hpp"
#include "jobs/report/picture.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace xrdct::report {

/// Evenly spaced, rising pixel positions and for each the index in the given axis, -1 where it has
/// none.
struct RegularAxis {
    double first = 0.0, step = 1.0;
    std::vector<std::ptrdiff_t> source;

    double low() const { return first - 0.5 * step; }
    double high() const { return first + (static_cast<double>(source.size()) - 0.5) * step; }
    double length() const { return step * static_cast<double>(source.size()); }
};

/// A map made ready for gnuplot.
struct PreparedMap {
    RegularAxis x, y;
    std::vector<double>
        values; ///< on the regular grid, divided by 10^exponent, or category indices
    std::size_t columns = 0, rows = 0;
    ColourRange range; ///< of the divided values
    int exponent = 0;
    bool same_units = false, clipped_below = false, clipped_above = false, empty = false;
    Quantity quantity;
    Palette palette = Palette::viridis;
    std::vector<std::string> categories; ///< labels, with their numbers of pixels
    std::vector<Rgb> category_colours;
};

/// @throws Error naming the picture: lengths that do not match, axes that are not monotonic, an
/// empty colour range.
PreparedMap prepare(const MapPicture& picture, const std::string& name);

} // namespace xrdct::report
