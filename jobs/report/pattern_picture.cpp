// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/numbers.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/picture.hpp"
#include "jobs/report/picture_axes.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <iterator>

namespace xrdct::report {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t longest_phase = 24; // letters

bool finite(double v) {
    return std::isfinite(v);
}

/// Observed minus calculated, as given or computed; empty: one of them is missing.
std::vector<double> difference_of(const PatternPicture& picture) {
    const std::size_t n = picture.axis.values.size();
    std::vector<double> difference = picture.difference;
    if (difference.empty() && picture.observed.size() == n && picture.calculated.size() == n) {
        difference.resize(n);
        std::transform(picture.observed.begin(), picture.observed.end(), picture.calculated.begin(),
                       difference.begin(), std::minus<>());
    }
    return difference;
}

/// Heights and widths of the panels from the top: linear scale, square-root scale, one row of marks
/// per phase, difference.
struct Layout {
    double left = 96, right = 24, bottom = 88, top = 66;
    double linear = 230, root = 290, rows = 0, residual = 0, gap = 12;
    double width = 880;

    Layout(const PatternPicture& picture, bool has_difference) {
        const auto ticked = static_cast<double>(picture.ticks.size());
        double name_width = 0;
        for (const auto& ticks : picture.ticks)
            name_width = std::max(
                name_width, static_cast<double>(letters(shortened(ticks.phase, longest_phase))));
        right = std::max(24.0, 9.0 * name_width + 16);
        rows = picture.ticks.empty() ? 0 : 20 * ticked + 6;
        residual = has_difference ? 120 : 0;
    }
    double canvas_width() const { return left + width + right; }
    double canvas_height() const {
        return top + linear + gap + root + (rows > 0 ? gap + rows : 0) +
               (residual > 0 ? gap + residual : 0) + bottom;
    }
};

/// Draws the panels from the top to the bottom.
class PatternDrawing {
  public:
    PatternDrawing(const PatternPicture& picture, const std::string& name);

    Gnuplot& draw();

  private:
    struct Series {
        const std::vector<double>* values;
        const char* label;
        const char* look;
    };

    std::vector<double> records(const std::string& name);
    void add_titles();
    void add_linear();
    void add_root();
    void add_marks();
    void add_residual();

    void panel(double height);
    void ordinate(const std::string& text, double from, double height);
    void abscissa();
    std::string curves(const char* transform) const;

    const PatternPicture& picture_;
    std::vector<double> difference_;
    std::array<Series, 4> all_;
    double highest_ = 0.0, factor_ = 1.0;
    int exponent_ = 0;
    std::vector<double> records_;
    Layout layout_;
    double canvas_width_, canvas_height_, ceiling_;
    Gnuplot plot_;
    double low_ = 0, high_ = 0;
    std::string source_;
};

PatternDrawing::PatternDrawing(const PatternPicture& picture, const std::string& name)
    : picture_(picture), difference_(difference_of(picture)),
      all_{Series{&picture.observed, "observed", "points pt 7 ps 0.32 lc rgb '#30303030'"},
           Series{&picture.background, "background", "lines lw 1.6 dt 2 lc rgb '#009e73'"},
           Series{&picture.calculated, "calculated", "lines lw 1.3 lc rgb '#d55e00'"},
           Series{&difference_, "difference", "lines lw 1 lc rgb '#0072b2'"}},
      records_(records(name)),
      layout_(picture, std::any_of(difference_.begin(), difference_.end(), finite)),
      canvas_width_(layout_.canvas_width()), canvas_height_(layout_.canvas_height()),
      ceiling_(canvas_height_ - layout_.top),
      plot_(name, static_cast<int>(canvas_width_), static_cast<int>(canvas_height_)) {
    const auto [low, high] =
        std::minmax_element(picture.axis.values.begin(), picture.axis.values.end());
    const double pad = picture.axis.values.size() == 1 ? 0.5 : 0.0;
    low_ = *low - pad;
    high_ = *high + pad;
}

/// Abscissa and scaled series of every channel; finds the scale.
std::vector<double> PatternDrawing::records(const std::string& name) {
    const std::size_t n = picture_.axis.values.size();
    for (const Series& series : all_) {
        if (!series.values->empty() && series.values->size() != n)
            throw Error(fmt::format("picture {}: {} has {} channels, the axis {}", name,
                                    series.label, series.values->size(), n));
        if (series.values != &difference_)
            for (const double v : *series.values)
                if (std::isfinite(v))
                    highest_ = std::max(highest_, v);
    }
    // Numbers of five digits and more would not fit beside the axis.
    exponent_ = highest_ >= 1e4 ? static_cast<int>(std::floor(std::log10(highest_)))
                                : common_exponent(0.0, highest_);
    factor_ = std::pow(10.0, -exponent_);
    highest_ = highest_ > 0.0 ? highest_ * factor_ : 1.0;
    std::vector<double> records;
    records.reserve(5 * n);
    for (std::size_t i = 0; i < n; ++i) {
        records.push_back(picture_.axis.values[i]);
        for (const Series& series : all_)
            records.push_back(series.values->empty() ? nan_value : (*series.values)[i] * factor_);
    }
    return records;
}

void PatternDrawing::panel(double height) {
    plot_.add(fmt::format("set tmargin at screen {:.6f}\nset bmargin at screen {:.6f}",
                          ceiling_ / canvas_height_, (ceiling_ - height) / canvas_height_));
    ceiling_ -= height + layout_.gap;
}

void PatternDrawing::ordinate(const std::string& text, double from, double height) {
    plot_.add(fmt::format("set label 100 {} at screen {:.6f}, screen {:.6f} center rotate by 90",
                          quote_gnuplot(text), 16 / canvas_width_,
                          (from - 0.5 * height) / canvas_height_));
}

void PatternDrawing::abscissa() {
    plot_.add(even_ticks("x", low_, high_, 10));
    plot_.add(fmt::format("set xlabel {}", quote_gnuplot(axis_label(picture_.axis))));
}

std::string PatternDrawing::curves(const char* transform) const {
    std::string list;
    // The background is drawn last: dashes on the calculated line where both coincide.
    for (const std::size_t k : {0U, 2U, 1U}) {
        if (all_[k].values->empty())
            continue;
        const bool lone = k == 0 && picture_.calculated.empty();
        list += fmt::format("{}{} using 1:({}) with {} title '{}'", list.empty() ? "plot " : ", ",
                            source_, fmt::format(fmt::runtime(transform), k + 2),
                            lone ? "lines lw 1.2 lc rgb '#303030'" : all_[k].look, all_[k].label);
    }
    return list.empty() ? std::string("plot 0 with lines lc rgb '#ffffff' notitle") : list;
}

void PatternDrawing::add_titles() {
    const auto title_letters = static_cast<std::size_t>(layout_.width / 10);
    plot_.add(
        fmt::format("set label 1 {} at screen {:.6f}, screen {:.6f} left noenhanced font ',20'",
                    quote_gnuplot(shortened(picture_.title, title_letters)),
                    layout_.left / canvas_width_, 1.0 - 22 / canvas_height_));
    plot_.add(
        fmt::format("set label 2 {} at screen {:.6f}, screen {:.6f} left noenhanced font ',18'",
                    quote_gnuplot(shortened(picture_.subtitle, title_letters + 20)),
                    layout_.left / canvas_width_, 1.0 - 49 / canvas_height_));
}

void PatternDrawing::add_linear() {
    const std::string intensity = scaled_label("intensity", picture_.intensity_units, exponent_);
    const double both = ceiling_;
    panel(layout_.linear);
    ordinate(intensity, both, layout_.linear + layout_.gap + layout_.root);
    if (picture_.calculated.empty() && picture_.background.empty())
        plot_.add("unset key");
    plot_.add(fmt::format("set yrange [{:.6g}:{:.6g}]", -0.03 * highest_, 1.05 * highest_));
    plot_.add(fmt::format("set ytics {}", tick_list(round_ticks(0, 1.05 * highest_, 5))));
    plot_.add(curves("${}"));
    plot_.add("unset label 1\nunset label 2\nunset key");
}

/// Equal steps of the root are equal steps of the counting error.
void PatternDrawing::add_root() {
    panel(layout_.root);
    plot_.add("unset label 100\nset label 3 'square-root scale' at graph 0.985, graph 0.93 right "
              "font ',15'");
    plot_.add(fmt::format("set yrange [0:{:.6g}]", std::sqrt(1.05 * highest_)));
    std::vector<Tick> root_ticks{{0.0, "0"}};
    for (const double share : {0.004, 0.02, 0.06, 0.14, 0.25, 0.45, 0.7, 1.0}) {
        const double value = round_step(share * highest_);
        if (value > 0.0 && std::sqrt(value) - root_ticks.back().at > 0.07 * std::sqrt(highest_))
            root_ticks.push_back({std::sqrt(value), format_number(value, 3)});
    }
    plot_.add(fmt::format("set ytics {}", tick_list(root_ticks)));
    if (layout_.rows == 0 && layout_.residual == 0)
        abscissa();
    plot_.add(curves("${0} <= 0 ? 0 : sqrt(${0})"));
    plot_.add("unset label 3");
}

void PatternDrawing::add_marks() {
    if (layout_.residual == 0)
        abscissa();
    panel(layout_.rows);
    plot_.add("unset ytics");
    plot_.add(fmt::format("set yrange [{}:0]", picture_.ticks.size()));
    std::string list;
    for (std::size_t k = 0; k < picture_.ticks.size(); ++k) {
        const auto& ticks = picture_.ticks[k];
        plot_.add(fmt::format(
            "set label {} {} at graph 1.008, first {} left noenhanced font ',15' tc rgb '{}'",
            k + 1, quote_gnuplot(shortened(ticks.phase, longest_phase)),
            static_cast<double>(k) + 0.5, hex_colour(category_colour(k))));
        std::vector<double> positions;
        std::copy_if(ticks.positions.begin(), ticks.positions.end(), std::back_inserter(positions),
                     finite);
        if (positions.empty())
            continue;
        const std::size_t count = positions.size();
        list += fmt::format(
            "{}{} binary record=({}) format='%float64' using 1:({}):(0):(0.7) with vectors "
            "nohead lw 1.1 lc rgb '{}' notitle",
            list.empty() ? "plot " : ", ", plot_.data(std::move(positions)), count,
            static_cast<double>(k) + 0.15, hex_colour(category_colour(k)));
    }
    plot_.add(list.empty() ? "plot -1 notitle" : list);
    for (std::size_t k = 0; k < picture_.ticks.size(); ++k)
        plot_.add(fmt::format("unset label {}", k + 1));
}

void PatternDrawing::add_residual() {
    const std::vector<double> sorted = finite_sorted(difference_);
    const double extreme = factor_ * std::max({std::abs(sorted.front()), std::abs(sorted.back()),
                                               1e-3 * highest_ / factor_});
    const double from = ceiling_;
    abscissa();
    panel(layout_.residual);
    ordinate("obs. − calc.", from, layout_.residual);
    plot_.add(fmt::format("set yrange [{:.6g}:{:.6g}]\nset ytics out nomirror scale 0.6 {}",
                          -1.1 * extreme, 1.1 * extreme,
                          tick_list(round_ticks(-1.1 * extreme, 1.1 * extreme, 4))));
    plot_.add(fmt::format(
        "plot 0 with lines lw 0.8 lc rgb '#808080' notitle, {} using 1:5 with {} notitle", source_,
        all_[3].look));
}

Gnuplot& PatternDrawing::draw() {
    source_ = plot_.data(std::move(records_)) +
              fmt::format(" binary record=({}) format='{}'", picture_.axis.values.size(),
                          "%float64%float64%float64%float64%float64");
    plot_.add(
        "set multiplot\nset border lw 0.8\nset key top right samplen 2 spacing 1.15 noenhanced");
    plot_.add(fmt::format("set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}",
                          layout_.left / canvas_width_,
                          (layout_.left + layout_.width) / canvas_width_));
    plot_.add(fmt::format("set xrange [{:.10g}:{:.10g}]", low_, high_));
    plot_.add(even_ticks("x", low_, high_, 10) + "\nset xtics format ''");
    plot_.add("set mxtics 5\nset ytics out nomirror scale 0.6");
    add_titles();
    add_linear();
    add_root();
    if (layout_.rows > 0)
        add_marks();
    if (layout_.residual > 0)
        add_residual();
    plot_.add("unset multiplot");
    return plot_;
}

} // namespace

std::vector<fs::path> write_pattern_picture(const PatternPicture& picture, const fs::path& stem,
                                            const PictureOptions& options) {
    const std::string name = stem.filename().string();
    const std::size_t n = picture.axis.values.size();
    if (n == 0)
        throw Error(fmt::format("picture {}: the pattern has no channels", name));
    check_axis(picture.axis, n, name);
    return PatternDrawing(picture, name).draw().write(stem, options);
}

} // namespace xrdct::report
