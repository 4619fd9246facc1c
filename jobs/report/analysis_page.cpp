// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/analysis_page.hpp"

#include "jobs/pipeline/registry.hpp"
#include "jobs/report/labels.hpp"
#include "jobs/report/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace xrdct::report {

namespace {

/// A number with as many decimals as the spread has to its second digit.
std::string to_precision_of(double value, double spread) {
    if (!std::isfinite(value))
        return "–";
    const double magnitude = std::max(std::abs(value), std::abs(spread));
    if (!(spread > 0.0) || !std::isfinite(spread))
        return with_minus(format_number(value, 6));
    if (magnitude < 1e-4 || magnitude >= 1e7)
        return with_minus(format_number(value, 4));
    const int decimals = std::clamp(1 - static_cast<int>(std::floor(std::log10(spread))), 0, 8);
    return with_minus(fmt::format("{:.{}f}", value, decimals));
}

std::string mean_and_spread(const maps::WeightedSummary& s) {
    if (s.count == 0)
        return "–";
    if (s.uniform || !(s.spread > 0.0))
        return with_minus(format_number(s.mean, 6));
    return to_precision_of(s.mean, s.spread) + " ± " + to_precision_of(s.spread, s.spread);
}

std::string percent(double share) {
    if (!std::isfinite(share))
        return "–";
    return share > 0.0 && share < 0.001 ? "< 0.1 %" : fmt::format("{:.1f} %", 100.0 * share);
}

std::string per_cent_number(double share) {
    return std::isfinite(share) ? fmt::format("{:.2f}", 100.0 * share) : "–";
}

/// Rows keep to the customary form of a cell parameter of the mean pattern: 2.8651(12).
std::string global_value(const maps::Estimate& parameter) {
    return escape_html(format_with_uncertainty(parameter.value, parameter.error));
}

const QuantityResult* find(const PhaseResult& phase, const std::string& quantity) {
    const auto at = std::find_if(phase.quantities.begin(), phase.quantities.end(),
                                 [&](const QuantityResult& q) { return q.quantity == quantity; });
    return at == phase.quantities.end() ? nullptr : &*at;
}

constexpr std::array cell_names{"a", "b", "c", "alpha", "beta", "gamma"};

bool any_finite(const StageResult& stage, double PhaseResult::*value) {
    return std::any_of(stage.phases.begin(), stage.phases.end(),
                       [&](const PhaseResult& p) { return std::isfinite(p.*value); });
}

bool has_whole_fractions(const StageResult& stage) {
    return std::any_of(stage.phases.begin(), stage.phases.end(),
                       [](const PhaseResult& p) { return std::isfinite(p.whole_weight_fraction); });
}

void add_phase_table(HtmlPage& page, const Analysis& analysis, const StageResult& main) {
    std::vector<const StageResult*> with_fractions;
    if (has_whole_fractions(main))
        with_fractions.push_back(&main);
    for (const StageResult& stage : analysis.stages)
        if (&stage != &main && has_whole_fractions(stage))
            with_fractions.push_back(&stage);
    std::vector<std::string> header{"Phase"}, cells;
    const bool areas = any_finite(main, &PhaseResult::cross_section),
               masses = any_finite(main, &PhaseResult::mass_per_length);
    if (areas)
        header.emplace_back("area [mm²]");
    if (masses)
        header.emplace_back("mass [mg/mm]");
    for (const StageResult* stage : with_fractions)
        header.push_back(with_fractions.size() == 1
                             ? std::string("wt %")
                             : fmt::format("wt % <small>({})</small>", escape_html(stage->stage)));
    for (const char* name : cell_names)
        if (std::any_of(main.phases.begin(), main.phases.end(), [&](const PhaseResult& p) {
                return find(p, name) || p.global_cell.contains(name);
            })) {
            cells.emplace_back(name);
            header.push_back(html_with_units(describe_quantity(name).html,
                                             std::string(name).size() == 1 ? "angstrom" : "deg"));
        }
    header.emplace_back("share of the phase with a cell of its own");
    bool any_map = false, any_global = false;
    std::vector<std::vector<std::string>> rows;
    for (const PhaseResult& phase : main.phases) {
        std::vector<std::string> row{escape_html(phase.phase)};
        for (const auto& [shown, value] :
             {std::pair(areas, phase.cross_section), std::pair(masses, phase.mass_per_length)})
            if (shown)
                row.push_back(std::isfinite(value) ? with_minus(format_number(value, 3)) : "–");
        for (const StageResult* stage : with_fractions) {
            const PhaseResult* same = stage->find(phase.phase);
            row.push_back(same ? per_cent_number(same->whole_weight_fraction) : "");
        }
        std::string coverage;
        for (const std::string& name : cells) {
            const auto global = phase.global_cell.find(name);
            if (const QuantityResult* quantity = find(phase, name)) {
                std::string text = escape_html(mean_and_spread(quantity->summary));
                if (!quantity->summary.uniform && quantity->summary.count > 0) {
                    text += "<br><small>median " +
                            escape_html(to_precision_of(quantity->summary.median,
                                                        quantity->summary.spread)) +
                            "</small>";
                    any_map = true;
                }
                row.push_back(text);
                coverage = percent(quantity->summary.share_of_amount);
            } else if (global != phase.global_cell.end()) {
                row.push_back(global_value(global->second));
                any_global = true;
            } else {
                row.emplace_back("");
            }
        }
        row.push_back(coverage);
        rows.push_back(std::move(row));
    }
    if (cells.empty()) {
        header.pop_back();
        for (auto& row : rows)
            row.pop_back();
    }
    std::string caption = "The phases.";
    if (areas)
        caption += " Area: of the slice that the phase fills, the sum of its volume fraction.";
    if (masses)
        caption += " Mass: per height of the slice, the sum of its density.";
    if (!with_fractions.empty()) {
        caption += " wt %: weight fraction of the whole object, crystalline part only;";
        for (const StageResult* stage : with_fractions)
            caption += fmt::format(" {}: {};", stage->stage, stage->whole_method);
        caption.back() = '.';
    }
    if (any_map)
        caption += " Lattice parameters refined in the voxels: mean ± standard deviation over the "
                   "voxels, and median, weighted with the amount of the phase in the voxel.";
    if (any_global)
        caption += fmt::format(" Lattice parameters with one value for the object: {}, with its "
                               "e.s.d. in units of the last digit (none: fixed).",
                               main.dlsr ? "refined on all projections together"
                                         : "that of the mean pattern");
    page.table(caption, header, rows);
}

void add_quality_table(HtmlPage& page, const StageResult& stage) {
    if (stage.agreement.empty() && stage.outcomes.empty())
        return;
    std::vector<std::vector<std::string>> rows;
    for (const auto& [index, s] : stage.agreement) {
        const bool fraction = index != "gof";
        const double factor = fraction ? 100.0 : 1.0;
        maps::WeightedSummary shown = s;
        shown.mean *= factor;
        shown.spread *= factor;
        rows.push_back({describe_quantity(index).html + (fraction ? " [%]" : ""),
                        escape_html(mean_and_spread(shown)),
                        escape_html(to_precision_of(factor * s.median, shown.spread))});
    }
    std::size_t total = 0;
    for (const Outcome& outcome : stage.outcomes)
        total += outcome.voxels;
    if (!rows.empty())
        page.table("Quality of the fits (" + stage.stage +
                       "): all fitted voxels, not weighted; of the voxels' reconstructed "
                       "patterns, background included.",
                   {"", "mean ± spread", "median"}, rows);
    std::string text;
    for (const Outcome& outcome : stage.outcomes)
        text +=
            fmt::format("{}{} {} ({})", text.empty() ? "" : ", ", outcome.voxels, outcome.meaning,
                        percent(static_cast<double>(outcome.voxels) /
                                static_cast<double>(std::max<std::size_t>(total, 1))));
    if (!text.empty())
        page.paragraph(fmt::format("Fits of {} voxels: {}.", total, text));
}

} // namespace

void add_lithium_table(HtmlPage& page, const StageResult& stage) {
    if (stage.lithium.empty())
        return;
    std::vector<std::vector<std::string>> rows;
    for (const ElectrodeResult& electrode : stage.lithium) {
        const maps::WeightedSummary& s = electrode.summary;
        std::string origin;
        for (const settings::LithiumSettings& entry : electrode.settings) {
            origin += origin.empty() ? "" : "<br>";
            origin += escape_html(entry.phase) + ": ";
            if (entry.table.empty()) {
                origin += "<i>x</i> = " + format_number(entry.content, 4);
            } else {
                const auto [low, high] =
                    std::minmax_element(entry.table.begin(), entry.table.end());
                origin += fmt::format("{}, table {} to {}{}", escape_html(entry.parameter),
                                      format_number(low->first, 6), format_number(high->first, 6),
                                      entry.clamp ? ", clamped" : "");
            }
        }
        rows.push_back({escape_html(electrode.electrode), escape_html(mean_and_spread(s)),
                        escape_html(to_precision_of(s.median, s.spread)),
                        std::isfinite(s.median_error) ? format_number(s.median_error, 2) : "–",
                        std::to_string(s.count), percent(s.share_of_voxels()),
                        percent(s.share_of_amount), std::to_string(electrode.map.beyond), origin});
    }
    page.table(
        "Lithium content x per host unit: mean ± standard deviation over the voxels and median, "
        "weighted with the moles of host; e.s.d.: median over the voxels of the standard "
        "deviation that follows from those of the lattice parameters and amounts (the calibration "
        "is taken as exact).",
        {"Electrode", "<i>x</i>", "median", "e.s.d. of a voxel", "voxels",
         "share of the electrode’s voxels", "share of its host", "voxels beyond the table", "from"},
        rows);
}

void add_statistics(HtmlPage& page, const StageResult& stage) {
    std::vector<std::vector<std::string>> rows;
    for (const PhaseResult& phase : stage.phases)
        for (const QuantityResult& quantity : phase.quantities) {
            const maps::WeightedSummary& s = quantity.summary;
            rows.push_back(
                {escape_html(phase.phase),
                 html_with_units(describe_quantity(quantity.quantity).html, quantity.units),
                 escape_html(mean_and_spread(s)),
                 s.uniform ? "" : escape_html(to_precision_of(s.median, s.spread)),
                 std::isfinite(s.median_error) && s.median_error > 0.0
                     ? format_number(s.median_error, 2)
                     : "–",
                 std::to_string(s.count), percent(s.share_of_voxels()),
                 percent(s.share_of_amount)});
        }
    if (rows.empty())
        return;
    std::string weights;
    for (const PhaseResult& phase : stage.phases) {
        const std::string text = describe_quantity(phase.weights).text;
        if (weights.find(text) == std::string::npos)
            weights += (weights.empty() ? "" : ", ") + text;
    }
    page.table(
        fmt::format(
            "Statistics over the voxels, weighted with the amount of the phase in the "
            "voxel ({}): mean ± standard deviation, median; e.s.d.: median of the estimated "
            "standard deviations of single voxels, not weighted; number of voxels with a "
            "value, and their share of the voxels in which the phase has a positive amount "
            "and of that amount. E.s.d. are of counting noise alone: errors of the model, of "
            "the wavelength and of the calibration are not in them.",
            weights),
        {"Phase", "Quantity", "mean ± spread", "median", "e.s.d. of a voxel", "voxels",
         "share of the phase’s voxels", "share of its amount"},
        rows);
}

std::string profile_note(const StageResult& stage) {
    double width = 0.0;
    for (const PhaseResult& phase : stage.phases)
        for (const QuantityResult& quantity : phase.quantities)
            width = std::max(width, quantity.profile.width);
    for (const ElectrodeResult& electrode : stage.lithium)
        width = std::max(width, electrode.profile.width);
    const std::string units = display_units(stage.x.units);
    // No more decimals than a hundredth of a bin.
    const auto place = [&](double v) { return to_precision_of(v, 0.1 * width); };
    return fmt::format("Radial profiles are about the {}, at x = {} {units}, y = {} {units}, in "
                       "bins of {} {units} (one and a half voxels); bins with fewer than three "
                       "voxels are left out.",
                       stage.centre, place(stage.centre_x), place(stage.centre_y),
                       format_number(width, 3), fmt::arg("units", units));
}

void add_summary(HtmlPage& page, const Analysis& analysis, const StageResult& main) {
    if (std::count_if(analysis.stages.begin(), analysis.stages.end(), [](const StageResult& s) {
            const auto* known = pipeline::find_stage(s.stage);
            return !known || !known->is_auxiliary();
        }) > 1)
        page.paragraph(fmt::format(
            "Lattice parameters, lithium contents and pictures of this section are of the stage "
            "{} ({}); those of the other stages are in their sections, and the report can be made "
            "with another stage first (--stage).",
            main.stage, main.file));
    add_phase_table(page, analysis, main);
    page.note(
        "Weight fractions are of the crystalline part only: the phases of the model add up to "
        "100 %. Electrolyte, binder, amorphous material and phases that are not in the model "
        "are not counted.");
    add_lithium_table(page, main);
    add_quality_table(page, main);
}

} // namespace xrdct::report
