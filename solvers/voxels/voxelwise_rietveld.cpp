// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/voxels/voxelwise_rietveld.hpp"

#include "base/error.hpp"
#include "mpi/comm/task_counter.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::voxels {

namespace {

struct OwnResults {
    std::vector<std::uint64_t> voxels;
    std::vector<double> rows; ///< [voxel, quantity]
    VoxelwiseSummary summary;
};

void check_tile(const PatternTile& tile, std::size_t index, const rietveld::VoxelFitter& fitter,
                std::size_t voxel_count) {
    const std::size_t channels = fitter.channel_count();
    const std::size_t patterns = tile.voxels.size();
    if (tile.intensity.size() != patterns * channels) {
        throw Error(fmt::format("tile {}: {} intensities for {} voxels of {} channels", index,
                                tile.intensity.size(), patterns, channels));
    }
    if (!tile.variance.empty() && tile.variance.size() != channels &&
        tile.variance.size() != patterns * channels) {
        throw Error(fmt::format("tile {}: {} variances for {} voxels of {} channels", index,
                                tile.variance.size(), patterns, channels));
    }
    if (!tile.present.empty() && tile.present.size() != patterns * fitter.model().phases.size()) {
        throw Error(fmt::format("tile {}: {} marks of phases for {} voxels", index,
                                tile.present.size(), patterns));
    }
    for (const std::size_t voxel : tile.voxels) {
        if (voxel >= voxel_count) {
            throw Error(
                fmt::format("tile {}: voxel {} of an image of {}", index, voxel, voxel_count));
        }
    }
}

void fit_tile(const rietveld::VoxelFitter& fitter, const PatternTile& tile,
              rietveld::VoxelFitter::Workspace& workspace, rietveld::VoxelFit& fit,
              OwnResults& own) {
    const std::size_t channels = fitter.channel_count();
    const std::size_t width = fitter.quantities().size();
    const std::size_t patterns = tile.voxels.size();
    const std::size_t phases = fitter.model().phases.size();
    const bool shared = tile.variance.size() == channels;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < patterns; ++i) {
        const std::span<const float> intensity(tile.intensity.data() + i * channels, channels);
        std::span<const float> variance;
        if (!tile.variance.empty()) {
            variance = {tile.variance.data() + (shared ? 0 : i * channels), channels};
        }
        std::span<const unsigned char> present;
        if (!tile.present.empty()) {
            present = {tile.present.data() + i * phases, phases};
        }
        fitter.fit(intensity, variance, workspace, fit, present);
        own.voxels.push_back(tile.voxels[i]);
        own.rows.resize(own.rows.size() + width);
        fitter.flatten(fit, std::span<double>(own.rows).last(width));
        ++own.summary.fitted;
        own.summary.converged += fit.status == rietveld::FitStatus::converged ? 1 : 0;
        own.summary.iterations += static_cast<std::size_t>(fit.iterations);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    own.summary.fit_seconds += elapsed.count();
}

/// The sums over the ranks, on all of them. Collective.
VoxelwiseSummary sum(const mpi::Communicator& communicator, VoxelwiseSummary summary) {
    std::int64_t counts[3] = {static_cast<std::int64_t>(summary.fitted),
                              static_cast<std::int64_t>(summary.converged),
                              static_cast<std::int64_t>(summary.iterations)};
    communicator.allreduce(std::span<std::int64_t>(counts), mpi::Reduction::sum);
    summary.fitted = static_cast<std::size_t>(counts[0]);
    summary.converged = static_cast<std::size_t>(counts[1]);
    summary.iterations = static_cast<std::size_t>(counts[2]);
    summary.fit_seconds = communicator.allreduce(summary.fit_seconds, mpi::Reduction::sum);
    return summary;
}

void require_different(std::span<const std::uint64_t> voxels, std::size_t voxel_count) {
    std::vector<bool> seen(voxel_count, false);
    for (const std::uint64_t voxel : voxels) {
        if (seen[voxel])
            throw Error(fmt::format("voxel {} stands in two tiles", voxel));
        seen[voxel] = true;
    }
}

/// The maps of all ranks' voxels, on the root; one quantity at a time keeps the root's extra memory
/// to a map. Collective.
std::vector<VoxelMap> gather_maps(const mpi::Communicator& communicator, OwnResults own,
                                  const std::vector<rietveld::VoxelQuantity>& quantities,
                                  std::size_t voxel_count) {
    const auto voxels = communicator.gather(own.voxels);
    own.voxels = {};
    communicator.collectively([&] {
        if (communicator.is_root())
            require_different(voxels, voxel_count);
    });
    std::vector<VoxelMap> maps;
    const std::size_t width = quantities.size();
    std::vector<double> column(width > 0 ? own.rows.size() / width : 0);
    for (std::size_t q = 0; q < width; ++q) {
        for (std::size_t i = 0; i < column.size(); ++i)
            column[i] = own.rows[i * width + q];
        const auto gathered = communicator.gather(column);
        if (!communicator.is_root())
            continue;
        VoxelMap map;
        map.quantity = quantities[q];
        const bool status = map.quantity.group.empty() && map.quantity.quantity == "status";
        map.values.assign(voxel_count, status ? static_cast<double>(rietveld::FitStatus::masked)
                                              : std::numeric_limits<double>::quiet_NaN());
        for (std::size_t i = 0; i < voxels.size(); ++i)
            map.values[voxels[i]] = gathered[i];
        maps.push_back(std::move(map));
    }
    return maps;
}

} // namespace

VoxelwiseRietveld::VoxelwiseRietveld(const mpi::Communicator& communicator,
                                     const rietveld::VoxelFitter& fitter)
    : communicator_(communicator), fitter_(fitter) {}

VoxelwiseResult VoxelwiseRietveld::run(std::size_t tile_count, std::size_t voxel_count,
                                       const TileReader& read, const Progress& progress) const {
    OwnResults own;
    // The counter lives inside: a rank that fails still meets the others in its destructor.
    communicator_.collectively([&] {
        mpi::TaskCounter counter(communicator_, tile_count);
        try {
            rietveld::VoxelFitter::Workspace workspace(fitter_);
            rietveld::VoxelFit fit;
            PatternTile tile;
            std::size_t tiles = 0;
            while (const auto index = counter.next()) {
                tile.voxels.clear();
                tile.intensity.clear();
                tile.variance.clear();
                tile.present.clear();
                read(*index, tile);
                check_tile(tile, *index, fitter_, voxel_count);
                fit_tile(fitter_, tile, workspace, fit, own);
                ++tiles;
                if (progress) {
                    progress(tiles, own.summary.fitted);
                }
            }
        } catch (...) {
            counter.stop();
            throw;
        }
    });

    VoxelwiseResult result;
    result.summary = sum(communicator_, own.summary);
    result.maps = gather_maps(communicator_, std::move(own), fitter_.quantities(), voxel_count);
    return result;
}

} // namespace xrdct::voxels
