// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/map_resolution.hpp"

#include "solvers/dlsr/monte_carlo_esd.hpp"
#include "solvers/dlsr/resolution.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace xrdct::dlsr {

namespace {

/// Distance of impulses in a map: this part of its width, and at least so many voxels.
constexpr std::size_t part_of_width = 5, min_spacing = 8;

/// Impulses in a map.
struct ImpulseMap {
    std::size_t field = 0;
    Impulses impulses;
    double height = 0;
};

double upper_median(std::vector<double> values) {
    const auto half = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), half, values.end());
    return *half;
}

/// Finds the resolutions of a problem. Members are collective unless said otherwise.
class ResolutionFinder {
  public:
    ResolutionFinder(const mpi::Communicator& communicator, const SharedMemoryTeam& team,
                     Problem& problem, petsc::BoundedGaussNewton& solver, std::span<const double> x,
                     const Setup& setup, const tomography::ImageGrid& grid)
        : problem_(problem), solver_(solver), setup_(setup), grid_(grid),
          spacing_(std::max(min_spacing, grid.n / part_of_width)), held_(at_bounds(problem, x)) {
        result_.width.assign(setup.fields.size(), 0.0);
        problem.linearise(x);
        all_held_ = communicator.allgather(std::span<const std::uint8_t>(held_));
        const auto own_variance = problem.block_variances();
        variance_ = communicator.collectively(
            [&, all = problem.whole(own_variance)] { return SharedArray<double>(team, all); });
    }

    /// Of the cells or of the amounts.
    void find(bool cells, int products);
    const MapResolutions& result() const { return result_; }

  private:
    // Not collective.
    ImpulseMap impulses_of(std::size_t field) const;
    void add_impulses(const ImpulseMap& map, std::span<double> own) const;
    std::vector<ImpulseMap> choose_maps(bool cells);
    double width_of(const ImpulseMap& map, std::span<const double> response) const;

    Problem& problem_;
    petsc::BoundedGaussNewton& solver_;
    const Setup& setup_;
    const tomography::ImageGrid& grid_;
    std::size_t spacing_;
    std::vector<std::uint8_t> held_, all_held_; ///< own unknowns, all
    SharedArray<double> variance_;              ///< of all unknowns
    MapResolutions result_;
};

/// Without voxels where there is no place for one.
ImpulseMap ResolutionFinder::impulses_of(std::size_t f) const {
    const auto pixels = setup_.pixels[problem_.fields()[f].part].span();
    const std::size_t first = problem_.field_unknowns(f).begin;
    std::vector<double> information(pixels.size(), 0.0);
    for (std::size_t v = 0; v < pixels.size(); ++v)
        if (!all_held_[first + v] && variance_[first + v] > 0)
            information[v] = 1 / variance_[first + v];
    // Anywhere in the better half, not at the best places.
    if (!information.empty()) {
        const double half = upper_median(information);
        for (double& value : information)
            value = std::min(value, half);
    }
    ImpulseMap map{f, choose_impulses(pixels, information, grid_.n, spacing_, f), 0};
    // Standard deviations high, so that no map outshouts the others.
    std::vector<double> spread;
    for (const std::size_t v : map.impulses.voxel)
        spread.push_back(std::sqrt(variance_[first + v]));
    if (!spread.empty())
        map.height = upper_median(spread);
    return map;
}

void ResolutionFinder::add_impulses(const ImpulseMap& map, std::span<double> out) const {
    const auto own = problem_.own();
    const std::size_t first = problem_.field_unknowns(map.field).begin;
    for (std::size_t i = 0; i < map.impulses.voxel.size(); ++i)
        if (const std::size_t unknown = first + map.impulses.voxel[i];
            unknown >= own.begin && unknown < own.end)
            out[unknown - own.begin] = map.height * map.impulses.sign[i];
}

/// Maps without smoothness have the resolution of their voxels.
std::vector<ImpulseMap> ResolutionFinder::choose_maps(bool cells) {
    std::vector<ImpulseMap> maps;
    for (std::size_t f = 0; f < setup_.fields.size(); ++f) {
        const auto& field = problem_.fields()[f];
        if (field.treatment != FieldTreatment::voxel || (field.shape >= 0) != cells)
            continue;
        if (field.smoothness == 0) {
            result_.width[f] = grid_.pixel;
            continue;
        }
        auto map = impulses_of(f);
        if (!map.impulses.voxel.empty())
            maps.push_back(std::move(map));
    }
    return maps;
}

double ResolutionFinder::width_of(const ImpulseMap& map, std::span<const double> found) const {
    const auto pixels = setup_.pixels[problem_.fields()[map.field].part].span();
    const std::size_t first = problem_.field_unknowns(map.field).begin;
    std::vector<double> response(pixels.size());
    for (std::size_t v = 0; v < pixels.size(); ++v)
        response[v] = found[first + v] / map.height;
    return grid_.pixel * response_width(response, map.impulses, pixels, grid_.n, spacing_);
}

void ResolutionFinder::find(bool cells, int products) {
    const auto maps = choose_maps(cells);
    if (maps.empty())
        return;
    std::vector<double> impulse(held_.size(), 0.0); // own share
    for (const auto& map : maps)
        add_impulses(map, impulse);
    std::vector<double> seen(impulse.size()), response(impulse.size());
    problem_.gauss_newton_product(impulse, seen);
    const auto smoothness = problem_.smoothness_product(impulse);
    for (std::size_t i = 0; i < seen.size(); ++i)
        seen[i] -= smoothness[i];
    ++result_.products;
    petsc::LinearSolveOptions linear;
    linear.tolerance = 0.01;
    linear.max_iterations = products;
    result_.products += solver_.solve_linear(seen, response, held_, linear).iterations;
    const auto found = problem_.whole(response);
    for (const auto& map : maps)
        result_.width[map.field] = width_of(map, found);
}

} // namespace

MapResolutions find_resolutions(const mpi::Communicator& communicator, const SharedMemoryTeam& team,
                                Problem& problem, petsc::BoundedGaussNewton& solver,
                                std::span<const double> x, const Setup& setup,
                                const tomography::ImageGrid& grid, int products) {
    ResolutionFinder finder(communicator, team, problem, solver, x, setup, grid);
    for (const bool cells : {true, false})
        finder.find(cells, products);
    return finder.result();
}

} // namespace xrdct::dlsr
