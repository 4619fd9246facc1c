// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "solvers/petsc/session.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace xrdct::test {

/// One entry ∂r_row/∂x_column of a Jacobian.
struct JacobianEntry {
    std::size_t row = 0;      ///< counted from this rank's first residual
    std::uint64_t column = 0; ///< of the whole vector of unknowns
    double value = 0;
};

/// A Jacobian J held as a distributed sparse matrix (PETSc's MPIAIJ), and the products with J, Jᵀ
/// and JᵀJ: what a matrix-free operator of a small problem is proven against. Residuals and
/// unknowns are spread over the ranks in shares, one after another in rank order.
///
/// All members but the sizes are collective; spans have the lengths of this rank's shares and
/// throw Error on all ranks when they have not.
class AssembledNormalMatrix {
  public:
    /// `entries` belong to this rank's residuals; several for one place are added up. Throws Error
    /// on all ranks for an entry outside the matrix.
    AssembledNormalMatrix(const petsc::Session& session, const mpi::Communicator& communicator,
                          std::size_t local_rows, std::size_t local_columns,
                          std::span<const JacobianEntry> entries);
    AssembledNormalMatrix(AssembledNormalMatrix&&) noexcept;
    AssembledNormalMatrix& operator=(AssembledNormalMatrix&&) noexcept;
    AssembledNormalMatrix(const AssembledNormalMatrix&) = delete;
    AssembledNormalMatrix& operator=(const AssembledNormalMatrix&) = delete;
    ~AssembledNormalMatrix();

    std::size_t local_rows() const;
    std::size_t local_columns() const;

    /// r = J v
    void multiply(std::span<const double> v, std::span<double> r) const;
    /// v = Jᵀ r
    void multiply_transpose(std::span<const double> r, std::span<double> v) const;
    /// out = Jᵀ J v
    void normal_product(std::span<const double> v, std::span<double> out) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::test
