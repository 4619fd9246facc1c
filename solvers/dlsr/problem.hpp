// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "mpi/comm/decomposition.hpp"
#include "mpi/comm/node_team.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/unknowns.hpp"
#include "solvers/least_squares_problem.hpp"

#include <memory>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// The DLSR as a bounded least-squares problem:
///
///     f(x) = ½ Σ_rays W |m(x) − d|² + smoothness of the fields
///
/// Unknowns: voxel fields one after the other (voxels in the operator's order), factors of scaled
/// fields at their place, global parameters last; cut over the ranks by block_range. Every
/// rank holds the rays of its operator; all two-dimensional maps exist once in every team, which
/// works on them together; what teams exchange is parameter-sized. The preconditioner inverts
/// the diagonal blocks of the voxels and the common spectrum of the projection (1 / frequency,
/// times the beam's) and the smoothness.
class Problem final : public solvers::LeastSquaresProblem {
  public:
    /// `values`: start, in the operator's order, the same on all ranks. `data` [own ray][M] as
    /// Operator::objective takes it; both it and the operator must outlive the problem. `team`:
    /// that of the operator, of `communicator`; none: every rank is its own.
    /// Voxels outside the bounds start at the nearer one. Collective. Throws Error for sizes,
    /// fields that do not exist or come twice, units, bounds and edges that are not usable, more
    /// than 64 unknowns in a voxel.
    Problem(const mpi::Communicator& communicator, Operator& model,
            const tomography::ImageGrid& grid, const tomography::ScanGeometry& geometry,
            std::span<const float> data, std::vector<Field> fields, std::vector<Global> globals,
            std::span<const double> values, const mpi::NodeTeam* team = nullptr);
    ~Problem() override;
    Problem(const Problem&) = delete;
    Problem& operator=(const Problem&) = delete;

    std::size_t size() const;    ///< unknowns of all ranks
    mpi::BlockRange own() const; ///< this rank's share of them
    /// First unknown of a field (among all) and how many it has; field fields().size(): the
    /// globals.
    mpi::BlockRange field_unknowns(std::size_t field) const;
    std::vector<double> start() const; ///< own share
    /// Values of the model, in the operator's order, from all shares; in memory of the team, until
    /// the next call. Collective.
    std::span<const double> values(std::span<const double> x) const;
    /// The shares of all ranks of anything that there is per unknown; likewise. Collective.
    std::span<const double> whole(std::span<const double> own) const;
    /// Own share of x of values; fixed fields are ignored. Not collective.
    std::vector<double> unknowns(std::span<const double> values) const;
    const std::vector<Field>& fields() const;
    /// Changes a field's smoothness. Throws Error for one below 0, an edge that is not positive.
    void set_smoothness(std::size_t field, double smoothness, double edge);
    /// Changes a field's fineness. Throws Error for a weight below 0.
    void set_fineness(std::size_t field, double fineness);
    /// Tolerance of the low-rank operator that matrix-vector products are made with
    /// (Operator::set_low_rank_tolerance): steps and samples of noise become approximate to about
    /// this part, the objective and its gradient stay exact. 0, the start: exact products.
    void set_product_tolerance(double tolerance);
    /// Changes the bounds of a global parameter; equal ones hold it. A solver reads bounds once.
    /// Throws Error for a parameter that does not exist, bounds that cross.
    void set_global_bounds(std::size_t global, double lower, double upper);
    /// Own share of the diagonal of Jᵀ W J at the point of linearise(), without smoothness, the
    /// depths of a voxel taken as 0; 0 for factors of scaled fields. Collective.
    std::vector<double> information();
    /// Puts the operator at the point of x (own share), for what it is asked directly: its work on
    /// patterns is shared out over the ranks. Collective.
    void set_operator_point(std::span<const double> x, bool derivatives);
    /// The operator was changed (columns of the geometry): its point is set again when it is
    /// needed.
    void invalidate();
    /// The same, and the memory of its largest arrays is given up until then.
    void release();
    /// Replaces the data, of the same length.
    void set_data(std::span<const float> data);
    /// Own share of Jᵀ W rays at the point of linearise(), rays [own ray][M]: the right-hand side
    /// of the change that a change of the data makes. Collective.
    std::vector<double> back_project(std::span<const float> rays);
    /// Own share of what the smoothness alone adds to gauss_newton_product(). Collective.
    std::vector<double> smoothness_product(std::span<const double> v) const;
    /// Own share of the variances as if no voxel were coupled to another but by smoothness:
    /// diagonals of the inverted voxel blocks, at the point of linearise(). Collective.
    std::vector<double> block_variances() const;
    /// How much neighbours differ in a field at x (own share), see
    /// Smoothness::typical_difference(), per voxel: times the pairs of a voxel. Collective.
    double roughness(std::size_t field, std::span<const double> x) const;
    /// The weight of smoothness that a field with this roughness would have as a prior, if what
    /// else makes it rough is noise of variance `noise` (of that which the weights of the rays take
    /// it for) as the projections hand it on; `information` as information() has it per voxel, the
    /// share of other unknowns of the voxel taken out. Within a factor of 30 of the field's present
    /// weight. Not collective.
    double matching_smoothness(std::size_t field, double roughness, double information,
                               double noise) const;
    /// ½ Σ W |m − d|² of the last objective, without smoothness.
    double last_misfit() const;

    std::size_t local_size() const override;
    void bounds(std::span<double> lower, std::span<double> upper) const override;
    double objective(std::span<const double> x) override;
    double objective_and_gradient(std::span<const double> x, std::span<double> gradient) override;
    /// Moves the shapes of voxels to where their patterns are what the step meant, see
    /// ShapeCurvature.
    void retract(std::span<const double> base, std::span<double> trial) override;
    void linearise(std::span<const double> x) override;
    void gauss_newton_product(std::span<const double> v, std::span<double> out) override;
    void precondition(std::span<const double> v, std::span<double> out) override;

    struct Counts {
        std::size_t objectives = 0, gradients = 0, products = 0, preconditions = 0;
        double operator_seconds = 0, precondition_seconds = 0, exchange_seconds = 0;
    };
    const Counts& counts() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::dlsr
