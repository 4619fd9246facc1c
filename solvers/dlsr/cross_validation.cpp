// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/cross_validation.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// The factor between weights.
constexpr double smoothness_factor = 3;
constexpr int max_weights = 7;
/// Steps with a weight that is tried, where they are cut short.
constexpr int max_cut_steps = 4;

/// What the validation projections say of where the fit stands: squared residual over variance per
/// coefficient, over all and of each of them. Collective.
Result::Validation validate(const Fit& fit, double regularisation) {
    const auto& system = fit.system();
    const auto& geometry = system.geometry();
    const std::size_t all = geometry.rotation.size(), translations = geometry.translation.size();
    const auto weight = validation_rays(system);
    std::vector<double> sums(2 * all, 0.0);
    system.problem().set_operator_point(fit.x(), false);
    system.communicator().collectively([&] {
        auto& model = system.model();
        model.set_ray_weight(weight);
        const auto misfits = model.rotation_misfits(system.data());
        for (std::size_t i = 0; i < misfits.size(); ++i) {
            const std::size_t rotation = system.scan().rotations().begin + i;
            sums[rotation] = 2 * misfits[i];
            for (std::size_t j = 0; j < translations; ++j)
                sums[all + rotation] += weight[i * translations + j] > 0;
        }
        model.set_ray_weight(system.used_weight());
    });
    system.communicator().allreduce(std::span<double>(sums), mpi::Reduction::sum);
    Result::Validation result;
    result.smoothness = regularisation;
    double total = 0, count = 0;
    for (std::size_t i = 0; i < all; ++i) {
        const double coefficients = sums[all + i] * static_cast<double>(system.basis().size());
        if (coefficients == 0)
            continue;
        result.projections.push_back(sums[i] / coefficients);
        total += sums[i];
        count += coefficients;
    }
    result.chi_squared = total / std::max(1.0, count);
    return result;
}

std::vector<float> rays_of(const System& system, bool validation) {
    auto weight = system.weight();
    const std::size_t translations = system.geometry().translation.size();
    const long every = system.options().validation_interval;
    for (std::size_t r = 0; r < weight.size(); ++r) {
        const std::size_t rotation = system.scan().rotations().begin + r / translations;
        const bool validates = static_cast<long>(rotation) % every == every / 2;
        if (validates != validation)
            weight[r] = 0;
    }
    return weight;
}

/// Standard error of the mean difference of two, projection by projection.
double error_of_difference(const std::vector<double>& one, const std::vector<double>& other) {
    const std::size_t n = std::min(one.size(), other.size());
    if (n < 2)
        return 0;
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < n; ++i)
        mean += (one[i] - other[i]) / static_cast<double>(n);
    for (std::size_t i = 0; i < n; ++i)
        square += std::pow(one[i] - other[i] - mean, 2);
    return std::sqrt(square / static_cast<double>(n * (n - 1)));
}

/// Tries weights, in the fit's state.
class CrossValidation {
  public:
    explicit CrossValidation(Fit& fit) : fit_(fit), state_(fit.validation()) {}

    /// Collective.
    void run();

  private:
    bool was_tried(double weight) const;
    void stand_where_it_ended(double weight);
    void validate_and_keep(double weight);
    void try_weight(double weight, double from);

    Fit& fit_;
    ValidationState& state_;
};

bool CrossValidation::was_tried(double weight) const {
    return std::any_of(state_.tried.begin(), state_.tried.end(), [&](const auto& entry) {
        return std::abs(entry.smoothness / weight - 1) < 1e-6;
    });
}

void CrossValidation::stand_where_it_ended(double weight) {
    for (std::size_t i = 0; i < state_.tried.size(); ++i)
        if (state_.tried[i].smoothness == weight)
            fit_.stand_at(state_.x[i]);
}

void CrossValidation::validate_and_keep(double weight) {
    state_.tried.push_back(validate(fit_, weight));
    state_.x.push_back(fit_.x());
    fit_.system().log(
        fmt::format("smoothness {:.3g}: {:.6f} per coefficient of the validation projections",
                    weight, state_.tried.back().chi_squared));
}

/// Goes on from where the fit with another weight ended.
void CrossValidation::try_weight(double weight, double from) {
    stand_where_it_ended(from);
    const auto kept = fit_.x();
    fit_.set_smoothness(weight);
    // One step, unless it had to be cut short: what it did not change would count for it.
    int steps = 0;
    do
        fit_.solve(fmt::format("validation, smoothness {:.3g}, step", weight),
                   fit_.system().options().convergence, 1, false);
    while (fit_.step_was_cut() && ++steps < max_cut_steps);
    validate_and_keep(weight);
    fit_.stand_at(kept);
    fit_.save();
}

void CrossValidation::run() {
    if (state_.tried.empty()) {
        validate_and_keep(first_weight);
        fit_.save();
    }
    while (static_cast<int>(state_.tried.size()) < max_weights) {
        const auto choice = choose_weight(state_.tried);
        double from = choice.chosen, next = choice.chosen * smoothness_factor;
        if (next > 1.01 * first_weight || was_tried(next)) {
            from = choice.best;
            next = choice.best / smoothness_factor;
            if (!choice.best_is_clear || was_tried(next))
                break;
        }
        try_weight(next, from);
    }
    const auto choice = choose_weight(state_.tried);
    for (auto& entry : state_.tried)
        entry.error = choice.error_of(entry);
    stand_where_it_ended(choice.chosen);
    state_.x.clear();
    fit_.set_smoothness(choice.chosen);
}

} // namespace

double WeightChoice::error_of(const Result::Validation& entry) const {
    return error_of_difference(entry.projections, best_projections);
}

WeightChoice choose_weight(const std::vector<Result::Validation>& tried) {
    WeightChoice choice;
    const auto best =
        std::min_element(tried.begin(), tried.end(), [](const auto& a, const auto& b) {
            return a.chi_squared < b.chi_squared;
        });
    choice.best = choice.chosen = best->smoothness;
    choice.best_projections = best->projections;
    for (const auto& entry : tried) {
        if (entry.smoothness == best->smoothness ||
            entry.chi_squared - best->chi_squared > choice.error_of(entry))
            continue;
        choice.best_is_clear = false;
        choice.chosen = std::max(choice.chosen, entry.smoothness);
    }
    return choice;
}

std::vector<float> validation_rays(const System& system) {
    return rays_of(system, true);
}

std::vector<float> training_rays(const System& system) {
    return rays_of(system, false);
}

void choose_by_cross_validation(Fit& fit) {
    CrossValidation(fit).run();
}

void settle_ties(Fit& fit) {
    constexpr int most_rounds = 4, steps = 3;
    if (std::ranges::none_of(fit.system().setup().fields, &Setup::Field::late))
        return;
    const double weight = fit.state().fit.smoothness;
    auto before = validate(fit, weight);
    for (int round = 0; round < most_rounds; ++round) {
        const auto kept = fit.x();
        const auto ties = fit.state().fit.ties;
        if (!fit.tie_late_amounts())
            return;
        fit.solve("tied anew, step", fit.system().options().convergence, steps, false);
        const auto after = validate(fit, weight);
        fit.system().log(fmt::format("tied anew: {:.6f} per coefficient of the validation "
                                     "projections, {:.6f} before",
                                     after.chi_squared, before.chi_squared));
        if (before.chi_squared - after.chi_squared <=
            error_of_difference(before.projections, after.projections)) {
            fit.set_ties(ties);
            fit.stand_at(kept);
            return;
        }
        before = after;
    }
}

} // namespace xrdct::dlsr
