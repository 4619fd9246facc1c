// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/dlsr_pictures.hpp"

#include "base/numbers.hpp"
#include "base/statistics.hpp"
#include "jobs/report/curve_picture.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::report {

namespace {

MapPicture panel(const ProductData& data, const ProductMap& map, std::vector<double> values,
                 const std::string& title) {
    MapPicture picture;
    picture.values = std::move(values);
    picture.x = data.x;
    picture.y = data.y;
    picture.title = title;
    picture.quantity = map.name;
    picture.units = map.units;
    return picture;
}

/// Upper median of the finite values; 0 without any.
double median_of(const std::vector<double>& values) {
    const double middle = median(finite_values<double>(values));
    return std::isfinite(middle) ? middle : 0.0;
}

/// Conventional, DLSR and difference in one line; the values and axes are those of the pictures.
/// `weights` [voxel] of a property: what the voxels hold of the phase; empty for amounts.
void add_row(std::vector<MapRow>& rows, MapPicture before, MapPicture after, double least,
             std::vector<double> weights = {}) {
    MapPicture difference = after;
    std::vector<double> both = before.values;
    both.insert(both.end(), after.values.begin(), after.values.end());
    for (std::size_t i = 0; i < difference.values.size(); ++i)
        difference.values[i] -= before.values[i];
    const std::size_t voxels = weights.size();
    weights.resize(2 * voxels);
    std::copy_n(weights.begin(), voxels, weights.begin() + static_cast<std::ptrdiff_t>(voxels));
    const ColourRange range =
        voxels > 0 && 2 * voxels == both.size()
            ? weighted_range(both, weights, least)
            : robust_range(both, describe_quantity(after.quantity).from_zero, least);
    before.range = after.range = range;
    before.title = "conventional";
    after.title = "DLSR";
    difference.title = "DLSR − conventional";
    difference.range = symmetric_range(difference.values, 1e-4 * (range.high - range.low), 0.98);
    difference.palette = Palette::diverging;
    rows.push_back({{std::move(before), std::move(after)}});
    rows.push_back({{std::move(difference)}, false});
}

/// What the voxels hold of a phase or peak; empty where no map says so.
std::vector<double> amount_of(const ProductStage& stage, const ProductData& data,
                              const MapReader& read) {
    for (const char* name : {"volume_fraction", "density", "scale", "area"})
        if (const ProductMap* map = data.find(name))
            return read(stage, *map, false);
    return {};
}

void add_comparison(std::vector<MapRow>& rows, const ProductStage& conventional,
                    const ProductData& theirs, const ProductStage& dlsr, const ProductData& own,
                    const std::string& quantity, const MapReader& read) {
    const ProductMap &a = *theirs.find(quantity), &b = *own.find(quantity);
    add_row(rows, panel(theirs, a, read(conventional, a, false), ""),
            panel(own, b, read(dlsr, b, false), ""), median_of(read(conventional, a, true)),
            describe_quantity(quantity).from_zero ? std::vector<double>{}
                                                  : amount_of(dlsr, own, read));
}

/// Standard deviations of both; of one where the other has none.
void add_errors(std::vector<MapRow>& rows, const ProductStage* conventional,
                const ProductData* theirs, const ProductStage& dlsr, const ProductData& own,
                const std::string& quantity, bool new_line, const MapReader& read) {
    const ProductMap& b = *own.find(quantity);
    MapRow row;
    row.new_line = new_line;
    std::vector<double> all;
    const auto add = [&](const ProductData& data, const ProductMap& map,
                         const std::vector<double>& errors, const std::string& name) {
        if (errors.empty())
            return;
        all.insert(all.end(), errors.begin(), errors.end());
        row.panels.push_back(panel(data, map, errors, name));
        row.panels.back().quantity = map.name + "_errors";
    };
    if (theirs && theirs->find(quantity))
        add(*theirs, *theirs->find(quantity), read(*conventional, *theirs->find(quantity), true),
            "conventional");
    add(own, b, read(dlsr, b, true), "DLSR");
    const ColourRange range = robust_range(all, true);
    for (MapPicture& picture : row.panels)
        picture.range = range;
    if (!row.panels.empty())
        rows.push_back(std::move(row));
}

std::string strengths(const DlsrDiagnostics& diagnostics, const std::string& group,
                      const std::vector<std::string>& quantities) {
    std::string text;
    for (const std::string& quantity : quantities)
        if (const auto* state = diagnostics.find(group, quantity); state && state->smoothness > 0.0)
            text += fmt::format(" {}: smoothed{}.", describe_quantity(quantity).text,
                                state->resolution > 0.0
                                    ? fmt::format(", effective resolution {} mm (FWHM)",
                                                  format_number(state->resolution, 3))
                                    : std::string());
    return text;
}

/// Lines of one phase against rotation.
MapPicture lines_picture(const DlsrDiagnostics& diagnostics, const std::string& phase) {
    std::vector<const DlsrDiagnostics::Line*> lines;
    for (const auto& line : diagnostics.lines)
        if (line.phase == phase)
            lines.push_back(&line);
    // The lowest angle on top, as in the table.
    std::stable_sort(lines.begin(), lines.end(),
                     [](const auto* a, const auto* b) { return a->two_theta > b->two_theta; });
    MapPicture picture;
    std::vector<double> errors, sure;
    for (const auto* line : lines) {
        picture.y.names.push_back(line->hkl);
        picture.y.values.push_back(static_cast<double>(picture.y.values.size()));
        for (std::size_t k = 0; k < line->ratio.size(); ++k) {
            // A ratio without a signal says nothing.
            const bool known = line->known(k);
            picture.values.push_back(known ? line->ratio[k] : nan_value);
            errors.push_back(known ? line->errors[k] : nan_value);
        }
    }
    const double typical = median_of(errors);
    for (std::size_t i = 0; i < errors.size(); ++i)
        if (errors[i] <= typical)
            sure.push_back(picture.values[i]);
    picture.y.label = "reflection";
    picture.x.values = diagnostics.rotation;
    picture.x.label = "rotation_angle";
    picture.x.units = "deg";
    picture.title = phase + ": observed over calculated intensity of the lines";
    picture.quantity = "ratio";
    picture.range = symmetric_range(sure, 0.01, 0.98);
    picture.palette = Palette::diverging;
    return picture;
}

void plan_lines(const DlsrDiagnostics& diagnostics, std::vector<DlsrPicture>& pictures) {
    std::vector<std::string> phases;
    for (const auto& line : diagnostics.lines)
        if (std::find(phases.begin(), phases.end(), line.phase) == phases.end())
            phases.push_back(line.phase);
    for (const std::string& phase : phases) {
        DlsrPicture picture;
        picture.kind = DlsrPicture::Kind::lines;
        picture.group = phase;
        picture.name = phase + "_lines";
        picture.caption = fmt::format(
            "{}: observed over calculated intensity of its lines, minus 1, as the sample turns; "
            "grey: not determined to better than 50 %. Bands that change along the rotation are "
            "texture or large grains, a line that is off all around is a fault of the structure or "
            "an overlap.",
            phase);
        picture.draw = [map = lines_picture(diagnostics, phase)](const std::filesystem::path& stem,
                                                                 const PictureOptions& options) {
            write_map_picture(map, stem, options);
        };
        pictures.push_back(std::move(picture));
    }
}

void plan_convergence(const DlsrDiagnostics& diagnostics, std::vector<DlsrPicture>& pictures) {
    const auto& history = diagnostics.history;
    if (history.size() < 2)
        return;
    // First steps may see a part of the projections only: what they are compared with is the same
    // part of the data.
    const auto misfit_over_data = [](const auto& step) {
        return step.data_squares > 0 ? 2 * step.misfit / step.data_squares : step.rwp * step.rwp;
    };
    const auto over_data = [&](const auto& step) {
        return step.misfit > 0 ? step.objective / step.misfit * misfit_over_data(step) : nan_value;
    };
    const double last = over_data(history.back());
    std::vector<double> iteration, objective, misfit, gradient, rwp, decrease;
    for (std::size_t i = 0; i < history.size(); ++i) {
        iteration.push_back(history[i].iteration);
        objective.push_back(over_data(history[i]) / last);
        misfit.push_back(misfit_over_data(history[i]) / last);
        gradient.push_back(history[i].gradient_norm);
        rwp.push_back(100.0 * history[i].rwp);
        decrease.push_back(i == 0 ? nan_value
                                  : 1.0 - over_data(history[i]) / over_data(history[i - 1]));
    }
    CurvePicture values;
    values.title = "Convergence of the DLSR";
    values.x_label = "iteration";
    values.points = true;
    values.panels.push_back(
        {"",
         "objective_over_the_last",
         "",
         {{"with smoothness", iteration, objective, {}}, {"data alone", iteration, misfit, {}}}});
    values.panels.push_back({"", "rwp", "percent", {{"rwp", iteration, rwp, {}}}});
    CurvePicture steps = values;
    steps.title = "Steps of the DLSR";
    steps.log_scale = true;
    steps.panels.clear();
    steps.panels.push_back({"", "decrease", "", {{"decrease", iteration, decrease, {}}}});
    steps.panels.push_back({"", "gradient_norm", "", {{"gradient", iteration, gradient, {}}}});
    const auto add = [&](const std::string& name, const std::string& caption,
                         const CurvePicture& curve) {
        pictures.push_back(
            {DlsrPicture::Kind::convergence,
             "",
             {},
             name,
             caption,
             [curve](const std::filesystem::path& stem, const PictureOptions& options) {
                 write_curve_picture(curve, stem, options);
             }});
    };
    add("convergence",
        "Objective (half the squared residuals over their variance, plus smoothness) and the part "
        "of it that the data make, both over the squares of the data that the step saw and over "
        "the last objective, and agreement after each step.",
        values);
    add("convergence_steps",
        "What each step gained, relative to the objective, and the norm of the gradient.", steps);
}

void plan_held_out(const DlsrDiagnostics& diagnostics, std::vector<DlsrPicture>& pictures) {
    CurvePicture curve;
    curve.title = "Validation projections";
    curve.x_label = "log₁₀ of the regularisation weight of the smoothness";
    curve.points = true;
    CurvePicture::Series series{"validation projections", {}, {}, {}};
    double best = 0.0, lowest = std::numeric_limits<double>::infinity();
    for (const auto& [smoothness, chi_squared] : diagnostics.held_out) {
        if (chi_squared < lowest) {
            lowest = chi_squared;
            best = smoothness;
        }
        if (smoothness > 0.0) {
            series.x.push_back(std::log10(smoothness));
            series.y.push_back(chi_squared);
        }
    }
    if (series.x.size() < 2)
        return;
    curve.panels.push_back({"", "chi_squared", "", {series}});
    pictures.push_back(
        {DlsrPicture::Kind::held_out,
         "",
         {},
         "held_out",
         fmt::format(
             "How well fits with different regularisation weights of the smoothness predict "
             "the validation projections, which they did not see; lowest at {}.",
             format_number(best, 3)),
         [curve](const std::filesystem::path& stem, const PictureOptions& options) {
             write_curve_picture(curve, stem, options);
         }});
}

/// A phase or peak in both analyses; `theirs` is null where the conventional one lacks it.
struct Pair {
    const ProductStage* dlsr;
    const ProductData* own;
    const ProductStage* conventional;
    const ProductData* theirs;
};

DlsrPicture comparison_picture(const Pair& pair, const std::vector<std::string>& quantities,
                               const DlsrDiagnostics& diagnostics, const MapReader& read) {
    const std::string& name = pair.own->name;
    DlsrPicture picture;
    picture.kind = DlsrPicture::Kind::comparison;
    picture.group = name;
    picture.quantities = quantities;
    picture.name = name + "_comparison";
    picture.caption =
        fmt::format("{}: conventional analysis and DLSR with one colour range, and their "
                    "difference.{}",
                    name, strengths(diagnostics, name, quantities));
    picture.draw = [pair, quantities, read](const std::filesystem::path& stem,
                                            const PictureOptions& options) {
        std::vector<MapRow> rows;
        for (const std::string& quantity : quantities)
            add_comparison(rows, *pair.conventional, *pair.theirs, *pair.dlsr, *pair.own, quantity,
                           read);
        write_map_rows(rows, pair.own->name, stem, options);
    };
    return picture;
}

DlsrPicture deviations_picture(const Pair& pair, const std::vector<std::string>& quantities,
                               const DlsrDiagnostics& diagnostics, const MapReader& read) {
    const std::string& name = pair.own->name;
    DlsrPicture picture;
    picture.kind = DlsrPicture::Kind::errors;
    picture.group = name;
    picture.name = name + "_deviations";
    picture.caption = fmt::format(
        "{}: estimated standard deviations{} with one colour range.{}", name,
        pair.theirs ? " of both analyses" : "",
        strengths(diagnostics, name, quantities).empty()
            ? ""
            : " Where a map is smoothed its deviations are those of values that are tied to "
              "their neighbours: they do not contain what smoothing takes away from real "
              "structure.");
    picture.draw = [pair, quantities, read](const std::filesystem::path& stem,
                                            const PictureOptions& options) {
        std::vector<MapRow> rows;
        for (std::size_t k = 0; k < quantities.size(); ++k)
            add_errors(rows, pair.conventional, pair.theirs, *pair.dlsr, *pair.own, quantities[k],
                       k % 2 == 0, read);
        write_map_rows(rows, pair.own->name + ": standard deviations", stem, options);
    };
    return picture;
}

} // namespace

std::vector<DlsrPicture> dlsr_pictures(const ProductStage& dlsr, const DlsrDiagnostics& diagnostics,
                                       const ProductStage* conventional, const MapReader& read) {
    std::vector<DlsrPicture> pictures;
    for (const ProductData& data : dlsr.data) {
        if (data.maps.empty() || (!data.is_phase() && !data.is_peak()))
            continue;
        const Pair pair{&dlsr, &data, conventional,
                        conventional ? find_data(*conventional, data.name) : nullptr};
        std::vector<std::string> quantities;
        if (pair.theirs)
            quantities = compared_quantities(*conventional, dlsr, data);
        if (!quantities.empty()) {
            pictures.push_back(comparison_picture(pair, quantities, diagnostics, read));
        } else {
            for (const ProductMap& map : data.maps)
                if (!map.is_integer)
                    quantities.push_back(map.name);
        }
        std::erase_if(quantities, [&](const std::string& quantity) {
            return !data.find(quantity)->has_errors;
        });
        if (!quantities.empty())
            pictures.push_back(deviations_picture(pair, quantities, diagnostics, read));
    }
    plan_lines(diagnostics, pictures);
    plan_convergence(diagnostics, pictures);
    plan_held_out(diagnostics, pictures);
    return pictures;
}

std::vector<DlsrPicture> dlsr_lithium_pictures(const StageResult& dlsr,
                                               const StageResult& conventional) {
    std::vector<DlsrPicture> pictures;
    for (const ElectrodeResult& after : dlsr.lithium)
        for (const ElectrodeResult& before : conventional.lithium) {
            if (before.electrode != after.electrode ||
                before.map.values.size() != after.map.values.size())
                continue;
            const auto picture_of = [](const StageResult& stage, const ElectrodeResult& electrode) {
                MapPicture picture;
                picture.values = electrode.map.values;
                picture.x = stage.x;
                picture.y = stage.y;
                picture.quantity = "lithium";
                return picture;
            };
            std::vector<MapRow> rows;
            add_row(rows, picture_of(conventional, before), picture_of(dlsr, after), 0.01);
            pictures.push_back(
                {DlsrPicture::Kind::comparison,
                 "",
                 {},
                 "lithium_" + after.electrode + "_comparison",
                 fmt::format("Lithium content in the {}: conventional analysis and DLSR with one "
                             "colour range, and their difference. Mean {} and {}, weighted with "
                             "the moles of host.",
                             after.electrode, format_number(before.summary.mean, 4),
                             format_number(after.summary.mean, 4)),
                 [rows, title = "Lithium in the " + after.electrode](
                     const std::filesystem::path& stem, const PictureOptions& options) {
                     write_map_rows(rows, title, stem, options);
                 }});
        }
    return pictures;
}

} // namespace xrdct::report
