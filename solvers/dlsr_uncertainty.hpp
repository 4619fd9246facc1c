#pragma once

#include "mpi/communicator.hpp"
#include "rietveld/pattern_basis.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace xrdct {

/// Adds a sample of counting noise to compressed rays: Φ √w n with n normal of variance[channel],
/// the same for a given seed and ray however rays are shared out. `noise` [M] is overwritten.
void sample_ray_noise(const PatternBasis& basis, std::span<const float> variance,
                      std::uint64_t seed, std::uint64_t ray, std::span<float> noise);

/// Mean over neighbours of squared deviations relative to an expected variance: `squares` and
/// `expected` per voxel of a part at `pixels` [y · n + x] of an n × n map; the window is a Gaussian
/// of standard deviation `sigma` voxels within the part. Returns variances. What a few samples tell
/// about one voxel is too little; how the expected variance errs changes slowly.
std::vector<double> smoothed_variance(std::span<const double> squares,
                                      std::span<const double> expected,
                                      std::span<const std::size_t> pixels, std::size_t n,
                                      double sigma);

} // namespace xrdct
