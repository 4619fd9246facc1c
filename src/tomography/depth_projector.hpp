// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace xrdct::tomography {

/// Depths along the beam at which a ray keeps its contributions apart: node l lies at
/// first + l spacing [mm], positive towards the detector.
struct DepthLayers {
    std::size_t count = 1;
    double first = 0;
    double spacing = 1;

    double depth(std::size_t layer) const { return first + static_cast<double>(layer) * spacing; }
    /// Evenly from −half_depth to half_depth; one layer when half_depth is 0.
    static DepthLayers across(double half_depth, std::size_t count);
};

/// A pixel of the image and which blocks of eight coefficients it carries (bit b: block b).
struct VoxelBlocks {
    std::uint32_t pixel = 0; ///< y · n + x
    std::uint32_t blocks = 1;
};

/// Strip projector that remembers where along the beam matter lies, and its exact adjoint.
///
/// For a rotation ω, voxel v at lateral position s and depth z = −x sin ω + y cos ω adds its
/// coefficients to the rays t_j with the strip weights of StripProjector (same footprint: pixel,
/// step, beam), shared linearly between the two layers about z:
///
///     out[j][l][i] = Σ_v w_jv h_l(z_v) q_v[i],     h_l(z) = max(0, 1 − |z − z_l| / spacing)
///
/// Depths beyond the layers count as the outermost one. Where a voxel's coefficients lie tells
/// offset(). Only the construction is collective, over a team; const calls on one object from
/// several threads are safe.
class DepthProjector {
  public:
    /// `blocks`: number of blocks of eight coefficients a ray and layer hold. Throws Error for a
    /// bad geometry or grid, a pixel outside the grid, a block beyond `blocks`, blocks above 32.
    /// The members of `team`, whose voxels are the same, keep their places once. Collective over
    /// it.
    DepthProjector(const ScanGeometry& geometry, const ImageGrid& grid,
                   std::span<const VoxelBlocks> voxels, std::size_t blocks,
                   const DepthLayers& layers,
                   const SharedMemoryTeam& team = SharedMemoryTeam::single());
    /// For the voxels and blocks of another projector, of which they share the memory; the grid is
    /// the same.
    DepthProjector(const DepthProjector& like, const ScanGeometry& geometry, const ImageGrid& grid,
                   const DepthLayers& layers);
    ~DepthProjector();
    DepthProjector(DepthProjector&&) noexcept;
    DepthProjector& operator=(DepthProjector&&) noexcept;
    DepthProjector(const DepthProjector&) = delete;
    DepthProjector& operator=(const DepthProjector&) = delete;

    /// The voxels in the projector's own order (tiles of the image).
    std::span<const VoxelBlocks> voxels() const;
    /// Where the eight coefficients of a block of voxel i (in that order) begin. Throws Error for a
    /// block that the voxel does not carry.
    std::size_t offset(std::size_t i, std::size_t block) const;
    std::size_t coefficient_count() const; ///< floats of all voxels

    std::size_t rotations() const;
    std::size_t translations() const;
    const DepthLayers& layers() const;
    std::size_t blocks() const;
    /// Floats of the buffer of one rotation, [block][padding + translations + padding][layer][8];
    /// the padding takes what falls beside the translation axis. Rays are ray_size() apart, a
    /// little more than their layers take: powers of two would meet in the same lines of the cache.
    std::size_t buffer_size() const;
    std::size_t ray_size() const;   ///< floats from ray to ray in a block
    std::size_t padding() const;    ///< rays on either side
    std::size_t plane_size() const; ///< floats of one block

    /// Adds up one rotation: overwrites `buffer` [buffer_size()].
    void forward(std::size_t i_rotation, std::span<const float> coefficients,
                 std::span<float> buffer) const;
    /// The exact adjoint; adds to `coefficients`. The padding of `buffer` is read: it must be 0 for
    /// rays that do not exist.
    void adjoint(std::size_t i_rotation, std::span<const float> buffer,
                 std::span<float> coefficients) const;

    /// Σ over the rotations and rays of this geometry of (w_jv)² ray_weight[rotation][translation],
    /// for every voxel: the diagonal of Aᵀ W A.
    std::vector<float> weighted_squares(std::span<const float> ray_weight) const;

  private:
    struct Impl;
    std::unique_ptr<const Impl> impl_;
};

} // namespace xrdct::tomography
