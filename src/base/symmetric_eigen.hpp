// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <Eigen/Core>

namespace xrdct {

/// Eigenvalues, ascending, and orthonormal eigenvectors of a real symmetric matrix.
struct SymmetricEigen {
    Eigen::VectorXd values;
    Eigen::MatrixXd vectors; ///< a column for each value
};

/// The decomposition A = V diag(λ) Vᵀ of a symmetric matrix [n][n], of which only the lower
/// triangle is read. Eigen's SelfAdjointEigenSolver, instantiated here once: it costs a compiler
/// more than most sources do.
SymmetricEigen symmetric_eigen(const Eigen::MatrixXd& matrix);

} // namespace xrdct
