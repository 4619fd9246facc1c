// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "mpi/comm/communicator.hpp"
#include "solvers/dlsr/problem.hpp"
#include "solvers/dlsr/setup.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"

#include <span>
#include <vector>

namespace xrdct::dlsr {

/// Effective resolutions of the maps of a DLSR.
struct MapResolutions {
    std::vector<double> width; ///< mm, per field of the setup; 0: not determined
    int products = 0;          ///< with the normal matrix
};

/// Full widths at half maximum of what the fit makes of unit impulses in the fields refined per
/// voxel, linearised at `x` (this rank's share): (H + S)⁻¹ H e, with H that of the data, S that
/// of the smoothness and e impulses well apart in several maps at once. Cells and amounts are
/// solved for one after the other, with at most `products` products each. `solver` is one of the
/// problem, `team` the problem's. Collective; leaves the problem linearised at x.
MapResolutions find_resolutions(const mpi::Communicator& communicator, const SharedMemoryTeam& team,
                                Problem& problem, petsc::BoundedGaussNewton& solver,
                                std::span<const double> x, const Setup& setup,
                                const tomography::ImageGrid& grid, int products);

} // namespace xrdct::dlsr
