// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/handedness.hpp"

#include "solvers/dlsr/cross_validation.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace xrdct::dlsr {

namespace {

/// Some fifty projections are enough to tell. Not collective.
std::vector<float> some_rays(const System& system) {
    const std::size_t every = std::max<std::size_t>(4, system.geometry().rotation.size() / 50);
    auto weight = system.weight();
    const std::size_t translations = system.geometry().translation.size();
    for (std::size_t r = 0; r < weight.size(); ++r)
        if ((system.scan().rotations().begin + r / translations) % every != 0)
            weight[r] = 0;
    return weight;
}

/// After two steps from the problem's start. Collective.
double misfit_after_steps(const Fit& fit, Problem& problem) {
    const auto& system = fit.system();
    const auto& fields = system.setup().fields;
    for (std::size_t f = 0; f < fields.size(); ++f)
        if (fields[f].field.shape >= 0)
            problem.set_smoothness(f, first_weight, fields[f].field.edge);
    auto options = solver_options(1e-6, 2);
    options.linear_max_iterations = 8;
    petsc::BoundedGaussNewton solver(fit.session(), system.communicator(), problem, problem.start(),
                                     options);
    while (solver.step().reason == petsc::StopReason::none) {
    }
    problem.objective(solver.x());
    return problem.last_misfit();
}

} // namespace

void check_handedness(Fit& fit) {
    auto& system = fit.system();
    const auto weight = some_rays(system);
    system.model().set_ray_weight(weight);
    const double as_is = misfit_after_steps(fit, system.problem());
    system.model().set_ray_weight(system.weight());
    system.problem().release(); // two models' columns at once would be the most memory of the run

    const auto reversed = system.reversed(weight, fit.globals());
    if (!reversed.problem) {
        system.remark("handedness: reversed depths could not be tried: its patterns need another "
                      "number of values");
        return;
    }
    const double opposite = misfit_after_steps(fit, *reversed.problem);
    const double change = 100 * (opposite / as_is - 1);
    system.remark(
        opposite > as_is
            ? fmt::format("handedness: with depths reversed (one reversed sense of rotation or "
                          "translation) the misfit is {:.1f} % larger: the senses given are right, "
                          "or both are wrong and the maps mirrored",
                          change)
            : fmt::format("HANDEDNESS: with depths reversed the misfit is {:.1f} % smaller: "
                          "geometry.rotation_sense or geometry.translation_sense is probably "
                          "wrong, and the correction of the parallax does harm",
                          -change));
    system.log(system.remarks().back());
}

} // namespace xrdct::dlsr
