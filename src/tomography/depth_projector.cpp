#include "tomography/depth_projector.hpp"

#include "base/error.hpp"
#include "tomography/footprint.hpp"
#include "tomography/simd.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

namespace xrdct {

using simd::Float8;
using simd::lanes;

namespace {

constexpr std::size_t tile = 16; ///< pixels; what a tile touches of a rotation stays in cache

} // namespace

DepthLayers DepthLayers::across(double half_depth, std::size_t count) {
    DepthLayers layers;
    if (half_depth <= 0 || count < 2)
        return layers;
    layers.count = count;
    layers.first = -half_depth;
    layers.spacing = 2 * half_depth / static_cast<double>(count - 1);
    return layers;
}

struct DepthProjector::Impl {
    struct Rotation {
        double cosine, sine;
        double kx, ky, origin; ///< position on the translation axis [steps] of pixel (0, 0), per x, y
        double zx, zy, z_origin; ///< depth [layers] likewise
        double half_width;       ///< of the footprint with the step, in steps
        FootprintEdge8<true> edge_beam;
        FootprintEdge8<false> edge;
        bool with_beam;
    };

    std::vector<Rotation> rotations;
    std::vector<VoxelBlocks> voxels;
    std::vector<std::size_t> offsets;
    std::vector<float> xs, ys; ///< pixel indices, padded to a multiple of eight voxels
    std::size_t coefficients = 0, blocks = 1, translations = 0, taps = 2, row = 0;
    DepthLayers layers;
    float scale = 1; ///< pixel² / |step|

    /// What eight voxels need: first ray (padded), layer and weights.
    struct Batch {
        alignas(32) std::array<std::int32_t, lanes> first, layer;
        alignas(32) std::array<float, lanes> upper; ///< share of the upper layer
        alignas(32) std::array<float, most_taps * lanes> weight; ///< [tap][voxel]
    };

    void prepare(const Rotation& r, std::size_t i, Batch& batch) const {
        using namespace simd;
        const Float8 x = load(&xs[i]), y = load(&ys[i]);
        const Float8 u = x * static_cast<float>(r.kx) + y * static_cast<float>(r.ky) +
                         static_cast<float>(r.origin);
        // Ray j takes the part of the footprint within j ± ½; the first one touched holds the lower
        // end.
        const Float8 lower = u + static_cast<float>(0.5 - r.half_width);
        Int8 first = truncate(lower);
        first += to_float(first) > lower; // a comparison is −1 where it holds: the floor
        const Float8 first_edge = to_float(first) + 0.5F - u;
        if (r.with_beam)
            r.edge_beam.weights<0>(first_edge, batch.weight.data(), taps);
        else
            r.edge.weights<0>(first_edge, batch.weight.data(), taps);
        Float8 z = x * static_cast<float>(r.zx) + y * static_cast<float>(r.zy) +
                   static_cast<float>(r.z_origin);
        const auto last = static_cast<float>(layers.count - 1);
        z = minimum(maximum(z, broadcast(0)), broadcast(last));
        const Float8 floor_z = minimum(to_float(truncate(z)), broadcast(std::max(0.0F, last - 1)));
        const Int8 layer = truncate(floor_z);
        std::memcpy(batch.first.data(), &first, sizeof first);
        std::memcpy(batch.layer.data(), &layer, sizeof layer);
        store(batch.upper.data(), z - floor_z);
    }

    /// Calls each(voxel, pointer offset of its first ray and layer, weights [tap][2]).
    template <std::size_t n_taps, class Each>
    void for_voxels(const Rotation& r, Each&& each) const {
        const std::size_t count = n_taps ? n_taps : taps;
        const auto rows = static_cast<std::int32_t>(translations + taps);
        Batch batch;
        std::array<float, 2 * most_taps> w;
        for (std::size_t i = 0; i < voxels.size(); i += lanes) {
            prepare(r, i, batch);
            const std::size_t here = std::min(lanes, voxels.size() - i);
            for (std::size_t l = 0; l < here; ++l) {
                const std::int32_t ray = batch.first[l] + static_cast<std::int32_t>(taps);
                if (ray < 0 || ray > rows)
                    continue;
                const float up = batch.upper[l] * scale, down = scale - up;
                for (std::size_t t = 0; t < count; ++t) {
                    const float weight = batch.weight[t * lanes + l];
                    w[2 * t] = weight * down;
                    w[2 * t + 1] = weight * up;
                }
                each(i + l,
                     static_cast<std::size_t>(ray) * row +
                         static_cast<std::size_t>(batch.layer[l]) * blocks * lanes,
                     w.data(), count);
            }
        }
    }

    template <class Work>
    void with_taps(Work&& work) const {
        switch (taps) {
        case 3:
            return work.template operator()<3>();
        case 4:
            return work.template operator()<4>();
        default:
            return work.template operator()<0>();
        }
    }
};

DepthProjector::DepthProjector(const ScanGeometry& geometry, const ImageGrid& grid,
                               std::span<const VoxelBlocks> voxels, std::size_t blocks,
                               const DepthLayers& layers) {
    geometry.validate();
    grid.validate();
    if (blocks < 1 || blocks > 32)
        throw Error(fmt::format("depth projector: {} blocks, expected 1 to 32", blocks));
    if (layers.count < 1 || !(layers.spacing > 0))
        throw Error("depth projector: no layers");
    auto impl = std::make_unique<Impl>();
    impl->blocks = blocks;
    impl->layers = layers;
    impl->translations = geometry.translation.size();
    impl->voxels.assign(voxels.begin(), voxels.end());
    for (const auto& voxel : impl->voxels) {
        if (voxel.pixel >= grid.size())
            throw Error(fmt::format("depth projector: pixel {} of {}", voxel.pixel, grid.size()));
        if (blocks < 32 && (voxel.blocks >> blocks) != 0)
            throw Error("depth projector: a voxel carries a block that rays do not hold");
    }
    const auto place = [&](const VoxelBlocks& voxel) {
        const std::size_t y = voxel.pixel / grid.n, x = voxel.pixel % grid.n;
        return std::array<std::size_t, 4>{y / tile, x / tile, y, x};
    };
    std::sort(impl->voxels.begin(), impl->voxels.end(),
              [&](const VoxelBlocks& a, const VoxelBlocks& b) { return place(a) < place(b); });
    for (const auto& voxel : impl->voxels) {
        impl->offsets.push_back(impl->coefficients);
        impl->coefficients += lanes * static_cast<std::size_t>(std::popcount(voxel.blocks));
        impl->xs.push_back(static_cast<float>(voxel.pixel % grid.n));
        impl->ys.push_back(static_cast<float>(voxel.pixel / grid.n));
    }
    while (impl->xs.size() % lanes) {
        impl->xs.push_back(0);
        impl->ys.push_back(0);
    }
    // One layer is kept as two, so that every voxel has a lower and an upper one.
    const std::size_t kept = std::max<std::size_t>(2, layers.count);
    impl->layers.count = kept;
    impl->row = kept * blocks * lanes;

    const double step = geometry.step(), width = std::abs(step);
    impl->scale = static_cast<float>(grid.pixel * grid.pixel / width);
    const double centre = 0.5 * (static_cast<double>(grid.n) - 1);
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i), c = std::cos(omega), s = std::sin(omega);
        const FootprintEdge edge(grid.pixel * std::abs(c) / width, grid.pixel * std::abs(s) / width,
                                 geometry.beam_width / width);
        Impl::Rotation r;
        r.cosine = c;
        r.sine = s;
        r.kx = c * grid.pixel / step;
        r.ky = s * grid.pixel / step;
        r.origin = geometry.origin_index() - centre * (r.kx + r.ky);
        r.zx = -s * grid.pixel / layers.spacing;
        r.zy = c * grid.pixel / layers.spacing;
        r.z_origin = -layers.first / layers.spacing - centre * (r.zx + r.zy);
        r.half_width = edge.half_width();
        r.with_beam = edge.beam > 0;
        r.edge_beam.set(edge);
        r.edge.set(edge);
        const auto needed =
            std::max<std::size_t>(2, static_cast<std::size_t>(std::ceil(2 * r.half_width - 1e-9)) + 1);
        if (needed > most_taps)
            throw Error(fmt::format("depth projector: a pixel of {} mm covers more than {} steps",
                                    grid.pixel, most_taps));
        impl->taps = std::max(impl->taps, needed);
        impl->rotations.push_back(r);
    }
    impl_ = std::move(impl);
}

DepthProjector::~DepthProjector() = default;
DepthProjector::DepthProjector(DepthProjector&&) noexcept = default;
DepthProjector& DepthProjector::operator=(DepthProjector&&) noexcept = default;

std::span<const VoxelBlocks> DepthProjector::voxels() const { return impl_->voxels; }
std::size_t DepthProjector::offset(std::size_t i) const { return impl_->offsets[i]; }
std::size_t DepthProjector::coefficient_count() const { return impl_->coefficients; }
std::size_t DepthProjector::rotations() const { return impl_->rotations.size(); }
std::size_t DepthProjector::translations() const { return impl_->translations; }
const DepthLayers& DepthProjector::layers() const { return impl_->layers; }
std::size_t DepthProjector::width() const { return impl_->row; }
std::size_t DepthProjector::padding() const { return impl_->taps; }
std::size_t DepthProjector::buffer_size() const {
    return (impl_->translations + 2 * impl_->taps) * impl_->row;
}

void DepthProjector::forward(std::size_t i_rotation, std::span<const float> coefficients,
                             std::span<float> buffer) const {
    using namespace simd;
    const Impl& m = *impl_;
    if (coefficients.size() != m.coefficients || buffer.size() != buffer_size() ||
        i_rotation >= m.rotations.size())
        throw Error("depth projector: wrong sizes");
    std::fill(buffer.begin(), buffer.end(), 0.0F);
    const std::size_t cell = m.blocks * lanes, row = m.row;
    m.with_taps([&]<std::size_t n>() {
        m.for_voxels<n>(m.rotations[i_rotation], [&](std::size_t v, std::size_t at, const float* w,
                                                     std::size_t count) {
            const float* q = coefficients.data() + m.offsets[v];
            std::uint32_t left = m.voxels[v].blocks;
            float* base = buffer.data() + at;
            while (left) {
                float* p = base + static_cast<std::size_t>(std::countr_zero(left)) * lanes;
                left &= left - 1;
                const Float8 c = load(q);
                q += lanes;
                const std::size_t taps = n ? n : count;
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    store(p, load(p) + c * w[2 * t]);
                    store(p + cell, load(p + cell) + c * w[2 * t + 1]);
                }
            }
        });
    });
}

void DepthProjector::adjoint(std::size_t i_rotation, std::span<const float> buffer,
                             std::span<float> coefficients) const {
    using namespace simd;
    const Impl& m = *impl_;
    if (coefficients.size() != m.coefficients || buffer.size() != buffer_size() ||
        i_rotation >= m.rotations.size())
        throw Error("depth projector: wrong sizes");
    const std::size_t cell = m.blocks * lanes, row = m.row;
    m.with_taps([&]<std::size_t n>() {
        m.for_voxels<n>(m.rotations[i_rotation], [&](std::size_t v, std::size_t at, const float* w,
                                                     std::size_t count) {
            float* q = coefficients.data() + m.offsets[v];
            std::uint32_t left = m.voxels[v].blocks;
            const float* base = buffer.data() + at;
            while (left) {
                const float* p = base + static_cast<std::size_t>(std::countr_zero(left)) * lanes;
                left &= left - 1;
                Float8 lower = load(q), upper = broadcast(0);
                const std::size_t taps = n ? n : count;
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    lower += load(p) * w[2 * t];
                    upper += load(p + cell) * w[2 * t + 1];
                }
                store(q, lower + upper);
                q += lanes;
            }
        });
    });
}

std::vector<float> DepthProjector::weighted_squares(std::span<const float> ray_weight) const {
    const Impl& m = *impl_;
    if (ray_weight.size() != m.rotations.size() * m.translations)
        throw Error("depth projector: wrong number of ray weights");
    std::vector<float> sums(m.voxels.size(), 0.0F);
    for (std::size_t i = 0; i < m.rotations.size(); ++i) {
        const float* weight = ray_weight.data() + i * m.translations;
        m.for_voxels<0>(m.rotations[i],
                        [&](std::size_t v, std::size_t at, const float* w, std::size_t count) {
                            const std::size_t first = at / m.row;
                            for (std::size_t t = 0; t < count; ++t) {
                                const std::size_t ray = first + t;
                                if (ray < m.taps || ray >= m.taps + m.translations)
                                    continue;
                                const float both = w[2 * t] + w[2 * t + 1];
                                sums[v] += both * both * weight[ray - m.taps];
                            }
                        });
    }
    return sums;
}

} // namespace xrdct
