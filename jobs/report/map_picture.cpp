// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/report/map_drawing.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

/// "(a) ", "(b) ", …; numbers after z.
std::string lettered(std::size_t k) {
    const std::string letter =
        k < 26 ? std::string(1, static_cast<char>('a' + k)) : std::to_string(k + 1);
    return "(" + letter + ") ";
}

/// The title above several maps, at fractions of the canvas; nothing when it is empty.
void add_title(Gnuplot& plot, const std::string& title, double x, double canvas_width, double y) {
    if (title.empty())
        return;
    plot.add("unset object\nunset label\nunset border\nunset tics\nunset xlabel\nunset ylabel\n"
             "unset colorbox\nset xrange [0:1]\nset yrange [0:1]");
    plot.add(fmt::format(
        "set label {} at screen {:.6f}, screen {:.6f} left noenhanced font ',20'",
        quote_gnuplot(shortened(title, static_cast<std::size_t>(canvas_width / 12))), x, y));
    plot.add("plot -1 notitle");
}

/// One map of rows that share a colour bar.
struct RowPanel {
    const MapPicture* picture;
    PreparedMap map;
    double left, width, height;
    std::size_t line;
    bool first, last; ///< of its row
    bool row_has_values = false;
};

/// Where the maps of rows go, in pixels.
struct RowLayout {
    MapStyle style{.font = 16, .bar_width = 17};
    double axis_room = 4.2 * style.font, gap = 1.1 * style.font, top = 2.2 * style.font,
           bottom = 4.5 * style.font;
    std::vector<RowPanel> panels;
    double canvas_width = 0, line_height = 0;
    std::size_t lines = 0;

    /// Adds a row whose first map stands right of `x`; returns the end of the last.
    double add(const MapRow& row, double x, const std::string& name);
};

double RowLayout::add(const MapRow& row, double x, const std::string& name) {
    constexpr double longest = 330;
    const std::size_t first = panels.size();
    for (std::size_t k = 0; k < row.panels.size(); ++k) {
        PreparedMap map = prepare(row.panels[k], name);
        const auto [w, h] = map_size(map, longest);
        if (k == 0)
            x += axis_room + static_cast<double>(row.skip) * (w + gap);
        panels.push_back({&row.panels[k], std::move(map), x, w, h, lines - 1, k == 0,
                          k + 1 == row.panels.size()});
        x += w + gap;
        line_height = std::max(line_height, top + h + bottom);
    }
    // One bar for all: it says so when any of the panels is clipped.
    PreparedMap& with_bar = panels.back().map;
    double room = 0;
    for (std::size_t k = first; k < panels.size(); ++k) {
        with_bar.clipped_below |= panels[k].map.clipped_below;
        with_bar.clipped_above |= panels[k].map.clipped_above;
        panels.back().row_has_values |= !panels[k].map.empty;
        room = std::max(room, bar_room(panels[k].map, style));
    }
    x += room - gap + 0.6 * style.font;
    canvas_width = std::max(canvas_width, x);
    return x;
}

} // namespace

std::vector<fs::path> write_map_picture(const MapPicture& picture, const fs::path& stem,
                                        const PictureOptions& options) {
    const std::string name = stem.filename().string();
    PreparedMap map = prepare(picture, name);
    const MapStyle style;
    auto [width, height] = map_size(map, 640);
    double left = 5.6 * style.font;
    if (!picture.y.names.empty() && !map.same_units) {
        // As high as its names need.
        const double line = 1.3 * name_font * style.font;
        height = std::max(12.0, static_cast<double>(picture.y.names.size())) * line;
        left = style.font *
               (2.4 + 0.62 * name_font * std::max(4.0, widest_label(named_ticks(picture.y))));
    }
    const double bottom = 4.2 * style.font, top = 2.9 * style.font;
    const Frame frame{
        left, bottom, width, height, left + width + bar_room(map, style), bottom + height + top};
    Gnuplot plot(name, static_cast<int>(frame.canvas_width), static_cast<int>(frame.canvas_height));
    const double letter = 0.66 * style.font;
    const std::string title =
        shortened(picture.title, static_cast<std::size_t>((frame.canvas_width - left) / letter));
    add_map(plot, picture, std::move(map), frame, style, title);
    return plot.write(stem, options);
}

std::vector<fs::path> write_map_grid(std::span<const MapPicture> panels, const std::string& title,
                                     const fs::path& stem, const PictureOptions& options) {
    const std::string name = stem.filename().string();
    if (panels.empty())
        throw Error(fmt::format("picture {}: there is no map to show", name));
    const MapStyle style{.axes = false, .font = 15, .bar_width = 15};
    constexpr double longest = 280;
    std::vector<PreparedMap> maps;
    double width = 0, height = 0, right = 0;
    for (const MapPicture& panel : panels) {
        maps.push_back(prepare(panel, name));
        const auto [w, h] = map_size(maps.back(), longest);
        width = std::max(width, w);
        height = std::max(height, h);
        right = std::max(right, bar_room(maps.back(), style));
    }
    const std::size_t count = panels.size();
    const std::size_t columns = count <= 4 ? std::min<std::size_t>(count, 2) : count <= 9 ? 3 : 4;
    const std::size_t rows = (count + columns - 1) / columns;
    const double left = 16, top = 36, bottom = 12, head = title.empty() ? 0 : 50;
    const double cell_width = left + width + right, cell_height = top + height + bottom;
    const double canvas_width = cell_width * static_cast<double>(columns);
    const double canvas_height = head + cell_height * static_cast<double>(rows);
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    plot.add("set multiplot");
    for (std::size_t k = 0; k < count; ++k) {
        const auto column = static_cast<double>(k % columns);
        const auto row = static_cast<double>(k / columns);
        const auto [w, h] = map_size(maps[k], longest);
        const Frame frame{column * cell_width + left,
                          canvas_height - head - (row + 1) * cell_height + bottom,
                          w,
                          h,
                          canvas_width,
                          canvas_height};
        const std::string panel_title =
            shortened(lettered(k) + panels[k].title,
                      static_cast<std::size_t>((cell_width - left) / (0.66 * style.font)));
        add_map(plot, panels[k], std::move(maps[k]), frame, style, panel_title);
    }
    add_title(plot, title, left / canvas_width, canvas_width, 1.0 - 0.55 * head / canvas_height);
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

std::vector<fs::path> write_map_rows(std::span<const MapRow> rows, const std::string& title,
                                     const fs::path& stem, const PictureOptions& options) {
    const std::string name = stem.filename().string();
    if (rows.empty())
        throw Error(fmt::format("picture {}: there is no map to show", name));
    RowLayout layout;
    double x = 0;
    for (const MapRow& row : rows) {
        if (row.panels.empty())
            throw Error(fmt::format("picture {}: a row without maps", name));
        if (layout.panels.empty() || row.new_line) {
            ++layout.lines;
            x = 0;
        }
        x = layout.add(row, x, name);
    }
    const double head = title.empty() ? 0 : 46;
    const double canvas_width = layout.canvas_width,
                 canvas_height = head + layout.line_height * static_cast<double>(layout.lines);
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    plot.add("set multiplot");
    MapStyle style = layout.style;
    for (std::size_t k = 0; k < layout.panels.size(); ++k) {
        RowPanel& panel = layout.panels[k];
        const Frame frame{panel.left,
                          canvas_height - head -
                              layout.line_height * static_cast<double>(panel.line + 1) +
                              layout.bottom,
                          panel.width,
                          panel.height,
                          canvas_width,
                          canvas_height};
        style.y_axis = panel.first;
        style.bar = panel.last;
        style.scale_bar = k == 0;
        style.bar_when_empty = panel.last && panel.row_has_values;
        add_map(plot, *panel.picture, std::move(panel.map), frame, style,
                shortened(lettered(k) + panel.picture->title,
                          static_cast<std::size_t>(panel.width / (0.62 * style.font * 1.1))));
    }
    add_title(plot, title, layout.axis_room / canvas_width, canvas_width,
              1.0 - 0.5 * head / canvas_height);
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

} // namespace xrdct::report
