// SPDX-License-Identifier: BSD-3-Clause
#include "inspection/projections.hpp"

#include "base/statistics.hpp"
#include "inspection/finding.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::inspection {

Row prepared(std::span<const float> values) {
    Row row(values.begin(), values.end());
    auto known = finite_values(std::span<const double>(row));
    if (known.empty() || 5 * known.size() < 4 * row.size())
        return {};
    const double lowest = lower_quantile(std::move(known), 0.02);
    double last = lowest;
    double sum = 0;
    for (double& value : row) {
        value = std::isfinite(value) ? value : last;
        last = value;
        value -= lowest;
        sum += value;
    }
    if (!(sum > 0))
        return {};
    for (double& value : row)
        value /= sum;
    return row;
}

std::vector<Row> prepared_rows(std::span<const float> sinogram, std::size_t n_translation) {
    std::vector<Row> rows;
    for (std::size_t at = 0; at + n_translation <= sinogram.size(); at += n_translation)
        rows.push_back(prepared(sinogram.subspan(at, n_translation)));
    return rows;
}

Row mirrored(const Row& row, double shift) {
    Row result(row.size(), 0.0);
    const auto n = static_cast<double>(row.size());
    for (std::size_t t = 0; t < row.size(); ++t) {
        const double place = n - 1 + shift - static_cast<double>(t);
        if (!(place >= 0 && place <= n - 1))
            continue;
        const auto k = std::min(static_cast<std::size_t>(place), row.size() - 2);
        const double f = place - static_cast<double>(k);
        result[t] = (1 - f) * row[k] + f * row[k + 1];
    }
    return result;
}

double mean_value(std::span<const float> row) {
    double sum = 0;
    std::size_t known = 0;
    for (const float value : row)
        if (std::isfinite(value)) {
            sum += value;
            ++known;
        }
    return 2 * known > row.size() ? sum / static_cast<double>(known) : Finding::none;
}

Row mean_row(const std::vector<Row>& rows) {
    Row mean;
    std::size_t count = 0;
    for (const Row& row : rows) {
        if (row.empty())
            continue;
        mean.resize(row.size(), 0.0);
        for (std::size_t t = 0; t < row.size(); ++t)
            mean[t] += row[t];
        ++count;
    }
    for (double& value : mean)
        value /= static_cast<double>(count);
    return mean;
}

Row minus(const Row& one, const Row& other) {
    Row result(one.size());
    for (std::size_t t = 0; t < one.size(); ++t)
        result[t] = one[t] - other[t];
    return result;
}

double correlation(const Row& a, const Row& b, std::size_t shift) {
    double product = 0, one = 0, other = 0;
    const std::size_t n = a.size();
    for (std::size_t t = 0; t < n; ++t) {
        const double value = b[(t + shift) % n];
        product += a[t] * value;
        one += a[t] * a[t];
        other += value * value;
    }
    return one > 0 && other > 0 ? product / std::sqrt(one * other) : 0;
}

} // namespace xrdct::inspection
