// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/unknown_estimate.hpp"

#include "base/assertions.hpp"
#include "base/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <fmt/format.h>

namespace xrdct::petsc {

UnknownEstimate estimate_unknown(const Session& session, const mpi::Communicator& communicator,
                                 solvers::LeastSquaresProblem& problem, std::span<const double> x,
                                 std::size_t unknown, const LinearSolveOptions& options) {
    const std::size_t size = problem.local_size();
    const auto sizes = communicator.allgather(static_cast<std::int64_t>(size));
    std::size_t first = 0, all = 0;
    for (std::size_t rank = 0; rank < sizes.size(); ++rank) {
        if (rank == static_cast<std::size_t>(communicator.rank()))
            first = all;
        all += static_cast<std::size_t>(sizes[rank]);
    }
    if (unknown >= all)
        throw Error(fmt::format("estimate of unknown {} of {}", unknown, all));
    XRDCT_ASSERT(x.size() == size, "a point of the size of the problem");
    std::vector<double> lower(size), upper(size), gradient(size), right(size, 0.0), u(size, 0.0);
    problem.bounds(lower, upper);
    BoundedGaussNewton solver(session, communicator, problem, x);
    problem.objective_and_gradient(x, gradient);
    problem.linearise(x);
    std::vector<std::uint8_t> held(size, 0);
    for (std::size_t i = 0; i < size; ++i)
        held[i] = first + i != unknown &&
                  (!(lower[i] < upper[i]) || (x[i] <= lower[i] + 1e-9 && gradient[i] > 0) ||
                   (x[i] >= upper[i] - 1e-9 && gradient[i] < 0));
    const bool mine = unknown >= first && unknown < first + size;
    if (mine)
        right[unknown - first] = 1;
    UnknownEstimate result;
    result.solve = solver.solve_linear(right, u, held, options);
    double change = 0, variance = 0;
    for (std::size_t i = 0; i < size; ++i)
        change -= held[i] ? 0 : u[i] * gradient[i];
    if (mine)
        variance = u[unknown - first];
    result.change = communicator.allreduce(change, mpi::Reduction::sum);
    variance = communicator.allreduce(variance, mpi::Reduction::sum);
    result.esd = std::sqrt(std::max(variance, 0.0));
    return result;
}

} // namespace xrdct::petsc
