// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/ray_total.hpp"

#include "base/numbers.hpp"

#include <cmath>
#include <cstddef>

namespace xrdct::tomography {

namespace {

constexpr double least_share = 0.5;

} // namespace

double completed_total(std::span<const float> pattern, std::span<const double> mean) {
    double total = 0, measured = 0, whole = 0;
    bool complete = true;
    for (std::size_t k = 0; k < pattern.size(); ++k) {
        const double expected = mean[k] > 0 ? mean[k] : 0;
        whole += expected;
        if (std::isfinite(pattern[k])) {
            total += static_cast<double>(pattern[k]);
            measured += expected;
        } else {
            complete = false;
        }
    }
    if (complete)
        return total;
    return measured >= least_share * whole && measured > 0 ? total * whole / measured : nan_value;
}

} // namespace xrdct::tomography
