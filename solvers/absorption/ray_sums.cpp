// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/absorption/ray_sums.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace xrdct::absorption {

namespace {

/// Extent of the object from the summed intensity of the rays.
void measure_extent(const tomography::ScanGeometry& geometry, RaySums& result) {
    const std::size_t n_translation = geometry.translation.size();
    const double step = geometry.step(), origin = geometry.origin_index();
    float highest = 0;
    for (const float value : result.total)
        if (std::isfinite(value))
            highest = std::max(highest, value);
    double mass = 0, squares = 0;
    for (std::size_t i = 0; i < result.total.size(); ++i) {
        const double s = (static_cast<double>(i % n_translation) - origin) * step;
        if (!(result.total[i] > 0.02F * highest))
            continue;
        result.half_width = std::max(result.half_width, std::abs(s));
        mass += result.total[i];
        squares += result.total[i] * s * s;
    }
    result.lateral_spread = mass > 0 ? std::sqrt(squares / mass) : 0;
}

} // namespace

mpi::BlockRange own_rotations(const mpi::Communicator& communicator,
                              const solvers::RaySource& rays) {
    return mpi::block_range(rays.geometry().rotation.size(),
                            static_cast<std::size_t>(communicator.size()),
                            static_cast<std::size_t>(communicator.rank()));
}

RaySums sum_rays(const mpi::Communicator& communicator, const solvers::RaySource& rays) {
    const std::size_t n_translation = rays.geometry().translation.size(), n = rays.n_channel();
    std::vector<double> sums(2 * n, 0.0);
    RaySums result;
    result.total.assign(rays.geometry().rotation.size() * n_translation, 0.0F);
    communicator.collectively([&] {
        for_own_rotations(communicator, rays, [&](std::size_t i, std::span<const float> line) {
            for (std::size_t j = 0; j < n_translation; ++j) {
                double total = 0;
                for (std::size_t k = 0; k < n; ++k) {
                    const float value = line[j * n + k];
                    total += value;
                    if (std::isfinite(value)) {
                        sums[k] += value;
                        sums[n + k] += 1;
                    }
                }
                result.total[i * n_translation + j] = static_cast<float>(total);
            }
        });
    });
    communicator.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    communicator.allreduce(std::span<float>(result.total), mpi::Reduction::sum);
    for (std::size_t k = 0; k < n; ++k)
        result.mean.push_back(sums[n + k] > 0 ? sums[k] / sums[n + k]
                                              : std::numeric_limits<double>::quiet_NaN());
    measure_extent(rays.geometry(), result);
    return result;
}

} // namespace xrdct::absorption
