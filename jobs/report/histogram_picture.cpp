// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/statistics.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/picture_axes.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

constexpr double canvas_width = 820, canvas_height = 496;

/// Range and number of the bins.
struct Bins {
    ColourRange range{0.0, 1.0};
    std::size_t count = 1;

    double width() const { return (range.high - range.low) / static_cast<double>(count); }
};

/// All values that count, ascending.
std::vector<double> counted_values(const HistogramPicture& picture, const std::string& name) {
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
    return all;
}

/// The bulk of the values in bins of the width of Freedman & Diaconis (1981).
Bins bins_of(const std::vector<double>& all, bool from_zero) {
    Bins bins;
    if (all.empty())
        return bins;
    ColourRange& range = bins.range;
    const double middle = std::abs(interpolated_quantile<double>(all, 0.5));
    range = {interpolated_quantile<double>(all, 0.005), interpolated_quantile<double>(all, 0.995)};
    const double least = std::max(1e-4 * middle, std::numeric_limits<double>::min());
    const double pad = std::max(0.06 * (range.high - range.low), 0.5 * least);
    range = {range.low - pad, range.high + pad};
    if (from_zero && all.front() >= 0.0)
        range.low = std::max(range.low, 0.0);
    const double spread =
        interpolated_quantile<double>(all, 0.75) - interpolated_quantile<double>(all, 0.25);
    const double bin = 2.0 * spread / std::cbrt(static_cast<double>(all.size()));
    bins.count =
        bin > 0.0 ? static_cast<std::size_t>(std::clamp((range.high - range.low) / bin, 12.0, 90.0))
                  : 25;
    return bins;
}

/// Weight of a series in every bin, and in all.
struct Shares {
    std::vector<double> share;
    double sum = 0.0;
};

Shares shares_of(const HistogramPicture::Series& series, const Bins& bins) {
    Shares shares{std::vector<double>(bins.count, 0.0), 0.0};
    for (std::size_t i = 0; i < series.values.size(); ++i) {
        const double weight = series.weights.empty() ? 1.0 : series.weights[i];
        if (!std::isfinite(series.values[i]) || !(weight > 0.0))
            continue;
        shares.sum += weight;
        const double bin = (series.values[i] - bins.range.low) / bins.width();
        if (bin >= 0.0 && bin < static_cast<double>(bins.count))
            shares.share[static_cast<std::size_t>(bin)] += weight;
    }
    return shares;
}

/// The curves of all series as the argument of gnuplot's "plot".
struct HistogramCurves {
    std::string list;
    double highest = 0.0;
    bool right_heavy = false; ///< a legend on the right would hide a peak

    void add(Gnuplot& plot, const HistogramPicture::Series& series, std::size_t k, const Bins& bins,
             double factor);
};

void HistogramCurves::add(Gnuplot& plot, const HistogramPicture::Series& series, std::size_t k,
                          const Bins& bins, double factor) {
    const auto [share, sum] = shares_of(series, bins);
    if (!(sum > 0.0))
        return;
    std::vector<double> outline;
    const auto point = [&, total = sum](double edge, double height) {
        outline.push_back((bins.range.low + edge * bins.width()) * factor);
        outline.push_back(100.0 * height / total);
    };
    point(0, 0);
    for (std::size_t b = 0; b < bins.count; ++b) {
        point(static_cast<double>(b), share[b]);
        point(static_cast<double>(b + 1), share[b]);
        highest = std::max(highest, 100.0 * share[b] / sum);
    }
    point(static_cast<double>(bins.count), 0);
    right_heavy |= std::max_element(share.begin(), share.end()) - share.begin() >
                   static_cast<std::ptrdiff_t>(2 * bins.count / 3);
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

void add_frame(Gnuplot& plot, const HistogramPicture& picture, const Bins& bins, int exponent,
               double highest) {
    const ColourRange& range = bins.range;
    const double factor = std::pow(10.0, -exponent);
    plot.add(fmt::format(
        "set border 3 lw 0.8\nset lmargin at screen {:.6f}\nset rmargin at screen 0.97\n"
        "set bmargin at screen {:.6f}\nset tmargin at screen {:.6f}",
        88 / canvas_width, 88 / canvas_height, 1.0 - 50 / canvas_height));
    plot.add(fmt::format("set label {} at screen {:.6f}, screen {:.6f} left noenhanced font ',18'",
                         quote_gnuplot(shortened(picture.title, 70)), 88 / canvas_width,
                         1.0 - 24 / canvas_height));
    const Quantity quantity = describe_quantity(picture.quantity);
    plot.add(fmt::format("set xlabel {}\nset ylabel {}",
                         quote_gnuplot(scaled_label(quantity.enhanced, picture.units, exponent)),
                         quote_gnuplot(escape_enhanced(picture.weight_label) + " [%]")));
    plot.add(fmt::format("set xrange [{:.12g}:{:.12g}]\nset yrange [0:{:.6g}]", range.low * factor,
                         range.high * factor,
                         highest > 0.0 ? (picture.series.size() > 1 ? 1.3 : 1.1) * highest : 1.0));
    plot.add(fmt::format("set xtics out nomirror scale 0.6 {}\nset ytics out nomirror scale 0.6",
                         tick_list(round_ticks(range.low * factor, range.high * factor, 7))));
}

} // namespace

std::vector<fs::path> write_histogram_picture(const HistogramPicture& picture, const fs::path& stem,
                                              const PictureOptions& options) {
    const std::string name = stem.filename().string();
    const std::vector<double> all = counted_values(picture, name);
    const Bins bins = bins_of(all, describe_quantity(picture.quantity).from_zero);
    Gnuplot plot(name, static_cast<int>(canvas_width), static_cast<int>(canvas_height));
    const int exponent = common_exponent(bins.range.low, bins.range.high);
    const double factor = std::pow(10.0, -exponent);
    HistogramCurves curves;
    for (std::size_t k = 0; k < picture.series.size(); ++k)
        curves.add(plot, picture.series[k], k, bins, factor);
    add_frame(plot, picture, bins, exponent, curves.highest);
    std::string& list = curves.list;
    const auto mark = [&](std::optional<double> at, const char* label, const char* look) {
        if (!at || !std::isfinite(*at) || list.empty())
            return;
        plot.add(fmt::format("set arrow from {0:.12g}, graph 0 to {0:.12g}, graph 1 nohead front "
                             "lw 1.3 {1}",
                             *at * factor, look));
        list += fmt::format(", NaN with lines lw 1.3 {} title '{}'", look, label);
    };
    mark(picture.mean, "mean", "lc rgb '#303030'");
    mark(picture.median, "median", "dt 2 lc rgb '#303030'");
    const bool marked = picture.mean || picture.median;
    plot.add(picture.series.size() > 1 || marked
                 ? fmt::format("set key top {} samplen 1.5", curves.right_heavy ? "left" : "right")
                 : "unset key");
    plot.add(list.empty() ? "set label 'no values' at graph 0.5, graph 0.5 center\nplot -1 notitle"
                          : list);
    return plot.write(stem, options);
}

} // namespace xrdct::report
