#include "solvers/dlsr/operator.hpp"

#include "base/error.hpp"
#include "base/simd.hpp"
#include "solvers/dlsr/eigen_index.hpp"
#include "solvers/dlsr/rotation_operator.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include <Eigen/Dense>
#include <fmt/format.h>
#include <omp.h>

namespace xrdct::dlsr {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;
using Map = Eigen::Map<Matrix>;

/// Part of the patterns' change with depth that the depth functions may leave out.
constexpr double depth_tolerance = 1e-3;
/// Half the differences that derivatives of the geometry are made of: steps, part of the distance.
constexpr double axis_difference = 0.05, distance_difference = 2e-3;

} // namespace

struct Operator::Impl {
    const SharedMemoryTeam& team;
    explicit Impl(const SharedMemoryTeam& t) : team(t) {}
    const rietveld::PatternBasis* basis = nullptr;
    tomography::ScanGeometry geometry;
    tomography::ImageGrid grid;
    tomography::DepthLayers depth_layers;
    std::array<double, 2> layer_centre{};
    std::size_t rotations = 0, translations = 0, m = 0, layers = 1;
    std::vector<float> weight, transmission; ///< [ray]; transmission 0 where the weight is 0

    std::shared_ptr<const std::vector<float>> depth_factors; ///< [ray][layer]; null: 1
    std::unique_ptr<RotationOperator> lanes, condensed;
    std::size_t condensed_size = 0;
    std::size_t values = 0, globals = 0; ///< globals: shapes, then the geometry's
    std::size_t shape_globals = 0;

    std::vector<GeometryParameter> geometry_parameters;
    std::vector<double> geometry_values; ///< those of the projector
    /// Projectors on either side along each geometry parameter, and where they were made.
    std::vector<std::array<std::unique_ptr<tomography::DepthProjector>, 2>> beside;
    std::vector<double> beside_at;
    std::vector<float> pixel_weight;
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
    std::vector<float> lane_gram, condensed_gram; ///< [slot][slot] at depth 0
    bool geometry_columns = true;
    std::vector<std::vector<float>> columns; ///< per global [ray][M]; empty: held

    mutable std::vector<AlignedFloats> scratch; ///< per thread
    // Of products: a direction's coefficients, each member's sums, [member][globals].
    mutable SharedArray<float> assembled, sums;
    mutable SharedArray<double> global_sums;

    std::size_t value_count() const { return values + globals; }
    bool has_tables(std::span<const double> at) const {
        return !lane_gram.empty() &&
               std::equal(at.begin(), at.end(), global_values.begin(), global_values.end());
    }

    /// The geometry and depths with its parameters changed.
    std::pair<tomography::ScanGeometry, tomography::DepthLayers>
    geometry_at(std::span<const double> changes) const {
        tomography::ScanGeometry moved = geometry;
        tomography::DepthLayers stretched = depth_layers;
        for (std::size_t g = 0; g < geometry_parameters.size(); ++g) {
            if (geometry_parameters[g] == GeometryParameter::axis_offset) {
                moved.axis_offset += changes[g];
                continue;
            }
            if (!(changes[g] > -1))
                throw Error("DLSR: nothing is left of the distance");
            stretched.first *= 1 + changes[g];
            stretched.spacing *= 1 + changes[g];
        }
        return {moved, stretched};
    }
    std::unique_ptr<tomography::DepthProjector>
    projector_at(std::span<const double> changes) const {
        const auto [moved, stretched] = geometry_at(changes);
        return lanes->projector_of(moved, grid, stretched);
    }
    double geometry_difference(std::size_t g) const {
        return geometry_parameters[g] == GeometryParameter::axis_offset
                   ? axis_difference * std::abs(geometry.step())
                   : distance_difference;
    }
    void set_geometry(std::span<const double> changes) {
        if (std::equal(changes.begin(), changes.end(), geometry_values.begin()))
            return;
        lanes->set_projector(projector_at(changes));
        geometry_values.assign(changes.begin(), changes.end());
    }
    /// Columns of the geometry's parameters: projections beside the point.
    void make_geometry_columns() {
        if (geometry_parameters.empty() || !geometry_columns)
            return;
        if (beside_at != geometry_values || beside.empty()) {
            beside.resize(geometry_parameters.size());
            for (std::size_t g = 0; g < beside.size(); ++g)
                for (const int side : {-1, 1}) {
                    auto changes = geometry_values;
                    changes[g] += side * geometry_difference(g);
                    beside[g][side > 0] = projector_at(changes);
                }
            beside_at = geometry_values;
        }
#pragma omp parallel for schedule(static)
        for (std::size_t i = 0; i < rotations; ++i) {
            float* buffer = thread_scratch(lanes->buffer_size() + 2 * lanes->reduced_size());
            float* upper = buffer + lanes->buffer_size();
            float* lower = upper + lanes->reduced_size();
            for (std::size_t g = 0; g < beside.size(); ++g) {
                lanes->project_lanes(*beside[g][1], i, coefficients, buffer, upper);
                lanes->project_lanes(*beside[g][0], i, coefficients, buffer, lower);
                const auto scale = static_cast<float>(0.5 / geometry_difference(g));
                for (std::size_t j = 0; j < lanes->reduced_size(); ++j)
                    upper[j] = scale * (upper[j] - lower[j]);
                float* out = columns[shape_globals + g].data() + i * translations * m;
                Map(out, index(translations), index(m)).noalias() =
                    ConstMap(upper, index(translations), index(lanes->packed_size())) *
                    ConstMap(lanes->table().data(), index(lanes->packed_size()), index(m));
                for (std::size_t j = 0; j < translations; ++j)
                    Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
            }
        }
    }

    /// Functions and coefficients of this member's voxels.
    void set_voxels(std::span<const double> at) {
        for (std::size_t p = 0; p < lanes->parts().size(); ++p) {
            auto& part = lanes->parts()[p];
            const std::size_t n = part.pixels.size();
            const auto [first, last] = team.share(n);
            const double* amounts = at.data() + part.offset;
            if (part.lanes == 1 && part.shapes == 0) {
                for (std::size_t v = first; v < last; ++v)
                    coefficients[part.coefficient[v]] = static_cast<float>(amounts[v]);
                continue;
            }
            const std::size_t stride = (1 + part.shapes) * part.lanes;
#pragma omp parallel for schedule(static)
            for (std::size_t v = first; v < last; ++v) {
                std::array<double, 3> eta{};
                for (std::size_t d = 0; d < part.shapes; ++d)
                    eta[d] = amounts[(1 + d) * n + v];
                float* u = part.functions.data() + v * stride;
                basis->shape_functions(p, {eta.data(), part.shapes}, {u, part.lanes},
                                       {u + part.lanes, part.shapes * part.lanes});
                const auto amount = static_cast<float>(amounts[v]);
                part.for_blocks(v, [&](std::size_t place, std::size_t begin, std::size_t end) {
                    for (std::size_t i = begin; i < end; ++i)
                        coefficients[place + i - begin] = amount * u[i];
                });
                for (std::size_t i = part.lanes; i < stride; ++i)
                    u[i] *= amount;
            }
        }
    }
    /// Patterns of all lanes, [layer][slot · M + coefficient].
    Matrix patterns() const {
        Matrix full = Matrix::Zero(index(layers), index(lanes->slots() * m));
        for (std::size_t p = 0; p < lanes->parts().size(); ++p)
            for (std::size_t l = 0; l < layers; ++l) {
                const auto& part = lanes->parts()[p];
                std::copy_n(tables.values.data() + (source_layer(l) * basis->component_count() +
                                                    basis->first_component(p)) *
                                                       m,
                            part.all_lanes() * m, full.row(index(l)).data() + part.slot * m);
            }
        return full;
    }
    /// [slot][slot] of patterns [slot · M + coefficient]; between the first functions of ψ of two
    /// parts the mean over ψ, all functions included: what a voxel's values have in common over a
    /// turn.
    void make_gram(const RotationOperator& of, const float* patterns,
                   std::vector<float>& gram) const {
        const std::size_t slots = of.slots();
        gram.resize(slots * slots);
        const ConstMap rows(patterns, index(slots), index(m));
        Map all(gram.data(), index(slots), index(slots));
        all.noalias() = rows * rows.transpose();
        const auto& parts = of.parts();
        for (std::size_t p = 0; p < parts.size(); ++p)
            for (std::size_t o = 0; o < parts.size(); ++o)
                for (std::size_t f = 1; f < parts[p].ring.size(); ++f)
                    for (std::size_t g = 1; g < parts[o].ring.size(); ++g) {
                        const auto mean = static_cast<float>(of.ring_product(p, f, o, g));
                        const Eigen::Index own = index(parts[p].lanes),
                                           other = index(parts[o].lanes);
                        all.block(index(parts[p].slot), index(parts[o].slot), own, other) +=
                            mean * all.block(index(parts[p].slot + f * parts[p].lanes),
                                             index(parts[o].slot + g * parts[o].lanes), own, other);
                    }
    }
    void arrange_tables() {
        const Matrix full = patterns();
        lanes->set_tables(full, m, depth_tolerance);
        make_gram(*lanes, full.row(index(layers / 2)).data(), lane_gram);
    }
    /// A single layer is projected as two alike.
    std::size_t source_layer(std::size_t l) const {
        return std::min(l, basis->layer_count() - 1);
    }

    /// Families of patterns in the few combinations of lanes that the derivatives at the point
    /// need. With G the lanes' Gram matrix and x the lanes of a voxel's amount or of one of its
    /// shapes, the combinations are the leading vectors of Σ x xᵀ in the metric G, each kind of x
    /// counted alike.
    struct Combinations {
        Eigen::MatrixXd to;   ///< [combination][lane]: of a voxel's lanes
        Eigen::MatrixXd from; ///< [lane][combination]: of the patterns
    };
    Combinations combine(const RotationOperator::Part& part, double tolerance) const {
        const Eigen::Index count = index(part.lanes);
        const std::size_t stride = (1 + part.shapes) * part.lanes, n = part.pixels.size();
        Eigen::MatrixXd gram(count, count);
        for (Eigen::Index a = 0; a < count; ++a)
            for (Eigen::Index b = 0; b < count; ++b)
                gram(a, b) = static_cast<double>(
                    lane_gram[(part.slot + static_cast<std::size_t>(a)) * lanes->slots() +
                              part.slot + static_cast<std::size_t>(b)]);
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> metric(gram);
        const double least = 1e-12 * metric.eigenvalues()(count - 1);
        const Eigen::VectorXd root = metric.eigenvalues().cwiseMax(least).cwiseSqrt();
        const Eigen::MatrixXd to_metric = root.asDiagonal() * metric.eigenvectors().transpose();
        Eigen::MatrixXd sum = Eigen::MatrixXd::Zero(count, count);
        double kinds = 0;
        for (std::size_t d = 0; d <= part.shapes && n > 0; ++d) {
            const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> x(
                part.functions.data() + d * part.lanes, index(n), count,
                Eigen::OuterStride<>(index(stride)));
            const Eigen::MatrixXd all =
                to_metric * (x.transpose() * x).cast<double>() * to_metric.transpose();
            if (all.trace() > 0) {
                sum += all / all.trace();
                kinds += 1;
            }
        }
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(sum);
        Eigen::Index kept = 0;
        for (double rest = kinds; kept < count && rest > tolerance * tolerance; ++kept)
            rest -= eigen.eigenvalues()(count - 1 - kept);
        // Whole blocks are projected anyway.
        const Eigen::Index block = index(RotationOperator::block);
        kept = std::min(count, std::max<Eigen::Index>(1, (kept + block - 1) / block) * block);
        const Eigen::MatrixXd leading = eigen.eigenvectors().rightCols(kept).rowwise().reverse();
        Combinations result;
        result.to = leading.transpose() * to_metric;
        result.from = metric.eigenvectors() * root.cwiseInverse().asDiagonal() * leading;
        return result;
    }
    void condense(double tolerance) {
        condensed.reset();
        const auto& parts = lanes->parts();
        std::vector<Combinations> combinations(parts.size());
        std::vector<std::span<const std::size_t>> pixels;
        std::vector<std::size_t> counts, shapes;
        std::vector<RotationOperator::RingFunctions> rings;
        team.run_and_sync([&] {
            for (std::size_t p = 0; p < parts.size(); ++p)
                if (parts[p].lanes > RotationOperator::block)
                    combinations[p] = combine(parts[p], tolerance);
        });
        for (std::size_t p = 0; p < parts.size(); ++p) {
            const bool family = parts[p].lanes > RotationOperator::block;
            pixels.push_back(parts[p].pixels.span());
            counts.push_back(family ? static_cast<std::size_t>(combinations[p].to.rows())
                                    : parts[p].lanes);
            shapes.push_back(parts[p].shapes);
            rings.push_back(parts[p].ring);
        }
        const auto [moved, stretched] = geometry_at(geometry_values);
        condensed = std::make_unique<RotationOperator>(team, moved, grid, stretched, pixels, counts,
                                                       shapes, rings, layer_centre);
        condensed->set_depth_factors(depth_factors);
        const Matrix full = patterns();
        Matrix fewer = Matrix::Zero(index(layers), index(condensed->slots() * m));
        for (std::size_t p = 0; p < parts.size(); ++p) {
            auto& part = condensed->parts()[p];
            const std::size_t n = part.pixels.size(), own = (1 + part.shapes) * part.lanes,
                              all = (1 + part.shapes) * parts[p].lanes;
            if (combinations[p].to.size() == 0) {
                part.functions = parts[p].functions;
                fewer.middleCols(index(part.slot * m), index(part.all_lanes() * m)) =
                    full.middleCols(index(parts[p].slot * m), index(part.all_lanes() * m));
                continue;
            }
            const Matrix to = combinations[p].to.transpose().cast<float>(),
                         from = combinations[p].from.transpose().cast<float>();
            part.functions.resize(team, n * own);
            team.run_and_sync([&] {
                const auto [first, last] = team.share(n);
                for (std::size_t d = 0; d <= part.shapes; ++d)
                    Eigen::Map<Matrix, 0, Eigen::OuterStride<>>(
                        part.functions.data() + first * own + d * part.lanes, index(last - first),
                        index(part.lanes), Eigen::OuterStride<>(index(own)))
                        .noalias() =
                        Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>(
                            parts[p].functions.data() + first * all + d * parts[p].lanes,
                            index(last - first), index(parts[p].lanes),
                            Eigen::OuterStride<>(index(all))) *
                        to;
            });
            for (std::size_t l = 0; l < layers; ++l)
                for (std::size_t f = 0; f < part.ring.size(); ++f)
                    Map(fewer.row(index(l)).data() + (part.slot + f * part.lanes) * m,
                        index(part.lanes), index(m))
                        .noalias() = from * ConstMap(full.row(index(l)).data() +
                                                         (parts[p].slot + f * parts[p].lanes) * m,
                                                     index(parts[p].lanes), index(m));
        }
        condensed->set_tables(fewer, m, tolerance);
        make_gram(*condensed, fewer.row(index(layers / 2)).data(), condensed_gram);
        condensed_size = condensed->packed_size();
    }

    float* thread_scratch(std::size_t size) const {
        auto& own = scratch[static_cast<std::size_t>(omp_get_thread_num())];
        if (own.size() < size)
            own.resize(size);
        return own.data();
    }
    void make_columns() {
        columns.resize(globals);
        if (globals == 0)
            return;
        for (std::size_t g = 0; g < globals; ++g)
            if (g < shape_globals || geometry_columns)
                columns[g].resize(rotations * translations * m);
            else
                columns[g].clear();
        make_geometry_columns();
        std::vector<Matrix> slopes(shape_globals);
        for (std::size_t g = 0; g < shape_globals; ++g) {
            const std::size_t count = lanes->parts()[tables.part[g]].all_lanes();
            Matrix full(index(layers), index(count * m));
            for (std::size_t l = 0; l < layers; ++l)
                std::copy_n(tables.derivatives[g].data() + source_layer(l) * count * m, count * m,
                            full.row(index(l)).data());
            const Matrix reduced = lanes->depth_functions().transpose() * full;
            // Rows of the packed lanes of the part, function by function.
            const auto rows = lanes->lanes_of(tables.part[g]);
            slopes[g].resize(index(rows.size()), index(m));
            for (std::size_t r = 0; r < rows.size(); ++r)
                slopes[g].row(index(r)) =
                    reduced.row(index(rows[r].function)).segment(index(rows[r].lane * m), index(m));
        }
        std::vector<std::vector<RotationOperator::PackedLane>> rows(shape_globals);
        std::size_t widest = 0;
        for (std::size_t g = 0; g < shape_globals; ++g) {
            rows[g] = lanes->lanes_of(tables.part[g]);
            widest = std::max(widest, rows[g].size());
        }
#pragma omp parallel for schedule(static)
        for (std::size_t i = 0; i < rotations; ++i) {
            float* buffer = thread_scratch(lanes->buffer_size() + lanes->reduced_size() +
                                           translations * widest);
            float* reduced = buffer + lanes->buffer_size();
            float* picked = reduced + lanes->reduced_size();
            lanes->project_lanes(i, coefficients, buffer, reduced);
            for (std::size_t g = 0; g < shape_globals; ++g) {
                const std::size_t count = rows[g].size();
                for (std::size_t j = 0; j < translations; ++j)
                    for (std::size_t r = 0; r < count; ++r)
                        picked[j * count + r] =
                            reduced[j * lanes->packed_size() + rows[g][r].place];
                float* out = columns[g].data() + i * translations * m;
                Map(out, index(translations), index(m)).noalias() =
                    ConstMap(picked, index(translations), index(count)) * slopes[g];
                for (std::size_t j = 0; j < translations; ++j)
                    Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
            }
        }
    }
    /// For every rotation: rays = T A q (plus the columns times `global`), handed to
    /// each(first ray, rays [translation][M]), which may change them; then, with `back`, the
    /// adjoint is added up in this member's `sums` and `global_sums`. With `weighted`, rotations
    /// without any weight are passed over. An empty q: rays are 0.
    template <class Each>
    void sweep(const RotationOperator& by, std::span<const float> q, const float* global,
               Each&& each, bool back, bool weighted = false) const {
        const auto threads = static_cast<std::size_t>(omp_get_max_threads());
        const std::size_t count = by.projector().coefficient_count();
        std::vector<AlignedFloats> partial(back ? threads : 0);
        std::vector<std::vector<double>> partial_global(threads, std::vector<double>(globals, 0.0));
        const std::span<float> mine =
            back ? sums.span().subspan(team.rank() * sums_stride(), count) : std::span<float>();
#pragma omp parallel
        {
            const auto own = static_cast<std::size_t>(omp_get_thread_num());
            float* buffer = thread_scratch(by.buffer_size() + by.reduced_size() + translations * m);
            float* reduced = buffer + by.buffer_size();
            float* rays = reduced + by.reduced_size();
            std::span<float> sum = mine;
            if (back && own > 0) {
                partial[own].resize(count);
                sum = partial[own];
            }
            std::fill(sum.begin(), sum.end(), 0.0F);
#pragma omp for schedule(static)
            for (std::size_t i = 0; i < rotations; ++i) {
                const std::size_t first = i * translations;
                if (weighted &&
                    std::all_of(weight.begin() + static_cast<std::ptrdiff_t>(first),
                                weight.begin() + static_cast<std::ptrdiff_t>(first + translations),
                                [](float w) { return w == 0; }))
                    continue;
                if (!q.empty()) {
                    by.project(i, q, buffer, reduced, rays);
                    for (std::size_t j = 0; j < translations; ++j)
                        Map(rays + j * m, 1, index(m)) *= transmission[first + j];
                } else {
                    std::fill_n(rays, translations * m, 0.0F);
                }
                if (global)
                    for (std::size_t g = 0; g < globals; ++g)
                        if (global[g] != 0 && !columns[g].empty())
                            Map(rays, 1, index(translations * m)) +=
                                global[g] *
                                ConstMap(columns[g].data() + first * m, 1, index(translations * m));
                each(first, rays);
                if (!back)
                    continue;
                for (std::size_t g = 0; g < globals; ++g)
                    if (!columns[g].empty())
                        partial_global[own][g] += static_cast<double>(
                            ConstMap(columns[g].data() + first * m, 1, index(translations * m))
                                .cwiseProduct(ConstMap(rays, 1, index(translations * m)))
                                .sum());
                for (std::size_t j = 0; j < translations; ++j)
                    Map(rays + j * m, 1, index(m)) *= transmission[first + j];
                by.back_project(i, rays, buffer, reduced, sum);
            }
        }
        if (!back)
            return;
        for (std::size_t t = 1; t < threads; ++t)
            if (!partial[t].empty())
#pragma omp parallel for schedule(static)
                for (std::size_t i = 0; i < count; ++i)
                    mine[i] += partial[t][i];
        for (std::size_t g = 0; g < globals; ++g) {
            double& sum = global_sums[team.rank() * globals + g];
            sum = 0;
            for (std::size_t t = 0; t < threads; ++t)
                sum += partial_global[t][g];
        }
    }
    /// Of a member's sums; whole cache lines.
    std::size_t sums_stride() const {
        return (lanes->projector().coefficient_count() + 15) / 16 * 16;
    }
    void make_room() const {
        assembled.resize(team, lanes->projector().coefficient_count());
        sums.resize(team, team.size() * sums_stride());
        global_sums.resize(team, team.size() * globals);
    }
    /// The sums of all members as values.
    template <class Number>
    void collect(const RotationOperator& by, std::span<Number> direction) const {
        by.reduce(std::span<const float>(sums.span()), sums_stride(), direction);
        if (globals > 0)
            team.run_and_sync([&] {
                for (std::size_t g = 0; g < globals && team.rank() == 0; ++g) {
                    double sum = 0;
                    for (std::size_t member = 0; member < team.size(); ++member)
                        sum += global_sums[member * globals + g];
                    direction[values + g] = static_cast<Number>(sum);
                }
            });
    }
    /// A direction's coefficients in `by`.
    std::span<const float> assemble(const RotationOperator& by,
                                    std::span<const float> direction) const {
        make_room();
        const auto q = assembled.span().first(by.projector().coefficient_count());
        by.assemble(direction, q);
        return q;
    }
};

Operator::Operator(const tomography::ScanGeometry& geometry, const tomography::ImageGrid& grid,
                   const rietveld::PatternBasis& basis, const tomography::DepthLayers& layers,
                   std::span<const std::span<const std::size_t>> pixels,
                   std::span<const float> ray_weight, std::span<const float> transmission,
                   std::span<const GeometryParameter> geometry_parameters,
                   std::array<double, 2> layer_centre, const SharedMemoryTeam& team)
    : impl_(std::make_unique<Impl>(team)) {
    Impl& impl = *impl_;
    impl.basis = &basis;
    impl.geometry = geometry;
    impl.rotations = geometry.rotation.size();
    impl.translations = geometry.translation.size();
    const std::size_t rays = impl.rotations * impl.translations;
    if (ray_weight.size() != rays || transmission.size() != rays)
        throw Error(fmt::format("DLSR: {} ray weights and {} transmissions for {} rays",
                                ray_weight.size(), transmission.size(), rays));
    if (pixels.size() != basis.parts().size() || layers.count != basis.layer_count())
        throw Error("DLSR: parts or layers differ from those of the pattern basis");
    impl.m = basis.size();
    impl.weight.assign(ray_weight.begin(), ray_weight.end());
    impl.transmission.assign(transmission.begin(), transmission.end());
    for (std::size_t r = 0; r < rays; ++r) {
        if (!(impl.weight[r] >= 0) || !std::isfinite(impl.weight[r]))
            throw Error("DLSR: a ray's weight is negative or not finite");
        if (impl.weight[r] == 0)
            impl.transmission[r] = 0;
        else if (!(impl.transmission[r] > 0))
            throw Error("DLSR: a ray with weight has no positive transmission");
    }

    impl.geometry_parameters.assign(geometry_parameters.begin(), geometry_parameters.end());
    for (std::size_t g = 0; g < geometry_parameters.size(); ++g) {
        if (geometry_parameters[g] == GeometryParameter::distance && layers.count < 2)
            throw Error("DLSR: the distance is no parameter of a model without depth");
        if (std::count(geometry_parameters.begin(), geometry_parameters.end(),
                       geometry_parameters[g]) > 1)
            throw Error("DLSR: a geometry parameter is given twice");
    }
    impl.geometry_values.assign(geometry_parameters.size(), 0.0);
    impl.grid = grid;
    impl.depth_layers = layers;
    impl.layer_centre = layer_centre;
    std::vector<std::size_t> lanes, shapes;
    std::vector<RotationOperator::RingFunctions> rings;
    for (std::size_t p = 0; p < pixels.size(); ++p) {
        lanes.push_back(basis.components(p));
        shapes.push_back(basis.parts()[p].voxel.size());
        rings.push_back(basis.ring_functions(p));
    }
    impl.lanes = std::make_unique<RotationOperator>(team, geometry, grid, layers, pixels, lanes,
                                                    shapes, rings, layer_centre);
    impl.layers = impl.lanes->layers();
    impl.values = impl.lanes->value_count();
    const auto ordered = impl.lanes->projector().voxels();
    std::size_t member_count = 0;
    for (const auto& part : impl.lanes->parts())
        member_count += part.pixels.size();
    impl.first_member.resize(team, ordered.size() + 1);
    impl.members.resize(team, member_count);
    team.run_and_sync([&] {
        if (team.rank() != 0)
            return;
        std::vector<std::uint32_t> place(grid.size(), 0);
        for (std::size_t i = 0; i < ordered.size(); ++i)
            place[ordered[i].pixel] = static_cast<std::uint32_t>(i);
        const auto for_members = [&](auto&& each) {
            const auto& parts = impl.lanes->parts();
            for (std::uint32_t p = 0; p < parts.size(); ++p)
                for (std::uint32_t v = 0; v < parts[p].pixels.size(); ++v)
                    each(place[parts[p].pixels[v]], Impl::Member{p, v});
        };
        // Counted, then filled from the front, which moves the beginnings one voxel on.
        std::vector<std::uint32_t> next(ordered.size() + 1, 0);
        for_members([&](std::uint32_t i, Impl::Member) { ++next[i + 1]; });
        for (std::size_t i = 0; i < ordered.size(); ++i)
            next[i + 1] += next[i];
        std::copy(next.begin(), next.end(), impl.first_member.begin());
        for_members(
            [&](std::uint32_t i, Impl::Member member) { impl.members[next[i]++] = member; });
    });
    impl.shape_globals = basis.global_count();
    impl.globals = impl.shape_globals + geometry_parameters.size();
    impl.scratch.resize(static_cast<std::size_t>(omp_get_max_threads()));

    std::vector<float> squares(rays);
    for (std::size_t r = 0; r < rays; ++r)
        squares[r] = impl.weight[r] * impl.transmission[r] * impl.transmission[r];
    const auto sums = impl.lanes->projector().weighted_squares(squares);
    impl.pixel_weight.assign(grid.size(), 0.0F);
    for (std::size_t i = 0; i < ordered.size(); ++i)
        impl.pixel_weight[ordered[i].pixel] = sums[i];
}

Operator::~Operator() = default;
Operator::Operator(Operator&&) noexcept = default;
Operator& Operator::operator=(Operator&&) noexcept = default;

const SharedMemoryTeam& Operator::team() const {
    return impl_->team;
}

const rietveld::PatternBasis& Operator::basis() const {
    return *impl_->basis;
}
std::size_t Operator::ray_count() const {
    return impl_->rotations * impl_->translations;
}
std::size_t Operator::coefficient_count() const {
    return ray_count() * impl_->m;
}
std::size_t Operator::value_count() const {
    return impl_->value_count();
}
std::span<const std::size_t> Operator::pixels(std::size_t part) const {
    return impl_->lanes->parts()[part].pixels.span();
}
std::size_t Operator::offset(std::size_t part, int shape) const {
    const auto& p = impl_->lanes->parts()[part];
    return p.offset + static_cast<std::size_t>(shape + 1) * p.pixels.size();
}
std::size_t Operator::global_offset() const {
    return impl_->values;
}
std::size_t Operator::global_count() const {
    return impl_->globals;
}
const std::vector<GeometryParameter>& Operator::geometry_parameters() const {
    return impl_->geometry_parameters;
}
const std::vector<float>& Operator::pixel_weight() const {
    return impl_->pixel_weight;
}

std::size_t Operator::table_size(std::span<const double> values, bool derivatives) const {
    const Impl& impl = *impl_;
    if (values.size() != value_count())
        throw Error("DLSR: wrong number of values");
    const bool made = impl.has_tables(values.subspan(impl.values, impl.shape_globals));
    return impl.basis->table_size(!made, derivatives && !(made && impl.has_derivatives));
}

void Operator::table_rows(std::span<const double> values, bool derivatives, std::size_t first,
                          std::size_t every, std::span<double> rows) const {
    const Impl& impl = *impl_;
    if (table_size(values, derivatives) == 0)
        return;
    const auto globals = values.subspan(impl.values, impl.shape_globals);
    const bool made = impl.has_tables(globals);
    impl.basis->table_rows(globals, !made, derivatives, first, every, rows);
}

void Operator::set_point(std::span<const double> values, bool derivatives) {
    std::vector<double> rows(table_size(values, derivatives));
    table_rows(values, derivatives, 0, 1, rows);
    set_point(values, derivatives, rows);
}

void Operator::set_point(std::span<const double> values, bool derivatives,
                         std::span<const double> rows) {
    Impl& impl = *impl_;
    if (values.size() != value_count())
        throw Error("DLSR: wrong number of values");
    const auto globals = values.subspan(impl.values, impl.shape_globals);
    const auto geometry = values.subspan(impl.values + impl.shape_globals);
    // Every member's own; afterwards nobody reads any more what is to change.
    impl.team.run_and_sync([&] {
        impl.set_geometry(std::vector<double>(geometry.begin(), geometry.end()));
        if (!impl.has_tables(globals)) {
            impl.tables = impl.basis->tables(globals, derivatives, rows);
            impl.has_derivatives = derivatives;
            impl.global_values.assign(globals.begin(), globals.end());
            impl.arrange_tables();
        } else if (derivatives && !impl.has_derivatives) {
            impl.basis->add_derivatives(globals, impl.tables, rows);
            impl.has_derivatives = true;
        }
        impl.condensed.reset();
    });
    impl.coefficients.resize(impl.team, impl.lanes->projector().coefficient_count());
    for (auto& part : impl.lanes->parts())
        if (part.lanes > 1 || part.shapes > 0)
            part.functions.resize(impl.team, part.pixels.size() * (1 + part.shapes) * part.lanes);
    impl.team.run_and_sync([&] { impl.set_voxels(values); });
    if (derivatives)
        impl.make_columns();
}

void Operator::release_columns() {
    impl_->columns.clear();
    impl_->columns.resize(impl_->globals);
}

void Operator::set_geometry_columns(bool made) {
    impl_->geometry_columns = made;
}

void Operator::condense(double tolerance) {
    impl_->condensed.reset();
    if (tolerance > 0)
        impl_->condense(tolerance);
}

void Operator::set_ray_weight(std::span<const float> ray_weight) {
    if (ray_weight.size() != ray_count())
        throw Error("DLSR: wrong number of ray weights");
    for (std::size_t r = 0; r < ray_count(); ++r)
        if (!(ray_weight[r] >= 0) || (ray_weight[r] > 0 && !(impl_->transmission[r] > 0)))
            throw Error("DLSR: a ray that was left out cannot be given a weight");
    impl_->weight.assign(ray_weight.begin(), ray_weight.end());
}

void Operator::set_depth_factors(std::span<const float> factors) {
    Impl& impl = *impl_;
    impl.depth_factors.reset();
    if (!factors.empty()) {
        const std::size_t layers = impl.depth_layers.count;
        if (layers < 2)
            throw Error("DLSR: a model without depth has no depth factors");
        if (factors.size() != ray_count() * layers)
            throw Error(fmt::format("DLSR: {} depth factors for {} rays and {} layers",
                                    factors.size(), ray_count(), layers));
        std::vector<float> used(factors.begin(), factors.end());
        for (std::size_t k = 0; k < used.size(); ++k)
            if (!(impl.transmission[k / layers] > 0))
                used[k] = 1;
            else if (!(used[k] > 0) || !std::isfinite(used[k]))
                throw Error("DLSR: a depth factor is not positive and finite");
        impl.depth_factors = std::make_shared<const std::vector<float>>(std::move(used));
    }
    impl.lanes->set_depth_factors(impl.depth_factors);
    impl.condensed.reset();
}

void Operator::predict(std::span<float> rays) const {
    if (rays.size() != coefficient_count())
        throw Error("DLSR: wrong number of rays");
    impl_->sweep(
        *impl_->lanes, impl_->coefficients, nullptr,
        [&](std::size_t first, const float* values) {
            std::copy_n(values, impl_->translations * impl_->m, rays.data() + first * impl_->m);
        },
        false);
}

std::vector<float> Operator::part_sums() const {
    const Impl& impl = *impl_;
    const RotationOperator& lanes = *impl.lanes;
    const std::size_t parts = lanes.parts().size(), m = impl.m, packed = lanes.packed_size();
    std::vector<std::vector<RotationOperator::PackedLane>> rows(parts);
    for (std::size_t p = 0; p < parts; ++p)
        rows[p] = lanes.lanes_of(p);
    std::vector<float> result(impl.rotations * parts * m, 0.0F);
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < impl.rotations; ++i) {
        float* buffer = impl.thread_scratch(lanes.buffer_size() + lanes.reduced_size() + packed);
        float* reduced = buffer + lanes.buffer_size();
        float* sum = reduced + lanes.reduced_size();
        lanes.project_lanes(i, impl.coefficients, buffer, reduced);
        std::fill_n(sum, packed, 0.0F);
        for (std::size_t j = 0; j < impl.translations; ++j) {
            const std::size_t ray = i * impl.translations + j;
            if (impl.weight[ray] > 0)
                for (std::size_t k = 0; k < packed; ++k)
                    sum[k] += impl.transmission[ray] * reduced[j * packed + k];
        }
        for (std::size_t p = 0; p < parts; ++p)
            for (const auto& row : rows[p])
                Map(result.data() + (i * parts + p) * m, 1, index(m)) +=
                    sum[row.place] * ConstMap(lanes.table().data() + row.place * m, 1, index(m));
    }
    return result;
}

namespace {
double total(const std::vector<double>& misfits) {
    double sum = 0;
    for (const double misfit : misfits)
        sum += misfit;
    return sum;
}
} // namespace

double Operator::objective(std::span<const float> data, std::span<float> gradient) const {
    return total(misfits(data, gradient));
}
double Operator::objective(std::span<const float> data, std::span<double> gradient) const {
    return total(misfits(data, gradient));
}
double Operator::objective(std::span<const float> data) const {
    return total(rotation_misfits(data));
}

std::vector<double> Operator::rotation_misfits(std::span<const float> data) const {
    return misfits(data, std::span<float>());
}

template <class Number>
std::vector<double> Operator::misfits(std::span<const float> data,
                                      std::span<Number> gradient) const {
    const Impl& impl = *impl_;
    if (data.size() != coefficient_count() ||
        (!gradient.empty() && gradient.size() != value_count()))
        throw Error("DLSR: wrong sizes for the objective");
    std::vector<double> sums(impl.rotations, 0.0);
    const auto work = [&] {
        impl.sweep(
            *impl.lanes, impl.coefficients, nullptr,
            [&](std::size_t first, float* rays) {
                double sum = 0;
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = impl.weight[first + j];
                    float* r = rays + j * impl.m;
                    const float* d = data.data() + (first + j) * impl.m;
                    if (weight == 0) {
                        std::fill_n(r, impl.m, 0.0F);
                        continue;
                    }
                    float square = 0;
                    for (std::size_t i = 0; i < impl.m; ++i) {
                        const float difference = r[i] - d[i];
                        square += difference * difference;
                        r[i] = weight * difference;
                    }
                    sum += static_cast<double>(weight) * square;
                }
                sums[first / impl.translations] = 0.5 * sum;
            },
            !gradient.empty(), true);
    };
    if (gradient.empty()) {
        work();
        return sums;
    }
    impl.make_room();
    impl.team.run_and_sync(work);
    impl.collect(*impl.lanes, gradient);
    return sums;
}

void Operator::jacobian(std::span<const float> direction, std::span<float> rays) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the Jacobian");
    const auto q = impl.assemble(*impl.lanes, direction);
    impl.team.run_and_sync([&] {
        impl.sweep(
            *impl.lanes, q, direction.data() + impl.values,
            [&](std::size_t first, const float* values) {
                std::copy_n(values, impl.translations * impl.m, rays.data() + first * impl.m);
            },
            false);
    });
}

void Operator::adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, false);
}
void Operator::weighted_adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, true);
}
void Operator::weighted_adjoint(std::span<const float> rays, std::span<double> direction) const {
    back(rays, direction, true);
}
template <class Number>
void Operator::back(std::span<const float> rays, std::span<Number> direction, bool weighted) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the adjoint");
    impl.make_room();
    impl.team.run_and_sync([&] {
        impl.sweep(
            *impl.lanes, {}, nullptr,
            [&](std::size_t first, float* values) {
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = weighted ? impl.weight[first + j] : 1;
                    const float* from = rays.data() + (first + j) * impl.m;
                    for (std::size_t i = 0; i < impl.m; ++i)
                        values[j * impl.m + i] = weight * from[i];
                }
            },
            true);
    });
    impl.collect(*impl.lanes, direction);
}

void Operator::gauss_newton(std::span<const float> direction, std::span<float> out) const {
    normal_product(direction, out);
}
void Operator::gauss_newton(std::span<const float> direction, std::span<double> out) const {
    normal_product(direction, out);
}
template <class Number>
void Operator::normal_product(std::span<const float> direction, std::span<Number> out) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || out.size() != value_count())
        throw Error("DLSR: wrong sizes for the Gauss-Newton product");
    const RotationOperator& lanes = impl.condensed ? *impl.condensed : *impl.lanes;
    const auto q = impl.assemble(lanes, direction);
    impl.team.run_and_sync([&] {
        impl.sweep(
            lanes, q, direction.data() + impl.values,
            [&](std::size_t first, float* rays) {
                for (std::size_t j = 0; j < impl.translations; ++j) {
                    const float weight = impl.weight[first + j];
                    for (std::size_t i = 0; i < impl.m; ++i)
                        rays[j * impl.m + i] *= weight;
                }
            },
            true, true);
    });
    impl.collect(lanes, out);
}

std::size_t Operator::pixel_count() const {
    return impl_->lanes->projector().voxels().size();
}

void Operator::pixel_values(std::size_t i, std::size_t& pixel,
                            std::vector<std::size_t>& values) const {
    const Impl& impl = *impl_;
    pixel = impl.lanes->projector().voxels()[i].pixel;
    values.clear();
    for (std::size_t k = impl.first_member[i]; k < impl.first_member[i + 1]; ++k) {
        const auto [p, v] = impl.members[k];
        const auto& part = impl.lanes->parts()[p];
        for (std::size_t d = 0; d <= part.shapes; ++d)
            values.push_back(part.offset + d * part.pixels.size() + v);
    }
}

void Operator::pixel_block(std::size_t i, std::size_t& pixel, std::vector<std::size_t>& values,
                           std::vector<float>& gram) const {
    const Impl& impl = *impl_;
    // Condensed lanes say the same of a voxel within the condensation's tolerance, with less work.
    const RotationOperator& lanes = impl.condensed ? *impl.condensed : *impl.lanes;
    const std::vector<float>& lane_gram = impl.condensed ? impl.condensed_gram : impl.lane_gram;
    pixel_values(i, pixel, values);
    // Every value's pattern as lanes of the tables: first slot, number, factors.
    struct Column {
        std::size_t slot, lanes;
        const float* factor;
    };
    static const float one = 1;
    thread_local std::vector<Column> columns;
    columns.clear();
    for (std::size_t k = impl.first_member[i]; k < impl.first_member[i + 1]; ++k) {
        const auto [p, v] = impl.members[k];
        const auto& part = lanes.parts()[p];
        for (std::size_t d = 0; d <= part.shapes; ++d)
            columns.push_back(
                {part.slot, part.lanes,
                 part.functions.empty()
                     ? &one
                     : part.functions.data() + (v * (1 + part.shapes) + d) * part.lanes});
    }
    const std::size_t count = values.size();
    gram.assign(count * count, 0.0F);
    for (std::size_t a = 0; a < count; ++a)
        for (std::size_t b = 0; b <= a; ++b) {
            float sum = 0;
            for (std::size_t k = 0; k < columns[a].lanes; ++k) {
                const float* row =
                    lane_gram.data() + (columns[a].slot + k) * lanes.slots() + columns[b].slot;
                float inner = 0;
                for (std::size_t l = 0; l < columns[b].lanes; ++l)
                    inner += row[l] * columns[b].factor[l];
                sum += inner * columns[a].factor[k];
            }
            gram[a * count + b] = gram[b * count + a] = sum;
        }
}

std::vector<float> Operator::diagonal() const {
    const Impl& impl = *impl_;
    std::vector<float> result(value_count(), 0.0F);
    std::vector<std::size_t> values;
    std::vector<float> gram;
    for (std::size_t i = 0; i < pixel_count(); ++i) {
        std::size_t pixel = 0;
        pixel_block(i, pixel, values, gram);
        for (std::size_t a = 0; a < values.size(); ++a)
            result[values[a]] = gram[a * values.size() + a] * impl.pixel_weight[pixel];
    }
    const auto of_globals = global_diagonal();
    std::copy(of_globals.begin(), of_globals.end(),
              result.begin() + static_cast<std::ptrdiff_t>(impl.values));
    return result;
}

std::vector<float> Operator::global_diagonal() const {
    const Impl& impl = *impl_;
    std::vector<float> result(impl.globals, 0.0F);
    for (std::size_t g = 0; g < impl.columns.size(); ++g) {
        if (impl.columns[g].empty())
            continue;
        double sum = 0;
        for (std::size_t r = 0; r < ray_count(); ++r) {
            float square = 0;
            for (std::size_t i = 0; i < impl.m; ++i) {
                const float value = impl.columns[g][r * impl.m + i];
                square += value * value;
            }
            sum += static_cast<double>(square) * impl.weight[r];
        }
        result[g] = static_cast<float>(sum);
    }
    return result;
}

std::size_t Operator::packed_size() const {
    return impl_->lanes->packed_size();
}

std::size_t Operator::condensed_size() const {
    return impl_->condensed_size;
}

Operator::Cost Operator::cost() const {
    const Impl& impl = *impl_;
    const RotationOperator& lanes = impl.condensed ? *impl.condensed : *impl.lanes;
    Cost cost;
    const double rotations = static_cast<double>(impl.rotations);
    const double taps = static_cast<double>(lanes.projector().padding());
    const double q = static_cast<double>(lanes.projector().coefficient_count());
    cost.projection_flops = 2 * rotations * q * taps * 2 * 2;
    const double rays = rotations * static_cast<double>(impl.translations);
    cost.table_flops = 2 * 2 * rays * static_cast<double>(lanes.packed_size()) *
                       static_cast<double>(impl.m + impl.layers);
    cost.bytes = 4 * rotations * (3 * q + 4 * static_cast<double>(lanes.buffer_size()));
    return cost;
}

} // namespace xrdct::dlsr
