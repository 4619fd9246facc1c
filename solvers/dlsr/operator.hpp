// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/shared_memory_team.hpp"
#include "rietveld/model/pattern_basis.hpp"
#include "tomography/depth_projector.hpp"
#include "tomography/scan_geometry.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace xrdct::dlsr {

/// What of the geometry may be a value of the model, as a change of what the operator was made
/// with.
enum class GeometryParameter {
    axis_offset, ///< of ScanGeometry::axis_offset [mm]
    /// Relative, of the distance as the lever arm of the depths: z counts as z / (1 + change). The
    /// radial axis stays as it is.
    distance,
};

/// The parallax-aware forward model of a scan, in the coefficients of a PatternBasis, for the
/// rotations that one rank holds:
///
///     m(ω, t)[M] = T(ω, t) Σ_v w_v(ω, t) Σ_p S_pv Σ_l h_l(z_v(ω)) Σ_i u_pi(η_pv) B_pi(z_l)
///
/// With texture a part's tables are Σ_c f_c(ψ_v(ω)) B_pci with the functions f_c of the basis, ψ
/// the angle between the normal of the layers in voxel v and the beam. Here are w the strip
/// weights, h_l the linear shares of the depth layers, S the amounts and η the shapes of the parts
/// in the voxels. What a rank computes needs all voxels and its own rays only.
///
/// With depth factors (set_depth_factors) h_l is A_l(ω, t) h_l.
///
/// Values of a point, a direction or a gradient are one vector [value_count()]: for every part its
/// amounts [voxel], then each of its voxel shape parameters [voxel], voxels in the order of
/// pixels(part); after all parts the global parameters: shapes in the order of the basis, then the
/// geometry's. Their derivatives are dense columns [ray][M]; those of the geometry are differences
/// of projections over a small part of a step (a few 1e-3 of the distance). Uses the threads of
/// OpenMP. Objects are not shared by threads.
///
/// The members of a team hold what the voxels have once, make it together and add up what their
/// rays give: calls marked collective are so over the team, with the same arguments but for rays.
/// Where such a call fills a vector of values, that is memory of the team (SharedArray), the same
/// for all, and the sum over its members; in double it depends on who is in a team as little as on
/// who is not. A team of one shares nothing.
class Operator {
  public:
    /// `geometry`: own rotations only, all translations. `pixels[part]`: where a part exists [y · n
    /// + x]. `ray_weight` and `transmission` [own rotation][translation]; weight 0 leaves a ray out
    /// (its transmission may then be NaN). Throws Error for lengths and geometry parameters that
    /// come twice or that layers without depth do not know; parts without pixels are fine. Textured
    /// parts have their layers wound about `layer_centre` (x, y) [mm] of the grid. `team` must
    /// outlive the operator. Collective.
    Operator(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
             const rietveld::PatternBasis& basis, const tomography::DepthLayers& layers,
             std::span<const std::span<const std::size_t>> pixels,
             std::span<const float> ray_weight, std::span<const float> transmission,
             std::span<const GeometryParameter> geometry_parameters = {},
             std::array<double, 2> layer_centre = {},
             const SharedMemoryTeam& team = SharedMemoryTeam::single());
    ~Operator();
    Operator(Operator&&) noexcept;
    Operator& operator=(Operator&&) noexcept;
    Operator(const Operator&) = delete;
    Operator& operator=(const Operator&) = delete;

    const SharedMemoryTeam& team() const;
    const rietveld::PatternBasis& basis() const;
    std::size_t ray_count() const;         ///< own rays
    std::size_t coefficient_count() const; ///< own rays × M
    std::size_t value_count() const;
    std::span<const std::size_t> pixels(std::size_t part) const; ///< in the operator's order
    /// Where the amounts (shape < 0) or a voxel shape parameter of a part begin among the values.
    std::size_t offset(std::size_t part, int shape = -1) const;
    std::size_t global_offset() const;
    std::size_t global_count() const; ///< shapes and geometry
    const std::vector<GeometryParameter>& geometry_parameters() const;

    /// Fixes the point at which everything below is taken. With `derivatives` the columns of the
    /// global parameters are made, too, which matrix-vector products and the gradient
    /// need. Throws Error for
    /// a wrong length, a distance of which nothing is left. Collective.
    void set_point(std::span<const double> values, bool derivatives);
    /// The same in two steps, the first of which, the work on patterns that does not depend on the
    /// rays, may be shared out: every `every`-th row from `first` on of what set_point() takes as
    /// `rows` [table_size()] (PatternBasis::table_rows) is written, the others stay. Not
    /// collective.
    std::size_t table_size(std::span<const double> values, bool derivatives) const;
    void table_rows(std::span<const double> values, bool derivatives, std::size_t first,
                    std::size_t every, std::span<double> rows) const;
    /// Collective.
    void set_point(std::span<const double> values, bool derivatives, std::span<const double> rows);

    /// Gives up the memory of the global parameters' columns until the next point with derivatives;
    /// until then matrix-vector products and gradients are not those of this point.
    void release_columns();
    /// Whether set_point() makes the columns of the geometry's parameters, which cost two
    /// projections each; where not (from the next point on) their derivatives count as 0.
    void set_geometry_columns(bool made);
    /// Replaces the rays' weights (held-out projections). The diagonal blocks keep those of
    /// construction. Throws Error for a ray that had weight 0 and gets one.
    void set_ray_weight(std::span<const float> ray_weight);

    /// Factors A [own rotation][translation][layer] of what a ray gets from its depths, which its
    /// transmission multiplies besides: the absorption of rays that leave at an angle
    /// (exit_ray_factors). They stay with ray and layer where parameters of the geometry move rays
    /// or depths. Empty: 1, the same to the last bit as never set. From the next point on; throws
    /// Error for a wrong length, factors that are not positive and finite (rays of weight 0 may
    /// have any), a model without depth.
    void set_depth_factors(std::span<const float> factors);

    /// m [own ray][M].
    void predict(std::span<float> rays) const;
    /// What every part adds to m, summed over the rays of a rotation that have weight:
    /// [own rotation][part][M].
    std::vector<float> part_sums() const;
    /// ½ Σ weight |m − data|² over own rays and, unless `gradient` is empty, its gradient (after
    /// set_point with derivatives). `data` [own ray][M]. Collective with a gradient.
    double objective(std::span<const float> data, std::span<float> gradient) const;
    double objective(std::span<const float> data, std::span<double> gradient) const;
    double objective(std::span<const float> data) const;
    /// The objective's share of every own rotation.
    std::vector<double> rotation_misfits(std::span<const float> data) const;
    /// rays = J direction. Collective.
    void jacobian(std::span<const float> direction, std::span<float> rays) const;
    /// direction = Jᵀ rays (no weights). Collective.
    void adjoint(std::span<const float> rays, std::span<float> direction) const;
    /// direction = Jᵀ W rays. Collective.
    void weighted_adjoint(std::span<const float> rays, std::span<float> direction) const;
    void weighted_adjoint(std::span<const float> rays, std::span<double> direction) const;
    /// Until the next point, gauss_newton() takes families of patterns in the few combinations that
    /// the derivatives at this point need: `tolerance` is the part of them (norm) that may be left
    /// out, and of the patterns' change with depth. A few times cheaper; 0: exact again.
    /// Collective.
    void set_low_rank_tolerance(double tolerance);
    /// out = Jᵀ W J direction. Collective.
    void gauss_newton(std::span<const float> direction, std::span<float> out) const;
    void gauss_newton(std::span<const float> direction, std::span<double> out) const;

    /// Own rays' share of the global parameters' part of the diagonal of Jᵀ W J (after set_point
    /// with derivatives).
    std::vector<float> global_diagonal() const;
    /// Σ_j w_jv² W_j T_j² per pixel [y · n + x] over own rays.
    const std::vector<float>& pixel_weight() const;
    /// Pixels that carry any part.
    std::size_t pixel_count() const;
    /// The i-th of them and the indices of its values (without globals). The vector is reused.
    void pixel_values(std::size_t i, std::size_t& pixel, std::vector<std::size_t>& values) const;
    /// The same and their Gram matrix
    /// ⟨∂m/∂value, ∂m/∂value⟩ at depth 0 [value][value], of textured parts the mean over a turn,
    /// not weighted, depth factors 1: with Σ pixel_weight over the ranks the diagonal block of
    /// Jᵀ W J. The vectors are reused.
    void pixel_block(std::size_t i, std::size_t& pixel, std::vector<std::size_t>& values,
                     std::vector<float>& gram) const;

    /// Numbers per ray in which depth and components meet the pattern tables (after set_point).
    std::size_t packed_size() const;
    /// The same of the last low-rank operator; 0: there was none.
    std::size_t low_rank_size() const;
    /// Floating-point operations and bytes of one gauss_newton() of this rank, with the low-rank
    /// operator if there is one, counted.
    struct Cost {
        double projection_flops = 0, table_flops = 0;
        double bytes = 0;
    };
    Cost cost() const;

  private:
    template <class Number>
    std::vector<double> misfits(std::span<const float> data, std::span<Number> gradient) const;
    template <class Number>
    void back(std::span<const float> rays, std::span<Number> direction, bool weighted) const;
    template <class Number>
    void normal_product(std::span<const float> direction, std::span<Number> out) const;

    struct Impl;
    std::unique_ptr<Impl> impl_;
};

} // namespace xrdct::dlsr
