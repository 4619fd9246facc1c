// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct {

// Medians and quantiles of float and double values. Values must not hold NaN. Each function has one
// rule for what lies between two values; the rules differ, so they are not exchangeable where
// results have to stay the same to the last bit. The median or quantile of nothing is NaN.

/// The k-th smallest of the values, from 0. Throws Error unless k < values.size().
template <class T>
T order_statistic(std::vector<T> values, std::size_t k);

/// The value of rank n/2 of n values: of an even number the upper of the two in the middle.
template <class T>
T median(std::vector<T> values);

/// The value in the middle, of an even number of values the mean of the two in the middle.
template <class T>
T midpoint_median(std::vector<T> values);

/// The value whose rank is nearest to `fraction` (n − 1), the upper one of two that are equally
/// near; no interpolation. `fraction` from 0 to 1; for 1/2 it is median().
template <class T>
T quantile(std::vector<T> values, double fraction);

/// The value whose rank is the integer part of `fraction` (n − 1); no interpolation. `fraction`
/// from 0 to 1; for 1/2 of an even number of values it is the lower of the two in the middle.
template <class T>
T lower_quantile(std::vector<T> values, double fraction);

/// Interpolates linearly between the two values whose ranks enclose `fraction` (n − 1). `sorted`
/// must rise; `fraction` from 0 to 1.
template <class T>
T interpolated_quantile(std::span<const T> sorted, double fraction);

/// The values that are neither NaN nor infinite, in their order.
template <class T>
std::vector<T> finite_values(std::span<const T> values);

} // namespace xrdct
