// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "solvers/ray_source.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace xrdct::absorption {

/// What the rays tell before any model: mean pattern and summed intensity.
struct RaySums {
    std::vector<double> mean;  ///< [channel], over valid rays
    std::vector<float> total;  ///< [rotation][translation]
    double half_width = 0;     ///< of the object as seen by all rotations [mm]
    double lateral_spread = 0; ///< standard deviation of the intensity along the translation [mm]
};

/// The same on all ranks; each reads its own_rotations(). Collective.
RaySums sum_rays(const mpi::Communicator& communicator, const solvers::RaySource& rays);

/// The rotations that this rank reads.
mpi::BlockRange own_rotations(const mpi::Communicator& communicator,
                              const solvers::RaySource& rays);

/// Reads this rank's rotations one by one; `each` gets the rotation's index and its rays
/// [translation][channel]. Not collective.
template <typename Each>
void for_own_rotations(const mpi::Communicator& communicator, const solvers::RaySource& rays,
                       Each&& each) {
    const auto own = own_rotations(communicator, rays);
    std::vector<float> line(rays.geometry().translation.size() * rays.n_channel());
    for (std::size_t i = own.begin; i < own.end; ++i) {
        rays.read_rays({i, i + 1}, line, {});
        each(i, std::span<const float>(line));
    }
}

} // namespace xrdct::absorption
