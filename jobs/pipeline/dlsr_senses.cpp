#include "jobs/pipeline/dlsr_senses.hpp"

#include "jobs/pipeline/dlsr_strength.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace xrdct::pipeline {

void check_senses(DlsrFit& fit) {
    auto& system = fit.system();
    const auto& scan = system.context().scan;
    // Some fifty projections are enough to tell.
    const std::size_t every = std::max<std::size_t>(4, scan.geometry().rotation.size() / 50);
    auto weight = system.weight();
    const std::size_t translations = scan.geometry().translation.size();
    for (std::size_t r = 0; r < weight.size(); ++r)
        if ((system.scan().rotations().begin + r / translations) % every != 0)
            weight[r] = 0;
    const auto misfit_of = [&](dlsr::Problem& problem) {
        const auto& fields = system.setup().fields;
        for (std::size_t f = 0; f < fields.size(); ++f)
            if (fields[f].field.shape >= 0)
                problem.set_smoothness(f, first_smoothness, fields[f].field.edge);
        auto options = dlsr_solver_options(1e-6, 2);
        options.linear_max_iterations = 8;
        petsc::BoundedGaussNewton solver(fit.session(), system.communicator(), problem,
                                         problem.start(), options);
        while (solver.step().reason == petsc::StopReason::none) {
        }
        problem.objective(solver.x());
        return problem.last_misfit();
    };
    system.model().set_ray_weight(weight);
    const double as_is = misfit_of(system.problem());
    system.model().set_ray_weight(system.weight());
    system.problem().release(); // two models' columns at once would be the most memory of the run

    const auto reversed = system.reversed(weight, fit.globals());
    if (!reversed.problem) {
        system.remark("the opposite depth sense could not be tried: its patterns need another "
                      "number of values");
        return;
    }
    const double opposite = misfit_of(*reversed.problem);
    const double change = 100 * (opposite / as_is - 1);
    system.remark(
        opposite > as_is
            ? fmt::format(
                  "senses: with depths reversed (a reversed rotation or translation) the "
                  "misfit is {:.1f} % larger: the senses given are right, or both are wrong "
                  "and the maps mirrored",
                  change)
            : fmt::format("SENSES: with depths reversed the misfit is {:.1f} % smaller: "
                          "geometry.rotation_sense or geometry.translation_sense is probably "
                          "wrong, and the correction of the parallax does harm",
                          -change));
    if (system.communicator().is_root())
        fmt::print(stderr, "dlsr: {}\n", system.remarks().back());
}

} // namespace xrdct::pipeline
