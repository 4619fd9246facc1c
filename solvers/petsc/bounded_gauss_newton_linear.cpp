// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "solvers/petsc/bounded_gauss_newton_impl.hpp"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

namespace xrdct::petsc {

Vector BoundedGaussNewton::Impl::wrap(std::vector<double>& values) const {
    Vector vector;
    check(VecCreateMPIWithArray(communicator_.handle(), 1, static_cast<PetscInt>(values.size()),
                                PETSC_DETERMINE, values.data(), vector.put()));
    return vector;
}

void BoundedGaussNewton::Impl::check_linear_system(std::span<const double> rhs,
                                                   std::span<const double> x,
                                                   std::span<const std::uint8_t> held,
                                                   const LinearSolveOptions& options) const {
    const std::size_t n = present_.x.size();
    if (rhs.size() != n || x.size() != n || (!held.empty() && held.size() != n))
        throw Error(fmt::format("least squares: the linear system has spans of {}, {} and {} "
                                "entries on this rank instead of {}",
                                rhs.size(), x.size(), held.size(), n));
    if (!all_finite(rhs))
        throw Error("least squares: the right-hand side of the linear system is not finite");
    if (!(options.tolerance > 0 && options.tolerance < 1) || options.max_iterations < 1)
        throw Error(fmt::format("least squares: tolerance {} and {} iterations of the linear "
                                "system; expected a number between 0 and 1, and at least 1",
                                options.tolerance, options.max_iterations));
}

LinearSolveReport BoundedGaussNewton::Impl::solve(Mat matrix, std::vector<double>& b,
                                                  std::vector<double>& x,
                                                  const LinearSolveOptions& options) {
    const LinearSolver solver = make_linear_solver(options);
    {
        const Vector b_vector = wrap(b);
        const Vector x_vector = wrap(x);
        check(KSPSetOperators(solver.get(), matrix, matrix));
        const PetscErrorCode code = KSPSolve(solver.get(), b_vector.get(), x_vector.get());
        rethrow();
        check(code);
    }
    LinearSolveReport report;
    PetscInt iterations = 0;
    PetscReal norm = 0;
    KSPConvergedReason reason = KSP_CONVERGED_ITERATING;
    check(KSPGetIterationNumber(solver.get(), &iterations));
    check(KSPGetResidualNorm(solver.get(), &norm));
    check(KSPGetConvergedReason(solver.get(), &reason));
    report.iterations = static_cast<int>(iterations);
    report.residual_norm = norm;
    report.converged = reason > 0;
    return report;
}

LinearSolveReport BoundedGaussNewton::Impl::solve_linear(std::span<const double> rhs,
                                                         std::span<double> x,
                                                         std::span<const std::uint8_t> held,
                                                         const LinearSolveOptions& options) {
    communicator_.collectively([&] { check_linear_system(rhs, x, held, options); });
    std::vector<PetscInt> free;
    std::vector<double> b;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (held.empty() || held[i] == 0) {
            free.push_back(static_cast<PetscInt>(i));
            b.push_back(rhs[i]);
        }
    std::vector<double> solution(b.size());

    StepReport at_present;
    require_finite_start(at_present);
    communicator_.agree(present_.finite ? std::nullopt
                                        : std::optional<std::string>(
                                              "least squares: the objective is not finite where "
                                              "the linear system was asked for"));
    linearise(present_);
    rethrow();

    const OptionScope scope(*session_);
    const Matrix matrix = operator_.matrix(std::move(free));
    const LinearSolveReport report = solve(matrix.get(), b, solution, options);
    std::size_t k = 0;
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = held.empty() || held[i] == 0 ? solution[k++] : 0.0;
    return report;
}

} // namespace xrdct::petsc
