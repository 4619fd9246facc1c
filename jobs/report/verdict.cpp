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
    if (fits.gof > max_gof && fits.rwp > max_rwp)
        verdict.faults.push_back(
            fmt::format("the model misses the patterns: Rwp {:.0f} % and GoF {:.1f}",
                        100 * fits.rwp, fits.gof));
    else if (fits.gof > max_gof)
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
    judge_shapes(*stage, verdict);
    verdict.fits = fmt::format("{}: {}", stage->stage, fits_text(fits));
    verdict.amounts = amounts_text(*stage);
    verdict.cells = cells_text(*stage);
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
