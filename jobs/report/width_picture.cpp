// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/width_picture.hpp"

#include "base/error.hpp"
#include "jobs/report/gnuplot.hpp"
#include "jobs/report/text.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace xrdct::report {

std::vector<std::filesystem::path> write_width_picture(const WidthPicture& picture,
                                                       const std::filesystem::path& stem,
                                                       const PictureOptions& options) {
    const std::string name = stem.filename().string();
    const std::size_t n = picture.two_theta.size(), m = picture.line_two_theta.size();
    if (n < 2 || picture.fwhm.size() != n || picture.gauss.size() != n ||
        picture.lorentz.size() != n || picture.line_fwhm.size() != m ||
        picture.line_fwhm_esd.size() != m)
        throw Error(fmt::format("picture {}: the series have different lengths", name));

    std::vector<double> curve, lines;
    double highest = 0;
    for (std::size_t i = 0; i < n; ++i) {
        curve.insert(curve.end(),
                     {picture.two_theta[i], picture.fwhm[i], picture.gauss[i], picture.lorentz[i]});
        highest = std::max(highest, picture.fwhm[i]);
    }
    for (std::size_t i = 0; i < m; ++i) {
        lines.insert(lines.end(),
                     {picture.line_two_theta[i], picture.line_fwhm[i], picture.line_fwhm_esd[i]});
        // a line fitted badly must not squeeze the curve
        highest = std::max(highest, std::min(picture.line_fwhm[i], 2 * highest));
    }
    const double width = 900, height = 536;
    Gnuplot plot(name, static_cast<int>(width), static_cast<int>(height));
    const std::string source = plot.data(std::move(curve)) +
                               fmt::format(" binary record=({}) format='%float64%float64%float64"
                                           "%float64'",
                                           n);
    plot.add(fmt::format("set border 3 lw 0.8\nset lmargin at screen {:.6f}\n"
                         "set rmargin at screen 0.97\nset bmargin at screen {:.6f}\n"
                         "set tmargin at screen {:.6f}",
                         96 / width, 88 / height, 1 - 66 / height));
    plot.add(fmt::format("set label 1 {} at screen {:.6f}, screen {:.6f} left noenhanced font "
                         "',20'\nset label 2 {} at screen {:.6f}, screen {:.6f} left noenhanced "
                         "font ',16'",
                         quote_gnuplot(picture.title), 96 / width, 1 - 22 / height,
                         quote_gnuplot(picture.subtitle), 96 / width, 1 - 48 / height));
    plot.add(
        fmt::format("set xlabel '2θ [°]'\nset label 3 'full width at half maximum [°]' at screen "
                    "{:.6f}, graph 0.5 center rotate by 90",
                    20 / width));
    plot.add(fmt::format("set xrange [{:.10g}:{:.10g}]\nset yrange [0:{:.6g}]",
                         picture.two_theta.front(), picture.two_theta.back(), 1.4 * highest));
    plot.add("set xtics out nomirror scale 0.6\nset ytics out nomirror scale 0.6\n"
             "set key top right horizontal samplen 2 noenhanced");
    std::string list =
        fmt::format("plot {0} using 1:2 with lines lw 2 lc rgb '#1f4e9c' title 'profile', "
                    "{0} using 1:3 with lines lw 1.2 dt 2 lc rgb '#707070' title 'Gaussian part', "
                    "{0} using 1:4 with lines lw 1.2 dt 4 lc rgb '#b06000' title 'Lorentzian part'",
                    source);
    if (m > 0)
        list += fmt::format(", {} binary record=({}) format='%float64%float64%float64' using 1:2:3 "
                            "with yerrorbars pt 7 ps 0.6 lw 1 lc rgb '#c02020' title 'lines fitted "
                            "alone'",
                            plot.data(std::move(lines)), m);
    plot.add(list);
    return plot.write(stem, options);
}

} // namespace xrdct::report
