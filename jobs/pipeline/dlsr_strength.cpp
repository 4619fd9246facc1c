#include "jobs/pipeline/dlsr_strength.hpp"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

/// The factor between strengths.
constexpr double smoothness_factor = 3;
constexpr int max_strengths = 7;
/// Steps with a strength that is tried, where they are cut short.
constexpr int max_cut_steps = 4;

/// The strength that held-out projections choose.
struct StrengthChoice {
    double chosen = 0, best = 0;
    bool best_is_clear = true; ///< better than every other one by more than a standard error
    std::vector<double> best_projections;

    /// Standard error of the mean difference from the best one.
    double error_of(const DlsrResult::HeldOut& entry) const {
        const std::size_t n = std::min(entry.projections.size(), best_projections.size());
        if (n < 2)
            return 0;
        double mean = 0, square = 0;
        for (std::size_t i = 0; i < n; ++i)
            mean += (entry.projections[i] - best_projections[i]) / static_cast<double>(n);
        for (std::size_t i = 0; i < n; ++i)
            square += std::pow(entry.projections[i] - best_projections[i] - mean, 2);
        return std::sqrt(square / static_cast<double>(n * (n - 1)));
    }
};
StrengthChoice choose_strength(const std::vector<DlsrResult::HeldOut>& tried) {
    StrengthChoice choice;
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

/// What the held-out projections say of where the fit stands: squared residual over variance per
/// coefficient, over all and of each of them. Collective.
DlsrResult::HeldOut judge(const DlsrFit& fit, double strength) {
    const auto& system = fit.system();
    const auto& geometry = system.context().scan.geometry();
    const std::size_t all = geometry.rotation.size(), translations = geometry.translation.size();
    const auto weight = held_out_weight(system, true);
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
    DlsrResult::HeldOut result;
    result.smoothness = strength;
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

} // namespace

std::vector<float> held_out_weight(const DlsrSystem& system, bool held_out) {
    auto weight = system.weight();
    const std::size_t translations = system.context().scan.geometry().translation.size();
    const long every = system.job().dlsr.held_out;
    for (std::size_t r = 0; r < weight.size(); ++r) {
        const std::size_t rotation = system.scan().rotations().begin + r / translations;
        const bool is_held_out = static_cast<long>(rotation) % every == every / 2;
        if (is_held_out != held_out)
            weight[r] = 0;
    }
    return weight;
}

void choose_smoothness(DlsrFit& fit) {
    const auto& system = fit.system();
    auto& state = fit.state();
    auto& held_out = state.held_out;
    const auto tried = [&](double strength) {
        return std::any_of(held_out.begin(), held_out.end(), [&](const auto& entry) {
            return std::abs(entry.smoothness / strength - 1) < 1e-6;
        });
    };
    const auto stand_where_it_ended = [&](double strength) {
        for (std::size_t i = 0; i < held_out.size(); ++i)
            if (held_out[i].smoothness == strength)
                fit.stand_at(fit.tried()[i]);
    };
    const auto judge_and_keep = [&](double strength) {
        held_out.push_back(judge(fit, strength));
        fit.tried().push_back(fit.x());
        if (system.communicator().is_root())
            fmt::print(stderr, "dlsr: smoothness {:.3g}: {:.6f} per held-out coefficient\n",
                       strength, held_out.back().chi_squared);
    };
    if (held_out.empty()) {
        judge_and_keep(first_smoothness);
        fit.save();
    }
    while (static_cast<int>(held_out.size()) < max_strengths) {
        const auto choice = choose_strength(held_out);
        double from = choice.chosen, next = choice.chosen * smoothness_factor;
        if (next > 1.01 * first_smoothness || tried(next)) {
            from = choice.best;
            next = choice.best / smoothness_factor;
            if (!choice.best_is_clear || tried(next))
                break;
        }
        stand_where_it_ended(from);
        const auto kept = fit.x();
        fit.set_smoothness(next);
        // One step, unless it had to be cut short: what it did not change would count for it.
        int steps = 0;
        do
            fit.solve(fmt::format("held out, smoothness {:.3g}, step", next),
                      system.job().dlsr.convergence, 1, false);
        while (fit.step_was_cut() && ++steps < max_cut_steps);
        judge_and_keep(next);
        fit.stand_at(kept);
        fit.save();
    }
    const auto choice = choose_strength(held_out);
    for (auto& entry : held_out)
        entry.error = choice.error_of(entry);
    stand_where_it_ended(choice.chosen);
    fit.tried().clear();
    fit.set_smoothness(choice.chosen);
}

} // namespace xrdct::pipeline
