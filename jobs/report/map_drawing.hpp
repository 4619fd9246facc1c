// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/gnuplot.hpp"
#include "jobs/report/map_preparation.hpp"
#include "jobs/report/picture_axes.hpp"

#include <string>
#include <utility>
#include <vector>

/// Commands that draw one prepared map.
namespace xrdct::report {

/// Where a map goes on the canvas, in pixels from the lower left.
struct Frame {
    double left, bottom, width, height;
    double canvas_width, canvas_height;

    std::string x(double pixels) const;
    std::string y(double pixels) const;
};

/// Pixel size of a map within a box of `longest` pixels; whole screen pixels per voxel where that
/// is near.
std::pair<double, double> map_size(const PreparedMap& map, double longest);

struct MapStyle {
    bool axes = true;
    double font = 21; ///< pixels
    double bar_width = 24;
    // Of a panel among others:
    bool x_axis = true, y_axis = true;
    bool bar = true;
    bool scale_bar = true;
    bool bar_when_empty = false; ///< an empty panel carries the bar of the others
};

inline constexpr double name_font = 0.8; ///< of the pixels of a named axis, of the style's

/// The names of an axis's pixels.
std::vector<Tick> named_ticks(const Axis& axis);

/// Letters of the longest label.
double widest_label(const std::vector<Tick>& ticks);

/// Room right of a map for its colour bar or legend with all labels.
double bar_room(const PreparedMap& map, const MapStyle& style);

/// The map with title, axes, scale bar and colour bar or legend.
void add_map(Gnuplot& plot, const MapPicture& picture, PreparedMap map, const Frame& frame,
             const MapStyle& style, const std::string& title);

} // namespace xrdct::report
