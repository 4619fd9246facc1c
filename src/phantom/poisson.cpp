// SPDX-License-Identifier: BSD-3-Clause
#include "phantom/poisson.hpp"

#include <bit>
#include <cmath>

namespace xrdct::phantom {

namespace {

std::uint64_t splitmix(std::uint64_t& x) {
    x += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = x;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/// ln k! by Stirling's series (relative error below 1e-10 for k ≥ 10) or by table.
double log_factorial(double k) {
    static const std::array<double, 10> table = [] {
        std::array<double, 10> t{};
        for (std::size_t i = 1; i < t.size(); ++i)
            t[i] = t[i - 1] + std::log(static_cast<double>(i));
        return t;
    }();
    if (k < 10)
        return table[static_cast<std::size_t>(k)];
    const double inverse = 1 / (k + 1), square = inverse * inverse;
    return (k + 0.5) * std::log(k + 1) - (k + 1) + 0.91893853320467274178 +
           inverse * (1.0 / 12 - square * (1.0 / 360 - square / 1260));
}

} // namespace

RayRandom::RayRandom(std::uint64_t seed, std::uint64_t rotation, std::uint64_t translation) {
    std::uint64_t x = seed;
    x = splitmix(x) ^ rotation;
    x = splitmix(x) ^ translation;
    for (std::uint64_t& word : state_)
        word = splitmix(x);
}

std::uint64_t RayRandom::bits() {
    auto& s = state_;
    const std::uint64_t result = std::rotl(s[0] + s[3], 23) + s[0];
    const std::uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 45);
    return result;
}

double RayRandom::uniform() {
    return (static_cast<double>(bits() >> 12) + 0.5) * 0x1.0p-52;
}

double RayRandom::poisson(double mean) {
    if (!(mean > 0))
        return 0;
    if (mean < 12) {
        const double u = uniform();
        double p = std::exp(-mean), sum = p;
        int k = 0;
        while (u > sum && k < 200) {
            ++k;
            p *= mean / k;
            sum += p;
        }
        return k;
    }
    const double log_mean = std::log(mean);
    const double b = 0.931 + 2.53 * std::sqrt(mean);
    const double a = -0.059 + 0.02483 * b;
    const double log_inverse_alpha = std::log(1.1239 + 1.1328 / (b - 3.4));
    const double v_r = 0.9277 - 3.6224 / (b - 2);
    while (true) {
        const double u = uniform() - 0.5, v = uniform();
        const double us = 0.5 - std::abs(u);
        const double k = std::floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= v_r)
            return k;
        if (k < 0 || (us < 0.013 && v > us))
            continue;
        if (std::log(v) + log_inverse_alpha - std::log(a / (us * us) + b) <=
            k * log_mean - mean - log_factorial(k))
            return k;
    }
}

} // namespace xrdct::phantom
