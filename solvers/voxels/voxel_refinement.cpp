// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/voxel_refinement.hpp"

#include "base/error.hpp"
#include "mpi/comm/decomposition.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace xrdct::voxels {

namespace {

/// Voxels whose patterns tell the widths that hold for the whole object.
constexpr std::size_t width_sample = 800;

bool is_inside(unsigned char mask) {
    return mask != 0;
}

std::string_view quantity_of(GlobalWidth::Kind kind) {
    switch (kind) {
    case GlobalWidth::Kind::size:
        return "size";
    case GlobalWidth::Kind::microstrain:
        return "microstrain";
    default:
        return "gauss_microstrain";
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
    rietveld::RefinementOptions options;
    options.scale_errors = true;
    options.cell_search = options_.cell_search;
    if (!options_.refine_start)
        options.max_iterations = 0;
    state_.start = communicator_.collectively(
        [&] { return refine(axis_, state_.mean.intensity, state_.mean.variance, model, options); });
    auto& phases = state_.start.model.phases;
    for (std::size_t p = 0; p < options_.voxel_cells.size(); ++p)
        for (std::size_t i = 0; i < options_.voxel_cells[p].size(); ++i)
            phases[p].cell[i].refine = options_.voxel_cells[p][i];
}

void VoxelRefinement::prepare() {
    communicator_.collectively(
        [&] { fitter_.emplace(axis_, state_.start.model, options_.fit, team_); });
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
    const auto& name = state_.start.model.phases[phase].name;
    const auto map_of = [&](const std::string& quantity) {
        for (const auto& map : state_.fits.maps)
            if (map.quantity.group == name && map.quantity.quantity == quantity)
                return std::span<const double>(map.values);
        throw Error("there is no map of the " + quantity + " of " + name);
    };
    const std::size_t n = volume_.n();
    return phase_mask(map_of("scale"), map_of("scale_errors"), n, n, sample_, options);
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

/// Evenly through the list of voxels; the ranks take turns at the rows, so that each is read once.
std::vector<PatternTile> VoxelRefinement::sample_tiles() const {
    const std::size_t n = volume_.n();
    const auto inside =
        static_cast<std::size_t>(std::count_if(sample_.begin(), sample_.end(), is_inside));
    const std::size_t count = std::min(width_sample, inside);
    std::vector<unsigned char> wanted(n * n, 0);
    std::size_t seen = 0, taken = 0;
    for (std::size_t i = 0; i < n * n && taken < count; ++i)
        if (sample_[i] && seen++ * count >= taken * inside) {
            ++taken;
            wanted[i] = 1;
        }
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

void VoxelRefinement::refine_widths(const std::vector<GlobalWidth>& widths) {
    const auto own = communicator_.collectively([&] { return sample_tiles(); });
    auto& start = state_.start;
    auto refined =
        refine_global_widths(communicator_, axis_, start.model, options_.fit, widths, own);
    start.model = refined.model;
    for (std::size_t i = 0; i < widths.size(); ++i) {
        const auto wanted = fmt::format("{} {}", start.model.phases[widths[i].phase].name,
                                        quantity_of(widths[i].kind));
        for (auto& parameter : start.parameters)
            if (parameter.name == wanted) {
                parameter.value = refined.values[i];
                parameter.esd = refined.esd[i];
            }
    }
}

} // namespace xrdct::voxels
