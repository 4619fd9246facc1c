// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/petsc: shows PETSc.
#include "mpi/comm/communicator.hpp"
#include "solvers/least_squares_problem.hpp"
#include "solvers/petsc/callback_guard.hpp"
#include "solvers/petsc/internal.hpp"

#include <petscksp.h>

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::petsc {

using Matrix = Handle<Mat, MatDestroy>;
using Vector = Handle<Vec, VecDestroy>;
using LinearSolver = Handle<KSP, KSPDestroy>;

/// What a PETSc callback returns when the guard holds an exception or the solver wants out.
inline constexpr PetscErrorCode callback_failed = PETSC_ERR_USER;

/// The problem's two products as PETSc matrix and preconditioner, for all unknowns or for some
/// (the others held: their entries of v are zero, their entries of H v are not wanted). Principal
/// submatrices of H and of M⁻¹ keep their definiteness, so conjugate gradients run on them.
class GaussNewtonOperator {
  public:
    GaussNewtonOperator(solvers::LeastSquaresProblem& problem, CallbackGuard& guard,
                        const mpi::Communicator& communicator, Layout layout);
    GaussNewtonOperator(const GaussNewtonOperator&) = delete;
    GaussNewtonOperator& operator=(const GaussNewtonOperator&) = delete;

    /// The shell matrix of all unknowns, or of the own unknowns at `positions` (ascending, counted
    /// from the own share's first). Must not outlive the operator. Collective.
    Matrix matrix() const;
    Matrix matrix(std::vector<PetscInt> positions) const;

    /// Makes the solver's preconditioner the problem's, for whichever matrix of this operator it
    /// is given.
    static void attach(KSP solver);

    std::int64_t products() const { return products_; }
    std::int64_t preconditionings() const { return preconditionings_; }

  private:
    struct View;
    using Product = void (solvers::LeastSquaresProblem::*)(std::span<const double>,
                                                           std::span<double>);
    static PetscErrorCode multiply(Mat matrix, Vec in, Vec out);
    static PetscErrorCode duplicate(Mat matrix, MatDuplicateOption option, Mat* copy);
    static PetscErrorCode submatrix(Mat matrix, IS rows, IS columns, MatReuse reuse, Mat* part);
    static PetscErrorCode destroy(Mat matrix);
    static PetscErrorCode precondition(PC preconditioner, Vec in, Vec out);
    PetscErrorCode apply(const View& view, Product product, Vec in, Vec out);
    PetscErrorCode create(View view, Mat* matrix) const;

    solvers::LeastSquaresProblem& problem_;
    CallbackGuard& guard_;
    const mpi::Communicator& communicator_;
    Layout layout_;
    std::vector<double> full_in_, full_out_;
    std::int64_t products_ = 0;
    std::int64_t preconditionings_ = 0;
};

} // namespace xrdct::petsc
