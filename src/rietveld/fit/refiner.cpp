// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/refiner.hpp"

#include "base/error.hpp"
#include "rietveld/fit/cell_search.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace xrdct::rietveld {

Refiner::Refiner(const RadialAxis& axis, std::span<const double> intensity,
                 std::span<const double> variance, const PatternModel& start,
                 const RefinementOptions& options)
    : axis_(axis), intensity_(intensity.begin(), intensity.end()), options_(options), model_(start),
      calculator_(axis, start, refinement_cell_margin(options.cell_search)), n_(axis.size()),
      unit_weights_(variance.empty()) {
    weights_.assign(n_, 0);
    for (std::size_t k = 0; k < n_; ++k) {
        const double v = unit_weights_ ? 1 : variance[k];
        if (std::isfinite(intensity[k]) && std::isfinite(v) && v > 0) {
            weights_[k] = 1 / v;
            ++observations_;
        } else {
            intensity_[k] = 0;
        }
    }
    list_ = list_parameters(model_);
    classify();
    frozen_.assign(model_.phases.size(), false);
    calculated_.assign(n_, 0);
}

void Refiner::classify() {
    std::size_t index = 0;
    const auto add = [&](Role role, int phase, Scale scale = Scale::plain) {
        const Parameter& p = *list_[index].parameter;
        if (p.refine) {
            Free free{index, role, phase, scale, p.lower, p.upper};
            if (scale == Scale::square) {
                free.lower = p.lower > 0 ? p.lower * p.lower : 0;
                free.upper = p.upper * p.upper;
            }
            if (scale == Scale::inverse) {
                free.lower = 1 / p.upper;
                free.upper = p.lower > 0 ? 1 / p.lower : infinity;
            }
            free_.push_back(free);
        }
        ++index;
    };
    for (int i = 0; i < 3; ++i) {
        add(Role::position, -1);
    }
    for (int i = 0; i < 6; ++i) {
        add(Role::broadening, -1);
    }
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        const int phase = static_cast<int>(p);
        add(Role::scale, phase);
        for (std::size_t j = 0; j < model_.phases[p].cell.size(); ++j) {
            add(Role::cell, phase);
        }
        add(Role::broadening, phase, Scale::inverse);
        add(Role::broadening, phase);
        add(Role::broadening, phase, Scale::square);
        add(Role::displacement_factor, phase);
        add(Role::position, phase);
        if (model_.phases[p].depth.refine) {
            free_.back().lower = std::max(free_.back().lower, -0.4 * model_.distance);
            free_.back().upper = std::min(free_.back().upper, 0.4 * model_.distance);
        }
    }
    for (std::size_t i = 0; i < model_.background.size(); ++i) {
        add(Role::background, -1);
    }
    for (std::size_t i = 0; i < model_.peaks.size(); ++i) {
        add(Role::peak_shape, -1);
        add(Role::peak_shape, -1);
        add(Role::peak_shape, -1);
        add(Role::area, -1);
    }
}

void Refiner::check_contradictions() const {
    const auto cell_refined = [](const PhaseModel& phase) {
        return std::any_of(phase.cell.begin(), phase.cell.end(),
                           [](const Parameter& p) { return p.refine; });
    };
    bool depths = false;
    for (const PhaseModel& phase : model_.phases) {
        depths = depths || phase.depth.refine;
        if (phase.depth.refine && cell_refined(phase)) {
            throw Error(fmt::format(
                "phase '{}': its depth and its cell cannot be refined together, both stretch the "
                "pattern of its lines: fix the cell, as of a metal whose cell is known",
                phase.name));
        }
    }
    if (model_.wavelength.refine &&
        std::all_of(model_.phases.begin(), model_.phases.end(), cell_refined)) {
        throw Error(
            "the wavelength and the cells of all phases cannot be refined together: fix the "
            "wavelength, or the cell of one phase (a standard)");
    }
    // A depth may stand for an error of the radial scale: one phase must hold it.
    if (depths && (model_.wavelength.refine || model_.displacement.refine) &&
        std::all_of(model_.phases.begin(), model_.phases.end(), [&](const PhaseModel& phase) {
            return phase.depth.refine || cell_refined(phase);
        })) {
        throw Error(fmt::format(
            "the {} cannot be refined together with the depth or the cell of every phase: fix it, "
            "or the cell and the depth of one phase (a standard)",
            model_.displacement.refine ? "displacement" : "wavelength"));
    }
}

double Refiner::get(const Free& free) const {
    const double value = list_[free.index].parameter->value;
    switch (free.scale) {
    case Scale::inverse:
        return 1 / value;
    case Scale::square:
        return value * value;
    default:
        return value;
    }
}

void Refiner::set(const Free& free, double value) {
    list_[free.index].parameter->value = free.scale == Scale::inverse ? 1 / value
                                         : free.scale == Scale::square
                                             ? std::sqrt(std::max(value, 0.0))
                                             : value;
}

void Refiner::evaluate(const std::vector<std::size_t>& active, bool jacobian) {
    if (!jacobian) {
        calculator_.evaluate(model_, calculated_);
        return;
    }
    std::vector<std::size_t> indices;
    for (const std::size_t i : active) {
        indices.push_back(free_[i].index);
    }
    jacobian_.resize(n_ * active.size());
    calculator_.evaluate(model_, indices, calculated_, jacobian_);
}

double Refiner::chi_squared() const {
    double sum = 0;
    for (std::size_t k = 0; k < n_; ++k) {
        const double r = intensity_[k] - calculated_[k];
        sum += weights_[k] * r * r;
    }
    return sum;
}

void Refiner::normal_equations(std::size_t count) {
    Eigen::VectorXd residual(n_);
    Eigen::VectorXd root(n_);
    for (std::size_t k = 0; k < n_; ++k) {
        root[k] = std::sqrt(weights_[k]);
        residual[k] = weights_[k] > 0 ? (intensity_[k] - calculated_[k]) * root[k] : 0;
    }
    Eigen::Map<Eigen::MatrixXd> jacobian(jacobian_.data(), static_cast<Eigen::Index>(n_),
                                         static_cast<Eigen::Index>(count));
    jacobian = root.asDiagonal() * jacobian;
    normal_.setZero(count, count);
    normal_.selfadjointView<Eigen::Lower>().rankUpdate(jacobian.transpose());
    normal_.triangularView<Eigen::StrictlyUpper>() = normal_.transpose();
    gradient_ = jacobian.transpose() * residual;
}

void Refiner::solve_linear() {
    const auto active = select([](const Free& f) { return f.linear(); });
    if (active.empty()) {
        evaluate({}, false);
        return;
    }
    // With all linear parameters at 0 the pattern holds what is fixed.
    for (const std::size_t i : active) {
        set(free_[i], 0);
    }
    evaluate(active, true);
    normal_equations(active.size());
    const auto count = active.size();
    std::vector<double> lower, upper, x(count);
    std::vector<std::int8_t> state(count, 0);
    for (const std::size_t i : active) {
        lower.push_back(free_[i].lower);
        upper.push_back(free_[i].upper);
    }
    solver_.solve(normal_.data(), static_cast<int>(count), static_cast<int>(count),
                  gradient_.data(), lower.data(), upper.data(), x.data(), state.data());
    for (std::size_t j = 0; j < count; ++j) {
        set(free_[active[j]], x[j]);
    }
    ++iterations_;
}

void Refiner::update_significance() {
    const auto active = select([](const Free& f) { return f.linear(); });
    evaluate(active, true);
    const double freedom =
        std::max(1.0, static_cast<double>(observations_) - static_cast<double>(active.size()));
    double variance = chi_squared() / freedom;
    if (!unit_weights_) {
        variance = std::max(variance, 1.0);
    }
    normal_equations(active.size());
    const auto count = static_cast<int>(active.size());
    SmallCholesky cholesky;
    cholesky.factor(normal_.data(), count, count, singular_pivot);
    std::vector<double> inverse(active.size() * active.size());
    cholesky.invert(inverse.data());
    for (std::size_t j = 0; j < active.size(); ++j) {
        const Free& f = free_[active[j]];
        if (f.role == Role::scale) {
            const double esd = std::sqrt(inverse[j * active.size() + j] * variance);
            const double value = get(f);
            frozen_[f.phase] = !(value > 0 && value > options_.significance * esd);
        }
    }
}

/// Values of the active parameters and the bounds of a step from them.
void Refiner::limit_step(const std::vector<std::size_t>& active, std::vector<double>& values,
                         std::vector<double>& lower, std::vector<double>& upper) const {
    for (std::size_t j = 0; j < active.size(); ++j) {
        const Free& f = free_[active[j]];
        values[j] = get(f);
        lower[j] = f.lower - values[j];
        upper[j] = f.upper - values[j];
        if (f.role == Role::cell) {
            const double limit = 0.01 * std::abs(values[j]);
            lower[j] = std::max(lower[j], -limit);
            upper[j] = std::min(upper[j], limit);
        }
    }
}

/// Levenberg–Marquardt over the chosen parameters; the trust region is Marquardt's scaled damping,
/// the step solves the bounded quadratic problem.
bool Refiner::optimise(const std::vector<std::size_t>& active) {
    if (active.empty()) {
        evaluate({}, false);
        return true;
    }
    const auto count = active.size();
    double damping = 1e-3;
    evaluate(active, true);
    double chi = chi_squared();
    std::vector<double> lower(count), upper(count), step(count), values(count);
    std::vector<std::int8_t> state(count, 0);
    Eigen::MatrixXd damped;
    for (int iteration = 0; iteration < options_.max_iterations; ++iteration) {
        ++iterations_;
        normal_equations(count);
        limit_step(active, values, lower, upper);
        const double freedom =
            std::max(1.0, static_cast<double>(observations_) - static_cast<double>(count));
        bool accepted = false;
        while (!accepted) {
            damped = normal_;
            for (std::size_t j = 0; j < count; ++j) {
                if (!free_[active[j]].linear()) {
                    damped(j, j) *= 1 + damping;
                }
            }
            std::fill(state.begin(), state.end(), std::int8_t{0});
            solver_.solve(damped.data(), static_cast<int>(count), static_cast<int>(count),
                          gradient_.data(), lower.data(), upper.data(), step.data(), state.data(),
                          1e-12);
            const Eigen::Map<const Eigen::VectorXd> delta(step.data(),
                                                          static_cast<Eigen::Index>(count));
            const double predicted = 2 * gradient_.dot(delta) - delta.dot(normal_ * delta);
            for (std::size_t j = 0; j < count; ++j) {
                set(free_[active[j]], values[j] + step[j]);
            }
            const bool small = predicted <= options_.tolerance * chi / freedom;
            evaluate(active, true);
            const double trial = chi_squared();
            if (std::isfinite(trial) && trial <= chi * (1 + 1e-13)) {
                chi = trial;
                damping = std::max(damping * 0.1, 1e-8);
                accepted = true;
                if (small && damping < 1e-2) {
                    return true;
                }
            } else {
                for (std::size_t j = 0; j < count; ++j) {
                    set(free_[active[j]], values[j]);
                }
                damping *= 8;
                if (small || damping > 1e12) {
                    evaluate(active, false);
                    return small || predicted <= 1e3 * options_.tolerance * chi / freedom;
                }
            }
        }
    }
    return false;
}

RefinementResult Refiner::masked() const {
    RefinementResult result;
    result.status = FitStatus::masked;
    result.message =
        fmt::format("{} valid channels for {} parameters", observations_, free_.size());
    result.model = model_;
    const auto nothing = std::vector<double>(n_, nan_value);
    result.calculated = result.background = nothing;
    result.agreement.observations = observations_;
    result.agreement.parameters = free_.size();
    return result;
}

RefinementResult Refiner::run() {
    check_contradictions();
    if (observations_ <= free_.size()) {
        return masked();
    }
    RefinementResult result;
    const PatternModel original = model_;
    const bool linear_only = options_.max_iterations == 0;
    if (options_.cell_search > 0 && !linear_only) {
        search_cells(calculator_, intensity_, weights_, options_.cell_search, model_);
    }
    solve_linear();
    update_significance();

    if (linear_only) {
        // Nothing else is refined: leave it out of the e.s.d. too.
        std::erase_if(free_, [](const Free& f) { return !f.linear(); });
        finish(result, true);
        return result;
    }
    refine_all(original, result);
    return result;
}

/// Everything, in stages or at once, until no phase becomes or ceases to be significant.
void Refiner::refine_all(const PatternModel& original, RefinementResult& result) {
    const auto all = [](const Free&) { return true; };
    if (options_.staged) {
        optimise(select([](const Free& f) { return f.linear() || f.role == Role::cell; }));
        update_significance();
    }
    if (!options_.extract_intensities.empty()) {
        extract_intensities();
    }
    if (options_.staged) {
        optimise(select([](const Free& f) {
            return f.linear() || f.role == Role::cell || f.role == Role::broadening ||
                   f.role == Role::peak_shape;
        }));
        update_significance();
    }
    bool converged = optimise(select(all));
    // A phase may become significant, or stop being so, once the others fit.
    for (int round = 0; round < 3; ++round) {
        const auto before = frozen_;
        update_significance();
        if (frozen_ == before) {
            break;
        }
        converged = optimise(select(all));
    }
    finish(result, restore_insignificant(original, converged));
}

/// Turns of taking intensities from the pattern and refining, until they settle.
void Refiner::extract_intensities() {
    start_extraction();
    constexpr int cycles = 40;
    constexpr double settled = 1e-3;
    const int limit = std::exchange(options_.max_iterations, 2);
    for (int cycle = 0; cycle < cycles; ++cycle) {
        const double change = extract();
        optimise(select([](const Free&) { return true; }));
        if (change < settled) {
            break;
        }
    }
    options_.max_iterations = limit;
}

/// Puts the shapes of insignificant phases back to their start; returns whether the fit is still
/// converged.
bool Refiner::restore_insignificant(const PatternModel& original, bool converged) {
    for (std::size_t p = 0; p < model_.phases.size(); ++p) {
        if (frozen_[p]) {
            PhaseModel& phase = model_.phases[p];
            const PhaseModel& initial = original.phases[p];
            bool moved = false;
            for (std::size_t j = 0; j < phase.cell.size(); ++j) {
                moved = moved || phase.cell[j].value != initial.cell[j].value;
                phase.cell[j].value = initial.cell[j].value;
            }
            phase.size.value = initial.size.value;
            phase.microstrain.value = initial.microstrain.value;
            phase.gauss_microstrain.value = initial.gauss_microstrain.value;
            phase.b_overall.value = initial.b_overall.value;
            phase.depth.value = initial.depth.value;
            if (moved) {
                converged = optimise(select([](const Free&) { return true; })) && converged;
            }
        }
    }
    return converged;
}

} // namespace xrdct::rietveld
