// SPDX-License-Identifier: BSD-3-Clause
#include "support/assembled_normal_matrix.hpp"

#include "base/error.hpp"
#include "solvers/petsc/internal.hpp"

#include <fmt/format.h>
#include <petscmat.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace xrdct::test {

using petsc::check;

struct AssembledNormalMatrix::Impl {
    std::shared_ptr<petsc::Session::Impl> session;
    mpi::Communicator communicator;
    petsc::Layout rows, columns;
    petsc::Handle<Mat, MatDestroy> matrix;
    mutable petsc::Handle<Vec, VecDestroy> unknowns, residuals;

    void require(std::span<const double> span, const petsc::Layout& layout,
                 const char* name) const {
        communicator.collectively([&] {
            if (span.size() != static_cast<std::size_t>(layout.local))
                throw Error(fmt::format("assembled Jacobian: {} has {} entries instead of {}", name,
                                        span.size(), layout.local));
        });
    }
};

namespace {

void copy_in(std::span<const double> from, Vec to) {
    PetscScalar* array = nullptr;
    check(VecGetArrayWrite(to, &array));
    std::copy(from.begin(), from.end(), array);
    check(VecRestoreArrayWrite(to, &array));
}

void copy_out(Vec from, std::span<double> to) {
    const PetscScalar* array = nullptr;
    check(VecGetArrayRead(from, &array));
    std::copy_n(array, to.size(), to.begin());
    check(VecRestoreArrayRead(from, &array));
}

} // namespace

AssembledNormalMatrix::AssembledNormalMatrix(const petsc::Session& session,
                                             const mpi::Communicator& communicator,
                                             std::size_t local_rows, std::size_t local_columns,
                                             std::span<const JacobianEntry> entries)
    : impl_(new Impl{session.impl(), communicator.duplicate(), {}, {}, {}, {}, {}}) {
    Impl& self = *impl_;
    self.rows = petsc::make_layout(self.communicator, local_rows);
    self.columns = petsc::make_layout(self.communicator, local_columns);
    self.communicator.collectively([&] {
        for (const JacobianEntry& entry : entries)
            if (entry.row >= local_rows ||
                entry.column >= static_cast<std::uint64_t>(self.columns.global))
                throw Error(fmt::format("assembled Jacobian: an entry at row {}, column {} lies "
                                        "outside {} own rows and {} columns",
                                        entry.row, entry.column, local_rows, self.columns.global));
    });

    std::vector<std::pair<PetscInt, PetscInt>> places;
    places.reserve(entries.size());
    for (const JacobianEntry& entry : entries)
        places.emplace_back(static_cast<PetscInt>(entry.row), static_cast<PetscInt>(entry.column));
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    std::vector<PetscInt> own(local_rows), other(local_rows);
    for (const auto& [row, column] : places) {
        const bool is_own =
            column >= self.columns.first && column < self.columns.first + self.columns.local;
        ++(is_own ? own : other)[static_cast<std::size_t>(row)];
    }

    const petsc::OptionScope scope(*self.session);
    Mat* matrix = self.matrix.put();
    check(MatCreate(self.communicator.handle(), matrix));
    check(MatSetSizes(*matrix, self.rows.local, self.columns.local, self.rows.global,
                      self.columns.global));
    check(MatSetType(*matrix, MATMPIAIJ));
    check(MatMPIAIJSetPreallocation(*matrix, 0, own.data(), 0, other.data()));
    for (const JacobianEntry& entry : entries)
        check(MatSetValue(*matrix, self.rows.first + static_cast<PetscInt>(entry.row),
                          static_cast<PetscInt>(entry.column), entry.value, ADD_VALUES));
    check(MatAssemblyBegin(*matrix, MAT_FINAL_ASSEMBLY));
    check(MatAssemblyEnd(*matrix, MAT_FINAL_ASSEMBLY));
    check(MatCreateVecs(*matrix, self.unknowns.put(), self.residuals.put()));
}

AssembledNormalMatrix::AssembledNormalMatrix(AssembledNormalMatrix&&) noexcept = default;
AssembledNormalMatrix& AssembledNormalMatrix::operator=(AssembledNormalMatrix&&) noexcept = default;
AssembledNormalMatrix::~AssembledNormalMatrix() = default;

std::size_t AssembledNormalMatrix::local_rows() const {
    return static_cast<std::size_t>(impl_->rows.local);
}

std::size_t AssembledNormalMatrix::local_columns() const {
    return static_cast<std::size_t>(impl_->columns.local);
}

void AssembledNormalMatrix::multiply(std::span<const double> v, std::span<double> r) const {
    impl_->require(v, impl_->columns, "the vector of unknowns");
    impl_->require(r, impl_->rows, "the vector of residuals");
    copy_in(v, impl_->unknowns.get());
    check(MatMult(impl_->matrix.get(), impl_->unknowns.get(), impl_->residuals.get()));
    copy_out(impl_->residuals.get(), r);
}

void AssembledNormalMatrix::multiply_transpose(std::span<const double> r,
                                               std::span<double> v) const {
    impl_->require(r, impl_->rows, "the vector of residuals");
    impl_->require(v, impl_->columns, "the vector of unknowns");
    copy_in(r, impl_->residuals.get());
    check(MatMultTranspose(impl_->matrix.get(), impl_->residuals.get(), impl_->unknowns.get()));
    copy_out(impl_->unknowns.get(), v);
}

void AssembledNormalMatrix::normal_product(std::span<const double> v, std::span<double> out) const {
    impl_->require(v, impl_->columns, "the vector of unknowns");
    impl_->require(out, impl_->columns, "the result");
    copy_in(v, impl_->unknowns.get());
    check(MatMult(impl_->matrix.get(), impl_->unknowns.get(), impl_->residuals.get()));
    check(MatMultTranspose(impl_->matrix.get(), impl_->residuals.get(), impl_->unknowns.get()));
    copy_out(impl_->unknowns.get(), out);
}

} // namespace xrdct::test
