// SPDX-License-Identifier: BSD-3-Clause
// Ends of a process that used PETSc, seen from outside (CMakeLists.txt has what is expected).
//   petsc_probe log_view            an ordinary end, with PETSc's own summary
//   petsc_probe one_rank_throws     rank 1 throws before a collective call the others make
//   petsc_probe error_leaves_main   an error nobody catches
#include "base/error.hpp"
#include "dense_problem.hpp"
#include "mpi/comm/environment.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

int main(int argc, char** argv) {
    using namespace xrdct;
    const std::string mode = argc > 1 ? argv[1] : "";
    std::set_terminate([] {
        try {
            throw;
        } catch (const std::exception& error) {
            mpi::abort_all(1, error.what());
        }
    });
    const mpi::Environment environment;
    const mpi::Communicator world = mpi::Communicator::world();
    const petsc::Session session(world, mode == "log_view" ? "-log_view" : "");
    test::DenseProblem problem(world, 12, test::rosenbrock());
    petsc::BoundedGaussNewtonOptions options;
    options.grace_seconds = 0.5;
    petsc::BoundedGaussNewton solver(session, world, problem,
                                     problem.own(Eigen::VectorXd::Constant(12, -1.2)), options);
    int calls = 0;
    problem.hook = [&](const std::string& name) {
        if (name != "gauss_newton_product" || ++calls < 4)
            return;
        if (mode == "one_rank_throws" && world.rank() == 1)
            throw std::logic_error("rank 1 broke while the others wait");
        if (mode == "error_leaves_main")
            world.agree("agreed end");
    };
    while (solver.step().reason == petsc::StopReason::none) {
    }
    std::puts("finished");
    return 0;
}
