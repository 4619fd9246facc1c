// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/least_squares.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::rietveld {

int SmallCholesky::factor(const double* a, int n, int stride, double tolerance) {
    n_ = n;
    const auto size = static_cast<std::size_t>(n);
    l_.resize(size * size);
    scale_.resize(size);
    dependent_.assign(size, 0);
    int set_aside = 0;
    for (int i = 0; i < n; ++i) {
        const double diagonal = a[i * stride + i];
        scale_[i] = diagonal > 0 ? 1 / std::sqrt(diagonal) : 0;
    }
    for (int i = 0; i < n; ++i) {
        double* row = &l_[static_cast<std::size_t>(i) * size];
        double norm = 0;
        for (int j = 0; j < i; ++j) {
            const double* other = &l_[static_cast<std::size_t>(j) * size];
            if (dependent_[j]) {
                row[j] = 0;
                continue;
            }
            double sum = a[i * stride + j] * scale_[i] * scale_[j];
            for (int k = 0; k < j; ++k) {
                sum -= row[k] * other[k];
            }
            row[j] = sum * other[j]; // the diagonal holds reciprocals
            norm += row[j] * row[j];
        }
        const double pivot = 1 - norm;
        if (scale_[i] > 0 && pivot > tolerance) {
            row[i] = 1 / std::sqrt(pivot);
        } else {
            dependent_[i] = 1;
            std::fill(row, row + i, 0.0);
            row[i] = 0;
            ++set_aside;
        }
    }
    return set_aside;
}

void SmallCholesky::solve(const double* b, double* x) const {
    const auto size = static_cast<std::size_t>(n_);
    for (int i = 0; i < n_; ++i) {
        const double* row = &l_[static_cast<std::size_t>(i) * size];
        double sum = b[i] * scale_[i];
        for (int j = 0; j < i; ++j) {
            sum -= row[j] * x[j];
        }
        x[i] = sum * row[i];
    }
    for (int i = n_ - 1; i >= 0; --i) {
        double sum = x[i];
        for (int j = i + 1; j < n_; ++j) {
            sum -= l_[static_cast<std::size_t>(j) * size + i] * x[j];
        }
        x[i] = sum * l_[static_cast<std::size_t>(i) * size + i];
    }
    for (int i = 0; i < n_; ++i) {
        x[i] *= scale_[i];
    }
}

void SmallCholesky::invert(double* out) const {
    const auto size = static_cast<std::size_t>(n_);
    // M = L⁻¹ by columns, then A⁻¹ = Mᵀ M.
    work_.assign(size * size, 0);
    for (int j = 0; j < n_; ++j) {
        work_[j * size + j] = l_[j * size + j];
        for (int i = j + 1; i < n_; ++i) {
            const double* row = &l_[static_cast<std::size_t>(i) * size];
            double sum = 0;
            for (int k = j; k < i; ++k) {
                sum -= row[k] * work_[k * size + j];
            }
            work_[i * size + j] = sum * row[i];
        }
    }
    for (int i = 0; i < n_; ++i) {
        for (int j = 0; j <= i; ++j) {
            double sum = 0;
            for (int k = i; k < n_; ++k) {
                sum += work_[k * size + i] * work_[k * size + j];
            }
            out[i * size + j] = out[j * size + i] = sum * scale_[i] * scale_[j];
        }
    }
}

namespace {

/// The quadratic problem, of whose matrix the lower triangle is read.
struct BoundedProblem {
    const double* a;
    int n, stride;
    const double *b, *lower, *upper;

    double element(int i, int j) const { return i >= j ? a[i * stride + j] : a[j * stride + i]; }
};

/// Infeasible: a free variable outside its bounds, or a bound one whose gradient points inwards.
inline bool infeasible_at(const BoundedProblem& problem, int i, const double* x,
                          const std::int8_t* state) {
    if (state[i] == 0) {
        return x[i] < problem.lower[i] || x[i] > problem.upper[i];
    }
    if (!(problem.lower[i] < problem.upper[i])) {
        return false;
    }
    double gradient = -problem.b[i], magnitude = std::abs(problem.b[i]);
    for (int j = 0; j < problem.n; ++j) {
        const double term = problem.element(i, j) * x[j];
        gradient += term;
        magnitude += std::abs(term);
    }
    return gradient * state[i] > 1e-12 * magnitude;
}

/// Equations of the free variables with the others on their bounds.
inline void reduce(const BoundedProblem& problem, const std::vector<int>& free,
                   const std::int8_t* state, const double* x, std::vector<double>& reduced,
                   std::vector<double>& right) {
    const int m = static_cast<int>(free.size());
    for (int i = 0; i < m; ++i) {
        double sum = problem.b[free[i]];
        for (int j = 0; j < problem.n; ++j) {
            if (state[j] != 0 && x[j] != 0) {
                sum -= problem.element(free[i], j) * x[j];
            }
        }
        right[i] = sum;
        for (int j = 0; j <= i; ++j) {
            reduced[i * m + j] = problem.element(free[i], free[j]);
        }
    }
}

} // namespace

bool BoundedSolver::solve(const double* a, int n, int stride, const double* b, const double* lower,
                          const double* upper, double* x, std::int8_t* state, double tolerance) {
    const auto size = static_cast<std::size_t>(n);
    right_.resize(size);
    solution_.resize(size);
    for (int i = 0; i < n; ++i) {
        if (state[i] < 0 && !std::isfinite(lower[i])) {
            state[i] = 0;
        }
        if (state[i] > 0 && !std::isfinite(upper[i])) {
            state[i] = 0;
        }
    }
    const BoundedProblem problem{a, n, stride, b, lower, upper};
    const auto exchange = [&](int i) {
        state[i] = static_cast<std::int8_t>(state[i] != 0 ? 0 : x[i] < lower[i] ? -1 : 1);
    };
    int least_infeasible = n + 1, patience = 3;
    for (int iteration = 0; iteration < 10 * n + 30; ++iteration) {
        free_.clear();
        for (int i = 0; i < n; ++i) {
            if (state[i] == 0) {
                free_.push_back(i);
            } else {
                x[i] = state[i] < 0 ? lower[i] : upper[i];
            }
        }
        const int m = static_cast<int>(free_.size());
        reduced_.resize(static_cast<std::size_t>(m) * m + 1);
        reduce(problem, free_, state, x, reduced_, right_);
        cholesky_.factor(reduced_.data(), m, m, tolerance);
        cholesky_.solve(right_.data(), solution_.data());
        for (int i = 0; i < m; ++i) {
            x[free_[i]] = solution_[i];
            if (cholesky_.dependent(i)) {
                x[free_[i]] = std::clamp(0.0, lower[free_[i]], upper[free_[i]]);
            }
        }
        int infeasible = 0, last = -1;
        for (int i = 0; i < n; ++i) {
            const bool bad = infeasible_at(problem, i, x, state);
            if (bad) {
                ++infeasible;
                last = i;
            }
            right_[i] = bad ? 1 : 0;
        }
        if (infeasible == 0) {
            return true;
        }
        if (infeasible < least_infeasible) {
            least_infeasible = infeasible;
            patience = 3;
        } else {
            --patience;
        }
        if (patience >= 0) {
            for (int i = 0; i < n; ++i) {
                if (right_[i] != 0) {
                    exchange(i);
                }
            }
        } else {
            exchange(last);
        }
    }
    for (int i = 0; i < n; ++i) {
        x[i] = std::clamp(x[i], lower[i], upper[i]);
    }
    return false;
}

} // namespace xrdct::rietveld
