// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to the cell search.

#include "rietveld/fit/least_squares.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace xrdct::rietveld {

/// The weighted fit of a set of columns: free (background) or non-negative.
class ColumnFit {
  public:
    explicit ColumnFit(std::vector<double> data) : data_(std::move(data)) {}
    void add(const std::vector<double>* column, bool bounded) {
        columns_.push_back(column);
        bounded_.push_back(bounded);
        products_.emplace_back(columns_.size());
        data_product_.push_back(0);
        update(columns_.size() - 1);
    }
    void remove_last() {
        columns_.pop_back();
        bounded_.pop_back();
        products_.pop_back();
        data_product_.pop_back();
    }
    void replace(std::size_t i, const std::vector<double>* column) {
        columns_[i] = column;
        update(i);
    }
    std::size_t size() const { return columns_.size(); }

    /// Gain in χ² over the empty model.
    double gain() {
        const std::size_t m = columns_.size();
        gram_.resize(m * m);
        right_ = data_product_;
        lower_.resize(m);
        x_.assign(m, 0);
        upper_.assign(m, std::numeric_limits<double>::infinity());
        state_.assign(m, 0);
        for (std::size_t i = 0; i < m; ++i) {
            std::copy(products_[i].begin(), products_[i].end(),
                      gram_.begin() + static_cast<std::ptrdiff_t>(i * m));
            lower_[i] = bounded_[i] ? 0 : -std::numeric_limits<double>::infinity();
        }
        solver_.solve(gram_.data(), static_cast<int>(m), static_cast<int>(m), right_.data(),
                      lower_.data(), upper_.data(), x_.data(), state_.data(), 1e-9);
        double gain = 0;
        for (std::size_t i = 0; i < m; ++i) {
            double row = 0;
            for (std::size_t j = 0; j < m; ++j) {
                row += (i >= j ? gram_[i * m + j] : gram_[j * m + i]) * x_[j];
            }
            gain += x_[i] * (2 * right_[i] - row);
        }
        return gain;
    }

  private:
    void update(std::size_t i) {
        for (std::size_t j = 0; j < columns_.size(); ++j) {
            products_[std::max(i, j)][std::min(i, j)] = dot(*columns_[i], *columns_[j]);
        }
        data_product_[i] = dot(*columns_[i], data_);
    }
    static double dot(const std::vector<double>& a, const std::vector<double>& b) {
        double sums[4] = {};
        std::size_t i = 0;
        for (; i + 4 <= a.size(); i += 4) {
            for (std::size_t k = 0; k < 4; ++k) {
                sums[k] += a[i + k] * b[i + k];
            }
        }
        for (; i < a.size(); ++i) {
            sums[0] += a[i] * b[i];
        }
        return sums[0] + sums[1] + sums[2] + sums[3];
    }

    std::vector<double> data_;
    std::vector<const std::vector<double>*> columns_;
    std::vector<bool> bounded_;
    std::vector<std::vector<double>> products_; ///< lower triangle
    std::vector<double> data_product_;
    std::vector<double> gram_, right_, lower_, upper_, x_;
    std::vector<std::int8_t> state_;
    BoundedSolver solver_;
};

} // namespace xrdct::rietveld
