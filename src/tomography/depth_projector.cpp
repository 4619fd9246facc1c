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

constexpr std::size_t tile = 16;        ///< pixels
constexpr std::size_t group_size = 128; ///< voxels that are worked on together, of one tile mostly

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
        double kx, ky,
            origin; ///< position on the translation axis [steps] of pixel (0, 0), per x, y
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
    std::size_t coefficients = 0, blocks = 1, translations = 0, taps = 2;
    std::size_t row = 0; ///< floats from ray to ray in one block
    DepthLayers layers;
    float scale = 1; ///< pixel² / |step|

    std::size_t plane() const { return (translations + 2 * taps) * row; }

    /// Where voxels of a group go: place of the first ray and lower layer in a block's plane, and
    /// the weights [tap][lower, upper layer].
    struct Group {
        std::size_t begin = 0, count = 0;
        std::array<std::int64_t, group_size> place; ///< −1: beside the axis
        std::array<std::size_t, group_size> next;   ///< next coefficient block
        std::vector<float> weight;                  ///< [voxel][tap][2]
    };

    void prepare(const Rotation& r, std::size_t begin, Group& group) const {
        using namespace simd;
        group.begin = begin;
        group.count = std::min(group_size, voxels.size() - begin);
        group.weight.resize(group_size * taps * 2);
        alignas(32) std::array<std::int32_t, lanes> firsts, layer_of;
        alignas(32) std::array<float, lanes> share;
        std::array<float, most_taps * lanes> tap_weight;
        for (std::size_t i = 0; i < group.count; i += lanes) {
            const Float8 x = load(&xs[begin + i]), y = load(&ys[begin + i]);
            const Float8 u = x * static_cast<float>(r.kx) + y * static_cast<float>(r.ky) +
                             static_cast<float>(r.origin);
            // Ray j takes the part of the footprint within j ± ½; the first one touched holds the
            // lower end.
            const Float8 lower = u + static_cast<float>(0.5 - r.half_width);
            Int8 first = truncate(lower);
            first += to_float(first) > lower; // a comparison is −1 where it holds: the floor
            const Float8 first_edge = to_float(first) + 0.5F - u;
            if (r.with_beam)
                r.edge_beam.weights<0>(first_edge, tap_weight.data(), taps);
            else
                r.edge.weights<0>(first_edge, tap_weight.data(), taps);
            Float8 z = x * static_cast<float>(r.zx) + y * static_cast<float>(r.zy) +
                       static_cast<float>(r.z_origin);
            const auto last = static_cast<float>(layers.count - 1);
            z = minimum(maximum(z, broadcast(0)), broadcast(last));
            const Float8 floor_z =
                minimum(to_float(truncate(z)), broadcast(std::max(0.0F, last - 1)));
            const Int8 layer = truncate(floor_z);
            std::memcpy(firsts.data(), &first, sizeof first);
            std::memcpy(layer_of.data(), &layer, sizeof layer);
            store(share.data(), z - floor_z);
            for (std::size_t l = 0; l < std::min(lanes, group.count - i); ++l) {
                const std::int64_t ray = firsts[l] + static_cast<std::int64_t>(taps);
                const bool inside =
                    ray >= 0 && ray <= static_cast<std::int64_t>(translations + taps);
                group.place[i + l] = inside ? ray * static_cast<std::int64_t>(row) +
                                                  layer_of[l] * static_cast<std::int64_t>(lanes)
                                            : -1;
                group.next[i + l] = offsets[begin + i + l];
                const float up = share[l] * scale, down = scale - up;
                float* w = group.weight.data() + (i + l) * taps * 2;
                for (std::size_t t = 0; t < taps; ++t) {
                    const float weight = tap_weight[t * lanes + l];
                    w[2 * t] = weight * down;
                    w[2 * t + 1] = weight * up;
                }
            }
        }
    }

    /// Calls each(begin of a block's plane in the buffer, group, its voxels that carry the block);
    /// block by block within a group, so that what a group touches stays in cache.
    template <class Each>
    void for_blocks(const Rotation& r, Each&& each) const {
        const auto group = std::make_unique<Group>();
        const std::size_t plane_size = plane();
        for (std::size_t begin = 0; begin < voxels.size(); begin += group_size) {
            prepare(r, begin, *group);
            const std::size_t count = group->count;
            std::uint32_t any = 0;
            for (std::size_t i = 0; i < count; ++i)
                any |= voxels[begin + i].blocks;
            for (; any; any &= any - 1) {
                const auto b = static_cast<std::size_t>(std::countr_zero(any));
                // The voxels that carry the block, first, without branches in the kernel.
                std::size_t listed = 0;
                std::array<std::uint32_t, group_size> list;
                for (std::size_t i = 0; i < count; ++i) {
                    list[listed] = static_cast<std::uint32_t>(i);
                    listed += (voxels[begin + i].blocks >> b & 1) && group->place[i] >= 0;
                }
                each(b * plane_size, *group, std::span(list.data(), listed));
                for (std::size_t i = 0; i < count; ++i)
                    group->next[i] += voxels[begin + i].blocks >> b & 1 ? lanes : 0;
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
    impl->row = (kept | 1) * lanes;

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
        const auto needed = std::max<std::size_t>(
            2, static_cast<std::size_t>(std::ceil(2 * r.half_width - 1e-9)) + 1);
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

std::span<const VoxelBlocks> DepthProjector::voxels() const {
    return impl_->voxels;
}
std::size_t DepthProjector::offset(std::size_t i) const {
    return impl_->offsets[i];
}
std::size_t DepthProjector::coefficient_count() const {
    return impl_->coefficients;
}
std::size_t DepthProjector::rotations() const {
    return impl_->rotations.size();
}
std::size_t DepthProjector::translations() const {
    return impl_->translations;
}
const DepthLayers& DepthProjector::layers() const {
    return impl_->layers;
}
std::size_t DepthProjector::blocks() const {
    return impl_->blocks;
}
std::size_t DepthProjector::padding() const {
    return impl_->taps;
}
std::size_t DepthProjector::ray_size() const {
    return impl_->row;
}
std::size_t DepthProjector::plane_size() const {
    return impl_->plane();
}
std::size_t DepthProjector::buffer_size() const {
    return impl_->blocks * impl_->plane();
}

void DepthProjector::forward(std::size_t i_rotation, std::span<const float> coefficients,
                             std::span<float> buffer) const {
    using namespace simd;
    const Impl& m = *impl_;
    if (coefficients.size() != m.coefficients || buffer.size() != buffer_size() ||
        i_rotation >= m.rotations.size())
        throw Error("depth projector: wrong sizes");
    std::fill(buffer.begin(), buffer.end(), 0.0F);
    m.with_taps([&]<std::size_t n>() {
        const std::size_t taps = n ? n : m.taps, row = m.row;
        m.for_blocks(m.rotations[i_rotation], [&](std::size_t plane, const Impl::Group& group,
                                                  std::span<const std::uint32_t> list) {
            const float* from = coefficients.data();
            float* to = buffer.data() + plane;
            const float* weights = group.weight.data();
            for (const std::size_t i : list) {
                const Float8 c = load(from + group.next[i]);
                const float* w = weights + i * taps * 2;
                float* p = to + group.place[i];
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    store(p, load(p) + c * w[2 * t]);
                    store(p + lanes, load(p + lanes) + c * w[2 * t + 1]);
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
    m.with_taps([&]<std::size_t n>() {
        const std::size_t taps = n ? n : m.taps, row = m.row;
        m.for_blocks(m.rotations[i_rotation], [&](std::size_t plane, const Impl::Group& group,
                                                  std::span<const std::uint32_t> list) {
            float* to = coefficients.data();
            const float* from = buffer.data() + plane;
            const float* weights = group.weight.data();
            for (const std::size_t i : list) {
                float* q = to + group.next[i];
                const float* w = weights + i * taps * 2;
                const float* p = from + group.place[i];
                Float8 lower = load(q), upper = broadcast(0);
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    lower += load(p) * w[2 * t];
                    upper += load(p + lanes) * w[2 * t + 1];
                }
                store(q, lower + upper);
            }
        });
    });
}

std::vector<float> DepthProjector::weighted_squares(std::span<const float> ray_weight) const {
    const Impl& m = *impl_;
    if (ray_weight.size() != m.rotations.size() * m.translations)
        throw Error("depth projector: wrong number of ray weights");
    std::vector<float> sums(m.voxels.size(), 0.0F);
    Impl::Group group;
    for (std::size_t i = 0; i < m.rotations.size(); ++i) {
        const float* weight = ray_weight.data() + i * m.translations;
        for (std::size_t begin = 0; begin < m.voxels.size(); begin += group_size) {
            m.prepare(m.rotations[i], begin, group);
            for (std::size_t v = 0; v < group.count; ++v) {
                if (group.place[v] < 0)
                    continue;
                const std::size_t first = static_cast<std::size_t>(group.place[v]) / m.row;
                for (std::size_t t = 0; t < m.taps; ++t) {
                    const std::size_t ray = first + t;
                    if (ray < m.taps || ray >= m.taps + m.translations)
                        continue;
                    const float* w = group.weight.data() + (v * m.taps + t) * 2;
                    sums[begin + v] += (w[0] + w[1]) * (w[0] + w[1]) * weight[ray - m.taps];
                }
            }
        }
    }
    return sums;
}

} // namespace xrdct
