// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "rietveld/model/pattern_basis.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// Adds a sample of counting noise to compressed rays: Φ √w n with n normal of variance[channel],
/// the same for a given seed and ray however rays are shared out. `noise` [M] is overwritten.
void sample_ray_noise(const rietveld::PatternBasis& basis, std::span<const float> variance,
                      std::uint64_t seed, std::uint64_t ray, std::span<float> noise);

/// Mean of squared deviations over neighbours of the same kind: what a few samples tell about one
/// voxel is too little. `squares` per voxel of a part at `pixels` [y · n + x] of an n × n map;
/// `information`, what the data say of the voxel alone (inverse variance), tells the kind: voxels
/// count by a Gaussian of standard deviation `sigma` voxels in the distance and by the ratio of
/// their information, nothing beyond a factor of 2. Smoothness lends to voxels of little
/// information what their neighbours know, so that their variance may be the smaller one; below a
/// twentieth of the 95th percentile all are alike. Squares of 0 are left out and have variance 0.
std::vector<double> smoothed_variance(std::span<const double> squares,
                                      std::span<const double> information,
                                      std::span<const std::size_t> pixels, std::size_t n,
                                      double sigma);

} // namespace xrdct::dlsr
