// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/map_drawing.hpp"

#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace xrdct::report {

std::string Frame::x(double pixels) const {
    return fmt::format("screen {:.6f}", pixels / canvas_width);
}

std::string Frame::y(double pixels) const {
    return fmt::format("screen {:.6f}", pixels / canvas_height);
}

std::pair<double, double> map_size(const PreparedMap& map, double longest) {
    if (!map.same_units)
        return {longest, 0.75 * longest};
    const double extent = std::max(map.x.length(), map.y.length());
    const double voxels = extent / std::min(map.x.step, map.y.step);
    double size = longest;
    if (const double per_voxel = std::round(longest / voxels);
        per_voxel >= 1.0 && per_voxel * voxels < 1.25 * longest)
        size = per_voxel * voxels;
    // Beyond 1:10 a map would be a line; its aspect is then no longer equal.
    return {std::max(size * map.x.length() / extent, 0.1 * size),
            std::max(size * map.y.length() / extent, 0.1 * size)};
}

namespace {

constexpr std::size_t longest_category = 34; // letters
constexpr double legend_font = 0.85;         // of the style's
constexpr std::size_t longest_name = 28;     // letters

void add_scale_bar(Gnuplot& plot, const PreparedMap& map, const std::string& units,
                   const Frame& frame, const MapStyle& style) {
    const double length = round_step(0.26 * map.x.length());
    const double bar = length / map.x.length() * frame.width;
    const std::string shown = display_units(units);
    const std::string label = shown == "mm" && length < 0.999
                                  ? format_number(length * 1000.0, 3) + " µm"
                                  : format_number(length, 3) + " " + shown;
    const double inset = 0.025 * frame.width, thickness = 0.35 * style.font;
    const double box_width =
        std::max(bar, 0.62 * style.font * static_cast<double>(letters(label))) + 1.2 * style.font;
    const double box_height = thickness + 2.5 * style.font;
    if (box_width > 0.9 * frame.width || box_height > 0.5 * frame.height)
        return;
    const double x = frame.left + inset, y = frame.bottom + inset;
    const double middle = x + 0.5 * box_width;
    const auto box = [&](double x0, double y0, double x1, double y1, const char* look) {
        plot.add(fmt::format("set object rectangle from {}, {} to {}, {} front {}", frame.x(x0),
                             frame.y(y0), frame.x(x1), frame.y(y1), look));
    };
    box(x, y, x + box_width, y + box_height, "fc rgb '#30ffffff' fs solid noborder");
    box(middle - 0.5 * bar, y + 0.6 * style.font, middle + 0.5 * bar,
        y + 0.6 * style.font + thickness, "fc rgb '#000000' fs solid noborder");
    plot.add(fmt::format("set label {} at {}, {} center front noenhanced font ',{}'",
                         quote_gnuplot(label), frame.x(middle),
                         frame.y(y + thickness + 1.45 * style.font), style.font * 0.93));
}

std::vector<Tick> bar_ticks(const PreparedMap& map, const MapStyle& style) {
    return round_ticks(map.range.low, map.range.high, style.axes ? 7 : 5);
}

} // namespace

double widest_label(const std::vector<Tick>& ticks) {
    std::size_t widest = 0;
    for (const Tick& tick : ticks)
        widest = std::max(widest, letters(tick.label));
    return static_cast<double>(widest);
}

double bar_room(const PreparedMap& map, const MapStyle& style) {
    double letters_beside = 0.0;
    for (const std::string& label : map.categories)
        letters_beside = std::max(letters_beside,
                                  static_cast<double>(std::min(letters(label), longest_category)));
    const double room = map.categories.empty()
                            ? style.font * (0.62 * widest_label(bar_ticks(map, style)) + 3.2)
                            : style.font * (0.66 * legend_font * letters_beside + 1.6);
    return 1.9 * style.bar_width + room;
}

std::vector<Tick> named_ticks(const Axis& axis) {
    std::vector<Tick> ticks;
    for (std::size_t i = 0; i < std::min(axis.names.size(), axis.values.size()); ++i)
        ticks.push_back({axis.values[i], shortened(axis.names[i], longest_name)});
    return ticks;
}

namespace {

/// A colour bar as high as the map, with triangles at the ends it has cut values off.
void add_colour_bar(Gnuplot& plot, const PreparedMap& map, const std::string& units,
                    const Frame& frame, const MapStyle& style) {
    const double left = frame.left + frame.width + 0.9 * style.bar_width,
                 right = left + style.bar_width;
    const double tip = 0.65 * style.bar_width;
    const double low = frame.bottom + (map.clipped_below ? tip : 0.0);
    const double high = frame.bottom + frame.height - (map.clipped_above ? tip : 0.0);
    const auto anchors = palette_anchors(map.palette);
    const auto triangle = [&](double base, double point, Rgb colour) {
        plot.add(
            fmt::format("set object polygon from {}, {} to {}, {} to {}, {} to {}, {} front fc rgb "
                        "'{}' fs solid border rgb '#000000' lw 0.7",
                        frame.x(left), frame.y(base), frame.x(right), frame.y(base),
                        frame.x(0.5 * (left + right)), frame.y(point), frame.x(left), frame.y(base),
                        hex_colour(colour)));
    };
    if (map.clipped_below)
        triangle(low, frame.bottom, anchors.front());
    if (map.clipped_above)
        triangle(high, frame.bottom + frame.height, anchors.back());
    plot.palette(map.palette);
    const std::vector<Tick> ticks = bar_ticks(map, style);
    plot.add(fmt::format("set cbtics {} out nomirror scale 0.5", tick_list(ticks)));
    plot.add(fmt::format("set label {} at {}, {} center rotate by 90 font ',{}'",
                         quote_gnuplot(scaled_label(map.quantity.enhanced, units, map.exponent)),
                         frame.x(right + style.font * (2.0 + 0.62 * widest_label(ticks))),
                         frame.y(frame.bottom + 0.5 * frame.height), style.font));
    plot.add(fmt::format("set colorbox vertical user origin {}, {} size {}, {}", frame.x(left),
                         frame.y(low), frame.x(style.bar_width), frame.y(high - low)));
}

/// The legend of a map of codes: a patch of colour per outcome.
void add_legend(Gnuplot& plot, const PreparedMap& map, const Frame& frame, const MapStyle& style) {
    const double count = std::max(1.0, static_cast<double>(map.categories.size()));
    const double height = std::min(frame.height, 1.9 * style.font * count);
    std::string colours;
    std::vector<Tick> ticks;
    for (std::size_t k = 0; k < map.categories.size(); ++k) {
        colours +=
            fmt::format("{}{} '{}'", k == 0 ? "" : ", ", k, hex_colour(map.category_colours[k]));
        ticks.push_back({static_cast<double>(k), shortened(map.categories[k], longest_category)});
    }
    if (map.categories.size() == 1)
        colours += fmt::format(", 1 '{}'", hex_colour(map.category_colours[0]));
    plot.add(fmt::format("set palette maxcolors {:.0f} defined ({})", count, colours));
    plot.add(fmt::format("set cbtics {} nomirror scale 0 noenhanced font ',{}'", tick_list(ticks),
                         legend_font * style.font));
    plot.add(fmt::format("set colorbox vertical user origin {}, {} size {}, {}",
                         frame.x(frame.left + frame.width + 0.9 * style.bar_width),
                         frame.y(frame.bottom + frame.height - height), frame.x(style.bar_width),
                         frame.y(height)));
}

void add_axes(Gnuplot& plot, const MapPicture& picture, const PreparedMap& map, const Frame& frame,
              const MapStyle& style) {
    plot.add(fmt::format("set xrange [{:.10g}:{:.10g}]\nset yrange [{:.10g}:{:.10g}]", map.x.low(),
                         map.x.high(), map.y.low(), map.y.high()));
    if (style.axes) {
        plot.add(even_ticks("x", map.x.low(), map.x.high(), frame.width > 300 ? 6 : 4));
        if (picture.y.names.empty())
            plot.add(even_ticks("y", map.y.low(), map.y.high(), frame.height > 300 ? 6 : 4));
        else
            plot.add(fmt::format("set ytics {} out nomirror scale 0.4 noenhanced font ',{}'",
                                 tick_list(named_ticks(picture.y)), name_font * style.font));
        plot.add(fmt::format("set xlabel {} font ',{}'\nset ylabel {} font ',{}'",
                             quote_gnuplot(axis_label(picture.x)), style.font,
                             quote_gnuplot(axis_label(picture.y)), style.font));
        if (!style.x_axis)
            plot.add("unset xlabel\nset xtics format ''");
        if (!style.y_axis)
            plot.add("unset ylabel\nset ytics format ''");
    } else {
        plot.add("unset xtics\nunset ytics\nunset xlabel\nunset ylabel");
    }
}

void add_image(Gnuplot& plot, PreparedMap map) {
    const double dx = map.x.length() / static_cast<double>(map.columns);
    const double dy = map.y.length() / static_cast<double>(map.rows);
    const std::size_t columns = map.columns, rows = map.rows;
    const double x0 = map.x.low() + 0.5 * dx, y0 = map.y.low() + 0.5 * dy;
    const std::string file = plot.data(std::move(map.values));
    plot.add(
        fmt::format("plot {} binary array=({},{}) dx={:.12g} dy={:.12g} origin=({:.12g},{:.12g}) "
                    "format='%float64' using 1 with image notitle",
                    file, columns, rows, dx, dy, x0, y0));
}

} // namespace

void add_map(Gnuplot& plot, const MapPicture& picture, PreparedMap map, const Frame& frame,
             const MapStyle& style, const std::string& title) {
    plot.add(fmt::format(
        "unset object\nunset label\nunset key\nset border lw 0.8\nset tics font ',{0}'\n"
        "set cbtics norangelimit font ',{0}'",
        style.font));
    plot.add(
        fmt::format("set lmargin at {}\nset rmargin at {}\nset bmargin at {}\nset tmargin at {}",
                    frame.x(frame.left), frame.x(frame.left + frame.width), frame.y(frame.bottom),
                    frame.y(frame.bottom + frame.height)));
    plot.add(fmt::format(
        "set object rectangle from graph 0,0 to graph 1,1 behind fc rgb '{}' fs solid noborder",
        hex_colour(missing_colour)));
    plot.add(fmt::format("set label {} at {}, {} left noenhanced font ',{}'", quote_gnuplot(title),
                         frame.x(frame.left),
                         frame.y(frame.bottom + frame.height + 1.35 * style.font),
                         style.font * 1.1));
    add_axes(plot, picture, map, frame, style);
    if (style.scale_bar && map.same_units && !picture.x.units.empty())
        add_scale_bar(plot, map, picture.x.units, frame, style);

    plot.add(fmt::format("set cbrange [{:.12g}:{:.12g}]", map.range.low, map.range.high));
    if (map.empty) {
        plot.add(fmt::format("unset colorbox\nset label 'no values' at {}, {} center front",
                             frame.x(frame.left + 0.5 * frame.width),
                             frame.y(frame.bottom + 0.5 * frame.height)));
        if (!style.bar_when_empty) {
            plot.add(fmt::format("plot {:.10g} notitle", map.y.low() - map.y.length()));
            return;
        }
    }
    if (!style.bar) {
        plot.palette(map.palette);
        plot.add("unset colorbox");
    } else if (picture.categories.empty())
        add_colour_bar(plot, map, picture.units, frame, style);
    else
        add_legend(plot, map, frame, style);
    add_image(plot, std::move(map));
}

} // namespace xrdct::report
