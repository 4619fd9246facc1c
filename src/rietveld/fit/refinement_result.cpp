// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/refiner.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xrdct::rietveld {

/// Factor on the covariance: the e.s.d. are multiplied by GoF where no variance is given, and
/// where it is asked for and exceeds 1.
double Refiner::error_factor(RefinementResult& result) const {
    double factor = 1;
    if (unit_weights_) {
        factor = result.agreement.gof * result.agreement.gof;
        result.errors_scaled = true;
    } else if (options_.scale_errors && result.agreement.gof > 1) {
        factor = result.agreement.gof * result.agreement.gof;
        result.errors_scaled = true;
    }
    return factor;
}

std::vector<bool> Refiner::find_bounds(const std::vector<std::size_t>& active, double gof) const {
    std::vector<bool> bound(active.size(), false);
    for (std::size_t j = 0; j < active.size(); ++j) {
        const Free& f = free_[active[j]];
        const double value = get(f);
        // Outward gradient on a bound: the bound decides, not the data. A vanishing gradient (in
        // e.s.d.) means that the parameter merely came to lie there, as one that the data do not
        // determine does.
        const double pull = gradient_[j] / std::sqrt(std::max(normal_(j, j), 1e-300));
        const double least = 1e-5 * std::max(gof, 1e-6);
        bound[j] = (value <= f.lower && pull <= -least) || (value >= f.upper && pull >= least) ||
                   ((value <= f.lower || value >= f.upper) && normal_(j, j) <= 0);
    }
    return bound;
}

/// Covariance of what is not on a bound, from the normal equations at hand.
Refiner::Uncertainty Refiner::uncertainty(std::vector<std::size_t> active,
                                          const RefinementResult& result, double factor) {
    Uncertainty found;
    found.active = std::move(active);
    found.bound = find_bounds(found.active, result.agreement.gof);
    found.place.assign(free_.size(), -1);
    const std::size_t count = found.count();
    std::vector<std::size_t> inner; // positions in `active` that are not on a bound
    for (std::size_t j = 0; j < count; ++j) {
        found.place[found.active[j]] = static_cast<int>(j);
        if (!found.bound[j]) {
            inner.push_back(j);
        }
    }
    const std::size_t m = inner.size();
    std::vector<double> reduced(m * m), inverse(m * m);
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < m; ++j) {
            reduced[i * m + j] = normal_(inner[i], inner[j]);
        }
    }
    SmallCholesky cholesky;
    cholesky.factor(reduced.data(), static_cast<int>(m), static_cast<int>(m), singular_pivot);
    cholesky.invert(inverse.data());
    found.covariance.assign(count * count, 0.0);
    found.undetermined.assign(count, false);
    for (std::size_t i = 0; i < m; ++i) {
        found.undetermined[inner[i]] = cholesky.dependent(static_cast<int>(i));
        for (std::size_t j = 0; j < m; ++j) {
            found.covariance[inner[i] * count + inner[j]] = inverse[i * m + j] * factor;
        }
    }
    return found;
}

Refiner::Complaints Refiner::write_parameters(const Uncertainty& found,
                                              RefinementResult& result) const {
    Complaints complaints;
    const std::size_t count = found.count();
    for (std::size_t j = 0; j < count; ++j) {
        const Free& f = free_[found.active[j]];
        RefinedParameter parameter;
        parameter.name = list_[f.index].name;
        parameter.unit = list_[f.index].unit;
        parameter.value = list_[f.index].parameter->value;
        parameter.at_bound = found.bound[j];
        double esd = std::sqrt(found.covariance[j * count + j]);
        if (f.scale == Scale::inverse) {
            esd *= parameter.value * parameter.value;
        } else if (f.scale == Scale::square) {
            esd /= 2 * parameter.value;
        }
        if (found.bound[j] || found.undetermined[j]) {
            esd = nan_value;
        }
        parameter.esd = esd;
        if (found.undetermined[j]) {
            complaints.singular.push_back(parameter.name);
        }
        if (found.bound[j] && f.role != Role::scale && f.role != Role::area) {
            complaints.on_bound.push_back(parameter.name);
            complaints.cell_on_bound = complaints.cell_on_bound || f.role == Role::cell;
        }
        result.parameters.push_back(std::move(parameter));
    }
    result.correlation.assign(count * count, 0.0);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
            const double norm =
                std::sqrt(found.covariance[i * count + i] * found.covariance[j * count + j]);
            result.correlation[i * count + j] =
                i == j ? 1 : (norm > 0 ? found.covariance[i * count + j] / norm : 0);
        }
    }
    return complaints;
}

/// Variance of a phase's weight fraction from the covariance of all scales; `share` [phases]: ZMV
/// over Σ S ZMV.
double Refiner::weight_fraction_variance(std::size_t phase, double fraction,
                                         const std::vector<double>& share,
                                         const std::vector<int>& scale_place,
                                         const Uncertainty& found) const {
    double variance = 0;
    for (std::size_t q = 0; q < model_.phases.size(); ++q) {
        for (std::size_t r = 0; r < model_.phases.size(); ++r) {
            if (scale_place[q] < 0 || scale_place[r] < 0) {
                continue;
            }
            const auto slope = [&](std::size_t s) {
                return share[s] * ((s == phase ? 1.0 : 0.0) - fraction);
            };
            variance += slope(q) * slope(r) *
                        found.covariance[static_cast<std::size_t>(scale_place[q]) * found.count() +
                                         static_cast<std::size_t>(scale_place[r])];
        }
    }
    return variance;
}

/// The cell of a phase with the e.s.d. of what was refined.
void Refiner::write_cell(std::size_t phase, const std::vector<int>& place,
                         const RefinementResult& result, PhaseResult& entry) const {
    const PhaseModel& model = model_.phases[phase];
    for (const Parameter& parameter : model.cell) {
        entry.cell.push_back(parameter.value);
        entry.cell_esd.push_back(nan_value);
    }
    for (std::size_t i = 0, j = 0; i < free_.size(); ++i) {
        if (free_[i].role == Role::cell && free_[i].phase == static_cast<int>(phase)) {
            while (!model.cell[j].refine) {
                ++j;
            }
            if (place[i] >= 0 && !frozen_[phase]) {
                entry.cell_esd[j] = result.parameters[place[i]].esd;
                entry.cell_refined = true;
            }
            ++j;
        }
    }
}

void Refiner::phase_results(RefinementResult& result, const Uncertainty& found) {
    std::vector<double> weight(model_.phases.size());
    double total = 0;
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const PhaseModel& phase = model_.phases[p];
        weight[p] = phase.phase.cell_mass() * phase.unit_cell().volume();
        total += phase.scale.value * weight[p];
    }
    std::vector<int> scale_place(model_.phases.size(), -1);
    for (std::size_t i = 0; i < free_.size(); ++i) {
        if (free_[i].role == Role::scale) {
            scale_place[free_[i].phase] = found.place[i];
        }
    }
    std::vector<double> share; // of a unit of scale in the whole
    for (const double value : weight) {
        share.push_back(value / total);
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const PhaseModel& phase = model_.phases[p];
        PhaseResult entry;
        entry.name = phase.name;
        entry.scale = phase.scale.value;
        entry.unit_cell = phase.unit_cell();
        entry.cell_parameters = phase.phase.free_parameters();
        entry.significant = !frozen_[p];
        entry.weight_fraction = total > 0 ? entry.scale * weight[p] / total : nan_value;
        const double variance =
            weight_fraction_variance(p, entry.weight_fraction, share, scale_place, found);
        entry.weight_fraction_esd = total > 0 ? std::sqrt(std::max(variance, 0.0)) : nan_value;
        if (scale_place[p] >= 0) {
            entry.scale_esd = result.parameters[scale_place[p]].esd;
        }
        write_cell(p, found.place, result, entry);
        entry.r_bragg = entry.scale > 0 ? r_bragg(p) : nan_value;
        result.phases.push_back(std::move(entry));
    }
}

void Refiner::remark(const Complaints& complaints) {
    std::vector<std::string> insignificant;
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (frozen_[p]) {
            insignificant.push_back(model_.phases[p].name);
        }
    }
    if (!insignificant.empty()) {
        remarks_.push_back(fmt::format("not significant, cell and widths left at their start: {}",
                                       fmt::join(insignificant, ", ")));
    }
    if (!complaints.singular.empty()) {
        remarks_.push_back(
            fmt::format("not determined by the data: {}", fmt::join(complaints.singular, ", ")));
    }
    if (!complaints.on_bound.empty()) {
        remarks_.push_back(fmt::format("on a bound: {}", fmt::join(complaints.on_bound, ", ")));
    }
}

/// Zero shift, displacement and wavelength move all lines much as a change of the cells does.
void Refiner::remark_degeneracy(const Uncertainty& found, const RefinementResult& result) {
    const std::size_t count = found.count();
    bool degenerate = false;
    for (std::size_t i = 0; i < count; ++i) {
        if (free_[found.active[i]].role != Role::position) {
            continue;
        }
        std::vector<std::string> partners;
        for (std::size_t j = 0; j < count; ++j) {
            const Role other = free_[found.active[j]].role;
            const bool pair = other == Role::cell || (other == Role::position && j > i);
            const double r = result.correlation[i * count + j];
            if (pair && std::abs(r) > 0.95) {
                partners.push_back(fmt::format("'{}' ({:+.4f})", result.parameters[j].name, r));
            }
        }
        if (!partners.empty()) {
            remarks_.push_back(fmt::format("'{}' is nearly degenerate with {} (correlation)",
                                           result.parameters[i].name, fmt::join(partners, ", ")));
            degenerate = true;
        }
    }
    if (degenerate) {
        remarks_.emplace_back(
            "nearly degenerate parameters move the lines alike, so that small faults of the model "
            "decide their values, which may be wrong by far more than their e.s.d.: refine one of "
            "them only, or fix the cell of a standard");
    }
}

FitStatus Refiner::status(const Complaints& complaints, bool converged) const {
    const bool nothing = !model_.phases.empty() &&
                         std::all_of(frozen_.begin(), frozen_.end(), [](bool f) { return f; });
    if (nothing) {
        return FitStatus::no_signal;
    } else if (!complaints.singular.empty()) {
        return FitStatus::singular;
    } else if (!converged) {
        return FitStatus::not_converged;
    } else if (complaints.cell_on_bound) {
        return FitStatus::at_bound;
    } else {
        return FitStatus::converged;
    }
}

/// Results and e.s.d. of the values that were reached.
void Refiner::finish(RefinementResult& result, bool converged) {
    const auto active = select([](const Free&) { return true; });
    evaluate(active, true);
    const std::size_t count = active.size();
    const std::vector<double> calculated = calculated_;
    normal_equations(count);

    std::vector<double> variance(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        variance[k] = weights_[k] > 0 ? 1 / weights_[k] : 0;
    }
    result.agreement = agreement(intensity_, variance, calculated, count);
    const Uncertainty found = uncertainty(active, result, error_factor(result));
    const Complaints complaints = write_parameters(found, result);

    result.iterations = iterations_;
    result.background.resize(n_);
    calculator_.evaluate_background(model_, result.background);
    result.lines = calculator_.lines(model_);
    calculated_ = calculated;
    phase_results(result, found);
    result.calculated = calculated;
    result.model = model_;

    remark(complaints);
    remark_degeneracy(found, result);
    result.status = status(complaints, converged);
    result.message = fmt::format("{}", fmt::join(remarks_, "; "));
}

} // namespace xrdct::rietveld
