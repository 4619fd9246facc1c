// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::inspection {

/// A projection, [translation].
using Row = std::vector<double>;

/// A projection less its lowest level (a low quantile), of sum 1, missing rays as the one before;
/// empty when a fifth of it is missing or nothing is left.
Row prepared(std::span<const float> values);

/// prepared() of each row of a sinogram [row][translation].
std::vector<Row> prepared_rows(std::span<const float> sinogram, std::size_t n_translation);

/// The row mirrored: value at t is that of the given one at n − 1 + `shift` − t, linearly
/// interpolated and 0 outside.
Row mirrored(const Row& row, double shift);

/// Mean of the finite values of a row [translation]; NaN unless more than half of them are.
double mean_value(std::span<const float> row);

/// Mean of the rows that are not empty; empty without any.
Row mean_row(const std::vector<Row>& rows);

/// Difference of two rows of one length.
Row minus(const Row& one, const Row& other);

/// Σ ab / √(Σ a² Σ b²); 0 when a row is 0. `shift`: b is turned round by so many places.
double correlation(const Row& a, const Row& b, std::size_t shift = 0);

} // namespace xrdct::inspection
