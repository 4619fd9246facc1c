// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "solvers/dlsr/unknowns.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// What the data and the smoothness say of voxel shapes in parts whose amounts are unknowns, too,
/// and the retraction that follows from it. A voxel's pattern is amount × pattern(shape), so that a
/// step (Δa, Δη) misses ΔaΔη of it: the shape is moved instead to where amount × change of the
/// pattern is what the step meant, as far as the smoothness lets it, and not farther than changes
/// the pattern by as much as itself.
class ShapeCurvature {
  public:
    /// `unknowns` must outlive the object.
    explicit ShapeCurvature(const Unknowns& unknowns) : unknowns_(unknowns) {}

    /// Collective over the team.
    void allocate();
    /// Takes what the diagonal block of voxel v says; members of the team have voxels of their own.
    /// `unknown` and `field` [count] of the block's unknowns, `matrix` [count][count] the block
    /// with `stiffness` (of all unknowns: the smoothness' part of the diagonal), x all unknowns at
    /// the point. `sensitivity` of all unknowns: of the block's shapes it becomes the squared
    /// change of the pattern, relative to it, per unit; NaN where the amount is too small to tell.
    void take_block(std::span<const std::uint32_t> unknown, std::span<const std::uint16_t> field,
                    std::span<const double> matrix, std::span<const double> x,
                    std::span<const double> stiffness, std::span<float> sensitivity);
    /// The median of a field's sensitivities; 0 where none is known.
    double median_sensitivity(std::size_t field, std::span<const float> sensitivity) const;
    void set_sensitivity(std::size_t field, double sensitivity);

    bool has(std::size_t field) const { return of_field_[field].has_value(); }
    bool has_any() const;
    /// Moves the shapes of own x `trial`, which is part of `to` (all unknowns), for a step from
    /// `from`.
    void retract(std::span<const double> from, std::span<const double> to,
                 std::span<double> trial) const;

  private:
    struct OfField {
        std::size_t amount = 0;                    ///< field of the part's amounts
        double sensitivity = 0;                    ///< 0: not known
        SharedArray<float> information, stiffness; ///< of the amount; of the shape; per voxel
    };
    const Unknowns& unknowns_;
    std::vector<std::optional<OfField>> of_field_;
};

} // namespace xrdct::dlsr
