// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "solvers/dlsr/unknowns.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// L at half a cycle per voxel, between that along an axis and that along a diagonal; the mean of
/// (L / that)⁴ over all frequencies.
inline constexpr double grid_symbol = 5, mean_fine_symbol = 676.0 / 625;

/// The smoothness of the voxel fields (Field::smoothness, edge, max_gap): a sum over pairs of
/// neighbouring voxels, with its gradient, its Hessian at a point (edges by lagged weights,
/// Vogel and Oman, SIAM J. Sci. Comput. 17, 227 (1996)) and the diagonal of that. Fields without
/// smoothness are passed over. `x` and `v` are those of all ranks, results the own share.
class Smoothness {
  public:
    /// `n`: pixels of a side of the square grid. `unknowns` must outlive the object. Collective.
    Smoothness(const Unknowns& unknowns, std::size_t n);

    bool is_smooth(std::size_t field) const {
        return unknowns_.is_per_voxel(field) && unknowns_.fields()[field].smoothness > 0;
    }
    /// This rank's part of the cost, from the pairs that begin in its own unknowns; adds the own
    /// share of the gradient unless `gradient` is empty.
    double cost(std::span<const double> x, std::span<double> gradient) const;

    bool is_fine(std::size_t field) const {
        return unknowns_.is_per_voxel(field) && unknowns_.fields()[field].fineness > 0;
    }
    /// The mean of s_ij (x_i − x_j)² over the pairs of a field if they were normally distributed,
    /// from its median: a few borders do not count. Pairs that are equal to the last bit (held,
    /// absent) are passed over; 0 without others. The same on all ranks.
    double typical_difference(std::size_t field, std::span<const double> x) const;
    std::size_t pair_count(std::size_t field) const { return pairs_[field].size(); }
    /// Makes room for the weights of all pairs. Collective over the team.
    void allocate_weights();
    /// This member's share of the pairs' weights at x; the team waits afterwards.
    void set_weights(std::span<const double> x);
    /// Adds the own share of the Hessian, as the weights are, times v.
    void add_hessian_product(std::span<const double> v, std::span<double> out) const;
    /// Adds the Hessian's diagonal in the fields that this member owns; `diagonal` of all unknowns.
    void add_diagonal(std::span<double> diagonal) const;

  private:
    /// Neighbours in one field: voxels a and b.
    struct NeighbourPair {
        std::uint32_t a, b;
        float inverse_distance; ///< s_ab, per voxel
    };
    /// L/5 of a field's values or of what it made of them, all voxels.
    std::vector<double> differences(std::size_t field, std::span<const double> values) const;
    /// Adds the own share of fineness · (L/5)⁴ x in a field.
    void add_fine_product(std::size_t field, std::span<const double> twice,
                          std::span<double> out) const;
    /// (L/5)² x in a field.
    std::vector<double> differences_twice(std::size_t field, std::span<const double> x) const {
        return differences(
            field, differences(field, x.subspan(unknowns_.first(field), unknowns_.voxels(field))));
    }
    static std::vector<NeighbourPair> neighbour_pairs(std::span<const std::size_t> pixels,
                                                      std::size_t n, std::size_t max_gap);
    /// Adds the derivative by the difference of a pair to the own share.
    void add_pair(std::size_t field, const NeighbourPair& pair, double derivative,
                  std::span<double> out) const {
        const std::size_t first = unknowns_.first(field), begin = unknowns_.own().begin;
        if (unknowns_.owns(first + pair.a))
            out[first + pair.a - begin] += derivative;
        if (unknowns_.owns(first + pair.b))
            out[first + pair.b - begin] -= derivative;
    }

    const Unknowns& unknowns_;
    std::vector<SharedArray<NeighbourPair>> pairs_; ///< per field
    std::vector<SharedArray<float>> weights_;       ///< of the pairs, at the point
};

} // namespace xrdct::dlsr
