// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Time and clock rate of a benchmark.

#include <algorithm>
#include <ctime>

namespace xrdct::test {

inline double processor_time() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Clock rate from a chain of dependent additions, one per cycle.
inline double clock_rate() {
    double best = 0;
    for (int repetition = 0; repetition < 5; ++repetition) {
        constexpr long count = 20'000'000;
        unsigned long x = 1;
        const double start = processor_time();
        for (long i = 0; i < count; ++i)
            asm volatile("add $1, %0\n\tadd $1, %0\n\tadd $1, %0\n\tadd $1, %0" : "+r"(x));
        best = std::max(best, 4 * count / (processor_time() - start));
    }
    return best;
}

} // namespace xrdct::test
