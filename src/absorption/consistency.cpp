// SPDX-License-Identifier: BSD-3-Clause
#include "absorption/consistency.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace xrdct::absorption {

namespace {

/// Solves a x = b for a [n × n] and b [n × any number] in place, by elimination with pivots; rows
/// without a pivot give 0. Returns false when there was one.
bool solve_system(std::vector<double>& a, std::vector<double>& b, std::size_t n) {
    const std::size_t rhs = b.size() / n;
    bool regular = true;
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i)
        largest = std::max(largest, std::abs(a[i * n + i]));
    for (std::size_t i = 0; i < n; ++i) {
        std::size_t pivot = i;
        for (std::size_t k = i + 1; k < n; ++k)
            if (std::abs(a[k * n + i]) > std::abs(a[pivot * n + i]))
                pivot = k;
        if (!(std::abs(a[pivot * n + i]) > 1e-12 * largest)) {
            regular = false;
            continue;
        }
        for (std::size_t j = 0; j < n; ++j)
            std::swap(a[i * n + j], a[pivot * n + j]);
        for (std::size_t j = 0; j < rhs; ++j)
            std::swap(b[i * rhs + j], b[pivot * rhs + j]);
        for (std::size_t k = 0; k < n; ++k) {
            if (k == i)
                continue;
            const double f = a[k * n + i] / a[i * n + i];
            for (std::size_t j = 0; j < n; ++j)
                a[k * n + j] -= f * a[i * n + j];
            for (std::size_t j = 0; j < rhs; ++j)
                b[k * rhs + j] -= f * b[i * rhs + j];
        }
    }
    for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < rhs; ++j)
            b[i * rhs + j] = a[i * n + i] != 0 ? b[i * rhs + j] / a[i * n + i] : 0;
    return regular;
}

/// Fills what is missing in a projection between its neighbours; false: nothing is there.
bool complete(std::vector<double>& line, std::vector<double>& variance) {
    std::size_t last = line.size();
    for (std::size_t j = 0; j < line.size(); ++j) {
        if (!std::isfinite(line[j]) || !std::isfinite(variance[j]))
            continue;
        for (std::size_t k = last == line.size() ? 0 : last + 1; k < j; ++k) {
            const double f = last == line.size()
                                 ? 1
                                 : static_cast<double>(k - last) / static_cast<double>(j - last);
            line[k] = last == line.size() ? line[j] : (1 - f) * line[last] + f * line[j];
            variance[k] =
                last == line.size() ? variance[j] : (1 - f) * variance[last] + f * variance[j];
        }
        last = j;
    }
    if (last == line.size())
        return false;
    for (std::size_t k = last + 1; k < line.size(); ++k)
        line[k] = line[last], variance[k] = variance[last];
    return true;
}

} // namespace

ConsistencyConditions::ConsistencyConditions(const tomography::ScanGeometry& geometry,
                                             int highest) {
    geometry.validate();
    if (geometry.rotation.size() < static_cast<std::size_t>(highest) + 3)
        throw Error(fmt::format("absorption: {} rotations are too few for conditions of order {}",
                                geometry.rotation.size(), highest));
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i)
        omega_.push_back(geometry.omega(i));
    const std::size_t n = geometry.translation.size();
    const double origin = geometry.origin_index();
    const double reach =
        std::max({std::abs(origin), std::abs(static_cast<double>(n - 1) - origin), 1.0});
    for (int order = 0; order <= highest; ++order) {
        std::vector<double> values;
        for (std::size_t j = 0; j < n; ++j) {
            const double x = (static_cast<double>(j) - origin) / reach;
            values.push_back(std::cos(order * std::acos(std::clamp(x, -1.0, 1.0))) *
                             std::abs(geometry.step()));
        }
        polynomials_.push_back(std::move(values));
    }
}

std::vector<double> ConsistencyConditions::residuals(std::span<const double> amounts,
                                                     std::span<const double> variance) const {
    const std::size_t rotations = omega_.size(), n = polynomials_.front().size();
    if (amounts.size() != rotations * n || variance.size() != amounts.size())
        throw Error("absorption: amounts or variances do not match the rays");
    std::vector<double> moments(polynomials_.size() * rotations, 0.0), weights(moments);
    std::vector<double> line(n), noise(n);
    for (std::size_t i = 0; i < rotations; ++i) {
        std::copy_n(amounts.begin() + static_cast<std::ptrdiff_t>(i * n), n, line.begin());
        std::copy_n(variance.begin() + static_cast<std::ptrdiff_t>(i * n), n, noise.begin());
        if (!complete(line, noise))
            continue;
        for (std::size_t order = 0; order < polynomials_.size(); ++order) {
            double sum = 0, spread = 0;
            for (std::size_t j = 0; j < n; ++j) {
                const double p = polynomials_[order][j];
                sum += p * line[j];
                spread += p * p * noise[j];
            }
            moments[order * rotations + i] = sum;
            weights[order * rotations + i] = spread > 0 ? 1 / std::sqrt(spread) : 0;
        }
    }
    std::vector<double> left(moments.size());
    for (std::size_t order = 0; order < polynomials_.size(); ++order) {
        const std::size_t terms = order + 1;
        std::vector<double> basis(rotations * terms), normal(terms * terms, 0.0), right(terms, 0.0);
        for (std::size_t i = 0; i < rotations; ++i) {
            std::size_t c = 0;
            for (std::size_t k = order % 2; k <= order; k += 2) {
                basis[i * terms + c++] = std::cos(static_cast<double>(k) * omega_[i]);
                if (k > 0)
                    basis[i * terms + c++] = std::sin(static_cast<double>(k) * omega_[i]);
            }
            const double w = weights[order * rotations + i];
            for (std::size_t a = 0; a < terms; ++a) {
                right[a] += w * w * basis[i * terms + a] * moments[order * rotations + i];
                for (std::size_t b = 0; b < terms; ++b)
                    normal[a * terms + b] += w * w * basis[i * terms + a] * basis[i * terms + b];
            }
        }
        solve_system(normal, right, terms);
        for (std::size_t i = 0; i < rotations; ++i) {
            double model = 0;
            for (std::size_t a = 0; a < terms; ++a)
                model += basis[i * terms + a] * right[a];
            left[order * rotations + i] =
                weights[order * rotations + i] * (moments[order * rotations + i] - model);
        }
    }
    return left;
}

SandwichErrors sandwich_errors(std::span<const double> residuals,
                               const std::vector<std::vector<double>>& derivatives,
                               std::size_t rotations, std::size_t lag) {
    const std::size_t n = derivatives.size(), series = residuals.size() / rotations;
    std::vector<double> normal(n * n, 0.0), scatter(n * n, 0.0), inverse(n * n, 0.0);
    for (std::size_t a = 0; a < n; ++a) {
        inverse[a * n + a] = 1;
        for (std::size_t b = 0; b < n; ++b)
            for (std::size_t i = 0; i < residuals.size(); ++i)
                normal[a * n + b] += derivatives[a][i] * derivatives[b][i];
    }
    for (std::size_t s = 0; s < series; ++s)
        for (std::size_t i = 0; i < rotations; ++i)
            for (std::size_t k = 0; k <= lag && i + k < rotations; ++k) {
                const std::size_t one = s * rotations + i, two = one + k;
                const double taper = 1 - static_cast<double>(k) / static_cast<double>(lag + 1);
                for (std::size_t a = 0; a < n; ++a)
                    for (std::size_t b = 0; b < n; ++b) {
                        const double product = taper * residuals[one] * residuals[two];
                        scatter[a * n + b] += product * derivatives[a][one] * derivatives[b][two];
                        if (k > 0)
                            scatter[a * n + b] +=
                                product * derivatives[a][two] * derivatives[b][one];
                    }
            }
    SandwichErrors found;
    const bool regular = solve_system(normal, inverse, n);
    for (std::size_t a = 0; a < n; ++a) {
        double variance = 0;
        for (std::size_t b = 0; b < n; ++b)
            for (std::size_t c = 0; c < n; ++c)
                variance += inverse[a * n + b] * scatter[b * n + c] * inverse[a * n + c];
        // Never less than independent residuals of the same size would have.
        double squares = 0;
        for (const double r : residuals)
            squares += r * r;
        variance =
            std::max(variance, inverse[a * n + a] * squares /
                                   static_cast<double>(std::max<std::size_t>(residuals.size(), 1)));
        found.error.push_back(regular && std::isfinite(variance)
                                  ? std::sqrt(variance)
                                  : std::numeric_limits<double>::infinity());
    }
    return found;
}

} // namespace xrdct::absorption
