// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/gauss_newton_operator.hpp"

#include <petscmat.h>

#include <algorithm>
#include <memory>

namespace xrdct::petsc {

struct GaussNewtonOperator::View {
    GaussNewtonOperator* owner = nullptr;
    bool all = true;
    std::vector<PetscInt> positions; ///< own entries of the view, when it is not of all
};

namespace {

template <class Function>
void (*as_operation(Function* function))() {
    return reinterpret_cast<void (*)()>(function);
}

} // namespace

GaussNewtonOperator::GaussNewtonOperator(solvers::LeastSquaresProblem& problem,
                                         CallbackGuard& guard,
                                         const mpi::Communicator& communicator, Layout layout)
    : problem_(problem), guard_(guard), communicator_(communicator), layout_(layout),
      full_in_(static_cast<std::size_t>(layout.local)),
      full_out_(static_cast<std::size_t>(layout.local)) {}

PetscErrorCode GaussNewtonOperator::create(View view, Mat* matrix) const {
    const PetscInt local = view.all ? layout_.local : static_cast<PetscInt>(view.positions.size());
    auto context = std::make_unique<View>(std::move(view));
    PetscCall(MatCreateShell(communicator_.handle(), local, local, PETSC_DETERMINE, PETSC_DETERMINE,
                             context.get(), matrix));
    PetscCall(MatShellSetOperation(*matrix, MATOP_DESTROY, as_operation(&destroy)));
    static_cast<void>(context.release()); // destroy() has it from here on
    PetscCall(MatShellSetOperation(*matrix, MATOP_MULT, as_operation(&multiply)));
    PetscCall(MatShellSetOperation(*matrix, MATOP_MULT_TRANSPOSE, as_operation(&multiply)));
    PetscCall(MatShellSetOperation(*matrix, MATOP_DUPLICATE, as_operation(&duplicate)));
    PetscCall(MatShellSetOperation(*matrix, MATOP_CREATE_SUBMATRIX, as_operation(&submatrix)));
    PetscCall(MatSetOption(*matrix, MAT_SYMMETRIC, PETSC_TRUE));
    PetscCall(MatAssemblyBegin(*matrix, MAT_FINAL_ASSEMBLY));
    PetscCall(MatAssemblyEnd(*matrix, MAT_FINAL_ASSEMBLY));
    return 0;
}

Matrix GaussNewtonOperator::matrix() const {
    Matrix result;
    check(create({const_cast<GaussNewtonOperator*>(this), true, {}}, result.put()));
    return result;
}

Matrix GaussNewtonOperator::matrix(std::vector<PetscInt> positions) const {
    Matrix result;
    check(create({const_cast<GaussNewtonOperator*>(this), false, std::move(positions)},
                 result.put()));
    return result;
}

void GaussNewtonOperator::attach(KSP solver) {
    PC preconditioner = nullptr;
    check(KSPGetPC(solver, &preconditioner));
    check(PCSetType(preconditioner, PCSHELL));
    check(PCShellSetApply(preconditioner, &precondition));
    check(PCShellSetName(preconditioner, "the problem's own"));
}

PetscErrorCode GaussNewtonOperator::destroy(Mat matrix) {
    View* view = nullptr;
    PetscCall(MatShellGetContext(matrix, &view));
    delete view;
    return 0;
}

PetscErrorCode GaussNewtonOperator::duplicate(Mat matrix, MatDuplicateOption, Mat* copy) {
    View* view = nullptr;
    PetscCall(MatShellGetContext(matrix, &view));
    return view->owner->create(*view, copy);
}

PetscErrorCode GaussNewtonOperator::submatrix(Mat matrix, IS rows, IS columns, MatReuse reuse,
                                              Mat* part) {
    View* view = nullptr;
    PetscCall(MatShellGetContext(matrix, &view));
    MPI_Comm communicator = view->owner->communicator_.handle();
    PetscCheck(rows == columns && reuse == MAT_INITIAL_MATRIX && view->all, communicator,
               PETSC_ERR_SUP, "only principal submatrices of the whole matrix");
    PetscInt n = 0;
    const PetscInt* indices = nullptr;
    PetscCall(ISGetLocalSize(rows, &n));
    PetscCall(ISGetIndices(rows, &indices));
    View own{view->owner, false, {}};
    bool inside = true;
    for (PetscInt i = 0; i < n; ++i) {
        const PetscInt position = indices[i] - view->owner->layout_.first;
        inside = inside && position >= 0 && position < view->owner->layout_.local;
        own.positions.push_back(position);
    }
    PetscCall(ISRestoreIndices(rows, &indices));
    PetscCheck(inside, PETSC_COMM_SELF, PETSC_ERR_SUP, "rows of another rank");
    return view->owner->create(std::move(own), part);
}

PetscErrorCode GaussNewtonOperator::multiply(Mat matrix, Vec in, Vec out) {
    View* view = nullptr;
    PetscCall(MatShellGetContext(matrix, &view));
    ++view->owner->products_;
    return view->owner->apply(*view, &solvers::LeastSquaresProblem::gauss_newton_product, in, out);
}

PetscErrorCode GaussNewtonOperator::precondition(PC preconditioner, Vec in, Vec out) {
    Mat matrix = nullptr;
    View* view = nullptr;
    PetscCall(PCGetOperators(preconditioner, &matrix, nullptr));
    PetscCall(MatShellGetContext(matrix, &view));
    ++view->owner->preconditionings_;
    return view->owner->apply(*view, &solvers::LeastSquaresProblem::precondition, in, out);
}

PetscErrorCode GaussNewtonOperator::apply(const View& view, Product product, Vec in, Vec out) {
    const PetscScalar* from = nullptr;
    PetscScalar* to = nullptr;
    PetscCall(VecGetArrayRead(in, &from));
    PetscCall(VecGetArrayWrite(out, &to));
    const auto n = static_cast<std::size_t>(layout_.local);
    if (!view.all) {
        std::fill(full_in_.begin(), full_in_.end(), 0.0);
        for (std::size_t k = 0; k < view.positions.size(); ++k)
            full_in_[static_cast<std::size_t>(view.positions[k])] = from[k];
    }
    const auto flags = guard_.run([&] {
        if (view.all)
            (problem_.*product)({from, n}, {to, n});
        else
            (problem_.*product)(full_in_, full_out_);
        return 0U;
    });
    if (!view.all)
        for (std::size_t k = 0; k < view.positions.size(); ++k)
            to[k] = full_out_[static_cast<std::size_t>(view.positions[k])];
    PetscCall(VecRestoreArrayWrite(out, &to));
    PetscCall(VecRestoreArrayRead(in, &from));
    return flags ? 0 : callback_failed;
}

} // namespace xrdct::petsc
