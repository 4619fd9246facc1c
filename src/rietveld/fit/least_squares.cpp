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
    const auto element = [&](int i, int j) {
        return i >= j ? a[i * stride + j] : a[j * stride + i];
    };
    int fewest = n + 1, patience = 3;
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
        for (int i = 0; i < m; ++i) {
            double sum = b[free_[i]];
            for (int j = 0; j < n; ++j) {
                if (state[j] != 0 && x[j] != 0) {
                    sum -= element(free_[i], j) * x[j];
                }
            }
            right_[i] = sum;
            for (int j = 0; j <= i; ++j) {
                reduced_[i * m + j] = element(free_[i], free_[j]);
            }
        }
        cholesky_.factor(reduced_.data(), m, m, tolerance);
        cholesky_.solve(right_.data(), solution_.data());
        for (int i = 0; i < m; ++i) {
            x[free_[i]] = solution_[i];
            if (cholesky_.dependent(i)) {
                x[free_[i]] = std::clamp(0.0, lower[free_[i]], upper[free_[i]]);
            }
        }
        // Infeasible: a free variable outside its bounds, or a bound one whose gradient points
        // inwards.
        int infeasible = 0, last = -1;
        for (int i = 0; i < n; ++i) {
            bool bad = false;
            if (state[i] == 0) {
                bad = x[i] < lower[i] || x[i] > upper[i];
            } else if (lower[i] < upper[i]) {
                double gradient = -b[i], magnitude = std::abs(b[i]);
                for (int j = 0; j < n; ++j) {
                    const double term = element(i, j) * x[j];
                    gradient += term;
                    magnitude += std::abs(term);
                }
                bad = gradient * state[i] > 1e-12 * magnitude;
            }
            if (bad) {
                ++infeasible;
                last = i;
            }
            right_[i] = bad ? 1 : 0;
        }
        if (infeasible == 0) {
            return true;
        }
        const auto exchange = [&](int i) {
            if (state[i] != 0) {
                state[i] = 0;
            } else {
                state[i] = x[i] < lower[i] ? -1 : 1;
            }
        };
        if (infeasible < fewest) {
            fewest = infeasible;
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
