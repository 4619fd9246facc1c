// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace xrdct::absorption {

/// Golden-section search: the place of the least value of a unimodal g on [a, b], which `steps`
/// steps narrow by a factor 0.618 each; steps + 2 calls of g.
template <typename G>
double golden_section(G&& g, double a, double b, int steps) {
    constexpr double golden = 0.6180339887498949;
    double c = b - golden * (b - a), d = a + golden * (b - a);
    double gc = g(c), gd = g(d);
    for (int i = 0; i < steps; ++i) {
        if (gc < gd) {
            b = d, d = c, gd = gc;
            c = b - golden * (b - a), gc = g(c);
        } else {
            a = c, c = d, gc = gd;
            d = a + golden * (b - a), gd = g(d);
        }
    }
    return 0.5 * (a + b);
}

} // namespace xrdct::absorption
