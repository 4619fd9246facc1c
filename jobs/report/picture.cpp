#include "jobs/report/picture.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numeric>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

std::vector<double> finite_sorted(std::span<const double> values) {
    std::vector<double> sorted;
    sorted.reserve(values.size());
    std::copy_if(values.begin(), values.end(), std::back_inserter(sorted),
                 [](double v) { return std::isfinite(v); });
    std::sort(sorted.begin(), sorted.end());
    return sorted;
}

/// Linear interpolation between order statistics; `sorted` is not empty.
double quantile(std::span<const double> sorted, double fraction) {
    const double position = fraction * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    if (below + 1 >= sorted.size())
        return sorted.back();
    const double share = position - static_cast<double>(below);
    return sorted[below] * (1.0 - share) + sorted[below + 1] * share;
}

} // namespace

ColourRange robust_range(std::span<const double> values, bool from_zero, double minimum_width) {
    const std::vector<double> sorted = finite_sorted(values);
    if (sorted.empty())
        return {0.0, 1.0};
    ColourRange range{quantile(sorted, 0.01), quantile(sorted, 0.99)};
    if (from_zero && range.low >= 0.0) {
        range.low = 0.0;
        // A phase in a few voxels only (a tab, a foil) would lie above the 99 % of all voxels: the
        // voxels that hold most of the sum count, unless they stand out so far that they must be
        // failures.
        const double sum = std::accumulate(sorted.begin(), sorted.end(), 0.0,
                                           [](double s, double v) { return s + std::max(v, 0.0); });
        double partial = 0.0, bulk = 0.0;
        for (const double v : sorted) {
            partial += std::max(v, 0.0);
            bulk = v;
            if (partial >= 0.95 * sum)
                break;
        }
        range.high =
            std::max(range.high, range.high > 0.0 ? std::min(bulk, 20.0 * range.high) : bulk);
    }
    const double least = std::max({minimum_width, 1e-4 * std::abs(quantile(sorted, 0.5)),
                                   std::numeric_limits<double>::min()});
    if (range.high - range.low < least) {
        if (range.low == 0.0 && range.high == 0.0)
            return {from_zero ? 0.0 : -0.5, from_zero ? 1.0 : 0.5};
        const double middle = 0.5 * (range.low + range.high);
        range = {middle - 0.5 * least, middle + 0.5 * least};
    }
    return range;
}

ColourRange symmetric_range(std::span<const double> values, double least, double share) {
    std::vector<double> magnitudes;
    for (const double v : values)
        if (std::isfinite(v))
            magnitudes.push_back(std::abs(v));
    std::sort(magnitudes.begin(), magnitudes.end());
    double bound = magnitudes.empty() ? 0.0
                                      : magnitudes[static_cast<std::size_t>(
                                            share * static_cast<double>(magnitudes.size() - 1))];
    if (!(bound > least))
        bound = std::max(magnitudes.empty() ? 0.0 : magnitudes.back(), least);
    return {-bound, bound};
}

namespace {

// ---- numbers on axes
// -------------------------------------------------------------------------------------------

/// 1, 2 or 5 times a power of ten, the largest not above `limit`.
double round_step(double limit) {
    const double power = std::pow(10.0, std::floor(std::log10(limit) + 1e-9));
    for (const double factor : {5.0, 2.0})
        if (factor * power <= limit * (1.0 + 1e-9))
            return factor * power;
    return power;
}

int decimals_of(double step) {
    return std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
}

/// A number with a true minus sign.
std::string signed_text(const std::string& number) {
    return number.starts_with('-') ? "−" + number.substr(1) : number;
}

/// Commands for evenly spaced ticks with the same decimals on an axis ("x" or "y") that spans low …
/// high.
std::string even_ticks(const char* axis, double low, double high, int count) {
    const double step = round_step((high - low) / (count - 1) * 1.4);
    return fmt::format("set {}tics out nomirror scale 0.6 {:.10g} format '%.{}f'", axis, step,
                       decimals_of(step));
}

struct Tick {
    double at;
    std::string label;
};

/// About `count` round numbers within [low, high], all with the decimals their spacing needs.
std::vector<Tick> round_ticks(double low, double high, int count) {
    // Largest round spacing that leaves at least two intervals, near the wanted number.
    const double step = round_step((high - low) / (count - 1) * 1.4);
    std::vector<Tick> ticks;
    const auto first = static_cast<long long>(std::ceil(low / step - 1e-6));
    const auto last = static_cast<long long>(std::floor(high / step + 1e-6));
    for (long long k = first; k <= last; ++k)
        ticks.push_back({static_cast<double>(k) * step,
                         signed_text(fmt::format("{:.{}f}", static_cast<double>(k) * step,
                                                 decimals_of(step)))});
    return ticks;
}

std::string tick_list(const std::vector<Tick>& ticks) {
    std::string list = "(";
    for (std::size_t i = 0; i < ticks.size(); ++i)
        list += fmt::format("{}{} {:.12g}", i == 0 ? "" : ", ", quote_gnuplot(ticks[i].label),
                            ticks[i].at);
    return list + ")";
}

/// The power of ten taken out of the numbers of a scale, 0 for comfortable numbers.
int common_exponent(double low, double high) {
    const double largest = std::max(std::abs(low), std::abs(high));
    if (largest == 0.0 || (largest >= 0.01 && largest < 1e5))
        return 0;
    return static_cast<int>(std::floor(std::log10(largest) + 1e-9));
}

/// "label [10³ units]" for enhanced mode; the label is escaped already.
std::string scaled_label(const std::string& label, std::string_view units, int exponent) {
    if (exponent == 0)
        return enhanced_with_units(label, units);
    const std::string shown = escape_enhanced(display_units(units));
    return fmt::format("{} [10{}{}{}]", label, superscript(exponent), shown.empty() ? "" : " ",
                       shown);
}

std::size_t letters(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// At most `count` letters of the text, with an ellipsis when shortened.
std::string shortened(const std::string& text, std::size_t count) {
    const std::string clean = clean_utf8(text);
    if (letters(clean) <= count)
        return clean;
    std::string out;
    std::size_t seen = 0;
    for (const char c : clean) {
        if ((c & 0xC0) != 0x80 && ++seen >= count)
            break;
        out += c;
    }
    return out + "…";
}

// ---- maps
// ------------------------------------------------------------------------------------------------------

void check_axis(const Axis& axis, std::size_t expected, const std::string& name) {
    if (axis.values.size() != expected)
        throw Error(fmt::format("picture {}: axis {} has {} points, the data {}", name, axis.label,
                                axis.values.size(), expected));
    const bool rising = axis.values.size() < 2 || axis.values[1] > axis.values[0];
    for (std::size_t i = 0; i < axis.values.size(); ++i)
        if (!std::isfinite(axis.values[i]) ||
            (i > 0 && (axis.values[i] > axis.values[i - 1]) != rising) ||
            (i > 0 && axis.values[i] == axis.values[i - 1]))
            throw Error(
                fmt::format("picture {}: axis {} is not strictly monotonic", name, axis.label));
}

/// Evenly spaced, rising pixel positions and for each the index in the given axis, -1 where it has
/// none.
struct RegularAxis {
    double first = 0.0, step = 1.0;
    std::vector<std::ptrdiff_t> source;

    double low() const { return first - 0.5 * step; }
    double high() const { return first + (static_cast<double>(source.size()) - 0.5) * step; }
    double length() const { return step * static_cast<double>(source.size()); }
};

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
    std::nth_element(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2),
                     steps.end());
    constexpr double most = 4096;
    axis.step = std::max(steps[steps.size() / 2], (last - axis.first) / most);
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
            const double v =
                picture
                    .values[static_cast<std::size_t>(sy) * columns + static_cast<std::size_t>(sx)];
            if (std::isfinite(v) && (picture.categories.empty() || std::abs(v) < largest_code))
                map.values[j * map.columns + i] = v;
        }
    map.empty = std::none_of(map.values.begin(), map.values.end(),
                             [](double v) { return std::isfinite(v); });
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

/// Where a map goes on the canvas, in pixels from the lower left.
struct Frame {
    double left, bottom, width, height;
    double canvas_width, canvas_height;

    std::string x(double pixels) const {
        return fmt::format("screen {:.6f}", pixels / canvas_width);
    }
    std::string y(double pixels) const {
        return fmt::format("screen {:.6f}", pixels / canvas_height);
    }
};

/// Pixel size of a map within a box of `longest` pixels; whole screen pixels per voxel where that
/// is near.
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

constexpr std::size_t longest_category = 34; // letters
constexpr double legend_font = 0.85;         // of the style's

std::vector<Tick> bar_ticks(const PreparedMap& map, const MapStyle& style) {
    return round_ticks(map.range.low, map.range.high, style.axes ? 7 : 5);
}

double widest_label(const std::vector<Tick>& ticks) {
    std::size_t widest = 0;
    for (const Tick& tick : ticks)
        widest = std::max(widest, letters(tick.label));
    return static_cast<double>(widest);
}

/// Room right of a map for its colour bar or legend with all labels.
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

constexpr std::size_t longest_name = 28; // letters
constexpr double name_font = 0.8;        // of the style's

std::vector<Tick> named_ticks(const Axis& axis) {
    std::vector<Tick> ticks;
    for (std::size_t i = 0; i < std::min(axis.names.size(), axis.values.size()); ++i)
        ticks.push_back({axis.values[i], shortened(axis.names[i], longest_name)});
    return ticks;
}

std::string axis_label(const Axis& axis) {
    return enhanced_with_units(describe_quantity(axis.label).enhanced, axis.units);
}

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
        const std::string letter =
            k < 26 ? std::string(1, static_cast<char>('a' + k)) : std::to_string(k + 1);
        const std::string panel_title =
            shortened("(" + letter + ") " + panels[k].title,
                      static_cast<std::size_t>((cell_width - left) / (0.66 * style.font)));
        add_map(plot, panels[k], std::move(maps[k]), frame, style, panel_title);
    }
    if (!title.empty()) {
        plot.add("unset object\nunset label\nunset border\nunset tics\nunset xlabel\nunset ylabel\n"
                 "unset colorbox\nset xrange [0:1]\nset yrange [0:1]");
        plot.add(fmt::format(
            "set label {} at screen {:.6f}, screen {:.6f} left noenhanced font ',20'",
            quote_gnuplot(shortened(title, static_cast<std::size_t>(canvas_width / 12))),
            left / canvas_width, 1.0 - 0.55 * head / canvas_height));
        plot.add("plot -1 notitle");
    }
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

std::vector<fs::path> write_map_rows(std::span<const MapRow> rows, const std::string& title,
                                     const fs::path& stem, const PictureOptions& options) {
    const std::string name = stem.filename().string();
    if (rows.empty())
        throw Error(fmt::format("picture {}: there is no map to show", name));
    constexpr double longest = 330;
    MapStyle style{.font = 16, .bar_width = 17};
    struct Panel {
        const MapPicture* picture;
        PreparedMap map;
        double left, width, height;
        std::size_t line;
        bool first, last; ///< of its row
        bool row_has_values = false;
    };
    std::vector<Panel> panels;
    const double axis_room = 4.2 * style.font, gap = 1.1 * style.font, top = 2.2 * style.font,
                 bottom = 4.5 * style.font, head = title.empty() ? 0 : 46;
    double canvas_width = 0, line_height = 0, x = 0;
    std::size_t lines = 0;
    for (const MapRow& row : rows) {
        if (row.panels.empty())
            throw Error(fmt::format("picture {}: a row without maps", name));
        if (panels.empty() || row.new_line) {
            ++lines;
            x = 0;
        }
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
    }
    const double canvas_height = head + line_height * static_cast<double>(lines);
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    plot.add("set multiplot");
    for (std::size_t k = 0; k < panels.size(); ++k) {
        Panel& panel = panels[k];
        const Frame frame{
            panel.left,
            canvas_height - head - line_height * static_cast<double>(panel.line + 1) + bottom,
            panel.width,
            panel.height,
            canvas_width,
            canvas_height};
        style.y_axis = panel.first;
        style.bar = panel.last;
        style.scale_bar = k == 0;
        style.bar_when_empty = panel.last && panel.row_has_values;
        const std::string letter =
            k < 26 ? std::string(1, static_cast<char>('a' + k)) : std::to_string(k + 1);
        add_map(plot, *panel.picture, std::move(panel.map), frame, style,
                shortened("(" + letter + ") " + panel.picture->title,
                          static_cast<std::size_t>(panel.width / (0.62 * style.font * 1.1))));
    }
    if (!title.empty()) {
        plot.add("unset object\nunset label\nunset border\nunset tics\nunset xlabel\nunset ylabel\n"
                 "unset colorbox\nset xrange [0:1]\nset yrange [0:1]");
        plot.add(fmt::format(
            "set label {} at screen {:.6f}, screen {:.6f} left noenhanced font ',20'",
            quote_gnuplot(shortened(title, static_cast<std::size_t>(canvas_width / 12))),
            axis_room / canvas_width, 1.0 - 0.5 * head / canvas_height));
        plot.add("plot -1 notitle");
    }
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

// ---- patterns
// --------------------------------------------------------------------------------------------------

std::vector<fs::path> write_pattern_picture(const PatternPicture& picture, const fs::path& stem,
                                            const PictureOptions& options) {
    const std::string name = stem.filename().string();
    const std::size_t n = picture.axis.values.size();
    if (n == 0)
        throw Error(fmt::format("picture {}: the pattern has no channels", name));
    check_axis(picture.axis, n, name);
    std::vector<double> difference = picture.difference;
    if (difference.empty() && picture.observed.size() == n && picture.calculated.size() == n) {
        difference.resize(n);
        std::transform(picture.observed.begin(), picture.observed.end(), picture.calculated.begin(),
                       difference.begin(), std::minus<>());
    }
    struct Series {
        const std::vector<double>* values;
        const char* label;
        const char* look;
    };
    const Series all[] = {
        {&picture.observed, "observed", "points pt 7 ps 0.32 lc rgb '#30303030'"},
        {&picture.background, "background", "lines lw 1.6 dt 2 lc rgb '#009e73'"},
        {&picture.calculated, "calculated", "lines lw 1.3 lc rgb '#d55e00'"},
        {&difference, "difference", "lines lw 1 lc rgb '#0072b2'"},
    };
    double highest = 0.0;
    std::vector<double> records;
    for (const Series& series : all) {
        if (!series.values->empty() && series.values->size() != n)
            throw Error(fmt::format("picture {}: {} has {} channels, the axis {}", name,
                                    series.label, series.values->size(), n));
        if (series.values != &difference)
            for (const double v : *series.values)
                if (std::isfinite(v))
                    highest = std::max(highest, v);
    }
    // Numbers of five digits and more would not fit beside the axis.
    const int exponent = highest >= 1e4 ? static_cast<int>(std::floor(std::log10(highest)))
                                        : common_exponent(0.0, highest);
    const double factor = std::pow(10.0, -exponent);
    highest = highest > 0.0 ? highest * factor : 1.0;
    records.reserve(5 * n);
    for (std::size_t i = 0; i < n; ++i) {
        records.push_back(picture.axis.values[i]);
        for (const Series& series : all)
            records.push_back(series.values->empty() ? nan_value : (*series.values)[i] * factor);
    }
    const auto finite = [](double v) { return std::isfinite(v); };
    const bool has_difference = std::any_of(difference.begin(), difference.end(), finite);

    const auto ticked = static_cast<double>(picture.ticks.size());
    double name_width = 0;
    for (const auto& ticks : picture.ticks)
        name_width = std::max(name_width, static_cast<double>(letters(shortened(ticks.phase, 24))));
    const double left = 96, right = std::max(24.0, 9.0 * name_width + 16), bottom = 88, top = 66;
    const double linear = 230, root = 290, rows = picture.ticks.empty() ? 0 : 20 * ticked + 6,
                 residual = has_difference ? 120 : 0, gap = 12;
    const double width = 880;
    const double canvas_width = left + width + right;
    const double canvas_height = top + linear + gap + root + (rows > 0 ? gap + rows : 0) +
                                 (residual > 0 ? gap + residual : 0) + bottom;
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    const std::string file = plot.data(std::move(records));
    const std::string source = file + fmt::format(" binary record=({}) format='{}'", n,
                                                  "%float64%float64%float64%float64%float64");

    plot.add(
        "set multiplot\nset border lw 0.8\nset key top right samplen 2 spacing 1.15 noenhanced");
    plot.add(fmt::format("set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}",
                         left / canvas_width, (left + width) / canvas_width));
    const auto [low, high] =
        std::minmax_element(picture.axis.values.begin(), picture.axis.values.end());
    const double pad = n == 1 ? 0.5 : 0.0;
    plot.add(fmt::format("set xrange [{:.10g}:{:.10g}]", *low - pad, *high + pad));
    plot.add(even_ticks("x", *low - pad, *high + pad, 10) + "\nset xtics format ''");
    plot.add("set mxtics 5\nset ytics out nomirror scale 0.6");

    double ceiling = canvas_height - top;
    const auto panel = [&](double height) {
        plot.add(fmt::format("set tmargin at screen {:.6f}\nset bmargin at screen {:.6f}",
                             ceiling / canvas_height, (ceiling - height) / canvas_height));
        ceiling -= height + gap;
    };
    const double label_x = 16 / canvas_width;
    const auto ordinate = [&](const std::string& text, double from, double height) {
        plot.add(fmt::format("set label 100 {} at screen {:.6f}, screen {:.6f} center rotate by 90",
                             quote_gnuplot(text), label_x, (from - 0.5 * height) / canvas_height));
    };
    const auto curves = [&](const char* transform) {
        std::string list;
        // The background is drawn last: dashes on the calculated line where both coincide.
        for (const std::size_t k : {0U, 2U, 1U}) {
            if (all[k].values->empty())
                continue;
            const bool alone = k == 0 && picture.calculated.empty();
            list +=
                fmt::format("{}{} using 1:({}) with {} title '{}'", list.empty() ? "plot " : ", ",
                            source, fmt::format(fmt::runtime(transform), k + 2),
                            alone ? "lines lw 1.2 lc rgb '#303030'" : all[k].look, all[k].label);
        }
        return list.empty() ? std::string("plot 0 with lines lc rgb '#ffffff' notitle") : list;
    };
    const auto title_letters = static_cast<std::size_t>(width / 10);
    plot.add(
        fmt::format("set label 1 {} at screen {:.6f}, screen {:.6f} left noenhanced font ',20'",
                    quote_gnuplot(shortened(picture.title, title_letters)), left / canvas_width,
                    1.0 - 22 / canvas_height));
    plot.add(
        fmt::format("set label 2 {} at screen {:.6f}, screen {:.6f} left noenhanced font ',18'",
                    quote_gnuplot(shortened(picture.subtitle, title_letters + 20)),
                    left / canvas_width, 1.0 - 49 / canvas_height));

    const std::string intensity = scaled_label("intensity", picture.intensity_units, exponent);
    const double both = ceiling;
    panel(linear);
    ordinate(intensity, both, linear + gap + root);
    if (picture.calculated.empty() && picture.background.empty())
        plot.add("unset key");
    plot.add(fmt::format("set yrange [{:.6g}:{:.6g}]", -0.03 * highest, 1.05 * highest));
    plot.add(fmt::format("set ytics {}", tick_list(round_ticks(0, 1.05 * highest, 5))));
    plot.add(curves("${}"));
    plot.add("unset label 1\nunset label 2\nunset key");

    // Equal steps of the root are equal steps of the counting error.
    panel(root);
    plot.add("unset label 100\nset label 3 'square-root scale' at graph 0.985, graph 0.93 right "
             "font ',15'");
    plot.add(fmt::format("set yrange [0:{:.6g}]", std::sqrt(1.05 * highest)));
    std::vector<Tick> root_ticks{{0.0, "0"}};
    for (const double share : {0.004, 0.02, 0.06, 0.14, 0.25, 0.45, 0.7, 1.0}) {
        const double value = round_step(share * highest);
        if (value > 0.0 && std::sqrt(value) - root_ticks.back().at > 0.07 * std::sqrt(highest))
            root_ticks.push_back({std::sqrt(value), format_number(value, 3)});
    }
    plot.add(fmt::format("set ytics {}", tick_list(root_ticks)));
    const bool last_is_root = rows == 0 && residual == 0;
    const auto abscissa = [&] {
        plot.add(even_ticks("x", *low - pad, *high + pad, 10));
        plot.add(fmt::format("set xlabel {}", quote_gnuplot(axis_label(picture.axis))));
    };
    if (last_is_root)
        abscissa();
    plot.add(curves("${0} <= 0 ? 0 : sqrt(${0})"));
    plot.add("unset label 3");

    if (rows > 0) {
        if (residual == 0)
            abscissa();
        panel(rows);
        plot.add("unset ytics");
        plot.add(fmt::format("set yrange [{}:0]", picture.ticks.size()));
        std::string list;
        for (std::size_t k = 0; k < picture.ticks.size(); ++k) {
            const auto& ticks = picture.ticks[k];
            plot.add(fmt::format(
                "set label {} {} at graph 1.008, first {} left noenhanced font ',15' tc rgb '{}'",
                k + 1, quote_gnuplot(shortened(ticks.phase, 24)), static_cast<double>(k) + 0.5,
                hex_colour(category_colour(k))));
            std::vector<double> positions;
            std::copy_if(ticks.positions.begin(), ticks.positions.end(),
                         std::back_inserter(positions), finite);
            if (positions.empty())
                continue;
            const std::size_t count = positions.size();
            list += fmt::format(
                "{}{} binary record=({}) format='%float64' using 1:({}):(0):(0.7) with vectors "
                "nohead lw 1.1 lc rgb '{}' notitle",
                list.empty() ? "plot " : ", ", plot.data(std::move(positions)), count,
                static_cast<double>(k) + 0.15, hex_colour(category_colour(k)));
        }
        plot.add(list.empty() ? "plot -1 notitle" : list);
        for (std::size_t k = 0; k < picture.ticks.size(); ++k)
            plot.add(fmt::format("unset label {}", k + 1));
    }
    if (residual > 0) {
        const std::vector<double> sorted = finite_sorted(difference);
        const double extreme = factor * std::max({std::abs(sorted.front()), std::abs(sorted.back()),
                                                  1e-3 * highest / factor});
        const double from = ceiling;
        abscissa();
        panel(residual);
        ordinate("obs. − calc.", from, residual);
        plot.add(fmt::format("set yrange [{:.6g}:{:.6g}]\nset ytics out nomirror scale 0.6 {}",
                             -1.1 * extreme, 1.1 * extreme,
                             tick_list(round_ticks(-1.1 * extreme, 1.1 * extreme, 4))));
        plot.add(fmt::format(
            "plot 0 with lines lw 0.8 lc rgb '#808080' notitle, {} using 1:5 with {} notitle",
            source, all[3].look));
    }
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

// ---- histograms
// ------------------------------------------------------------------------------------------------

std::vector<fs::path> write_histogram_picture(const HistogramPicture& picture, const fs::path& stem,
                                              const PictureOptions& options) {
    const std::string name = stem.filename().string();
    std::vector<double> all;
    for (const auto& series : picture.series) {
        if (!series.weights.empty() && series.weights.size() != series.values.size())
            throw Error(fmt::format("picture {}: {} values of {} have {} weights", name,
                                    series.values.size(), series.name, series.weights.size()));
        for (std::size_t i = 0; i < series.values.size(); ++i)
            if (std::isfinite(series.values[i]) &&
                (series.weights.empty() || series.weights[i] > 0.0))
                all.push_back(series.values[i]);
    }
    std::sort(all.begin(), all.end());
    ColourRange range{0.0, 1.0};
    std::size_t bins = 1;
    if (!all.empty()) {
        const double middle = std::abs(quantile(all, 0.5));
        range = {quantile(all, 0.005), quantile(all, 0.995)};
        const double least = std::max(1e-4 * middle, std::numeric_limits<double>::min());
        const double pad = std::max(0.06 * (range.high - range.low), 0.5 * least);
        range = {range.low - pad, range.high + pad};
        if (describe_quantity(picture.quantity).from_zero && all.front() >= 0.0)
            range.low = std::max(range.low, 0.0);
        // Freedman & Diaconis (1981).
        const double spread = quantile(all, 0.75) - quantile(all, 0.25);
        const double bin = 2.0 * spread / std::cbrt(static_cast<double>(all.size()));
        bins =
            bin > 0.0
                ? static_cast<std::size_t>(std::clamp((range.high - range.low) / bin, 12.0, 90.0))
                : 25;
    }
    const double bin_width = (range.high - range.low) / static_cast<double>(bins);

    const double canvas_width = 820, canvas_height = 496;
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    const Quantity quantity = describe_quantity(picture.quantity);
    const int exponent = common_exponent(range.low, range.high);
    const double factor = std::pow(10.0, -exponent);
    std::string list;
    double highest = 0.0;
    bool right_heavy = false;
    for (std::size_t k = 0; k < picture.series.size(); ++k) {
        const auto& series = picture.series[k];
        std::vector<double> share(bins, 0.0);
        double sum = 0.0;
        for (std::size_t i = 0; i < series.values.size(); ++i) {
            const double weight = series.weights.empty() ? 1.0 : series.weights[i];
            if (!std::isfinite(series.values[i]) || !(weight > 0.0))
                continue;
            sum += weight;
            const double bin = (series.values[i] - range.low) / bin_width;
            if (bin >= 0.0 && bin < static_cast<double>(bins))
                share[static_cast<std::size_t>(bin)] += weight;
        }
        if (!(sum > 0.0))
            continue;
        std::vector<double> outline;
        const auto point = [&](double edge, double height) {
            outline.push_back((range.low + edge * bin_width) * factor);
            outline.push_back(100.0 * height / sum);
        };
        point(0, 0);
        for (std::size_t b = 0; b < bins; ++b) {
            point(static_cast<double>(b), share[b]);
            point(static_cast<double>(b + 1), share[b]);
            highest = std::max(highest, 100.0 * share[b] / sum);
        }
        point(static_cast<double>(bins), 0);
        right_heavy |= std::max_element(share.begin(), share.end()) - share.begin() >
                       static_cast<std::ptrdiff_t>(2 * bins / 3);
        const std::size_t count = outline.size() / 2;
        const std::string source =
            plot.data(std::move(outline)) +
            fmt::format(" binary record=({}) format='%float64%float64' using 1:2", count);
        const std::string colour = hex_colour(category_colour(k)).substr(1);
        list += fmt::format(
            "{}{} with filledcurves y=0 fc rgb '#c8{}' notitle, {} with lines lw 1.6 lc rgb '#{}' "
            "title {} noenhanced",
            list.empty() ? "plot " : ", ", source, colour, source, colour,
            quote_gnuplot(shortened(series.name, 40)));
    }
    plot.add(fmt::format(
        "set border 3 lw 0.8\nset lmargin at screen {:.6f}\nset rmargin at screen 0.97\n"
        "set bmargin at screen {:.6f}\nset tmargin at screen {:.6f}",
        88 / canvas_width, 88 / canvas_height, 1.0 - 50 / canvas_height));
    plot.add(fmt::format("set label {} at screen {:.6f}, screen {:.6f} left noenhanced font ',18'",
                         quote_gnuplot(shortened(picture.title, 70)), 88 / canvas_width,
                         1.0 - 24 / canvas_height));
    plot.add(fmt::format("set xlabel {}\nset ylabel {}",
                         quote_gnuplot(scaled_label(quantity.enhanced, picture.units, exponent)),
                         quote_gnuplot(escape_enhanced(picture.weight_label) + " [%]")));
    plot.add(fmt::format("set xrange [{:.12g}:{:.12g}]\nset yrange [0:{:.6g}]", range.low * factor,
                         range.high * factor,
                         highest > 0.0 ? (picture.series.size() > 1 ? 1.3 : 1.1) * highest : 1.0));
    plot.add(fmt::format("set xtics out nomirror scale 0.6 {}\nset ytics out nomirror scale 0.6",
                         tick_list(round_ticks(range.low * factor, range.high * factor, 7))));
    const auto mark = [&](std::optional<double> at, const char* name, const char* look) {
        if (!at || !std::isfinite(*at) || list.empty())
            return;
        plot.add(fmt::format("set arrow from {0:.12g}, graph 0 to {0:.12g}, graph 1 nohead front "
                             "lw 1.3 {1}",
                             *at * factor, look));
        list += fmt::format(", NaN with lines lw 1.3 {} title '{}'", look, name);
    };
    mark(picture.mean, "mean", "lc rgb '#303030'");
    mark(picture.median, "median", "dt 2 lc rgb '#303030'");
    const bool marked = picture.mean || picture.median;
    plot.add(picture.series.size() > 1 || marked
                 ? fmt::format("set key top {} samplen 1.5", right_heavy ? "left" : "right")
                 : "unset key");
    plot.add(list.empty() ? "set label 'no values' at graph 0.5, graph 0.5 center\nplot -1 notitle"
                          : list);
    return plot.write(stem, options);
}

} // namespace xrdct::report
