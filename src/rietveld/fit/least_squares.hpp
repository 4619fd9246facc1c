// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::rietveld {

/// Cholesky factor of a small symmetric matrix, row-major. Columns that depend linearly on earlier
/// ones (pivot below `tolerance` of the diagonal) are set aside: their solution components are 0
/// and they have no variance. By hand because Eigen's LLT and LDLT know no tolerance at which a
/// column is set aside while the others keep their order.
class SmallCholesky {
  public:
    /// Factors the n × n matrix whose element (i, j) is a[i · stride + j]; the lower triangle is
    /// read. The matrix is scaled to unit diagonal first. Returns the number of columns set aside.
    int factor(const double* a, int n, int stride, double tolerance);
    /// x = A⁻¹ b; in place allowed.
    void solve(const double* b, double* x) const;
    /// Inverse, row-major n × n; rows and columns set aside are 0.
    void invert(double* out) const;
    bool dependent(int i) const { return dependent_[static_cast<std::size_t>(i)] != 0; }

  private:
    int n_ = 0;
    std::vector<double> l_, scale_;
    mutable std::vector<double> work_;
    std::vector<std::uint8_t> dependent_;
};

/// Minimises ½ xᵀ A x − bᵀ x subject to lower ≤ x ≤ upper (bounds may be infinite) by block
/// principal pivoting with a single-exchange fallback, which ends for every positive definite A
/// (Júdice & Pires 1994).
class BoundedSolver {
  public:
    /// A: n × n row-major with `stride`, symmetric, lower triangle read. `state` (in and out): −1
    /// at the lower bound, 0 free, 1 at the upper; a warm start. Returns false when the iteration
    /// limit was met (x is then the last, clamped).
    bool solve(const double* a, int n, int stride, const double* b, const double* lower,
               const double* upper, double* x, std::int8_t* state, double tolerance = 1e-11);

  private:
    SmallCholesky cholesky_;
    std::vector<double> reduced_, right_, solution_;
    std::vector<int> free_;
};

} // namespace xrdct::rietveld
