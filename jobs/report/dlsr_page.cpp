// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/dlsr_page.hpp"

#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace xrdct::report {

namespace {

std::string number(double value, int digits) {
    return std::isfinite(value) ? with_minus(format_number(value, digits)) : "–";
}

/// Decimals down to a hundredth of the difference.
std::string beside(double value, double difference) {
    if (!std::isfinite(value))
        return "–";
    if (!(difference > 0.0) || std::abs(value) < 1e-4)
        return number(value, 5);
    const int decimals = std::clamp(2 - static_cast<int>(std::floor(std::log10(difference))), 0, 8);
    return with_minus(fmt::format("{:.{}f}", value, decimals));
}

std::string percent_number(double share) {
    return std::isfinite(share) ? fmt::format("{:.1f}", 100.0 * share) : "–";
}

void add_fit(HtmlPage& page, const DlsrDiagnostics& d) {
    page.paragraph("The projections were fitted directly with one model of the whole slice, in "
                   "which every voxel’s pattern is shifted by its distance to the detector "
                   "(parallax): there is no filtered back-projection in between. The conventional "
                   "analysis gave the start.");
    std::string text = fmt::format(
        "Rwp over all rays and channels, background included, {} %, goodness of fit {}.",
        number(100.0 * d.rwp, 3), number(d.gof, 3));
    if (!d.history.empty())
        text += fmt::format(" {} steps.", format_number(d.history.back().iteration, 6));
    if (!d.stop_reason.empty())
        text += fmt::format(" End of the fit: {}.", d.stop_reason);
    page.paragraph(text);
    if (!d.converged)
        page.note("The fit has not converged: values and standard deviations are those of the last "
                  "step.");
    if (!d.remarks.empty())
        page.list(d.remarks);
}

void add_globals(HtmlPage& page, const DlsrDiagnostics& d) {
    if (d.globals.empty())
        return;
    std::vector<std::vector<std::string>> rows;
    for (const auto& global : d.globals) {
        const auto shown = customary(global);
        rows.push_back({escape_html(shown.group) + " " + describe_quantity(shown.quantity).html,
                        escape_html(with_minus(format_with_uncertainty(shown.value, shown.esd))),
                        escape_html(display_units(shown.units)),
                        std::isfinite(shown.esd) && shown.esd > 0.0 ? format_number(shown.esd, 2)
                                                                    : "not determined",
                        shown.at_bound ? "at a bound" : ""});
    }
    page.table("Values with one for the whole object, refined together with the maps, with their "
               "e.s.d. in units of the last digit. E.s.d. are of counting noise alone.",
               {"", "value", "unit", "e.s.d.", ""}, rows);
}

void add_geometry(HtmlPage& page, const DlsrDiagnostics& d) {
    std::vector<std::vector<std::string>> rows;
    const auto name = [](const std::string& quantity) -> std::string {
        return quantity == "axis_offset"            ? "axis offset"
               : quantity == "sinogram_axis_offset" ? "axis offset, from the sinogram alone"
               : quantity == "distance"             ? "distance, from the parallax alone"
                                                    : "scale of tan 2<i>θ</i>, by standards";
    };
    for (const auto& geometry : d.geometry) {
        if (geometry.quantity == "radial_scale_applied" ||
            geometry.quantity == "radial_scale_chi_squared")
            continue;
        const bool scale = geometry.quantity == "radial_scale";
        double given = geometry.given;
        if (scale)
            for (const auto& other : d.geometry)
                if (other.quantity == "radial_scale_applied")
                    given = other.value;
        rows.push_back({name(geometry.quantity), number(given, 7), number(geometry.value, 7),
                        number(geometry.esd, 2),
                        std::isfinite(geometry.systematic) ? number(geometry.systematic, 2) : "",
                        escape_html(display_units(geometry.units)),
                        geometry.refined      ? "refined"
                        : scale && given != 1 ? "corrected"
                                              : ""});
    }
    if (!rows.empty())
        page.table("Geometry: what the fit had, and what the data want; e.s.d. of noise alone, and "
                   "the uncertainty by errors of the model where there is an estimate.",
                   {"", "in the fit", "wanted", "e.s.d.", "by the model", "unit", ""}, rows);
}

void add_smoothness(HtmlPage& page, const StageResult& stage) {
    const auto& d = *stage.dlsr;
    if (d.maps.empty())
        return;
    const double pixel = stage.x.values.size() > 1
                             ? std::abs(stage.x.values.back() - stage.x.values.front()) /
                                   static_cast<double>(stage.x.values.size() - 1)
                             : std::nan("");
    bool any = false;
    std::vector<std::vector<std::string>> rows;
    for (const auto& map : d.maps) {
        // Derived from the scale, or the same for all terms.
        if (map.quantity == "weight_fraction" || map.quantity == "volume_fraction" ||
            map.quantity == "density")
            continue;
        any = any || map.smoothness > 0.0;
        rows.push_back({escape_html(map.group), describe_quantity(map.quantity).html,
                        map.smoothness > 0.0 ? number(map.smoothness, 3) : "none",
                        map.resolution > 0.0 ? number(map.resolution, 3) : "not determined",
                        map.resolution > 0.0 ? number(map.resolution / pixel, 3) : ""});
    }
    page.table(
        "Regularisation weight of each map, and its effective resolution: full width at half "
        "maximum of what the fit makes of a change in one voxel, median over the voxels.",
        {"", "map", "smoothness", "resolution [mm]", "voxels"}, rows);
    page.note(any ? "Smoothness makes a voxel follow its neighbours of the same phase where the "
                    "data say little. Neighbouring voxels of a smoothed map are therefore "
                    "correlated: it has fewer independent values than voxels, details finer than "
                    "the resolution are flattened, the spread over the voxels is too small rather "
                    "than too large, and e.s.d. of means must not be divided by the root of the "
                    "number of voxels. Where the amount of a phase is insignificant (its status "
                    "says so) its lattice parameter comes from the neighbours alone."
                  : "No smoothness was used: neighbouring voxels are tied by the data alone. "
                    "The projections still mix them, and their errors are correlated.");
}

void add_differences(HtmlPage& page, const StageResult& stage) {
    if (stage.differences.empty())
        return;
    std::vector<std::vector<std::string>> rows;
    for (const MapDifference& d : stage.differences)
        rows.push_back({escape_html(d.phase),
                        html_with_units(describe_quantity(d.quantity).html, d.units),
                        beside(d.conventional, d.rms), beside(d.dlsr, d.rms),
                        number(d.dlsr - d.conventional, 2), number(d.rms, 2),
                        number(d.correlation, 3), std::to_string(d.voxels)});
    page.table("Conventional analysis and DLSR over the voxels that have a value in both: means, "
               "change of the mean, root mean square of the difference, correlation of the maps. "
               "Lattice parameters are weighted with the amount of the phase, amounts are not. "
               "Both stand on the same data: their difference is no measure of the noise.",
               {"", "quantity", "conventional", "DLSR", "change", "rms difference", "correlation",
                "voxels"},
               rows);
}

void add_lines(HtmlPage& page, const DlsrDiagnostics& d) {
    if (d.lines.empty())
        return;
    auto lines = d.lines;
    std::vector<std::string> phases;
    for (const auto& line : lines)
        if (std::find(phases.begin(), phases.end(), line.phase) == phases.end())
            phases.push_back(line.phase);
    const auto rank = [&](const std::string& phase) {
        return std::find(phases.begin(), phases.end(), phase) - phases.begin();
    };
    std::stable_sort(lines.begin(), lines.end(), [&](const auto& a, const auto& b) {
        return rank(a.phase) != rank(b.phase) ? rank(a.phase) < rank(b.phase)
                                              : a.two_theta < b.two_theta;
    });
    std::vector<std::vector<std::string>> rows;
    for (const auto& line : lines) {
        rows.push_back({escape_html(line.phase), escape_html(line.hkl),
                        fmt::format("{:.3f}", line.two_theta), percent_number(line.rms()),
                        percent_number(line.rms_errors()), number(line.excess(), 2)});
    }
    page.table("Observed over calculated intensity of the lines, minus 1: root mean square over "
               "the rotations at which it is determined to better than 50 %, what the counting "
               "statistics alone would give, and the root mean square in units of the latter. Far "
               "above 1 the model lacks something: texture, grains, a structure or an overlap.",
               {"", "reflection", "2<i>θ</i> [°]", "rms [%]", "expected [%]", "rms / e.s.d."},
               rows);
}

} // namespace

void add_dlsr(HtmlPage& page, const StageResult& stage, const std::vector<DlsrFigure>& figures,
              const std::optional<HtmlPage::Figure>& residuals) {
    using Kind = DlsrPicture::Kind;
    const DlsrDiagnostics& d = *stage.dlsr;
    const auto of = [&](Kind kind) {
        std::vector<HtmlPage::Figure> list;
        for (const DlsrFigure& figure : figures)
            if (figure.picture->kind == kind)
                list.push_back({figure.png, figure.picture->caption});
        return list;
    };
    // Over the full width, one below the other.
    const auto add_each = [&](const std::vector<HtmlPage::Figure>& list) {
        for (const auto& figure : list)
            page.figure(figure);
    };
    add_fit(page, d);
    add_globals(page, d);
    add_geometry(page, d);
    if (const auto list = of(Kind::comparison); !list.empty()) {
        page.subsection("Conventional analysis and DLSR");
        add_differences(page, stage);
        add_each(list);
    }
    if (const auto list = of(Kind::errors); !list.empty()) {
        page.subsection("Standard deviations");
        add_each(list);
    }
    if (!d.maps.empty() || !d.held_out.empty()) {
        page.subsection("Smoothness and resolution");
        add_smoothness(page, stage);
        add_each(of(Kind::held_out));
    }
    if (residuals || !d.lines.empty()) {
        page.subsection("Residuals");
        if (residuals)
            page.figure(*residuals);
        page.figures(of(Kind::lines));
        add_lines(page, d);
    }
    if (const auto list = of(Kind::convergence); !list.empty()) {
        page.subsection("Convergence");
        page.figures(list);
    }
}

} // namespace xrdct::report
