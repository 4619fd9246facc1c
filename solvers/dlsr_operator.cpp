#include "solvers/dlsr_operator.hpp"

#include "base/error.hpp"
#include "tomography/simd.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include <Eigen/Dense>
#include <fmt/format.h>
#include <omp.h>

namespace xrdct {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstMap = Eigen::Map<const Matrix>;
using Map = Eigen::Map<Matrix>;

/// Storage on the boundaries of vector registers: accesses that cross a cache line cost much.
using AlignedFloats = std::vector<float, Eigen::aligned_allocator<float>>;

constexpr std::size_t block = 8;
/// Part of the patterns' change with depth that the depth functions may leave out.
constexpr double depth_tolerance = 1e-3;
constexpr std::size_t unrolled = 8; ///< depth functions worked on together
/// Half the differences that derivatives of the geometry are made of: steps, part of the distance.
constexpr double axis_difference = 0.05, distance_difference = 2e-3;

Eigen::Index index(std::size_t i) {
    return static_cast<Eigen::Index>(i);
}

} // namespace

struct DlsrOperator::Impl {
    const PatternBasis* basis = nullptr;
    ScanGeometry geometry;
    std::size_t rotations = 0, translations = 0, m = 0, layers = 1, slots = 0;
    std::vector<float> weight, transmission; ///< [ray]; transmission 0 where the weight is 0
    std::unique_ptr<DepthProjector> projector;

    struct Part {
        std::size_t lanes = 1, shapes = 0, slot = 0;
        std::vector<std::size_t> pixels;
        std::vector<std::size_t> coefficient; ///< of each voxel: its first among all coefficients
        std::size_t offset = 0;               ///< among the values
        /// [voxel][1 + shapes][lane]: u, then S ∂u/∂η; empty for one lane, where u = 1
        std::vector<float> functions;
    };
    std::vector<Part> parts;
    std::size_t values = 0, globals = 0; ///< globals: shapes, then the geometry's
    std::size_t shape_globals = 0;

    std::vector<GeometryParameter> geometry_parameters;
    ImageGrid grid;
    DepthLayers depth_layers;
    std::vector<VoxelBlocks> voxels;
    std::vector<double> geometry_values; ///< those of the projector
    /// Projectors on either side along each geometry parameter, and where they were made.
    std::vector<std::array<std::unique_ptr<DepthProjector>, 2>> beside;
    std::vector<double> beside_at;
    std::vector<float> pixel_weight;
    /// Of every voxel of the projector: (part, voxel within it).
    std::vector<std::vector<std::pair<std::uint16_t, std::uint32_t>>> members;

    // The point.
    std::vector<double> point;
    AlignedFloats coefficients;
    std::vector<double> global_values;
    PatternBasis::Tables tables;
    bool has_derivatives = false;
    /// Layers and functions of the depth: few suffice for all patterns, [layer][function]. Lanes of
    /// little weight need fewer still: a block of eight lanes takes the first
    /// block_functions[block] and lies packed as [function][8] from 8 · block_first[block] on.
    Matrix depth_functions;
    std::size_t functions = 0, packed = 0, functions_padded = 0;
    std::vector<float> depth_padded; ///< the same with rows filled up to a multiple of `unrolled`
    std::vector<std::size_t> block_functions, block_first;
    std::vector<float> table, transposed;    ///< [packed][M], [M][packed]
    std::vector<float> lane_gram;            ///< [slot][slot] at depth 0
    std::vector<std::vector<float>> columns; ///< per global [ray][M]

    mutable std::vector<AlignedFloats> scratch; ///< per thread

    std::size_t value_count() const { return values + globals; }

    std::unique_ptr<DepthProjector> projector_at(std::span<const double> changes) const {
        ScanGeometry moved = geometry;
        DepthLayers stretched = depth_layers;
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
        return std::make_unique<DepthProjector>(moved, grid, voxels, slots / block, stretched);
    }
    double geometry_difference(std::size_t g) const {
        return geometry_parameters[g] == GeometryParameter::axis_offset
                   ? axis_difference * std::abs(geometry.step())
                   : distance_difference;
    }
    void set_geometry(std::span<const double> changes) {
        if (std::equal(changes.begin(), changes.end(), geometry_values.begin()))
            return;
        projector = projector_at(changes);
        geometry_values.assign(changes.begin(), changes.end());
    }
    /// Columns of the geometry's parameters: projections beside the point.
    void make_geometry_columns() {
        if (geometry_parameters.empty())
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
            float* buffer = thread_scratch(padded_size() + 2 * reduced_size());
            float* upper = buffer + padded_size();
            float* lower = upper + reduced_size();
            for (std::size_t g = 0; g < beside.size(); ++g) {
                beside[g][1]->forward(i, coefficients, {buffer, padded_size()});
                reduce_depth(buffer, upper);
                beside[g][0]->forward(i, coefficients, {buffer, padded_size()});
                reduce_depth(buffer, lower);
                const auto scale = static_cast<float>(0.5 / geometry_difference(g));
                for (std::size_t j = 0; j < reduced_size(); ++j)
                    upper[j] = scale * (upper[j] - lower[j]);
                float* out = columns[shape_globals + g].data() + i * translations * m;
                Map(out, index(translations), index(m)).noalias() =
                    ConstMap(upper, index(translations), index(packed)) *
                    ConstMap(table.data(), index(packed), index(m));
                for (std::size_t j = 0; j < translations; ++j)
                    Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
            }
        }
    }

    void arrange_tables() {
        Matrix full = Matrix::Zero(index(layers), index(slots * m));
        for (std::size_t p = 0; p < parts.size(); ++p)
            for (std::size_t l = 0; l < layers; ++l)
                std::copy_n(tables.values.data() +
                                (source_layer(l) * basis->lane_count() + basis->first_lane(p)) * m,
                            parts[p].lanes * m, full.row(index(l)).data() + parts[p].slot * m);
        if (functions == 0)
            choose_depth_functions(full);
        const Matrix reduced = depth_functions.transpose() * full;
        table.resize(packed * m);
        for (std::size_t b = 0; b < block_functions.size(); ++b)
            for (std::size_t j = 0; j < block_functions[b]; ++j)
                std::copy_n(reduced.row(index(j)).data() + b * block * m, block * m,
                            table.data() + (block_first[b] + j) * block * m);
        transposed.resize(table.size());
        Map(transposed.data(), index(m), index(packed)) =
            ConstMap(table.data(), index(packed), index(m)).transpose();
        lane_gram.resize(slots * slots);
        const ConstMap middle(full.row(index(layers / 2)).data(), index(slots), index(m));
        Map(lane_gram.data(), index(slots), index(slots)).noalias() = middle * middle.transpose();
    }
    /// The leading vectors over the layers of all lanes, each lane counted alike. Chosen once, so
    /// that the model stays the same function while global parameters move.
    void choose_depth_functions(const Matrix& full) {
        Eigen::MatrixXd overlap = Eigen::MatrixXd::Zero(index(layers), index(layers));
        for (std::size_t lane = 0; lane < slots; ++lane) {
            const Eigen::MatrixXd block = full.middleCols(index(lane * m), index(m)).cast<double>();
            const double norm = block.squaredNorm();
            if (norm > 0)
                overlap += block * block.transpose() / norm;
        }
        const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(overlap);
        const double total = eigen.eigenvalues().sum();
        double rest = total;
        while (functions < layers && rest > depth_tolerance * depth_tolerance * total)
            rest -= eigen.eigenvalues()(index(layers - 1 - functions++));
        depth_functions =
            eigen.eigenvectors().rightCols(index(functions)).rowwise().reverse().cast<float>();
        // What the functions contribute to a lane, against the norm of the part it belongs to.
        const Matrix reduced = depth_functions.transpose() * full;
        std::vector<double> part_norm(slots, 0.0);
        for (const auto& part : parts) {
            double norm = 0;
            for (std::size_t i = part.slot; i < part.slot + part.lanes; ++i)
                norm = std::max<double>(norm,
                                        reduced.middleCols(index(i * m), index(m)).squaredNorm());
            std::fill_n(part_norm.begin() + static_cast<std::ptrdiff_t>(part.slot), part.lanes,
                        norm);
        }
        block_functions.assign(slots / block, 1);
        for (std::size_t lane = 0; lane < slots; ++lane) {
            double tail = 0;
            std::size_t needed = functions;
            while (needed > 1) {
                tail +=
                    reduced.row(index(needed - 1)).segment(index(lane * m), index(m)).squaredNorm();
                if (tail > depth_tolerance * depth_tolerance * part_norm[lane])
                    break;
                --needed;
            }
            auto& of_block = block_functions[lane / block];
            of_block = std::max(of_block, needed);
        }
        functions_padded = (functions + unrolled - 1) / unrolled * unrolled;
        depth_padded.assign(layers * functions_padded, 0.0F);
        for (std::size_t l = 0; l < layers; ++l)
            for (std::size_t f = 0; f < functions; ++f)
                depth_padded[l * functions_padded + f] = depth_functions(index(l), index(f));
        block_first.clear();
        packed = 0;
        for (const std::size_t count : block_functions) {
            block_first.push_back(packed);
            packed += count;
        }
        packed *= block;
    }
    /// A single layer is projected as two alike.
    std::size_t source_layer(std::size_t l) const {
        return std::min(l, basis->layer_count() - 1);
    }

    /// Coefficients of a direction at the point.
    void assemble(std::span<const float> direction, AlignedFloats& q) const {
        q.assign(projector->coefficient_count(), 0.0F);
        for (const auto& part : parts) {
            const std::size_t n = part.pixels.size();
            const float* amounts = direction.data() + part.offset;
            if (part.functions.empty()) {
                for (std::size_t v = 0; v < n; ++v)
                    q[part.coefficient[v]] = amounts[v];
                continue;
            }
            const std::size_t stride = (1 + part.shapes) * part.lanes;
#pragma omp parallel for schedule(static)
            for (std::size_t v = 0; v < n; ++v) {
                const float* u = part.functions.data() + v * stride;
                float* out = q.data() + part.coefficient[v];
                for (std::size_t i = 0; i < part.lanes; ++i)
                    out[i] = amounts[v] * u[i];
                for (std::size_t d = 0; d < part.shapes; ++d) {
                    const float change = amounts[(1 + d) * n + v];
                    const float* du = u + (1 + d) * part.lanes;
                    for (std::size_t i = 0; i < part.lanes; ++i)
                        out[i] += change * du[i];
                }
            }
        }
    }
    /// The adjoint of assemble().
    void reduce(const AlignedFloats& q, std::span<float> direction) const {
        for (const auto& part : parts) {
            const std::size_t n = part.pixels.size();
            float* amounts = direction.data() + part.offset;
            if (part.functions.empty()) {
                for (std::size_t v = 0; v < n; ++v)
                    amounts[v] = q[part.coefficient[v]];
                continue;
            }
            const std::size_t stride = (1 + part.shapes) * part.lanes;
#pragma omp parallel for schedule(static)
            for (std::size_t v = 0; v < n; ++v) {
                const float* u = part.functions.data() + v * stride;
                const float* in = q.data() + part.coefficient[v];
                for (std::size_t d = 0; d <= part.shapes; ++d) {
                    float sum = 0;
                    for (std::size_t i = 0; i < part.lanes; ++i)
                        sum += in[i] * u[d * part.lanes + i];
                    amounts[d * n + v] = sum;
                }
            }
        }
    }

    float* thread_scratch(std::size_t size) const {
        auto& own = scratch[static_cast<std::size_t>(omp_get_thread_num())];
        if (own.size() < size)
            own.resize(size);
        return own.data();
    }
    std::size_t padded_size() const {
        return projector->buffer_size();
    }
    /// Of a block's plane in the projector's buffer.
    std::size_t first_ray() const {
        return projector->padding() * projector->ray_size();
    }

    /// Of one rotation: [translation][packed] from the layers in `buffer`.
    void reduce_depth(const float* buffer, float* reduced) const {
        using namespace simd;
        for (std::size_t b = 0; b < block_functions.size(); ++b) {
            const float* plane = buffer + b * projector->plane_size() + first_ray();
            const std::size_t count = block_functions[b];
            for (std::size_t j = 0; j < translations; ++j) {
                const float* ray = plane + j * projector->ray_size();
                float* out = reduced + j * packed + block_first[b] * block;
                for (std::size_t f = 0; f < count; f += unrolled) {
                    Float8 sum[unrolled] = {};
                    const float* factor = depth_padded.data() + f;
                    for (std::size_t l = 0; l < layers; ++l, factor += functions_padded) {
                        const Float8 value = load(ray + l * block);
                        XRDCT_UNROLL(8)
                        for (std::size_t u = 0; u < unrolled; ++u)
                            sum[u] += value * factor[u];
                    }
                    for (std::size_t u = 0; u < std::min(unrolled, count - f); ++u)
                        store(out + (f + u) * block, sum[u]);
                }
            }
        }
    }
    /// The adjoint.
    void spread_depth(const float* reduced, float* buffer) const {
        using namespace simd;
        for (std::size_t b = 0; b < block_functions.size(); ++b) {
            float* plane = buffer + b * projector->plane_size() + first_ray();
            const std::size_t count = block_functions[b];
            for (std::size_t j = 0; j < translations; ++j) {
                float* ray = plane + j * projector->ray_size();
                const float* in = reduced + j * packed + block_first[b] * block;
                for (std::size_t f = 0; f < count; f += unrolled) {
                    Float8 value[unrolled] = {};
                    for (std::size_t u = 0; u < std::min(unrolled, count - f); ++u)
                        value[u] = load(in + (f + u) * block);
                    const float* factor = depth_padded.data() + f;
                    for (std::size_t l = 0; l < layers; ++l, factor += functions_padded) {
                        float* to = ray + l * block;
                        Float8 sum = f == 0 ? broadcast(0) : load(to);
                        XRDCT_UNROLL(8)
                        for (std::size_t u = 0; u < unrolled; ++u)
                            sum += value[u] * factor[u];
                        store(to, sum);
                    }
                }
            }
        }
    }
    std::size_t reduced_size() const {
        return translations * packed;
    }

    /// Rays [translation][M] of one rotation before the transmission.
    void project(std::size_t i, std::span<const float> q, float* buffer, float* reduced,
                 float* out) const {
        projector->forward(i, q, {buffer, padded_size()});
        reduce_depth(buffer, reduced);
        Map(out, index(translations), index(m)).noalias() =
            ConstMap(reduced, index(translations), index(packed)) *
            ConstMap(table.data(), index(packed), index(m));
    }
    void back_project(std::size_t i, const float* rays, float* buffer, float* reduced,
                      std::span<float> q) const {
        for (std::size_t b = 0; b < block_functions.size(); ++b) {
            float* plane = buffer + b * projector->plane_size();
            std::fill_n(plane, first_ray(), 0.0F);
            std::fill(plane + first_ray() + translations * projector->ray_size(),
                      plane + projector->plane_size(), 0.0F);
        }
        Map(reduced, index(translations), index(packed)).noalias() =
            ConstMap(rays, index(translations), index(m)) *
            ConstMap(transposed.data(), index(m), index(packed));
        spread_depth(reduced, buffer);
        projector->adjoint(i, {buffer, padded_size()}, q);
    }

    void make_columns() {
        columns.assign(globals, {});
        if (globals == 0)
            return;
        for (auto& column : columns)
            column.resize(rotations * translations * m);
        make_geometry_columns();
        std::vector<Matrix> slopes(shape_globals);
        for (std::size_t g = 0; g < shape_globals; ++g) {
            const std::size_t lanes = parts[tables.part[g]].lanes;
            Matrix full(index(layers), index(lanes * m));
            for (std::size_t l = 0; l < layers; ++l)
                std::copy_n(tables.derivatives[g].data() + source_layer(l) * lanes * m, lanes * m,
                            full.row(index(l)).data());
            const Matrix reduced = depth_functions.transpose() * full;
            // Rows of the packed lanes of the part, function by function.
            const auto rows = lanes_of(tables.part[g]);
            slopes[g].resize(index(rows.size()), index(m));
            for (std::size_t r = 0; r < rows.size(); ++r)
                slopes[g].row(index(r)) =
                    reduced.row(index(rows[r].function)).segment(index(rows[r].lane * m), index(m));
        }
        std::vector<std::vector<PackedLane>> rows(shape_globals);
        std::size_t widest = 0;
        for (std::size_t g = 0; g < shape_globals; ++g) {
            rows[g] = lanes_of(tables.part[g]);
            widest = std::max(widest, rows[g].size());
        }
#pragma omp parallel for schedule(static)
        for (std::size_t i = 0; i < rotations; ++i) {
            float* buffer = thread_scratch(padded_size() + reduced_size() + translations * widest);
            float* reduced = buffer + padded_size();
            float* picked = reduced + reduced_size();
            projector->forward(i, coefficients, {buffer, padded_size()});
            reduce_depth(buffer, reduced);
            for (std::size_t g = 0; g < shape_globals; ++g) {
                const std::size_t count = rows[g].size();
                for (std::size_t j = 0; j < translations; ++j)
                    for (std::size_t r = 0; r < count; ++r)
                        picked[j * count + r] = reduced[j * packed + rows[g][r].place];
                float* out = columns[g].data() + i * translations * m;
                Map(out, index(translations), index(m)).noalias() =
                    ConstMap(picked, index(translations), index(count)) * slopes[g];
                for (std::size_t j = 0; j < translations; ++j)
                    Map(out + j * m, 1, index(m)) *= transmission[i * translations + j];
            }
        }
    }
    /// Where a part's lanes lie among the packed ones.
    struct PackedLane {
        std::size_t function, lane, place;
    };
    std::vector<PackedLane> lanes_of(std::size_t p) const {
        std::vector<PackedLane> result;
        const auto& part = parts[p];
        for (std::size_t i = 0; i < part.lanes; ++i) {
            const std::size_t slot = part.slot + i, b = slot / block;
            for (std::size_t f = 0; f < block_functions[b]; ++f)
                result.push_back({f, i, (block_first[b] + f) * block + slot % block});
        }
        return result;
    }

    /// For every rotation: rays = T A q (plus the columns times `global`), handed to
    /// each(first ray, rays [translation][M]), which may change them; then, with `back`, the
    /// adjoint is added to `back` and `global_out`. With `weighted`, rotations without any weight
    /// are passed over.
    template <class Each>
    void sweep(const AlignedFloats* q, const float* global, Each&& each, AlignedFloats* back,
               float* global_out, bool weighted = false) const {
        const auto threads = static_cast<std::size_t>(omp_get_max_threads());
        std::vector<AlignedFloats> partial(back ? threads : 0);
        std::vector<std::vector<double>> partial_global(threads, std::vector<double>(globals, 0.0));
#pragma omp parallel
        {
            const auto own = static_cast<std::size_t>(omp_get_thread_num());
            float* buffer = thread_scratch(padded_size() + reduced_size() + translations * m);
            float* reduced = buffer + padded_size();
            float* rays = reduced + reduced_size();
            if (back)
                partial[own].assign(projector->coefficient_count(), 0.0F);
#pragma omp for schedule(static)
            for (std::size_t i = 0; i < rotations; ++i) {
                const std::size_t first = i * translations;
                if (weighted &&
                    std::all_of(weight.begin() + static_cast<std::ptrdiff_t>(first),
                                weight.begin() + static_cast<std::ptrdiff_t>(first + translations),
                                [](float w) { return w == 0; }))
                    continue;
                if (q) {
                    project(i, *q, buffer, reduced, rays);
                    for (std::size_t j = 0; j < translations; ++j)
                        Map(rays + j * m, 1, index(m)) *= transmission[first + j];
                } else {
                    std::fill_n(rays, translations * m, 0.0F);
                }
                if (global)
                    for (std::size_t g = 0; g < globals; ++g)
                        if (global[g] != 0)
                            Map(rays, 1, index(translations * m)) +=
                                global[g] *
                                ConstMap(columns[g].data() + first * m, 1, index(translations * m));
                each(first, rays);
                if (!back)
                    continue;
                for (std::size_t g = 0; g < globals; ++g)
                    partial_global[own][g] += static_cast<double>(
                        ConstMap(columns[g].data() + first * m, 1, index(translations * m))
                            .cwiseProduct(ConstMap(rays, 1, index(translations * m)))
                            .sum());
                for (std::size_t j = 0; j < translations; ++j)
                    Map(rays + j * m, 1, index(m)) *= transmission[first + j];
                back_project(i, rays, buffer, reduced, partial[own]);
            }
        }
        if (!back)
            return;
        *back = std::move(partial[0]);
        for (std::size_t t = 1; t < threads; ++t)
            if (!partial[t].empty())
#pragma omp parallel for schedule(static)
                for (std::size_t i = 0; i < back->size(); ++i)
                    (*back)[i] += partial[t][i];
        for (std::size_t g = 0; g < globals; ++g) {
            double sum = 0;
            for (std::size_t t = 0; t < threads; ++t)
                sum += partial_global[t][g];
            global_out[g] = static_cast<float>(sum);
        }
    }
};

DlsrOperator::DlsrOperator(const ScanGeometry& geometry, const ImageGrid& grid,
                           const PatternBasis& basis, const DepthLayers& layers,
                           std::span<const std::vector<std::size_t>> pixels,
                           std::span<const float> ray_weight, std::span<const float> transmission,
                           std::span<const GeometryParameter> geometry_parameters)
    : impl_(std::make_unique<Impl>()) {
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

    // Single lanes share blocks with those that occur most often like themselves; a family fills
    // blocks of its own.
    const std::size_t n_parts = pixels.size();
    std::vector<std::size_t> order;
    for (std::size_t p = 0; p < n_parts; ++p)
        if (basis.lanes(p) == 1)
            order.push_back(p);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return pixels[a].size() > pixels[b].size();
    });
    impl.parts.resize(n_parts);
    std::size_t slot = 0;
    for (const std::size_t p : order)
        impl.parts[p].slot = slot++;
    slot = (slot + block - 1) / block * block;
    for (std::size_t p = 0; p < n_parts; ++p) {
        auto& part = impl.parts[p];
        part.lanes = basis.lanes(p);
        part.shapes = basis.parts()[p].voxel.size();
        if (part.lanes > 1) {
            part.slot = slot;
            slot += (part.lanes + block - 1) / block * block;
        }
    }
    impl.slots = slot;
    std::vector<std::uint32_t> blocks(grid.size(), 0);
    std::vector<std::vector<unsigned char>> present(n_parts);
    for (std::size_t p = 0; p < n_parts; ++p) {
        present[p].assign(grid.size(), 0);
        const auto& part = impl.parts[p];
        std::uint32_t bits = 0;
        for (std::size_t b = part.slot / block; b <= (part.slot + part.lanes - 1) / block; ++b)
            bits |= std::uint32_t{1} << b;
        for (const std::size_t pixel : pixels[p]) {
            if (pixel >= grid.size())
                throw Error("DLSR: a pixel outside the grid");
            blocks[pixel] |= bits;
            present[p][pixel] = 1;
        }
    }
    std::vector<VoxelBlocks> voxels;
    for (std::size_t i = 0; i < grid.size(); ++i)
        if (blocks[i])
            voxels.push_back({static_cast<std::uint32_t>(i), blocks[i]});
    if (slot / block > 32)
        throw Error("DLSR: too many patterns that vary from voxel to voxel");
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
    impl.voxels = std::move(voxels);
    impl.projector = impl.projector_at(impl.geometry_values);
    impl.layers = impl.projector->layers().count;
    const auto ordered = impl.projector->voxels();
    impl.members.resize(ordered.size());
    for (std::size_t p = 0; p < n_parts; ++p) {
        auto& part = impl.parts[p];
        const std::size_t first_block = part.slot / block;
        for (std::size_t i = 0; i < ordered.size(); ++i) {
            if (!present[p][ordered[i].pixel])
                continue;
            part.pixels.push_back(ordered[i].pixel);
            const auto below = ordered[i].blocks & ((std::uint32_t{1} << first_block) - 1);
            part.coefficient.push_back(impl.projector->offset(i) +
                                       block * static_cast<std::size_t>(std::popcount(below)) +
                                       part.slot % block);
        }
        part.offset = impl.values;
        for (std::size_t i = 0, v = 0; i < ordered.size(); ++i)
            if (present[p][ordered[i].pixel])
                impl.members[i].emplace_back(static_cast<std::uint16_t>(p),
                                             static_cast<std::uint32_t>(v++));
        impl.values += part.pixels.size() * (1 + part.shapes);
    }
    impl.shape_globals = basis.global_count();
    impl.globals = impl.shape_globals + geometry_parameters.size();
    impl.scratch.resize(static_cast<std::size_t>(omp_get_max_threads()));

    std::vector<float> squares(rays);
    for (std::size_t r = 0; r < rays; ++r)
        squares[r] = impl.weight[r] * impl.transmission[r] * impl.transmission[r];
    const auto sums = impl.projector->weighted_squares(squares);
    impl.pixel_weight.assign(grid.size(), 0.0F);
    for (std::size_t i = 0; i < ordered.size(); ++i)
        impl.pixel_weight[ordered[i].pixel] = sums[i];
}

DlsrOperator::~DlsrOperator() = default;
DlsrOperator::DlsrOperator(DlsrOperator&&) noexcept = default;
DlsrOperator& DlsrOperator::operator=(DlsrOperator&&) noexcept = default;

const PatternBasis& DlsrOperator::basis() const {
    return *impl_->basis;
}
std::size_t DlsrOperator::ray_count() const {
    return impl_->rotations * impl_->translations;
}
std::size_t DlsrOperator::coefficient_count() const {
    return ray_count() * impl_->m;
}
std::size_t DlsrOperator::value_count() const {
    return impl_->value_count();
}
const std::vector<std::size_t>& DlsrOperator::pixels(std::size_t part) const {
    return impl_->parts[part].pixels;
}
std::size_t DlsrOperator::offset(std::size_t part, int shape) const {
    const auto& p = impl_->parts[part];
    return p.offset + static_cast<std::size_t>(shape + 1) * p.pixels.size();
}
std::size_t DlsrOperator::global_offset() const {
    return impl_->values;
}
std::size_t DlsrOperator::global_count() const {
    return impl_->globals;
}
const std::vector<GeometryParameter>& DlsrOperator::geometry_parameters() const {
    return impl_->geometry_parameters;
}
const std::vector<float>& DlsrOperator::pixel_weight() const {
    return impl_->pixel_weight;
}

void DlsrOperator::set_point(std::span<const double> values, bool derivatives) {
    Impl& impl = *impl_;
    if (values.size() != value_count())
        throw Error("DLSR: wrong number of values");
    const auto first_global = values.begin() + static_cast<std::ptrdiff_t>(impl.values);
    const auto first_geometry = first_global + static_cast<std::ptrdiff_t>(impl.shape_globals);
    const std::vector<double> globals(first_global, first_geometry);
    impl.set_geometry(std::vector<double>(first_geometry, values.end()));
    if (impl.table.empty() || globals != impl.global_values ||
        (derivatives && !impl.has_derivatives)) {
        impl.tables = impl.basis->tables(globals, derivatives);
        impl.has_derivatives = derivatives;
        impl.global_values = globals;
        impl.arrange_tables();
    }
    impl.point.assign(values.begin(), values.end());
    impl.coefficients.assign(impl.projector->coefficient_count(), 0.0F);
    for (std::size_t p = 0; p < impl.parts.size(); ++p) {
        auto& part = impl.parts[p];
        const std::size_t n = part.pixels.size();
        const double* amounts = values.data() + part.offset;
        if (part.lanes == 1 && part.shapes == 0) {
            for (std::size_t v = 0; v < n; ++v)
                impl.coefficients[part.coefficient[v]] = static_cast<float>(amounts[v]);
            continue;
        }
        const std::size_t stride = (1 + part.shapes) * part.lanes;
        part.functions.resize(n * stride);
#pragma omp parallel for schedule(static)
        for (std::size_t v = 0; v < n; ++v) {
            std::array<double, 3> eta{};
            for (std::size_t d = 0; d < part.shapes; ++d)
                eta[d] = amounts[(1 + d) * n + v];
            float* u = part.functions.data() + v * stride;
            impl.basis->shape_functions(p, {eta.data(), part.shapes}, {u, part.lanes},
                                        {u + part.lanes, part.shapes * part.lanes});
            const auto amount = static_cast<float>(amounts[v]);
            float* out = impl.coefficients.data() + part.coefficient[v];
            for (std::size_t i = 0; i < part.lanes; ++i)
                out[i] = amount * u[i];
            for (std::size_t i = part.lanes; i < stride; ++i)
                u[i] *= amount;
        }
    }
    if (derivatives)
        impl.make_columns();
}

void DlsrOperator::set_ray_weight(std::span<const float> ray_weight) {
    if (ray_weight.size() != ray_count())
        throw Error("DLSR: wrong number of ray weights");
    for (std::size_t r = 0; r < ray_count(); ++r)
        if (!(ray_weight[r] >= 0) || (ray_weight[r] > 0 && !(impl_->transmission[r] > 0)))
            throw Error("DLSR: a ray that was left out cannot be given a weight");
    impl_->weight.assign(ray_weight.begin(), ray_weight.end());
}

void DlsrOperator::predict(std::span<float> rays) const {
    if (rays.size() != coefficient_count())
        throw Error("DLSR: wrong number of rays");
    impl_->sweep(
        &impl_->coefficients, nullptr,
        [&](std::size_t first, const float* values) {
            std::copy_n(values, impl_->translations * impl_->m, rays.data() + first * impl_->m);
        },
        nullptr, nullptr);
}

double DlsrOperator::objective(std::span<const float> data, std::span<float> gradient) const {
    const Impl& impl = *impl_;
    if (data.size() != coefficient_count() ||
        (!gradient.empty() && gradient.size() != value_count()))
        throw Error("DLSR: wrong sizes for the objective");
    std::vector<double> sums(impl.rotations, 0.0);
    AlignedFloats back;
    impl.sweep(
        &impl.coefficients, nullptr,
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
            sums[first / impl.translations] = sum;
        },
        gradient.empty() ? nullptr : &back,
        gradient.empty() ? nullptr : gradient.data() + impl.values, true);
    if (!gradient.empty())
        impl.reduce(back, gradient);
    double total = 0;
    for (const double sum : sums)
        total += sum;
    return 0.5 * total;
}

void DlsrOperator::jacobian(std::span<const float> direction, std::span<float> rays) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the Jacobian");
    AlignedFloats q;
    impl.assemble(direction, q);
    impl.sweep(
        &q, direction.data() + impl.values,
        [&](std::size_t first, const float* values) {
            std::copy_n(values, impl.translations * impl.m, rays.data() + first * impl.m);
        },
        nullptr, nullptr);
}

void DlsrOperator::adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, false);
}
void DlsrOperator::weighted_adjoint(std::span<const float> rays, std::span<float> direction) const {
    back(rays, direction, true);
}
void DlsrOperator::back(std::span<const float> rays, std::span<float> direction,
                        bool weighted) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || rays.size() != coefficient_count())
        throw Error("DLSR: wrong sizes for the adjoint");
    AlignedFloats sums;
    impl.sweep(
        nullptr, nullptr,
        [&](std::size_t first, float* values) {
            for (std::size_t j = 0; j < impl.translations; ++j) {
                const float weight = weighted ? impl.weight[first + j] : 1;
                const float* from = rays.data() + (first + j) * impl.m;
                for (std::size_t i = 0; i < impl.m; ++i)
                    values[j * impl.m + i] = weight * from[i];
            }
        },
        &sums, direction.data() + impl.values);
    impl.reduce(sums, direction);
}

void DlsrOperator::gauss_newton(std::span<const float> direction, std::span<float> out) const {
    const Impl& impl = *impl_;
    if (direction.size() != value_count() || out.size() != value_count())
        throw Error("DLSR: wrong sizes for the Gauss-Newton product");
    AlignedFloats q, back;
    impl.assemble(direction, q);
    impl.sweep(
        &q, direction.data() + impl.values,
        [&](std::size_t first, float* rays) {
            for (std::size_t j = 0; j < impl.translations; ++j) {
                const float weight = impl.weight[first + j];
                for (std::size_t i = 0; i < impl.m; ++i)
                    rays[j * impl.m + i] *= weight;
            }
        },
        &back, out.data() + impl.values, true);
    impl.reduce(back, out);
}

std::size_t DlsrOperator::pixel_count() const {
    return impl_->members.size();
}

void DlsrOperator::pixel_block(std::size_t i, std::size_t& pixel, std::vector<std::size_t>& values,
                               std::vector<float>& gram) const {
    const Impl& impl = *impl_;
    pixel = impl.projector->voxels()[i].pixel;
    values.clear();
    // Every value's pattern as lanes of the tables: first slot, number, factors.
    struct Column {
        std::size_t slot, lanes;
        const float* factor;
    };
    static const float one = 1;
    thread_local std::vector<Column> columns;
    columns.clear();
    for (const auto& [p, v] : impl.members[i]) {
        const auto& part = impl.parts[p];
        const std::size_t n = part.pixels.size();
        for (std::size_t d = 0; d <= part.shapes; ++d) {
            values.push_back(part.offset + d * n + v);
            columns.push_back(
                {part.slot, part.lanes,
                 part.functions.empty()
                     ? &one
                     : part.functions.data() + (v * (1 + part.shapes) + d) * part.lanes});
        }
    }
    const std::size_t count = values.size();
    gram.assign(count * count, 0.0F);
    for (std::size_t a = 0; a < count; ++a)
        for (std::size_t b = 0; b <= a; ++b) {
            float sum = 0;
            for (std::size_t k = 0; k < columns[a].lanes; ++k) {
                const float* row =
                    impl.lane_gram.data() + (columns[a].slot + k) * impl.slots + columns[b].slot;
                float inner = 0;
                for (std::size_t l = 0; l < columns[b].lanes; ++l)
                    inner += row[l] * columns[b].factor[l];
                sum += inner * columns[a].factor[k];
            }
            gram[a * count + b] = gram[b * count + a] = sum;
        }
}

std::vector<float> DlsrOperator::diagonal() const {
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
    for (std::size_t g = 0; g < impl.columns.size(); ++g) {
        double sum = 0;
        for (std::size_t r = 0; r < ray_count(); ++r) {
            float square = 0;
            for (std::size_t i = 0; i < impl.m; ++i) {
                const float value = impl.columns[g][r * impl.m + i];
                square += value * value;
            }
            sum += static_cast<double>(square) * impl.weight[r];
        }
        result[impl.values + g] = static_cast<float>(sum);
    }
    return result;
}

std::size_t DlsrOperator::packed_size() const {
    return impl_->packed;
}

DlsrOperator::Cost DlsrOperator::cost() const {
    const Impl& impl = *impl_;
    Cost cost;
    const double rotations = static_cast<double>(impl.rotations);
    const double taps = static_cast<double>(impl.projector->padding());
    const double q = static_cast<double>(impl.projector->coefficient_count());
    cost.projection_flops = 2 * rotations * q * taps * 2 * 2;
    const double rays = rotations * static_cast<double>(impl.translations);
    cost.table_flops =
        2 * 2 * rays * static_cast<double>(impl.packed) * static_cast<double>(impl.m + impl.layers);
    cost.bytes = 4 * rotations * (3 * q + 4 * static_cast<double>(impl.padded_size()));
    return cost;
}

} // namespace xrdct
