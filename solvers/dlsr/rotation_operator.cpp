// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/dlsr/rotation_operator.hpp"

#include "base/error.hpp"
#include "base/simd.hpp"
#include "base/symmetric_eigen.hpp"
#include "solvers/dlsr/eigen_index.hpp"

#include <array>
#include <cmath>

#include <Eigen/Core>

namespace xrdct::dlsr {

namespace {

constexpr std::size_t unrolled = 8; ///< depth functions that are summed at once

} // namespace

RotationOperator::RotationOperator(
    const SharedMemoryTeam& team, const tomography::ScanGeometry& geometry,
    const tomography::ImageGrid& grid, const tomography::DepthLayers& layers,
    std::span<const std::span<const std::size_t>> pixels, std::span<const std::size_t> components,
    std::span<const std::size_t> shapes, std::span<const TextureFunctions> texture,
    std::array<double, 2> centre)
    : team_(team), translations_(geometry.translation.size()) {
    arrange_slots(pixels, components, shapes, texture);
    const std::size_t blocks = slots_ / block;
    if (blocks > 32)
        throw Error(textured_ ? "DLSR: too many patterns that vary from voxel to voxel; strongly "
                                "textured phases have many, fewer with fixed cells"
                              : "DLSR: too many patterns that vary from voxel to voxel");
    const auto voxels = voxel_blocks(grid, pixels);
    projector_ =
        std::make_unique<tomography::DepthProjector>(geometry, grid, voxels, blocks, layers, team);
    layers_ = projector_->layers().count;
    arrange_voxels(grid, pixels, centre);
    if (textured_)
        for (std::size_t i = 0; i < geometry.rotation.size(); ++i)
            double_angle_.push_back(
                {std::cos(2 * geometry.omega(i)), std::sin(2 * geometry.omega(i))});
}

void RotationOperator::arrange_slots(std::span<const std::span<const std::size_t>> pixels,
                                     std::span<const std::size_t> components,
                                     std::span<const std::size_t> shapes,
                                     std::span<const TextureFunctions> texture) {
    // Single components share blocks with those that occur most often like themselves; a family
    // fills blocks of its own.
    std::vector<std::size_t> order;
    for (std::size_t p = 0; p < pixels.size(); ++p)
        if (components[p] * texture[p].size() == 1)
            order.push_back(p);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return pixels[a].size() > pixels[b].size();
    });
    parts_.resize(pixels.size());
    std::size_t slot = 0;
    for (const std::size_t p : order)
        parts_[p].slot = slot++;
    slot = (slot + block - 1) / block * block;
    for (std::size_t p = 0; p < pixels.size(); ++p) {
        auto& part = parts_[p];
        part.components = components[p];
        part.shapes = shapes[p];
        part.texture = texture[p];
        if (part.all_components() > 1) {
            part.slot = slot;
            slot += (part.all_components() + block - 1) / block * block;
        }
        textured_ = textured_ || part.texture.size() > 1;
    }
    slots_ = slot;
}

std::vector<tomography::VoxelBlocks>
RotationOperator::voxel_blocks(const tomography::ImageGrid& grid,
                               std::span<const std::span<const std::size_t>> pixels) const {
    std::vector<std::uint32_t> blocks(grid.size(), 0);
    for (std::size_t p = 0; p < parts_.size(); ++p) {
        const auto& part = parts_[p];
        std::uint32_t bits = 0;
        for (std::size_t b = part.slot / block;
             b <= (part.slot + part.all_components() - 1) / block; ++b)
            bits |= std::uint32_t{1} << b;
        for (const std::size_t pixel : pixels[p]) {
            if (pixel >= grid.size())
                throw Error("DLSR: a pixel outside the grid");
            blocks[pixel] |= bits;
        }
    }
    std::vector<tomography::VoxelBlocks> voxels;
    for (std::size_t i = 0; i < grid.size(); ++i)
        if (blocks[i])
            voxels.push_back({static_cast<std::uint32_t>(i), blocks[i]});
    return voxels;
}

void RotationOperator::arrange_voxels(const tomography::ImageGrid& grid,
                                      std::span<const std::span<const std::size_t>> pixels,
                                      std::array<double, 2> centre) {
    std::vector<std::vector<unsigned char>> present(parts_.size());
    for (std::size_t p = 0; p < parts_.size(); ++p) {
        auto& part = parts_[p];
        present[p].assign(grid.size(), 0);
        for (const std::size_t pixel : pixels[p])
            present[p][pixel] = 1;
        const auto n =
            static_cast<std::size_t>(std::count(present[p].begin(), present[p].end(), 1));
        part.pixels.resize(team_, n);
        part.coefficient.resize(team_, n);
        part.block_stride.resize(team_, n);
        if (part.texture.size() > 1)
            part.normal.resize(team_, n);
        part.offset = values_;
        values_ += n * (1 + part.shapes);
    }
    team_.run_and_sync([&] {
        for (std::size_t p = 0; p < parts_.size(); ++p)
            if (team_.owns(p))
                place_voxels(parts_[p], grid, present[p], centre);
    });
}

void RotationOperator::place_voxels(Part& part, const tomography::ImageGrid& grid,
                                    std::span<const unsigned char> present,
                                    std::array<double, 2> centre) const {
    const auto ordered = projector_->voxels();
    const std::size_t first_block = part.slot / block;
    std::size_t v = 0;
    for (std::size_t i = 0; i < ordered.size(); ++i) {
        if (!present[ordered[i].pixel])
            continue;
        part.pixels[v] = ordered[i].pixel;
        const std::size_t first = projector_->offset(i, first_block);
        part.coefficient[v] = static_cast<std::uint32_t>(first + part.slot % block);
        part.block_stride[v] = static_cast<std::uint32_t>(
            part.all_components() > block ? projector_->offset(i, first_block + 1) - first : 0);
        if (part.texture.size() > 1) {
            const double x = grid.coordinate(ordered[i].pixel % grid.n) - centre[0],
                         y = grid.coordinate(ordered[i].pixel / grid.n) - centre[1],
                         square = x * x + y * y;
            const bool off = square > 1e-12 * grid.pixel * grid.pixel;
            part.normal[v] = {static_cast<float>(off ? (x * x - y * y) / square : 0),
                              static_cast<float>(off ? 2 * x * y / square : 0)};
        }
        ++v;
    }
}

/// With φ the normal's azimuth its depth is sin(φ − ω), cos ψ, so that cos 2ψ = −cos 2(φ − ω), and
/// cos 2hψ are Chebyshev polynomials of that.
template <class Each>
void RotationOperator::for_texture(const Part& part, std::size_t v, std::size_t i,
                                   Each&& each) const {
    const double c = static_cast<double>(part.normal[v][0]),
                 s = static_cast<double>(part.normal[v][1]);
    const double argument = -(c * double_angle_[i][0] + s * double_angle_[i][1]);
    const bool centre = c == 0 && s == 0;
    for (std::size_t function = 1; function < part.texture.size(); ++function) {
        // Clenshaw's sum.
        const auto& a = part.texture[function];
        double next = 0, after = 0;
        for (std::size_t h = a.size(); h-- > 1;) {
            const double here = a[h] + 2 * argument * next - after;
            after = next;
            next = here;
        }
        each(function, static_cast<float>(centre ? a[0] : a[0] + argument * next - after));
    }
}

template <class Each>
void RotationOperator::for_textured(std::size_t i, std::span<float> q, Each&& each) const {
    for (const auto& part : parts_) {
        if (part.texture.size() == 1)
            continue;
        for (std::size_t v = 0; v < part.pixels.size(); ++v) {
            const auto at = [&](std::size_t component) -> float& {
                return q[part.coefficient[v] + component / block * part.block_stride[v] +
                         component % block];
            };
            for_texture(part, v, i, [&](std::size_t function, float value) {
                for (std::size_t component = 0; component < part.components; ++component)
                    each(at(component), at(function * part.components + component), value);
            });
        }
    }
}

void RotationOperator::apply_texture(std::size_t i, std::span<float> q) const {
    for_textured(i, q, [](float& own, float& turned, float value) { turned = value * own; });
}

void RotationOperator::add_texture_adjoint(std::size_t i, std::span<float> q) const {
    for_textured(i, q, [](float& own, float& turned, float value) {
        own += value * turned;
        turned = 0;
    });
}

double RotationOperator::texture_product(std::size_t part, std::size_t function,
                                         std::size_t other_part, std::size_t other_function) const {
    const auto &a = parts_[part].texture[function], &b = parts_[other_part].texture[other_function];
    double sum = 0;
    for (std::size_t h = 0; h < std::min(a.size(), b.size()); ++h)
        sum += (h == 0 ? 1 : 0.5) * a[h] * b[h];
    return sum;
}

void RotationOperator::set_tables(const Matrix& patterns, std::size_t m, double tolerance) {
    m_ = m;
    if (functions_ == 0)
        choose_depth_functions(patterns, tolerance);
    const Matrix reduced = depth_functions_.transpose() * patterns;
    table_.resize(packed_ * m);
    for (std::size_t b = 0; b < block_functions_.size(); ++b)
        for (std::size_t j = 0; j < block_functions_[b]; ++j)
            std::copy_n(reduced.row(index(j)).data() + b * block * m, block * m,
                        table_.data() + (block_first_[b] + j) * block * m);
    transposed_.resize(table_.size());
    Map(transposed_.data(), index(m), index(packed_)) =
        ConstMap(table_.data(), index(packed_), index(m)).transpose();
}

/// The leading vectors over the layers of all components, each component counted alike.
void RotationOperator::choose_depth_functions(const Matrix& full, double tolerance) {
    const std::size_t m = m_;
    Eigen::MatrixXd overlap = Eigen::MatrixXd::Zero(index(layers_), index(layers_));
    for (std::size_t component = 0; component < slots_; ++component) {
        const Eigen::MatrixXd patterns =
            full.middleCols(index(component * m), index(m)).cast<double>();
        const double norm = patterns.squaredNorm();
        if (norm > 0)
            overlap += patterns * patterns.transpose() / norm;
    }
    const SymmetricEigen eigen = symmetric_eigen(overlap);
    const double total = eigen.values.sum();
    double rest = total;
    while (functions_ < layers_ && rest > tolerance * tolerance * total)
        rest -= eigen.values(index(layers_ - 1 - functions_++));
    depth_functions_ = eigen.vectors.rightCols(index(functions_)).rowwise().reverse().cast<float>();
    // What the functions contribute to a component, against the norm of the part it belongs to.
    const Matrix reduced = depth_functions_.transpose() * full;
    std::vector<double> part_norm(slots_, 0.0);
    for (const auto& part : parts_) {
        double norm = 0;
        for (std::size_t i = part.slot; i < part.slot + part.all_components(); ++i)
            norm = std::max<double>(norm, reduced.middleCols(index(i * m), index(m)).squaredNorm());
        std::fill_n(part_norm.begin() + static_cast<std::ptrdiff_t>(part.slot),
                    part.all_components(), norm);
    }
    block_functions_.assign(slots_ / block, 1);
    for (std::size_t component = 0; component < slots_; ++component) {
        double tail = 0;
        std::size_t needed = functions_;
        while (needed > 1) {
            tail += reduced.row(index(needed - 1))
                        .segment(index(component * m), index(m))
                        .squaredNorm();
            if (tail > tolerance * tolerance * part_norm[component])
                break;
            --needed;
        }
        auto& of_block = block_functions_[component / block];
        of_block = std::max(of_block, needed);
    }
    functions_padded_ = (functions_ + unrolled - 1) / unrolled * unrolled;
    depth_padded_.assign(layers_ * functions_padded_, 0.0F);
    for (std::size_t l = 0; l < layers_; ++l)
        for (std::size_t f = 0; f < functions_; ++f)
            depth_padded_[l * functions_padded_ + f] = depth_functions_(index(l), index(f));
    block_first_.clear();
    packed_ = 0;
    for (const std::size_t count : block_functions_) {
        block_first_.push_back(packed_);
        packed_ += count;
    }
    packed_ *= block;
}
void RotationOperator::assemble(std::span<const float> direction, std::span<float> q) const {
    team_.run_and_sync([&] {
        // Places that no component fills must be 0.
        const auto [from, to] = team_.share(q.size());
        std::fill(q.begin() + static_cast<std::ptrdiff_t>(from),
                  q.begin() + static_cast<std::ptrdiff_t>(to), 0.0F);
    });
    team_.run_and_sync([&] {
        for (const auto& part : parts_) {
            const std::size_t n = part.pixels.size();
            const auto [from, to] = team_.share(n);
            const float* amounts = direction.data() + part.offset;
            if (part.functions.empty()) {
                for (std::size_t v = from; v < to; ++v)
                    q[part.coefficient[v]] = amounts[v];
                continue;
            }
            const std::size_t stride = (1 + part.shapes) * part.components;
#pragma omp parallel for schedule(static)
            for (std::size_t v = from; v < to; ++v) {
                const float* u = part.functions.data() + v * stride;
                part.for_blocks(v, [&](std::size_t place, std::size_t begin, std::size_t end) {
                    float* out = q.data() + place;
                    for (std::size_t i = begin; i < end; ++i)
                        out[i - begin] = amounts[v] * u[i];
                    for (std::size_t d = 0; d < part.shapes; ++d) {
                        const float change = amounts[(1 + d) * n + v];
                        const float* du = u + (1 + d) * part.components;
                        for (std::size_t i = begin; i < end; ++i)
                            out[i - begin] += change * du[i];
                    }
                });
            }
        }
    });
}
template <class Number>
void RotationOperator::reduce(std::span<const float> q, std::size_t stride,
                              std::span<Number> direction) const {
    const std::size_t members = team_.size();
    team_.run_and_sync([&] {
        for (const auto& part : parts_) {
            const std::size_t n = part.pixels.size();
            const auto [from, to] = team_.share(n);
            Number* amounts = direction.data() + part.offset;
            if (part.functions.empty()) {
                for (std::size_t v = from; v < to; ++v) {
                    Number sum = 0;
                    for (std::size_t member = 0; member < members; ++member)
                        sum += static_cast<Number>(q[member * stride + part.coefficient[v]]);
                    amounts[v] = sum;
                }
                continue;
            }
            const std::size_t width = (1 + part.shapes) * part.components;
#pragma omp parallel for schedule(static)
            for (std::size_t v = from; v < to; ++v) {
                const float* u = part.functions.data() + v * width;
                std::array<Number, 4> total{};
                for (std::size_t member = 0; member < members; ++member) {
                    std::array<float, 4> sums{};
                    part.for_blocks(v, [&](std::size_t place, std::size_t begin, std::size_t end) {
                        const float* in = q.data() + member * stride + place;
                        for (std::size_t d = 0; d <= part.shapes; ++d)
                            for (std::size_t i = begin; i < end; ++i)
                                sums[d] += in[i - begin] * u[d * part.components + i];
                    });
                    for (std::size_t d = 0; d <= part.shapes; ++d)
                        total[d] += static_cast<Number>(sums[d]);
                }
                for (std::size_t d = 0; d <= part.shapes; ++d)
                    amounts[d * n + v] = total[d];
            }
        }
    });
}

template void RotationOperator::reduce(std::span<const float>, std::size_t, std::span<float>) const;
template void RotationOperator::reduce(std::span<const float>, std::size_t,
                                       std::span<double>) const;

/// Of one rotation: [translation][packed] from the layers in `buffer`.
template <bool with_factors>
void RotationOperator::reduce_depth(std::size_t i, const float* buffer, float* reduced) const {
    using namespace simd;
    for (std::size_t b = 0; b < block_functions_.size(); ++b) {
        const float* plane = buffer + b * projector_->plane_size() + first_ray();
        const std::size_t count = block_functions_[b];
        for (std::size_t j = 0; j < translations_; ++j) {
            const float* ray = plane + j * projector_->ray_size();
            float* out = reduced + j * packed_ + block_first_[b] * block;
            const float* of_layer =
                with_factors ? depth_factors_->data() + (i * translations_ + j) * layers_ : nullptr;
            for (std::size_t f = 0; f < count; f += unrolled) {
                Float8 sum[unrolled] = {};
                const float* factor = depth_padded_.data() + f;
                for (std::size_t l = 0; l < layers_; ++l, factor += functions_padded_) {
                    Float8 value = load(ray + l * block);
                    if constexpr (with_factors)
                        value *= of_layer[l];
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
template <bool with_factors>
void RotationOperator::spread_depth(std::size_t i, const float* reduced, float* buffer) const {
    using namespace simd;
    for (std::size_t b = 0; b < block_functions_.size(); ++b) {
        float* plane = buffer + b * projector_->plane_size() + first_ray();
        const std::size_t count = block_functions_[b];
        for (std::size_t j = 0; j < translations_; ++j) {
            float* ray = plane + j * projector_->ray_size();
            const float* in = reduced + j * packed_ + block_first_[b] * block;
            const float* of_layer =
                with_factors ? depth_factors_->data() + (i * translations_ + j) * layers_ : nullptr;
            for (std::size_t f = 0; f < count; f += unrolled) {
                Float8 value[unrolled] = {};
                for (std::size_t u = 0; u < std::min(unrolled, count - f); ++u)
                    value[u] = load(in + (f + u) * block);
                const float* factor = depth_padded_.data() + f;
                for (std::size_t l = 0; l < layers_; ++l, factor += functions_padded_) {
                    float* to = ray + l * block;
                    Float8 sum = f == 0 ? broadcast(0) : load(to);
                    const float own = with_factors ? of_layer[l] : 1.0F;
                    XRDCT_UNROLL(8)
                    for (std::size_t u = 0; u < unrolled; ++u)
                        sum += value[u] * (with_factors ? own * factor[u] : factor[u]);
                    store(to, sum);
                }
            }
        }
    }
}
std::unique_ptr<tomography::DepthProjector>
RotationOperator::projector_of(const tomography::ScanGeometry& geometry,
                               const tomography::ImageGrid& grid,
                               const tomography::DepthLayers& layers) const {
    return std::make_unique<tomography::DepthProjector>(*projector_, geometry, grid, layers);
}

void RotationOperator::project_packed(const tomography::DepthProjector& projector, std::size_t i,
                                      std::span<const float> q, float* buffer,
                                      float* reduced) const {
    const std::size_t size = projector.buffer_size();
    if (textured_) {
        const std::span<float> turned{buffer + size, q.size()};
        std::copy(q.begin(), q.end(), turned.begin());
        apply_texture(i, turned);
        projector.forward(i, turned, {buffer, size});
    } else {
        projector.forward(i, q, {buffer, size});
    }
    if (depth_factors_)
        reduce_depth<true>(i, buffer, reduced);
    else
        reduce_depth<false>(i, buffer, reduced);
}
void RotationOperator::project_packed(std::size_t i, std::span<const float> q, float* buffer,
                                      float* reduced) const {
    project_packed(*projector_, i, q, buffer, reduced);
}

void RotationOperator::project(std::size_t i, std::span<const float> q, float* buffer,
                               float* reduced, float* out) const {
    project_packed(i, q, buffer, reduced);
    Map(out, index(translations_), index(m_)).noalias() =
        ConstMap(reduced, index(translations_), index(packed_)) *
        ConstMap(table_.data(), index(packed_), index(m_));
}

void RotationOperator::back_project(std::size_t i, const float* rays, float* buffer, float* reduced,
                                    std::span<float> q) const {
    for (std::size_t b = 0; b < block_functions_.size(); ++b) {
        float* plane = buffer + b * projector_->plane_size();
        std::fill_n(plane, first_ray(), 0.0F);
        std::fill(plane + first_ray() + translations_ * projector_->ray_size(),
                  plane + projector_->plane_size(), 0.0F);
    }
    Map(reduced, index(translations_), index(packed_)).noalias() =
        ConstMap(rays, index(translations_), index(m_)) *
        ConstMap(transposed_.data(), index(m_), index(packed_));
    if (depth_factors_)
        spread_depth<true>(i, reduced, buffer);
    else
        spread_depth<false>(i, reduced, buffer);
    projector_->adjoint(i, {buffer, projector_->buffer_size()}, q);
    if (textured_)
        add_texture_adjoint(i, q);
}

std::vector<RotationOperator::PackedComponent>
RotationOperator::packed_components(std::size_t p) const {
    std::vector<PackedComponent> result;
    const auto& part = parts_[p];
    for (std::size_t i = 0; i < part.all_components(); ++i) {
        const std::size_t slot = part.slot + i, b = slot / block;
        for (std::size_t f = 0; f < block_functions_[b]; ++f)
            result.push_back({f, i, (block_first_[b] + f) * block + slot % block});
    }
    return result;
}

} // namespace xrdct::dlsr
