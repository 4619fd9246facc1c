// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/report/verdict.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::report {

namespace {

/// What the fits of the voxels, or of a DLSR, tell.
struct Fits {
    std::size_t voxels = 0, converged = 0, at_bound = 0;
    double rwp = nan_value, gof = nan_value;
    bool of_voxels = true;
};

Fits fits_of(const StageResult& stage) {
    Fits fits;
    for (const auto& outcome : stage.outcomes) {
        if (outcome.meaning == "masked")
            continue;
        fits.voxels += outcome.voxels;
        if (outcome.meaning == "converged")
            fits.converged = outcome.voxels;
        if (outcome.meaning == "at bound")
            fits.at_bound = outcome.voxels;
    }
    for (const auto& [index, summary] : stage.agreement) {
        if (index == "rwp")
            fits.rwp = summary.median;
        if (index == "gof")
            fits.gof = summary.median;
    }
    if (stage.dlsr) {
        fits.of_voxels = false;
        fits.rwp = stage.dlsr->rwp;
        fits.gof = stage.dlsr->gof;
    }
    return fits;
}

void judge_fits(const StageResult& stage, const Fits& fits, Verdict& verdict) {
    // A limit of the job may have ended it, as the job wanted.
    if (stage.dlsr && !stage.dlsr->converged)
        verdict.doubts.push_back(
            fmt::format("the DLSR did not converge ({})", stage.dlsr->stop_reason));
    if (fits.of_voxels && fits.voxels > 0) {
        const double share = static_cast<double>(fits.converged) / static_cast<double>(fits.voxels);
        const double bound = static_cast<double>(fits.at_bound) / static_cast<double>(fits.voxels);
        if (bound > min_converged_share)
            verdict.faults.push_back(
                fmt::format("{:.0f} % of the voxels have a cell on its bound", 100 * bound));
        else if (share < min_converged_share)
            verdict.faults.push_back(
                fmt::format("only {:.0f} % of the voxels converged", 100 * share));
    }
    const double missed = unexplained_share(fits.rwp, fits.gof);
    if (missed > (fits.of_voxels ? max_unexplained : max_unexplained_rays))
        verdict.faults.push_back(fmt::format(
            "the model misses the patterns: Rwp {:.0f} % and GoF {:.1f}, {:.0f} % of what was "
            "measured is neither model nor noise",
            100 * fits.rwp, fits.gof, 100 * missed));
    else if (fits.of_voxels && missed > doubtful_unexplained)
        verdict.doubts.push_back(fmt::format("{:.0f} % of the median voxel's pattern is neither "
                                             "model nor noise (parallax, widths, phases)",
                                             100 * missed));
    if (fits.gof > max_gof)
        verdict.doubts.push_back(
            fmt::format("GoF {:.1f}: the model misses more than the noise, and e.s.d. that are "
                        "counting noise alone are too small",
                        fits.gof));
    if (fits.gof < min_gof)
        verdict.doubts.push_back(
            fmt::format("GoF {:.2f}: the data are given less precise than they are", fits.gof));
}

void judge_shapes(const StageResult& stage, Verdict& verdict) {
    if (!stage.dlsr)
        return;
    std::vector<std::string> bound;
    for (const auto& global : stage.dlsr->globals)
        if (global.at_bound && std::abs(global.value) > 1e-12) // no width at all is no range's end
            bound.push_back(global.group + " " + global.quantity);
    if (!bound.empty())
        verdict.doubts.push_back(fmt::format("on a bound: {}", fmt::join(bound, ", ")));
}

void add(bool fault, Verdict& verdict, std::string text) {
    (fault ? verdict.faults : verdict.doubts).push_back(std::move(text));
}

void judge_patterns(const Evidence& evidence, bool of_voxels, Verdict& verdict) {
    if (evidence.mean_pattern_rwp > doubtful_mean_rwp)
        add(evidence.mean_pattern_rwp > max_mean_rwp, verdict,
            fmt::format("the model misses the mean pattern: Rwp without background {:.0f} % "
                        "(phases, wavelength, widths{}?)",
                        100 * evidence.mean_pattern_rwp,
                        of_voxels ? ", parallax that only the DLSR models" : ""));
    if (evidence.lost_voxels > max_lost_voxels && !(evidence.unexplained > max_unexplained))
        verdict.faults.push_back(fmt::format(
            "in {:.0f} % of the voxels, counted by what they scatter, more than half of "
            "the pattern is neither model nor noise: a phase is missing or wrong there",
            100 * evidence.lost_voxels));
    if (evidence.reprojection_misfit > doubtful_reprojection)
        add(evidence.reprojection_misfit > max_reprojection, verdict,
            fmt::format("the image does not explain the scan: its projections miss the rays by "
                        "{:.0f} % (axes exchanged, rotation axis or angles wrong, body cut off?)",
                        100 * evidence.reprojection_misfit));
}

/// Names of phases, each once, in their order.
std::vector<std::string> phases_of(const std::vector<CellRatio>& cells) {
    std::vector<std::string> names;
    for (const auto& cell : cells)
        if (std::find(names.begin(), names.end(), cell.phase) == names.end())
            names.push_back(cell.phase);
    return names;
}

/// A wrong wavelength, or 2θ axis, scales all cells alike; what charging or heat does to them
/// differs from phase to phase.
void judge_cells(const Evidence& evidence, Verdict& verdict) {
    constexpr double alike = 0.15; ///< of the common factor
    constexpr double most = 0.6;
    std::vector<double> ratios;
    for (const auto& cell : evidence.cells)
        ratios.push_back(cell.ratio);
    if (phases_of(evidence.cells).size() < 2)
        return;
    const double common = maps::weighted_median(ratios) - 1;
    if (!(std::abs(common) > doubtful_common_cell))
        return;
    std::vector<CellRatio> same;
    for (const auto& cell : evidence.cells)
        if (std::abs(cell.ratio - 1 - common) < alike * std::abs(common))
            same.push_back(cell);
    const auto names = phases_of(same);
    if (names.size() < 2 ||
        static_cast<double>(same.size()) < most * static_cast<double>(ratios.size()))
        return;
    add(std::abs(common) > max_common_cell, verdict,
        fmt::format("the cells of {} are all {:.1f} % {} than those of their structures: the "
                    "wavelength, or the 2theta axis, is off by that",
                    fmt::join(names, ", "), 100 * std::abs(common),
                    common > 0 ? "larger" : "smaller"));
}

void judge_phases(const StageResult& stage, Verdict& verdict) {
    std::vector<std::string> missing;
    for (const auto& phase : stage.evidence.phases) {
        const auto* result = stage.find(phase.phase);
        const double share = result ? result->whole_weight_fraction : nan_value;
        if (share < min_whole_fraction)
            verdict.doubts.push_back(fmt::format("{:.1f} wt% of {} in the whole object: less than "
                                                 "nothing",
                                                 100 * share, phase.phase));
        const double bound =
            phase.found > 0 ? static_cast<double>(phase.at_bound) / static_cast<double>(phase.found)
                            : 0;
        if (bound > max_bound_share)
            add(!(share < trace_share), verdict,
                fmt::format("{} has a cell on its bound in {:.0f} % of the {} voxels where it is "
                            "significant",
                            phase.phase, 100 * bound, phase.found));
        if (static_cast<double>(phase.unresolved) >
            max_unresolved_share * static_cast<double>(phase.found))
            verdict.doubts.push_back(fmt::format(
                "the widths of {} are not told in {:.0f} % of the {} voxels where it "
                "is significant",
                phase.phase,
                100 * static_cast<double>(phase.unresolved) / static_cast<double>(phase.found),
                phase.found));
        if (!phase.stuck.empty())
            add(!(share < trace_share), verdict,
                fmt::format("{} of {}: one value, an end of its range, in most of the voxels",
                            fmt::join(phase.stuck, ", "), phase.phase));
        if (phase.has_cell_maps && phase.has_status && phase.sought > 0 &&
            static_cast<double>(phase.found) < min_found_share * static_cast<double>(phase.sought))
            missing.push_back(phase.phase);
    }
    if (!missing.empty())
        verdict.doubts.push_back(
            fmt::format("{}: significant in hardly any voxel, so that no map of its cell says much",
                        fmt::join(missing, ", ")));
    if (!stage.evidence.alike.empty() && !stage.dlsr)
        verdict.doubts.push_back(
            fmt::format("nearly the same lines, so that only their sum is told: {}",
                        fmt::join(stage.evidence.alike, ", ")));
    if (!stage.evidence.globals_at_bound.empty() && !stage.dlsr)
        verdict.doubts.push_back(
            fmt::format("on a bound: {}", fmt::join(stage.evidence.globals_at_bound, ", ")));
}

std::string fits_text(const Fits& fits) {
    std::vector<std::string> parts;
    if (fits.of_voxels && fits.voxels > 0)
        parts.push_back(fmt::format("{:.1f} % of {} voxels converged",
                                    100 * static_cast<double>(fits.converged) /
                                        static_cast<double>(fits.voxels),
                                    fits.voxels));
    if (std::isfinite(fits.rwp))
        parts.push_back(fmt::format("{}Rwp {:.1f} %, GoF {:.2f}",
                                    fits.of_voxels ? "medians " : "all rays: ", 100 * fits.rwp,
                                    fits.gof));
    return fmt::format("{}", fmt::join(parts, "; "));
}

std::string amounts_text(const StageResult& stage) {
    std::vector<std::string> parts;
    for (const auto& phase : stage.phases)
        if (std::isfinite(phase.whole_weight_fraction))
            parts.push_back(
                fmt::format("{} {:.1f}", phase.phase, 100 * phase.whole_weight_fraction));
    return parts.empty() ? "" : fmt::format("{} wt%", fmt::join(parts, ", "));
}

std::string cells_text(const StageResult& stage) {
    std::vector<std::string> parts;
    for (const auto& phase : stage.phases)
        for (const auto& quantity : phase.quantities)
            if (quantity.units == "angstrom" && quantity.quantity.size() == 1 &&
                quantity.summary.count > 0 && !quantity.summary.uniform)
                parts.push_back(fmt::format("{} {} {:.4f} ({:.4f})", phase.phase, quantity.quantity,
                                            quantity.summary.mean, quantity.summary.spread));
    return parts.empty()
               ? "none varies"
               : fmt::format("{} angstrom (spread over the voxels)", fmt::join(parts, ", "));
}

/// Sizes and microstrains that vary; empty: none.
std::string widths_text(const StageResult& stage) {
    std::vector<std::string> parts;
    for (const auto& phase : stage.phases)
        for (const auto& quantity : phase.quantities) {
            const auto& summary = quantity.summary;
            if (summary.count == 0 || summary.uniform)
                continue;
            if (quantity.quantity == "size")
                parts.push_back(fmt::format("{} size {:.0f} ({:.0f}) angstrom", phase.phase,
                                            summary.mean, summary.spread));
            else if (quantity.quantity == "microstrain" || quantity.quantity == "gauss_microstrain")
                parts.push_back(fmt::format("{} {} {:.1e} ({:.0e})", phase.phase, quantity.quantity,
                                            summary.mean, summary.spread));
        }
    return fmt::format("{}", fmt::join(parts, ", "));
}

} // namespace

Verdict judge(const Analysis& analysis) {
    Verdict verdict;
    const auto stage =
        std::find_if(analysis.stages.begin(), analysis.stages.end(),
                     [&](const StageResult& one) { return one.stage == analysis.main; });
    if (stage == analysis.stages.end())
        return verdict;
    const Fits fits = fits_of(*stage);
    judge_fits(*stage, fits, verdict);
    judge_patterns(stage->evidence, fits.of_voxels, verdict);
    judge_cells(stage->evidence, verdict);
    judge_phases(*stage, verdict);
    judge_shapes(*stage, verdict);
    verdict.fits = fmt::format("{}: {}", stage->stage, fits_text(fits));
    verdict.amounts = amounts_text(*stage);
    verdict.cells = cells_text(*stage);
    if (const auto widths = widths_text(*stage); !widths.empty())
        verdict.cells += "; " + widths;
    return verdict;
}

std::vector<std::string> verdict_lines(const Verdict& verdict, const std::string& folder) {
    if (verdict.fits.empty())
        return {};
    std::vector<std::string> doubts = verdict.faults;
    doubts.insert(doubts.end(), verdict.doubts.begin(), verdict.doubts.end());
    return {"fits      " + verdict.fits, "amounts   " + verdict.amounts,
            "cells     " + verdict.cells,
            fmt::format("{}  {}", verdict.trusted() ? "doubtful" : "NOT TO BE TRUSTED:",
                        doubts.empty() ? "nothing that these numbers tell"
                                       : fmt::format("{}", fmt::join(doubts, "; "))),
            fmt::format("next      {}xrdct report '{}'",
                        verdict.trusted() ? "" : "xrdct validate the job; then ", folder)};
}

} // namespace xrdct::report
