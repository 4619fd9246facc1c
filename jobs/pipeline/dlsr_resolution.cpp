#include "jobs/pipeline/dlsr_resolution.hpp"

#include "jobs/pipeline/dlsr_errors.hpp"

#include "solvers/dlsr/resolution.hpp"

#include <algorithm>
#include <cmath>

namespace xrdct::pipeline {

namespace {
/// Distance of impulses in a map: this part of its width, and at least so many voxels.
constexpr std::size_t part_of_width = 5, min_spacing = 8;
} // namespace

DlsrResolutions find_resolutions(const mpi::Communicator& communicator,
                                 const SharedMemoryTeam& team, dlsr::Problem& problem,
                                 petsc::BoundedGaussNewton& solver, std::span<const double> x,
                                 const DlsrSetup& setup, const tomography::ImageGrid& grid,
                                 int products) {
    DlsrResolutions result;
    result.width.assign(setup.fields.size(), 0.0);
    const auto held = at_bounds(problem, x);
    problem.linearise(x);
    const auto all_held = communicator.allgather(std::span<const std::uint8_t>(held));
    const auto own_variance = problem.block_variances();
    const auto variance = communicator.collectively(
        [&, all = problem.whole(own_variance)] { return SharedArray<double>(team, all); });
    const std::size_t spacing = std::max(min_spacing, grid.n / part_of_width);
    const auto own = problem.own();

    for (const bool cells : {true, false}) {
        std::vector<double> impulse(x.size(), 0.0); // own share
        struct Map {
            std::size_t field = 0;
            dlsr::Impulses impulses;
            double height = 0;
        };
        std::vector<Map> maps;
        for (std::size_t f = 0; f < setup.fields.size(); ++f) {
            const auto& field = problem.fields()[f];
            if (field.treatment != dlsr::FieldTreatment::voxel || (field.shape >= 0) != cells)
                continue;
            if (field.smoothness == 0) {
                result.width[f] = grid.pixel;
                continue;
            }
            const auto pixels = setup.pixels[field.part].span();
            const std::size_t first = problem.field_unknowns(f).begin;
            std::vector<double> information(pixels.size(), 0.0);
            for (std::size_t v = 0; v < pixels.size(); ++v)
                if (!all_held[first + v] && variance[first + v] > 0)
                    information[v] = 1 / variance[first + v];
            // Anywhere in the better half, not at the best places.
            auto sorted = information;
            const auto half = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
            if (!sorted.empty()) {
                std::nth_element(sorted.begin(), half, sorted.end());
                for (double& value : information)
                    value = std::min(value, *half);
            }
            Map map{f, dlsr::choose_impulses(pixels, information, grid.n, spacing, f), 0};
            if (map.impulses.voxel.empty())
                continue;
            // Standard deviations high, so that no map outshouts the others.
            std::vector<double> spread;
            for (const std::size_t v : map.impulses.voxel)
                spread.push_back(std::sqrt(variance[first + v]));
            std::nth_element(spread.begin(),
                             spread.begin() + static_cast<std::ptrdiff_t>(spread.size() / 2),
                             spread.end());
            map.height = spread[spread.size() / 2];
            for (std::size_t i = 0; i < map.impulses.voxel.size(); ++i)
                if (const std::size_t unknown = first + map.impulses.voxel[i];
                    unknown >= own.begin && unknown < own.end)
                    impulse[unknown - own.begin] = map.height * map.impulses.sign[i];
            maps.push_back(std::move(map));
        }
        if (maps.empty())
            continue;
        std::vector<double> seen(x.size()), response_of_all(x.size());
        problem.gauss_newton_product(impulse, seen);
        const auto springs = problem.smoothness_product(impulse);
        for (std::size_t i = 0; i < x.size(); ++i)
            seen[i] -= springs[i];
        ++result.products;
        petsc::LinearSolveOptions linear;
        linear.tolerance = 0.01;
        linear.max_iterations = products;
        result.products += solver.solve_linear(seen, response_of_all, held, linear).iterations;
        const auto found = problem.whole(response_of_all);
        for (const auto& map : maps) {
            const auto pixels = setup.pixels[problem.fields()[map.field].part].span();
            const std::size_t first = problem.field_unknowns(map.field).begin;
            std::vector<double> response(pixels.size());
            for (std::size_t v = 0; v < pixels.size(); ++v)
                response[v] = found[first + v] / map.height;
            result.width[map.field] =
                grid.pixel * response_width(response, map.impulses, pixels, grid.n, spacing);
        }
    }
    return result;
}

} // namespace xrdct::pipeline
