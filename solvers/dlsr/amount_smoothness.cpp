// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/amount_smoothness.hpp"

#include "base/statistics.hpp"
#include "solvers/dlsr/smoothness.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

constexpr int most_rounds = 3, steps_per_round = 2;
/// Weights that change by less are settled.
constexpr double settled_factor = 1.3;
/// Beyond these a weight means nothing: the map is free, or flat.
constexpr double least_weight = 0.03, largest_weight = 1e4;
/// Borders, in typical differences, and the least [units].
constexpr double border = 3, least_edge = 0.01;
/// Of the information. At half a cycle per voxel an object of sharp borders (a spectrum that falls
/// with the third power) and its alias are alike, and the best share is the projection's symbol
/// there, about 1/2; from 0.2 to 0.5 amounts come out alike, and cells beside borders are the
/// better the less it is.
constexpr double fineness_share = 0.2;

/// Squared residual over variance per coefficient of the rays that the fit sees, at least 1.
/// Collective.
double misfit_per_coefficient(const Fit& fit) {
    const auto& system = fit.system();
    auto& problem = system.problem();
    problem.objective(fit.x());
    double rays = 0;
    for (const float weight : system.used_weight())
        rays += weight > 0 ? 1 : 0;
    rays = system.communicator().allreduce(rays, mpi::Reduction::sum);
    const double coefficients = rays * static_cast<double>(system.basis().size());
    return std::max(1.0, 2 * problem.last_misfit() / std::max(coefficients, 1.0));
}

/// Median information of a voxel on each smooth amount, what other unknowns of the voxel take away
/// left out; 0 for other fields. Collective.
std::vector<double> information_of_fields(const Fit& fit) {
    auto& problem = fit.system().problem();
    const auto& fields = fit.system().setup().fields;
    problem.linearise(fit.x());
    const auto own = problem.block_variances();
    const auto variance = problem.whole(own);
    std::vector<double> result(fields.size(), 0.0);
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (!is_smooth_amount(fields[f]))
            continue;
        // The inverted block holds the smoothness, too: of four neighbours, as inside.
        const auto& field = problem.fields()[f];
        const double stiffness = 4 * field.smoothness + mean_fine_symbol * field.fineness;
        const auto range = problem.field_unknowns(f);
        std::vector<double> of_voxels;
        for (std::size_t i = range.begin; i < range.end; ++i)
            if (variance[i] > 0)
                of_voxels.push_back(std::max(1 / variance[i] - stiffness, 1e-3 / variance[i]));
        if (!of_voxels.empty())
            result[f] = median(std::move(of_voxels));
    }
    return result;
}

/// Takes the smoothness that matches the fit where it stands; one that has settled is the last.
/// Collective.
void match_amounts(Fit& fit) {
    const auto& problem = fit.system().problem();
    const auto& fields = fit.system().setup().fields;
    const double noise = misfit_per_coefficient(fit);
    const auto information = information_of_fields(fit);
    AmountSmoothness amounts{
        std::vector<double>(fields.size(), 0.0), std::vector<double>(fields.size(), 0.0),
        std::vector<double>(fields.size(), 0.0), fit.state().fit.amounts.rounds + 1};
    bool settled = amounts.rounds > 1;
    for (std::size_t f = 0; f < fields.size(); ++f) {
        if (information[f] <= 0)
            continue;
        const double roughness = problem.roughness(f, fit.x());
        const double before = problem.fields()[f].smoothness;
        amounts.weight[f] =
            std::clamp(problem.matching_smoothness(f, roughness, information[f], noise),
                       least_weight, largest_weight);
        // A voxel has two pairs.
        amounts.edge[f] = std::max(least_edge, border * std::sqrt(roughness / 2));
        amounts.fineness[f] = fineness_share * information[f];
        settled =
            settled && std::abs(std::log(amounts.weight[f] / before)) < std::log(settled_factor);
        fit.system().log(fmt::format(
            "smoothness of {} {}: {:.3g}, borders from {:.3g} of a typical "
            "value on",
            fields[f].quantity.group, fields[f].quantity.name, amounts.weight[f], amounts.edge[f]));
    }
    if (settled)
        amounts.rounds = most_rounds;
    fit.set_amount_smoothness(std::move(amounts));
}

} // namespace

void choose_amount_smoothness(Fit& fit, double convergence, int steps) {
    bool begun = fit.state().fit.iteration > 0 || fit.state().fit.passes_begin >= 0;
    while (begun || fit.state().fit.amounts.rounds < most_rounds) {
        if (!begun)
            match_amounts(fit);
        begun = false;
        if (fit.state().fit.amounts.rounds < most_rounds)
            fit.solve_and_replace("step", 1e-3, std::min(steps, steps_per_round));
        else
            fit.solve_and_replace("step", convergence, steps);
    }
}

} // namespace xrdct::dlsr
