// SPDX-License-Identifier: BSD-3-Clause
#include "base/symmetric_eigen.hpp"

#include "base/assertions.hpp"

#include <Eigen/Eigenvalues>

namespace xrdct {

SymmetricEigen symmetric_eigen(const Eigen::MatrixXd& matrix) {
    XRDCT_ASSERT(matrix.rows() == matrix.cols(), "symmetric_eigen: the matrix is not square");
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
    return {solver.eigenvalues(), solver.eigenvectors()};
}

} // namespace xrdct
