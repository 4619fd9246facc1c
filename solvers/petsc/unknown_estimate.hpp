// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "solvers/least_squares_problem.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <cstddef>
#include <span>

namespace xrdct::petsc {

/// What the quadratic model of a problem says about one unknown while all others that are free
/// adapt to it.
struct UnknownEstimate {
    double change = 0; ///< from where it is to its best value
    double esd = 0;    ///< √ of its element of H⁻¹; both in units of the unknown
    LinearSolveReport solve;
};

/// One linear solve H u = e: the change is −uᵀ g with the gradient g, the variance u's own element.
/// `x` is this rank's share of the point, `unknown` counts over all ranks. Unknowns at a bound that
/// the gradient points at, and those with equal bounds, are held, the one in question never: this
/// tells what a parameter that a fit holds would become. Leaves the problem linearised at x.
/// Collective. Throws Error on all ranks for an unknown that does not exist.
UnknownEstimate estimate_unknown(const Session& session, const mpi::Communicator& communicator,
                                 solvers::LeastSquaresProblem& problem, std::span<const double> x,
                                 std::size_t unknown, const LinearSolveOptions& options = {});

} // namespace xrdct::petsc
