// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/dlsr: what an Operator holds. Its work is cut into operator_tables (patterns
// and voxels of a point), operator_derivatives (columns of the global parameters),
// operator_products (projections of all rays and their adjoints) and operator_low_rank.

#include "solvers/dlsr/eigen_index.hpp"
#include "solvers/dlsr/operator.hpp"
#include "solvers/dlsr/rotation_operator.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <omp.h>

namespace xrdct::dlsr {

struct Operator::Impl {
    explicit Impl(const SharedMemoryTeam& t) : team(t) {}

    const SharedMemoryTeam& team;
    const rietveld::PatternBasis* basis = nullptr;
    tomography::ScanGeometry geometry;
    tomography::ImageGrid grid;
    tomography::DepthLayers depth_layers;
    std::array<double, 2> layer_centre{};
    std::size_t rotations = 0, translations = 0, m = 0, layers = 1;
    std::vector<float> weight, transmission; ///< [ray]; transmission 0 where the weight is 0
    std::shared_ptr<const std::vector<float>> depth_factors; ///< [ray][layer]; null: 1
    std::unique_ptr<RotationOperator> exact, low_rank;
    std::size_t low_rank_size = 0;
    std::size_t values = 0, globals = 0; ///< globals: shapes, then the geometry's
    std::size_t shape_globals = 0;
    std::vector<float> pixel_weight;

    std::vector<GeometryParameter> geometry_parameters;
    std::vector<double> geometry_values; ///< those of the projector
    /// Projectors on either side along each geometry parameter, and where they were made.
    std::vector<std::array<std::unique_ptr<tomography::DepthProjector>, 2>> beside;
    std::vector<double> beside_at;

    /// Of every voxel of the projector, from members[first_member[i]] on: part, voxel within it.
    struct Member {
        std::uint32_t part, voxel;
    };
    SharedArray<std::uint32_t> first_member;
    SharedArray<Member> members;

    // The point.
    SharedArray<float> coefficients;
    std::vector<double> global_values;
    rietveld::PatternBasis::Tables tables;
    bool has_derivatives = false;
    std::vector<float> component_gram, low_rank_gram; ///< [slot][slot] at depth 0
    bool geometry_columns = true;
    std::vector<std::vector<float>> columns; ///< per global [ray][M]; empty: held

    mutable std::vector<AlignedFloats> scratch; ///< per thread
    // Of matrix-vector products: a direction's coefficients, each member's sums, [member][globals].
    mutable SharedArray<float> assembled, sums;
    mutable SharedArray<double> global_sums;

    // Set-up.
    /// Throws Error for weights and transmissions that the constructor does not take.
    void set_rays(std::span<const float> ray_weight, std::span<const float> ray_transmission);
    void set_geometry_parameters(std::span<const GeometryParameter> parameters);
    void make_rotation_operator(std::span<const std::span<const std::size_t>> pixels);
    /// Fills first_member and members.
    void arrange_members();
    void sum_pixel_weight();
    std::size_t value_count() const { return values + globals; }
    float* thread_scratch(std::size_t size) const {
        auto& own = scratch[static_cast<std::size_t>(omp_get_thread_num())];
        if (own.size() < size)
            own.resize(size);
        return own.data();
    }

    // Tables.
    bool has_tables(std::span<const double> at) const {
        return !component_gram.empty() &&
               std::equal(at.begin(), at.end(), global_values.begin(), global_values.end());
    }
    /// Functions and coefficients of this member's voxels.
    void set_voxels(std::span<const double> at);
    /// Patterns of all components, [layer][slot · M + coefficient].
    Matrix patterns() const;
    /// [slot][slot] of patterns [slot · M + coefficient]; between the first functions of ψ of two
    /// parts the mean over ψ, all functions included: what a voxel's values have in common over a
    /// turn.
    void make_gram(const RotationOperator& of, const float* patterns,
                   std::vector<float>& gram) const;
    void arrange_tables();
    /// A single layer is projected as two alike.
    std::size_t source_layer(std::size_t l) const { return std::min(l, basis->layer_count() - 1); }

    // Derivatives.
    /// The geometry and depths with its parameters changed.
    std::pair<tomography::ScanGeometry, tomography::DepthLayers>
    geometry_at(std::span<const double> changes) const;
    std::unique_ptr<tomography::DepthProjector> projector_at(std::span<const double> changes) const;
    double geometry_difference(std::size_t g) const;
    void set_geometry(std::span<const double> changes);
    /// Columns of all global parameters that are not held.
    void make_columns();
    /// Those of the geometry's parameters: projections beside the point.
    void make_geometry_columns();
    /// Those of the shapes: projections with the derivatives of the patterns.
    void make_shape_columns();
    /// Derivatives of the patterns by global shape g, in the part's packed rows [row][M].
    Matrix packed_slopes(std::size_t g) const;

    // Products.
    /// Of one rotation on one thread: the projector's, [translation][packed], [translation][M].
    struct RotationBuffers {
        float *buffer = nullptr, *reduced = nullptr, *rays = nullptr;
    };
    /// For every rotation: rays = T A q (plus the columns times `global`), handed to
    /// each(first ray, rays [translation][M]), which may change them; then, with `back`, the
    /// adjoint is added up in this member's `sums` and `global_sums`. With `weighted`, rotations
    /// without any weight are passed over. An empty q: rays are 0.
    template <class Each>
    void sweep(const RotationOperator& by, std::span<const float> q, const float* global,
               Each&& each, bool back, bool weighted = false) const;
    void predict_rotation(const RotationOperator& by, std::span<const float> q, const float* global,
                          std::size_t i, const RotationBuffers& at) const;
    /// Adds to `sum` and `global_sum`; overwrites the rays.
    void back_project_rotation(const RotationOperator& by, std::size_t i, const RotationBuffers& at,
                               std::span<float> sum, std::span<double> global_sum) const;
    bool has_weight(std::size_t rotation) const;
    /// Adds what the threads summed to `sum`, the first one's, and makes `global_sums`.
    void add_up_threads(std::span<const AlignedFloats> partial,
                        std::span<const std::vector<double>> partial_global,
                        std::span<float> sum) const;
    /// Of a member's sums; whole cache lines.
    std::size_t sums_stride() const {
        return (exact->projector().coefficient_count() + 15) / 16 * 16;
    }
    void make_room() const;
    /// The sums of all members as values.
    template <class Number>
    void collect(const RotationOperator& by, std::span<Number> direction) const;
    /// A direction's coefficients in `by`.
    std::span<const float> assemble(const RotationOperator& by,
                                    std::span<const float> direction) const;

    // Low rank.
    /// Families of patterns in the few combinations of components that the derivatives at the point
    /// need. With G the components' Gram matrix and x the components of a voxel's amount or of one
    /// of its shapes, the combinations are the leading vectors of Σ x xᵀ in the metric G, each kind
    /// of x counted alike.
    struct Combinations {
        Eigen::MatrixXd to;   ///< [combination][component]: of a voxel's components
        Eigen::MatrixXd from; ///< [component][combination]: of the patterns
    };
    Combinations combine(const RotationOperator::Part& part, double tolerance) const;
    void make_low_rank(double tolerance);
    /// The low-rank operator without tables and functions.
    void make_low_rank_operator(std::span<const Combinations> combinations);
    /// Functions of a low-rank part's voxels out of those of the full one.
    void make_low_rank_functions(std::size_t part, const Combinations& combinations);
    /// A low-rank part's patterns, written to [layer][slot · M + coefficient].
    void make_low_rank_patterns(std::size_t part, const Combinations& combinations,
                                const Matrix& full, Matrix& fewer) const;
};

} // namespace xrdct::dlsr
