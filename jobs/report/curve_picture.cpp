// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/curve_picture.hpp"

#include "base/error.hpp"
#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::report {

namespace {

struct Limits {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();

    void take(double v) {
        if (std::isfinite(v)) {
            low = std::min(low, v);
            high = std::max(high, v);
        }
    }
};

/// Names of ASCII letters, as those of phases are, of at most 24.
std::string shown_name(const std::string& name) {
    const std::string clean = clean_utf8(name);
    return clean.size() <= 24 ? clean : clean.substr(0, 23) + "…";
}

/// Ticks at round numbers, all with the decimals that their step needs.
std::string tick_command(const char* axis, double low, double high, int count) {
    const double wanted = (high - low) / count;
    const double power = std::pow(10.0, std::floor(std::log10(wanted)));
    double step = power;
    for (const double factor : {2.0, 5.0, 10.0})
        if (step < wanted)
            step = factor * power;
    const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
    if (std::max(std::abs(low), std::abs(high)) < 1e-3)
        return fmt::format("set {}tics out nomirror scale 0.6 {:.10g} format '%.1t·10^{{%T}}'",
                           axis, step);
    return fmt::format("set {}tics out nomirror scale 0.6 {:.10g} format '%.{}f'", axis, step,
                       decimals);
}

/// The whole of the curves; of the bands 95 %, as bins with few voxels have wide ones.
Limits limits_of(const CurvePicture::Panel& panel, bool log_scale, bool from_zero) {
    Limits limits;
    std::vector<double> edges;
    for (const auto& series : panel.series)
        for (std::size_t i = 0; i < series.y.size(); ++i) {
            if (log_scale && !(series.y[i] > 0.0))
                continue;
            limits.take(series.y[i]);
            if (!series.spread.empty() && std::isfinite(series.y[i] + series.spread[i])) {
                edges.push_back(series.y[i] - series.spread[i]);
                edges.push_back(series.y[i] + series.spread[i]);
            }
        }
    limits.take(lower_quantile(edges, 0.025));
    limits.take(lower_quantile(edges, 0.975));
    if (!(limits.low <= limits.high))
        return {log_scale ? 0.1 : 0.0, 1.0};
    if (log_scale)
        return {limits.low / 1.5, limits.high * 1.5};
    const double least = 1e-4 * std::max(std::abs(limits.low), std::abs(limits.high));
    const double pad = std::max({0.07 * (limits.high - limits.low), least, 1e-12});
    const bool positive = limits.low >= 0.0 || (from_zero && limits.high > -limits.low);
    return {from_zero && positive ? 0.0 : limits.low - pad, limits.high + pad};
}

/// Whether the curves are higher in the first third than in the last, where a legend would hide
/// them.
bool begins_high(const CurvePicture::Panel& panel) {
    double first = 0, last = 0;
    for (const auto& series : panel.series) {
        const std::size_t third = std::max<std::size_t>(1, series.y.size() / 3);
        for (std::size_t i = 0; i < third && i < series.y.size(); ++i) {
            const double begin = series.y[i], end = series.y[series.y.size() - 1 - i];
            if (std::isfinite(begin) && std::isfinite(end)) {
                first += begin;
                last += end;
            }
        }
    }
    return first > last;
}

/// What of the abscissae is shown.
Limits abscissa_of(const CurvePicture& picture, const std::string& name) {
    Limits abscissa;
    for (const auto& panel : picture.panels)
        for (const auto& series : panel.series) {
            if (series.y.size() != series.x.size() ||
                (!series.spread.empty() && series.spread.size() != series.x.size()))
                throw Error(fmt::format("picture {}: the curve {} has {} abscissae, {} values and "
                                        "{} spreads",
                                        name, series.name, series.x.size(), series.y.size(),
                                        series.spread.size()));
            for (std::size_t i = 0; i < series.x.size(); ++i)
                if (std::isfinite(series.y[i]))
                    abscissa.take(series.x[i]);
        }
    if (!(abscissa.low <= abscissa.high))
        abscissa = {0.0, 1.0};
    if (abscissa.low > 0.0 && abscissa.low < 0.1 * abscissa.high)
        abscissa.low = 0.0;
    const double margin =
        picture.points || abscissa.high == abscissa.low
            ? std::max(0.03 * (abscissa.high - abscissa.low), 1e-9 + 0.03 * abscissa.high)
            : 0.0;
    abscissa.low -= abscissa.low == 0.0 ? 0.0 : margin;
    abscissa.high += margin;
    return abscissa;
}

/// Sizes in pixels, and where names and legends stand.
struct Layout {
    bool named = false;  ///< names stand beside the panels, as curves fill them differently
    bool beside = false; ///< a long legend would cover the curves: it stands beside them
    double left = 116, top = 52, bottom = 88, gap = 14, each = 0, right = 24, width = 0, height = 0;

    explicit Layout(const CurvePicture& picture) {
        const auto count = static_cast<double>(picture.panels.size());
        std::size_t longest = 0, longest_series = 0, max_series = 0;
        for (const auto& panel : picture.panels) {
            longest = std::max(longest, shown_name(panel.name).size());
            max_series = std::max(max_series, panel.series.size());
            for (const auto& series : panel.series)
                longest_series = std::max(longest_series, series.name.size());
        }
        named = picture.panels.size() > 1;
        beside = max_series > 4;
        each = picture.panels.size() == 1 ? 340 : picture.panels.size() == 2 ? 210 : 150;
        right = beside  ? 10.0 * static_cast<double>(longest_series) + 60
                : named ? std::max(24.0, 10.0 * static_cast<double>(longest) + 20)
                        : 24;
        width = left + 720 + right;
        height = top + count * each + (count - 1) * gap + bottom;
    }
};

/// Commands for the bands and curves of a panel as the arguments of gnuplot's "plot".
struct Curves {
    std::string bands, curves;

    void add(Gnuplot& plot, const CurvePicture& picture, const CurvePicture::Series& series,
             std::size_t k, const std::string& colour, const Limits& ordinate);
};

void Curves::add(Gnuplot& plot, const CurvePicture& picture, const CurvePicture::Series& series,
                 std::size_t k, const std::string& colour, const Limits& ordinate) {
    std::vector<double> all;
    std::vector<double> run;
    // gnuplot joins bands across gaps: every unbroken run is one of its own.
    const auto end_run = [&] {
        const std::size_t points = run.size() / 3;
        if (points > 1)
            bands += fmt::format("{} binary record=({}) format='%float64%float64%float64' "
                                 "using 1:2:3 with filledcurves fc rgb '#b8{}' notitle, ",
                                 plot.data(run), points, colour);
        run.clear();
    };
    for (std::size_t i = 0; i < series.x.size(); ++i) {
        const bool shown = std::isfinite(series.y[i]) && (!picture.log_scale || series.y[i] > 0.0);
        all.insert(all.end(), {series.x[i], shown ? series.y[i] : nan_value});
        if (!shown || series.spread.empty() || !std::isfinite(series.spread[i])) {
            end_run();
            continue;
        }
        const auto inside = [&](double v) { return std::clamp(v, ordinate.low, ordinate.high); };
        run.insert(run.end(), {series.x[i], inside(series.y[i] - series.spread[i]),
                               inside(series.y[i] + series.spread[i])});
    }
    end_run();
    const std::size_t points = series.x.size();
    if (points == 0)
        return;
    curves += fmt::format("{}{} binary record=({}) format='%float64%float64' using 1:2 "
                          "with {} lw 1.8 dt {} lc rgb "
                          "'#{}' title {}",
                          curves.empty() ? "" : ", ", plot.data(std::move(all)), points,
                          picture.points ? "linespoints pt 7 ps 0.7" : "lines", category_dashes(k),
                          colour, quote_gnuplot(series.name));
}

/// Axes, name and legend of panel p, then its curves.
void add_panel(Gnuplot& plot, const CurvePicture& picture, std::size_t p, const Layout& layout,
               const Limits& abscissa) {
    const auto& panel = picture.panels[p];
    const Quantity quantity = describe_quantity(panel.quantity);
    const Limits ordinate = limits_of(panel, picture.log_scale, quantity.from_zero);
    plot.add(tick_command("x", abscissa.low, abscissa.high, 8));
    if (p + 1 < picture.panels.size())
        plot.add("set xtics format ''\nunset xlabel");
    else
        plot.add(fmt::format(
            "set xlabel {}",
            quote_gnuplot(enhanced_with_units(escape_enhanced(picture.x_label), picture.x_units))));
    plot.add(fmt::format("set yrange [{:.10g}:{:.10g}]", ordinate.low, ordinate.high));
    plot.add(picture.log_scale
                 ? std::string("set ytics out nomirror scale 0.6 autofreq format '10^{%T}'")
                 : tick_command("y", ordinate.low, ordinate.high, layout.each > 300 ? 6 : 4));
    plot.add(fmt::format(
        "set label 2 {} at screen {:.6f}, graph 0.5 center rotate by 90 font ',15'",
        quote_gnuplot(enhanced_with_units(quantity.enhanced, panel.units)), 20 / layout.width));
    if (layout.named)
        plot.add(fmt::format("set label 3 {} at graph {} left noenhanced font ',16' tc rgb '{}'",
                             quote_gnuplot(shown_name(panel.name)),
                             layout.beside ? "0.012, graph 0.08" : "1.012, graph 0.5",
                             layout.beside ? "#000000" : hex_colour(category_colour(p))));
    plot.add(layout.beside
                 ? "set key at graph 1.015, graph 1 left top Left reverse samplen 1.5 spacing 0.9 "
                   "noenhanced font ',14'"
             : panel.series.size() > 1 ? fmt::format("set key top {} samplen 1.5 noenhanced",
                                                     begins_high(panel) ? "right" : "left")
                                       : std::string("unset key"));
    Curves drawn;
    for (std::size_t k = 0; k < panel.series.size(); ++k)
        drawn.add(plot, picture, panel.series[k], k,
                  hex_colour(category_colour(layout.beside ? k : k + p)).substr(1), ordinate);
    plot.add(drawn.curves.empty() ? "plot -1 notitle" : "plot " + drawn.bands + drawn.curves);
}

} // namespace

std::vector<std::filesystem::path> write_curve_picture(const CurvePicture& picture,
                                                       const std::filesystem::path& stem,
                                                       const PictureOptions& options) {
    const std::string name = stem.filename().string();
    if (picture.panels.empty())
        throw Error(fmt::format("picture {}: there is no curve to show", name));
    const Limits abscissa = abscissa_of(picture, name);
    const Layout layout(picture);
    Gnuplot plot(name, static_cast<int>(layout.width), static_cast<int>(layout.height));
    plot.add("set multiplot\nset border 3 lw 0.8");
    plot.add(fmt::format("set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}",
                         layout.left / layout.width, 1.0 - layout.right / layout.width));
    plot.add(fmt::format("set xrange [{:.10g}:{:.10g}]", abscissa.low, abscissa.high));
    plot.add(fmt::format(
        "set label 1 {} at screen {:.6f}, screen {:.6f} left noenhanced font ',18'",
        quote_gnuplot(picture.title), layout.left / layout.width, 1.0 - 24 / layout.height));
    if (picture.log_scale)
        plot.add("set logscale y");
    double ceiling = layout.height - layout.top;
    for (std::size_t p = 0; p < picture.panels.size(); ++p) {
        plot.add(fmt::format("set tmargin at screen {:.6f}\nset bmargin at screen {:.6f}",
                             ceiling / layout.height, (ceiling - layout.each) / layout.height));
        add_panel(plot, picture, p, layout, abscissa);
        plot.add("unset label 1");
        ceiling -= layout.each + layout.gap;
    }
    plot.add("unset multiplot");
    return plot.write(stem, options);
}

} // namespace xrdct::report
