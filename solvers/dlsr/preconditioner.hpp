// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/dlsr.

#include "base/shared_memory_team.hpp"
#include "solvers/dlsr/map_filter.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/shape_curvature.hpp"
#include "solvers/dlsr/smoothness.hpp"
#include "solvers/dlsr/unknowns.hpp"
#include "tomography/scan_geometry.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::dlsr {

/// M⁻¹ = L⁻ᵀ F L⁻¹ with L Lᵀ the diagonal blocks of the voxels in Jᵀ W J and the smoothness, and F
/// what these leave of the coupling between voxels: a filter per field, the inverse of the common
/// spectrum of the projection (1 / frequency, times the beam's) and of the smoothness. Unknowns
/// that belong to no voxel (factors, globals) are divided by their own diagonal.
class Preconditioner {
  public:
    /// `pixel_weight` [pixel] as Operator::pixel_weight, of all ranks. All must outlive the object.
    /// Collective.
    Preconditioner(const Unknowns& unknowns, const Smoothness& smoothness,
                   const tomography::ImageGrid& grid, const tomography::ScanGeometry& geometry,
                   std::span<const float> pixel_weight);

    /// Makes M at the point x of all ranks, where operator and smoothness are linearised.
    /// Collective.
    void update(std::span<const double> x);
    /// Diagonal of M of unknowns without a voxel: (unknown, value above 0).
    void set_diagonal(std::vector<std::pair<std::size_t, double>> diagonal) {
        diagonal_ = std::move(diagonal);
    }
    /// out = own share of M⁻¹ v, v of all ranks. `seconds` grows by the time without exchanges.
    /// Collective.
    void apply(std::span<const double> v, std::span<double> out, double& seconds);
    /// Expected Σ s_ij (x_i − x_j)² per voxel of a field.
    struct Roughness {
        double of_unit_prior = 0; ///< of a prior of weight 1 per pair of neighbours; as 1 / weight
        double of_noise = 0;
    };
    /// What a prior and noise of variance 1 make of a field whose information is the projection's
    /// spectrum times `information` per voxel, seen through a fit with smoothness of weight
    /// `weight`: means over frequencies of h² / (h + weight ℓ)² and h ℓ / (h + weight ℓ)², ℓ the
    /// symbol of the differences. Not collective.
    Roughness expected_roughness(double information, double weight) const;
    /// Own share of the diagonal of the inverted blocks. Collective.
    std::vector<double> block_variances();

    const ShapeCurvature& shape_curvature() const { return curvature_; }

  private:
    /// Unknowns of a voxel: `count` from `first` on, with its factor.
    struct Block {
        std::uint32_t first = 0;
        std::uint16_t count = 0;
        std::size_t factor = 0; ///< first entry
    };
    /// What update() learns of the diagonal.
    struct Diagonal {
        SharedArray<double> stiffness;  ///< of all unknowns: the smoothness' part
        SharedArray<double> portion;    ///< the same, relative
        SharedArray<float> sensitivity; ///< of shapes
        SharedArray<double> of_fields;  ///< [field][2]: sensitivity, mean portion
    };
    struct BlockWork;

    void make_projection_symbol(const tomography::ScanGeometry& geometry);
    void arrange_blocks();
    /// Calls each(block, values that are unknowns) for this member's part of the blocks.
    /// Collective over the team.
    template <class Each>
    void for_blocks(Each&& each) const;
    /// The lower half of the i-th block as work.matrix.
    void fill_block(std::size_t i, BlockWork& work, Diagonal& diagonal) const;
    /// `matrix` [count][count], its lower half is overwritten.
    void factor_block(const Block& block, std::span<double> matrix);
    void factor_blocks(std::span<const double> x, Diagonal& diagonal);
    void sum_up_fields(Diagonal& diagonal) const;
    void make_symbols(std::span<const double> of_fields);
    /// Whether this rank filters a field; the fields are shared out over all ranks.
    bool filters(std::size_t field) const;
    void solve_lower(std::span<const double> v);
    void filter_fields();
    void solve_upper();

    const Unknowns& unknowns_;
    const Smoothness& smoothness_;
    const mpi::Communicator& communicator_;
    const mpi::NodeTeam& team_;
    const Operator& model_;
    tomography::ImageGrid grid_;
    std::span<const float> pixel_weight_;
    MapFilter filter_;
    std::vector<float> projection_symbol_;    ///< of the projection, mean 1
    std::vector<std::vector<float>> symbols_; ///< inverted, of the fields that this rank filters
    ShapeCurvature curvature_;

    SharedArray<Block> blocks_;
    SharedArray<std::int32_t> unknown_of_; ///< of the model's values; −1: none
    SharedArray<std::uint32_t> block_unknowns_, block_places_; ///< and where there each unknown is
    SharedArray<std::uint16_t> block_fields_;
    /// Lower Cholesky factors, packed row by row. By hand rather than by Eigen's LLT: half the
    /// memory, and a pivot that rounding makes negative is raised instead of refused.
    SharedArray<float> factors_;
    SharedArray<float> solved_, filtered_; ///< [block unknown]
    SharedArray<double> result_;
    std::vector<std::pair<std::size_t, double>> diagonal_;
};

} // namespace xrdct::dlsr
