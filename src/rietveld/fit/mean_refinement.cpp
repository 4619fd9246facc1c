// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/mean_refinement.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace xrdct::rietveld {

namespace {

constexpr double told_change = 3;   ///< e.s.d.
constexpr double sharp_cell = 3e-4; ///< relative e.s.d.
constexpr double told_area = 3;     ///< e.s.d.
constexpr double alike = 0.99;

void hold_shape(PhaseModel& phase) {
    for (auto& cell : phase.cell)
        cell.refine = false;
    for (auto* parameter : {&phase.size, &phase.microstrain, &phase.gauss_microstrain,
                            &phase.b_overall, &phase.depth})
        parameter->refine = false;
}

/// Of two patterns as vectors; 0 for one without lines.
double cosine(const std::vector<double>& a, const std::vector<double>& b) {
    const double squares = std::inner_product(a.begin(), a.end(), a.begin(), 0.0) *
                           std::inner_product(b.begin(), b.end(), b.begin(), 0.0);
    return squares > 0 ? std::inner_product(a.begin(), a.end(), b.begin(), 0.0) / std::sqrt(squares)
                       : 0;
}

void take_widths(PhaseModel& phase, const PhaseModel& from) {
    phase.size.value = from.size.value;
    phase.microstrain.value = from.microstrain.value;
    phase.gauss_microstrain.value = from.gauss_microstrain.value;
}

void take_cell(PhaseModel& phase, const PhaseModel& from) {
    for (std::size_t i = 0; i < phase.cell.size(); ++i)
        phase.cell[i].value = from.cell[i].value;
}

void take_shape(PhaseModel& phase, const PhaseModel& from) {
    take_widths(phase, from);
    take_cell(phase, from);
}

class MeanRefiner {
  public:
    MeanRefiner(const RadialAxis& axis, std::span<const double> intensity,
                std::span<const double> variance, const PatternModel& start,
                const MeanRefinementOptions& options)
        : axis_(axis), intensity_(intensity), variance_(variance), start_(start), held_(start),
          options_(options) {}

    MeanRefinement run();

  private:
    int leader(std::size_t phase) const {
        return phase < options_.leader.size() ? options_.leader[phase] : -1;
    }
    bool varies(std::size_t phase, std::size_t parameter) const {
        return phase < options_.varying.size() && parameter < options_.varying[phase].size() &&
               options_.varying[phase][parameter];
    }
    RefinementResult fit(const PatternModel& model, double search) const {
        auto options = options_.refinement;
        options.cell_search = search;
        return refine(axis_, intensity_, variance_, model, options);
    }
    bool same_structure(const PatternModel& model, std::size_t p, std::size_t q) const;
    RefinementResult without_exchange(RefinementResult found) const;
    RefinementResult fit_in_turn() const;
    bool is_told(const RefinementResult& found, const CellPlace& place) const;
    std::vector<CellPlace> hold_untold(const RefinementResult& found);
    bool is_told(const RefinementResult& found, std::size_t peak) const;
    std::vector<std::size_t> hold_untold_peaks(const RefinementResult& found);

    const RadialAxis& axis_;
    std::span<const double> intensity_, variance_;
    const PatternModel& start_;
    PatternModel held_; ///< the start; what the pattern does not tell is not refined
    const MeanRefinementOptions& options_;
};

/// Largest relative difference of the cells of two phases of one structure.
double cell_distance(const PhaseModel& one, const PhaseModel& other) {
    double largest = 0;
    for (std::size_t i = 0; i < one.cell.size(); ++i)
        largest = std::max(largest, std::abs(one.cell[i].value / other.cell[i].value - 1));
    return largest;
}

/// Whether two phases have the same pattern when they have the same cell and widths.
bool MeanRefiner::same_structure(const PatternModel& model, std::size_t p, std::size_t q) const {
    if (model.phases[p].cell.size() != model.phases[q].cell.size())
        return false;
    auto own = model;
    own.phases[p].scale.value = own.phases[q].scale.value = 1;
    take_shape(own.phases[p], own.phases[q]);
    const PatternCalculator calculator(axis_, own);
    std::vector<double> one(axis_.size()), other(axis_.size());
    calculator.evaluate_phase(own, p, one);
    calculator.evaluate_phase(own, q, other);
    return cosine(one, other) >= alike;
}

/// Where a phase stands where another one of its structure was nearer with its start, and that one
/// has vanished or stands where this one was nearer, they change places.
RefinementResult MeanRefiner::without_exchange(RefinementResult found) const {
    if (found.status == FitStatus::masked)
        return found;
    const auto& start = held_.phases;
    const auto takes_part = [&](std::size_t p) {
        return leader(p) < 0 && start[p].scale.refine && !start[p].cell.empty();
    };
    for (std::size_t p = 0; p < start.size(); ++p)
        for (std::size_t q = 0; q < p; ++q) {
            if (!takes_part(p) || !takes_part(q) || start[p].cell.size() != start[q].cell.size())
                continue;
            const auto& phases = found.model.phases;
            const auto off = [&](std::size_t phase, std::size_t from) {
                return found.phases[phase].significant ? cell_distance(phases[phase], start[from])
                                                       : 0;
            };
            if (off(p, q) + off(q, p) >= off(p, p) + off(q, q) || !same_structure(held_, p, q))
                continue;
            auto turned = found.model;
            for (const auto& [to, from] : {std::pair{p, q}, std::pair{q, p}}) {
                take_shape(turned.phases[to], phases[from]);
                if (!found.phases[from].significant)
                    take_cell(turned.phases[to], start[to]);
                turned.phases[to].scale.value = phases[from].scale.value;
            }
            auto again = fit(turned, 0);
            if (again.agreement.gof <= found.agreement.gof * (1 + 1e-3))
                found = std::move(again);
        }
    return found;
}

/// Without the followers, then with them.
RefinementResult MeanRefiner::fit_in_turn() const {
    const double search = options_.refinement.cell_search;
    auto alone = held_;
    bool any = false;
    for (std::size_t p = 0; p < alone.phases.size(); ++p)
        if (leader(p) >= 0) {
            auto& phase = alone.phases[p];
            any = true;
            hold_shape(phase);
            phase.scale.value = 0;
            phase.scale.refine = false;
        }
    auto found = without_exchange(fit(alone, search));
    if (!any)
        return found;
    auto both = found.model;
    for (std::size_t p = 0; p < both.phases.size(); ++p)
        if (leader(p) >= 0) {
            auto& phase = both.phases[p];
            const auto& first = both.phases.at(static_cast<std::size_t>(leader(p)));
            phase.scale = held_.phases[p].scale;
            take_widths(phase, first);
        }
    found = fit(both, 0);
    // What a follower has made insignificant goes back to the start of all.
    bool moved = false;
    for (std::size_t p = 0; p < both.phases.size(); ++p)
        if (leader(p) < 0 && !found.phases[p].significant) {
            moved = true;
            take_shape(both.phases[p], held_.phases[p]);
        }
    return moved ? fit(both, 0) : found;
}

bool MeanRefiner::is_told(const RefinementResult& found, const CellPlace& place) const {
    const auto& [p, i] = place;
    const double value = found.model.phases[p].cell[i].value, esd = found.phases[p].cell_esd[i];
    const double start = start_.phases[p].cell[i].value, change = std::abs(value - start);
    const double range = options_.refinement.cell_search;
    if (!std::isfinite(esd) || (range > 0 && change > range * start))
        return false;
    return esd < sharp_cell * value || change > told_change * esd;
}

std::vector<CellPlace> MeanRefiner::hold_untold(const RefinementResult& found) {
    std::vector<CellPlace> untold;
    for (std::size_t p = 0; p < held_.phases.size(); ++p) {
        if (leader(p) >= 0 || !found.phases[p].cell_refined)
            continue;
        for (std::size_t i = 0; i < held_.phases[p].cell.size(); ++i) {
            auto& cell = held_.phases[p].cell[i];
            if (!cell.refine || varies(p, i) || is_told(found, {p, i}))
                continue;
            cell.refine = false;
            untold.push_back({p, i});
        }
    }
    return untold;
}

bool MeanRefiner::is_told(const RefinementResult& found, std::size_t peak) const {
    const auto& name = held_.peaks[peak].name;
    return std::ranges::all_of(found.parameters, [&](const RefinedParameter& parameter) {
        if (parameter.name == name + " area")
            return parameter.value > told_area * parameter.esd;
        if (parameter.name == name + " position")
            return !parameter.at_bound && std::isfinite(parameter.esd);
        return parameter.name != name + " fwhm" || parameter.at_bound ||
               std::isfinite(parameter.esd);
    });
}

std::vector<std::size_t> MeanRefiner::hold_untold_peaks(const RefinementResult& found) {
    std::vector<std::size_t> untold;
    for (std::size_t i = 0; i < held_.peaks.size(); ++i) {
        auto& peak = held_.peaks[i];
        if ((!peak.position.refine && !peak.fwhm.refine) || is_told(found, i))
            continue;
        peak.position.refine = peak.fwhm.refine = false;
        untold.push_back(i);
    }
    return untold;
}

MeanRefinement MeanRefiner::run() {
    MeanRefinement result;
    if (options_.refinement.max_iterations == 0) {
        result.fit = fit(start_, options_.refinement.cell_search);
        return result;
    }
    result.fit = fit_in_turn();
    if (result.fit.status == FitStatus::masked)
        return result;
    result.untold = hold_untold(result.fit);
    result.untold_peaks = hold_untold_peaks(result.fit);
    if (!result.untold.empty() || !result.untold_peaks.empty())
        result.fit = fit_in_turn();
    return result;
}

} // namespace

MeanRefinement refine_mean(const RadialAxis& axis, std::span<const double> intensity,
                           std::span<const double> variance, const PatternModel& start,
                           const MeanRefinementOptions& options) {
    return MeanRefiner(axis, intensity, variance, start, options).run();
}

std::vector<AlikePhases> alike_phases(const RadialAxis& axis, const PatternModel& model) {
    auto single = model;
    for (auto& phase : single.phases)
        phase.scale.value = 1;
    const PatternCalculator calculator(axis, single);
    const auto pattern_of = [&](std::size_t phase, const PhaseModel& widths) {
        auto own = single;
        take_widths(own.phases[phase], widths);
        std::vector<double> pattern(axis.size());
        calculator.evaluate_phase(own, phase, pattern);
        return pattern;
    };
    std::vector<AlikePhases> pairs;
    for (std::size_t p = 0; p < single.phases.size(); ++p)
        for (std::size_t q = p + 1; q < single.phases.size(); ++q) {
            double likeness = 1;
            for (const std::size_t widths : {p, q})
                likeness = std::min(likeness, cosine(pattern_of(p, single.phases[widths]),
                                                     pattern_of(q, single.phases[widths])));
            if (likeness >= alike)
                pairs.push_back({p, q, likeness});
        }
    return pairs;
}

double parallax_microstrain(double depth_spread, double distance) {
    return std::sqrt(2 * std::log(2.0)) * depth_spread / distance;
}

} // namespace xrdct::rietveld
