// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/voxel_refinement.hpp"

#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace xrdct::voxels {

namespace {

/// Voxels whose patterns tell the widths that hold for the whole object.
constexpr std::size_t width_sample = 800;
/// Voxels that tell the cell of a phase: the richest, where it is significant; fewer than the
/// smaller number tell nothing.
constexpr std::size_t max_rich = 120;
constexpr std::ptrdiff_t min_rich = 4;
constexpr double rich_significance = 6; ///< scale over its e.s.d.

bool is_inside(unsigned char mask) {
    return mask != 0;
}

std::string name_of(const rietveld::PhaseModel& phase, const GlobalShape& shape) {
    switch (shape.kind) {
    case GlobalShape::Kind::cell:
        return phase.name + " " +
               std::string(to_string(phase.phase.free_parameters()[shape.index]));
    case GlobalShape::Kind::size:
        return phase.name + " size";
    case GlobalShape::Kind::microstrain:
        return phase.name + " microstrain";
    default:
        return phase.name + " gauss_microstrain";
    }
}

/// Sums [2 · channel + 1] of intensities, variances and the number of voxels over this rank's rows.
std::vector<double> sum_own_rows(const mpi::Communicator& communicator, const VolumeSource& volume,
                                 const std::vector<unsigned char>& sample) {
    const std::size_t n = volume.n(), channels = volume.channels();
    std::vector<double> sums(2 * channels + 1, 0.0);
    const auto rows = mpi::block_range(n, static_cast<std::size_t>(communicator.size()),
                                       static_cast<std::size_t>(communicator.rank()));
    std::vector<std::size_t> columns;
    std::vector<float> intensity, variance;
    for (std::size_t y = rows.begin; y < rows.end; ++y) {
        columns.clear();
        for (std::size_t x = 0; x < n; ++x)
            if (sample[y * n + x])
                columns.push_back(x);
        intensity.resize(columns.size() * channels);
        variance.resize(columns.size() * channels);
        volume.read_patterns(y, columns, intensity, variance);
        for (std::size_t i = 0; i < columns.size(); ++i) {
            for (std::size_t k = 0; k < channels; ++k) {
                sums[k] += intensity[i * channels + k];
                sums[channels + k] += variance[i * channels + k];
            }
            sums[2 * channels] += 1;
        }
    }
    return sums;
}

} // namespace

VoxelRefinement::VoxelRefinement(const mpi::Communicator& communicator, const VolumeSource& volume,
                                 const std::vector<unsigned char>& sample,
                                 const VoxelRefinementOptions& options, solvers::Observer& observer)
    : communicator_(communicator), volume_(volume), sample_(sample), options_(options),
      observer_(observer), team_(communicator), axis_(communicator.collectively([&] {
          return rietveld::RadialAxis::from_two_theta(volume.two_theta(), volume.wavelength());
      })) {}

void VoxelRefinement::average() {
    const std::size_t channels = volume_.channels();
    auto sums =
        communicator_.collectively([&] { return sum_own_rows(communicator_, volume_, sample_); });
    communicator_.allreduce(std::span<double>(sums), mpi::Reduction::sum);
    auto& mean = state_.mean;
    const double count = sums.back();
    mean.voxels = static_cast<std::size_t>(count);
    mean.intensity.assign(sums.begin(), sums.begin() + static_cast<std::ptrdiff_t>(channels));
    mean.variance.assign(sums.begin() + static_cast<std::ptrdiff_t>(channels), sums.end() - 1);
    for (double& value : mean.intensity)
        value /= count;
    for (double& value : mean.variance)
        value /= count * count;
}

void VoxelRefinement::refine_start(const rietveld::PatternModel& model) {
    rietveld::MeanRefinementOptions options;
    options.refinement.scale_errors = true;
    options.refinement.cell_search = options_.cell_search;
    if (!options_.refine_start)
        options.refinement.max_iterations = 0;
    options.varying = options_.voxel_cells;
    options.leader = options_.leader;
    auto result = communicator_.collectively([&] {
        return refine_mean(axis_, state_.mean.intensity, state_.mean.variance, model, options);
    });
    state_.start = std::move(result.fit);
    find_undecided(model, result.untold);
    state_.untold_peaks.clear();
    for (const std::size_t peak : result.untold_peaks)
        state_.untold_peaks.push_back(model.peaks[peak].name);
    auto& phases = state_.start.model.phases;
    for (std::size_t p = 0; p < options_.voxel_cells.size(); ++p)
        for (std::size_t i = 0; i < options_.voxel_cells[p].size(); ++i)
            phases[p].cell[i].refine = options_.voxel_cells[p][i];
}

/// The cells of followers and what the mean pattern did not tell.
void VoxelRefinement::find_undecided(const rietveld::PatternModel& model,
                                     const std::vector<rietveld::CellPlace>& untold) {
    state_.undecided.clear();
    state_.untold.clear();
    if (!options_.refine_start)
        return;
    for (std::size_t p = 0; p < model.phases.size(); ++p) {
        const auto& cell = model.phases[p].cell;
        for (std::size_t i = 0; p < options_.leader.size() && i < cell.size(); ++i)
            if (options_.leader[p] >= 0 && cell[i].refine)
                state_.undecided.push_back({p, GlobalShape::Kind::cell, i});
        for (const auto& place : untold)
            if (place.phase == p) {
                state_.undecided.push_back({p, GlobalShape::Kind::cell, place.parameter});
                state_.untold.push_back(name_of(model.phases[p], state_.undecided.back()));
            }
    }
}

void VoxelRefinement::prepare() {
    communicator_.collectively(
        [&] { fitter_.emplace(axis_, state_.start.model, options_.fit, team_); });
}

void VoxelRefinement::find_alike() {
    state_.alike =
        communicator_.collectively([&] { return alike_phases(axis_, state_.start.model); });
}

/// Patterns of the voxels of a row that `wanted` [x] marks.
void VoxelRefinement::read_tile(std::size_t y, const unsigned char* wanted,
                                PatternTile& tile) const {
    const std::size_t n = volume_.n(), channels = volume_.channels();
    std::vector<std::size_t> columns;
    tile.voxels.clear();
    for (std::size_t x = 0; x < n; ++x)
        if (wanted[x]) {
            columns.push_back(x);
            tile.voxels.push_back(y * n + x);
        }
    tile.intensity.resize(tile.voxels.size() * channels);
    tile.variance.resize(tile.voxels.size() * channels);
    tile.present.clear();
    volume_.read_patterns(y, columns, tile.intensity, tile.variance);
    for (const std::size_t voxel : tile.voxels)
        for (const auto& phase : state_.masks)
            tile.present.push_back(phase[voxel]);
}

void VoxelRefinement::fit(std::string_view title) {
    const std::size_t n = volume_.n();
    observer_.begin(title, n);
    state_.fits =
        VoxelwiseRietveld(communicator_, *fitter_)
            .run(
                n, n * n,
                [&](std::size_t y, PatternTile& tile) {
                    read_tile(y, sample_.data() + y * n, tile);
                },
                [&](std::size_t tiles, std::size_t) {
                    observer_.progress(tiles * static_cast<std::size_t>(communicator_.size()));
                });
    fitter_.reset();
    const auto& summary = state_.fits.summary;
    const double fitted = static_cast<double>(summary.fitted);
    observer_.end(
        fmt::format("{} voxels, {:.1f} % converged", summary.fitted,
                    100 * static_cast<double>(summary.converged) / std::max(1.0, fitted)));
}

/// A map of the fits; root only.
std::span<const double> VoxelRefinement::map_of(std::size_t phase,
                                                std::string_view quantity) const {
    const auto& name = state_.start.model.phases[phase].name;
    for (const auto& map : state_.fits.maps)
        if (map.quantity.group == name && map.quantity.quantity == quantity)
            return map.values;
    throw Error(fmt::format("there is no map of the {} of {}", quantity, name));
}

std::vector<unsigned char> VoxelRefinement::mask_of(std::size_t phase,
                                                    const maps::PhaseMaskOptions& options,
                                                    std::vector<unsigned char> edited,
                                                    bool derive) const {
    if (!edited.empty()) {
        for (std::size_t i = 0; i < edited.size(); ++i)
            edited[i] = edited[i] && sample_[i];
        return edited;
    }
    if (!derive)
        return sample_;
    const std::size_t n = volume_.n();
    return phase_mask(map_of(phase, "scale"), map_of(phase, "scale_errors"), n, n, sample_,
                      options);
}

void VoxelRefinement::find_masks(bool derive, const maps::PhaseMaskOptions& options,
                                 const std::vector<std::vector<unsigned char>>& edited) {
    std::vector<std::vector<unsigned char>> masks(state_.start.model.phases.size());
    communicator_.collectively([&] {
        if (!communicator_.is_root())
            return;
        for (std::size_t p = 0; p < masks.size(); ++p)
            masks[p] = mask_of(
                p, options, p < edited.size() ? edited[p] : std::vector<unsigned char>(), derive);
    });
    for (auto& mask : masks)
        communicator_.broadcast(mask);
    state_.masks = std::move(masks);
    state_.fits = {};
}

/// Evenly through the list of voxels.
std::vector<unsigned char> VoxelRefinement::evenly_sampled() const {
    const auto inside =
        static_cast<std::size_t>(std::count_if(sample_.begin(), sample_.end(), is_inside));
    const std::size_t count = std::min(width_sample, inside);
    std::vector<unsigned char> wanted(sample_.size(), 0);
    std::size_t seen = 0, taken = 0;
    for (std::size_t i = 0; i < sample_.size() && taken < count; ++i)
        if (sample_[i] && seen++ * count >= taken * inside) {
            ++taken;
            wanted[i] = 1;
        }
    return wanted;
}

/// The voxels with the largest amounts of a phase among those where it is significant. Collective.
std::vector<unsigned char> VoxelRefinement::rich_voxels(std::size_t phase) const {
    std::vector<unsigned char> wanted(sample_.size(), 0);
    communicator_.collectively([&] {
        if (!communicator_.is_root())
            return;
        const auto scale = map_of(phase, "scale"), esd = map_of(phase, "scale_errors");
        std::vector<std::size_t> voxels;
        for (std::size_t i = 0; i < sample_.size(); ++i)
            if (sample_[i] && scale[i] > rich_significance * esd[i])
                voxels.push_back(i);
        std::sort(voxels.begin(), voxels.end(), [&](std::size_t a, std::size_t b) {
            return scale[a] > scale[b] || (scale[a] == scale[b] && a < b);
        });
        voxels.resize(std::min(voxels.size(), max_rich));
        for (const std::size_t voxel : voxels)
            wanted[voxel] = 1;
    });
    communicator_.broadcast(wanted);
    return wanted;
}

/// The ranks take turns at the rows, so that each is read once.
std::vector<PatternTile> VoxelRefinement::tiles_of(const std::vector<unsigned char>& wanted) const {
    const std::size_t n = volume_.n();
    std::vector<PatternTile> own;
    std::size_t rows = 0;
    for (std::size_t y = 0; y < n; ++y) {
        const auto* in_row = wanted.data() + y * n;
        if (std::none_of(in_row, in_row + n, is_inside) ||
            rows++ % static_cast<std::size_t>(communicator_.size()) !=
                static_cast<std::size_t>(communicator_.rank()))
            continue;
        own.emplace_back();
        read_tile(y, in_row, own.back());
    }
    return own;
}

void VoxelRefinement::take_over(const GlobalShapesResult& refined,
                                const std::vector<GlobalShape>& shapes) {
    auto& start = state_.start;
    start.model = refined.model;
    for (std::size_t i = 0; i < shapes.size(); ++i) {
        const auto wanted = name_of(start.model.phases[shapes[i].phase], shapes[i]);
        for (auto& parameter : start.parameters)
            if (parameter.name == wanted) {
                parameter.value = refined.values[i];
                parameter.esd = refined.esd[i];
            }
    }
}

double VoxelRefinement::refine_cells() {
    double change = 0;
    const auto& undecided = state_.undecided;
    for (auto begin = undecided.begin(), end = begin; begin != undecided.end(); begin = end) {
        const std::size_t phase = begin->phase;
        end = std::find_if(begin, undecided.end(),
                           [&](const GlobalShape& shape) { return shape.phase != phase; });
        const std::vector<GlobalShape> shapes(begin, end);
        const auto wanted = rich_voxels(phase);
        if (std::count_if(wanted.begin(), wanted.end(), is_inside) < min_rich)
            continue;
        const auto own = communicator_.collectively([&] { return tiles_of(wanted); });
        const auto before = state_.start.model.phases[phase].cell;
        const auto refined = refine_global_shapes(communicator_, axis_, state_.start.model,
                                                  options_.fit, shapes, own);
        take_over(refined, shapes);
        for (std::size_t i = 0; i < shapes.size(); ++i)
            change =
                std::max(change, std::abs(refined.values[i] / before[shapes[i].index].value - 1));
    }
    state_.fits = {};
    return change;
}

void VoxelRefinement::refine_widths(const std::vector<GlobalShape>& widths) {
    const auto own = communicator_.collectively([&] { return tiles_of(evenly_sampled()); });
    take_over(
        refine_global_shapes(communicator_, axis_, state_.start.model, options_.fit, widths, own),
        widths);
}

} // namespace xrdct::voxels
