// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>

namespace xrdct::rietveld {

// Chebyshev polynomials of the first kind by their recurrence, T_{i+1} = 2 x T_i − T_{i−1}, T_0 =
// 1, T_1 = x. By hand rather than by boost::math, whose recurrence rounds otherwise where the
// compiler contracts products and sums.

/// T_{i+1}(x) of T_i = `current` and T_{i−1} = `previous`.
inline double next_chebyshev(double x, double current, double previous) {
    return 2 * x * current - previous;
}

/// T_order(x).
inline double chebyshev_polynomial(std::size_t order, double x) {
    double previous = 1, current = x;
    for (std::size_t i = 1; i < order; ++i) {
        const double next = next_chebyshev(x, current, previous);
        previous = current;
        current = next;
    }
    return order == 0 ? 1 : current;
}

} // namespace xrdct::rietveld
