// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace xrdct::test {

/// Poisson-distributed counts of the given means.
inline std::vector<double> poisson_counts(const std::vector<double>& means, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<double> counts;
    for (const double mean : means) {
        counts.push_back(
            mean > 0 ? static_cast<double>(std::poisson_distribution<long>(mean)(random)) : 0);
    }
    return counts;
}

} // namespace xrdct::test
