// SPDX-License-Identifier: BSD-3-Clause
#include "base/statistics.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

namespace xrdct {

namespace {

template <class T>
constexpr T unknown = std::numeric_limits<T>::quiet_NaN();

template <class T>
auto partition_at(std::vector<T>& values, std::size_t k) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(k);
    std::nth_element(values.begin(), at, values.end());
    return at;
}

} // namespace

template <class T>
T order_statistic(std::vector<T> values, std::size_t k) {
    if (k >= values.size())
        throw Error("statistics: there are not that many values");
    return *partition_at(values, k);
}

template <class T>
T median(std::vector<T> values) {
    return values.empty() ? unknown<T> : *partition_at(values, values.size() / 2);
}

template <class T>
T midpoint_median(std::vector<T> values) {
    if (values.empty())
        return unknown<T>;
    const auto middle = partition_at(values, values.size() / 2);
    if (values.size() % 2 == 1)
        return *middle;
    return T(0.5) * (*middle + *std::max_element(values.begin(), middle));
}

template <class T>
T quantile(std::vector<T> values, double fraction) {
    if (values.empty())
        return unknown<T>;
    const double rank = fraction * static_cast<double>(values.size() - 1) + 0.5;
    return *partition_at(values, static_cast<std::size_t>(rank));
}

template <class T>
T lower_quantile(std::vector<T> values, double fraction) {
    if (values.empty())
        return unknown<T>;
    const double rank = fraction * static_cast<double>(values.size() - 1);
    return *partition_at(values, static_cast<std::size_t>(rank));
}

template <class T>
T interpolated_quantile(std::span<const T> sorted, double fraction) {
    if (sorted.empty())
        return unknown<T>;
    const double position = fraction * static_cast<double>(sorted.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    if (below + 1 >= sorted.size())
        return sorted.back();
    const double share = position - static_cast<double>(below);
    return static_cast<T>(sorted[below] * (1.0 - share) + sorted[below + 1] * share);
}

template <class T>
std::vector<T> finite_values(std::span<const T> values) {
    std::vector<T> finite;
    finite.reserve(values.size());
    std::copy_if(values.begin(), values.end(), std::back_inserter(finite),
                 [](T value) { return std::isfinite(value); });
    return finite;
}

template float order_statistic(std::vector<float>, std::size_t);
template double order_statistic(std::vector<double>, std::size_t);
template float median(std::vector<float>);
template double median(std::vector<double>);
template float midpoint_median(std::vector<float>);
template double midpoint_median(std::vector<double>);
template float quantile(std::vector<float>, double);
template double quantile(std::vector<double>, double);
template float lower_quantile(std::vector<float>, double);
template double lower_quantile(std::vector<double>, double);
template float interpolated_quantile(std::span<const float>, double);
template double interpolated_quantile(std::span<const double>, double);
template std::vector<float> finite_values(std::span<const float>);
template std::vector<double> finite_values(std::span<const double>);

} // namespace xrdct
