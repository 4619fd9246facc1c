// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <array>
#include <cstdint>

namespace xrdct::phantom {

/// Random numbers of one ray: xoshiro256++, its state made from three integers by splitmix64. The
/// same on every machine, unlike the distributions of the standard library.
class RayRandom {
  public:
    RayRandom(std::uint64_t seed, std::uint64_t rotation, std::uint64_t translation);

    std::uint64_t bits();
    /// Uniform in the open interval (0, 1).
    double uniform();
    /// Poisson-distributed; 0 for a mean that is not positive. Inversion below a mean of 12, above
    /// it the transformed rejection of Hörmann (1993), algorithm PTRS.
    double poisson(double mean);

  private:
    std::array<std::uint64_t, 4> state_;
};

} // namespace xrdct::phantom
