// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/comm/node_team.hpp"
#include "solvers/dlsr/operator.hpp"

#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace xrdct::dlsr {

/// How one kind of value of the model is determined.
enum class FieldTreatment {
    fixed,  ///< stays at its start map
    voxel,  ///< one unknown per voxel
    scaled, ///< start map times one unknown factor
};

/// Unknowns of a map of so many voxels.
inline std::size_t unknowns_of(FieldTreatment treatment, std::size_t voxels) {
    return treatment == FieldTreatment::voxel    ? voxels
           : treatment == FieldTreatment::scaled ? 1
                                                 : 0;
}

/// A map of the model: the amounts (shape < 0) or a voxel shape parameter of a part.
struct Field {
    std::size_t part = 0;
    int shape = -1;
    FieldTreatment treatment = FieldTreatment::voxel;
    double lower = 0, upper = 0; ///< bounds of a voxel's value
    double unit = 1;             ///< a change that matters: unknowns are values / unit
    /// Weight λ of smoothness ½ λ Σ s_ij ((θ_i − θ_j) / unit)² over neighbours i, j of the part
    /// along x and along y; the next voxel of the part counts as a neighbour across a gap of d
    /// voxels with s = 1 / d, up to max_gap.
    double smoothness = 0;
    /// Differences beyond `edge` units cost linearly rather than quadratically
    /// (edge² (√(1 + (Δ/edge)²) − 1)); infinity: quadratic.
    double edge = std::numeric_limits<double>::infinity();
    std::size_t max_gap = 1; ///< voxels
    /// Weight μ of ½ μ Σ ((L/5)² θ / unit)_i² with (L θ)_i = Σ_j s_ij (θ_i − θ_j): what varies
    /// faster than the grid and the beam can hold (L is up to 8, about 5 at half a cycle per
    /// voxel).
    double fineness = 0;
};

/// A global parameter of the operator: bounds and scale.
struct Global {
    double lower = 0, upper = 0, unit = 1;
};

/// Which values of an Operator's model are unknowns, how these are ordered and shared out, and the
/// way from unknowns to values and back. Unknowns: voxel fields one after the other (voxels in the
/// operator's order), factors of scaled fields at their place, global parameters last; cut over the
/// ranks by block_range. `x` below is that of all ranks [size()], unless it is called own.
class Unknowns {
  public:
    /// Fields and globals must fit the operator, see require_fields(). `values`: start, in the
    /// operator's order, the same on all ranks; voxels outside the bounds start at the nearer one.
    /// Communicator, team and operator must outlive the object. Collective.
    Unknowns(const mpi::Communicator& communicator, const mpi::NodeTeam& team,
             const Operator& model, std::vector<Field> fields, std::vector<Global> globals,
             std::span<const double> values);

    const mpi::Communicator& communicator() const { return communicator_; }
    const mpi::NodeTeam& team() const { return team_; }
    const Operator& model() const { return model_; }
    const std::vector<Field>& fields() const { return fields_; }
    const std::vector<Global>& globals() const { return globals_; }
    /// Throws Error for a field that does not exist, a smoothness below 0, an edge that is not
    /// positive.
    void set_smoothness(std::size_t field, double smoothness, double edge);
    /// Throws Error for a field that does not exist, a weight below 0.
    void set_fineness(std::size_t field, double fineness);
    /// Throws Error for a parameter that does not exist, bounds that cross.
    void set_global_bounds(std::size_t global, double lower, double upper);

    std::size_t size() const { return size_; }
    mpi::BlockRange own() const { return own_; }
    bool owns(std::size_t unknown) const { return unknown >= own_.begin && unknown < own_.end; }
    /// The first unknown of a field; of field fields().size(): of the globals.
    std::size_t first(std::size_t field) const { return first_[field]; }
    std::size_t first_global() const { return first_.back(); }
    std::size_t voxels(std::size_t field) const {
        return model_.pixels(fields_[field].part).size();
    }
    /// Where a field begins among the operator's values.
    std::size_t offset(std::size_t field) const {
        return model_.offset(fields_[field].part, fields_[field].shape);
    }
    bool is_per_voxel(std::size_t field) const {
        return fields_[field].treatment == FieldTreatment::voxel;
    }
    /// The part of voxels [from, to) of a field that is this rank's own.
    std::pair<std::size_t, std::size_t> own_voxels(std::size_t field) const;
    bool owns_some(std::size_t field) const {
        const auto [from, to] = own_voxels(field);
        return from < to;
    }

    /// Own x at the start.
    std::vector<double> start() const { return from_values(start_values_); }
    /// Own x of values; fixed fields are ignored.
    std::vector<double> from_values(std::span<const double> values) const;
    /// Bounds of own x.
    void bounds(std::span<double> lower, std::span<double> upper) const;
    /// Values of the model, in the operator's order, in memory of the team, until the next call.
    /// Collective over the team.
    std::span<const double> values(std::span<const double> x);
    /// The change of the values for a change of x; likewise.
    std::span<const float> direction(std::span<const double> x);
    /// Own share, in the unknowns, of a gradient in the values.
    void take_own(std::span<const double> gradient, std::span<double> own_x) const;
    /// A gradient in the values along the factor of a scaled field.
    double along_factor(std::span<const double> gradient, std::size_t field) const;

  private:
    const mpi::Communicator& communicator_;
    const mpi::NodeTeam& team_;
    const Operator& model_;
    std::vector<Field> fields_;
    std::vector<Global> globals_;
    std::vector<std::size_t> first_; ///< unknown of each field; globals after the last
    std::size_t size_ = 0;
    mpi::BlockRange own_;
    SharedArray<double> start_values_, values_;
    SharedArray<float> direction_;
};

/// Unknowns that one voxel may have.
inline constexpr std::size_t max_voxel_unknowns = 64;

/// Throws Error for fields that do not exist or come twice, units, bounds and edges that are not
/// usable, more than max_voxel_unknowns unknowns in a voxel.
void require_fields(const Operator& model, std::span<const Field> fields,
                    std::span<const Global> globals);

} // namespace xrdct::dlsr
