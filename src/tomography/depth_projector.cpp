// SPDX-License-Identifier: BSD-3-Clause
#include "tomography/depth_projector.hpp"

#include "base/error.hpp"
#include "base/simd.hpp"
#include "tomography/footprint.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include <fmt/format.h>

namespace xrdct::tomography {

using simd::Float8;

namespace {

constexpr std::size_t tile = 16;                ///< pixels
constexpr std::size_t group_size = tile * tile; ///< voxels that are worked on together: a tile

/// Rank of a pixel within its tile. Neighbours touch the same rays and layers, and an addition that
/// waits for the one before it is slow: voxels follow each other with a stride (7, 5) instead.
std::size_t rank_in_tile(std::size_t y, std::size_t x) {
    static const auto ranks = [] {
        std::array<std::uint16_t, group_size> r{};
        for (std::size_t k = 0; k < group_size; ++k)
            r[(5 * k + k / tile) % tile * tile + 7 * k % tile] = static_cast<std::uint16_t>(k);
        return r;
    }();
    return ranks[y % tile * tile + x % tile];
}

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

    /// A tile: its voxels, and block by block which of them carry it.
    struct Group {
        std::size_t begin = 0, count = 0, first_list = 0, lists = 0;
    };
    /// Voxels of a group that carry a block, as numbers within the group; their coefficients follow
    /// each other.
    struct List {
        std::size_t block = 0, coefficient = 0, first_member = 0, count = 0;
    };

    /// Voxels and where their coefficients lie, whatever the geometry.
    struct Layout {
        SharedArray<VoxelBlocks> voxels;
        SharedArray<Group> groups;
        SharedArray<List> lists;
        SharedArray<std::uint8_t> list_members;
        SharedArray<std::uint32_t> voxel_group;
        SharedArray<float> xs, ys; ///< pixel indices, padded to a multiple of eight voxels
        std::size_t coefficients = 0, blocks = 1;

        Layout(const SharedMemoryTeam& team, const ImageGrid& grid,
               std::span<const VoxelBlocks> of_voxels, std::size_t block_count);
    };

    std::shared_ptr<const Layout> layout;
    std::vector<Rotation> rotations;
    std::size_t translations = 0, taps = 2;
    std::size_t row = 0; ///< floats from ray to ray in one block
    DepthLayers layers;
    float scale = 1; ///< pixel² / |step|

    Impl(std::shared_ptr<const Layout> of, const ScanGeometry& geometry, const ImageGrid& grid,
         const DepthLayers& depth_layers);

    std::size_t plane() const { return (translations + 2 * taps) * row; }

    /// Where the voxels of a group go in one rotation: the first ray's lower layer in a block's
    /// plane, the weights of rays and the share of the upper layer.
    struct Places {
        alignas(32) std::array<std::int32_t, group_size + simd::width> place;
        alignas(32) std::array<float, group_size + simd::width> share;
        std::vector<float> weight; ///< [tap][voxel], the taps group_size apart
    };

    void prepare(const Rotation& r, const Group& group, Places& places) const {
        using namespace simd;
        places.weight.resize(taps * group_size + simd::width);
        std::array<float, max_taps * simd::width> tap_weight;
        const auto rays = static_cast<std::int32_t>(translations + taps);
        const auto whole_row = static_cast<std::int32_t>(row),
                   padding = static_cast<std::int32_t>(taps);
        const Float8 last = broadcast(static_cast<float>(layers.count - 1));
        const Float8 last_lower = broadcast(std::max(0.0F, static_cast<float>(layers.count) - 2));
        for (std::size_t i = 0; i < group.count; i += simd::width) {
            const Float8 x = load(&layout->xs[group.begin + i]),
                         y = load(&layout->ys[group.begin + i]);
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
            z = minimum(maximum(z, broadcast(0)), last);
            const Int8 layer = truncate(minimum(z, last_lower));
            store(&places.share[i], z - to_float(layer));
            const Int8 ray = first + padding;
            const Int8 inside = (ray >= 0) & (ray <= rays);
            const Int8 place =
                (ray * whole_row + layer * static_cast<std::int32_t>(simd::width)) & inside;
            std::memcpy(&places.place[i], &place, sizeof place);
            const Float8 in_scale = inside ? broadcast(scale) : broadcast(0);
            for (std::size_t t = 0; t < taps; ++t)
                store(&places.weight[t * group_size + i],
                      load(&tap_weight[t * simd::width]) * in_scale);
        }
    }

    /// Calls each(places, list) for the blocks of all groups, group by group.
    template <class Each>
    void for_lists(std::size_t i_rotation, Each&& each) const {
        const auto places = std::make_unique<Places>();
        for (const Group& group : layout->groups) {
            prepare(rotations[i_rotation], group, *places);
            for (std::size_t l = group.first_list; l < group.first_list + group.lists; ++l)
                each(*places, layout->lists[l]);
        }
    }
    void require(std::size_t i_rotation, std::size_t of_coefficients, std::size_t of_buffer) const {
        if (of_coefficients != layout->coefficients || of_buffer != layout->blocks * plane() ||
            i_rotation >= rotations.size())
            throw Error("depth projector: wrong sizes");
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

namespace {

void check(const ImageGrid& grid, std::span<const VoxelBlocks> voxels, std::size_t blocks) {
    grid.validate();
    if (blocks < 1 || blocks > 32)
        throw Error(fmt::format("depth projector: {} blocks, expected 1 to 32", blocks));
    for (const auto& voxel : voxels) {
        if (voxel.pixel >= grid.size())
            throw Error(fmt::format("depth projector: pixel {} of {}", voxel.pixel, grid.size()));
        if (blocks < 32 && (voxel.blocks >> blocks) != 0)
            throw Error("depth projector: a voxel carries a block that rays do not hold");
    }
}

} // namespace

DepthProjector::Impl::Layout::Layout(const SharedMemoryTeam& team, const ImageGrid& grid,
                                     std::span<const VoxelBlocks> of_voxels,
                                     std::size_t block_count)
    : blocks(block_count) {
    check(grid, of_voxels, blocks);
    const auto place = [&](const VoxelBlocks& voxel) {
        const std::size_t y = voxel.pixel / grid.n, x = voxel.pixel % grid.n;
        return std::array<std::size_t, 3>{y / tile, x / tile, rank_in_tile(y, x)};
    };
    struct {
        std::vector<VoxelBlocks> voxels;
        std::vector<Group> groups;
        std::vector<List> lists;
        std::vector<std::uint8_t> list_members;
        std::vector<std::uint32_t> voxel_group;
        std::vector<float> xs, ys;
    } made;
    made.voxels.assign(of_voxels.begin(), of_voxels.end());
    std::sort(made.voxels.begin(), made.voxels.end(),
              [&](const VoxelBlocks& a, const VoxelBlocks& b) { return place(a) < place(b); });
    made.xs.reserve(made.voxels.size() + simd::width);
    made.ys.reserve(made.voxels.size() + simd::width);
    made.voxel_group.reserve(made.voxels.size());
    for (std::size_t i = 0; i < made.voxels.size(); ++i) {
        const std::size_t y = made.voxels[i].pixel / grid.n, x = made.voxels[i].pixel % grid.n;
        made.xs.push_back(static_cast<float>(x));
        made.ys.push_back(static_cast<float>(y));
        if (i == 0 || place(made.voxels[i])[0] != place(made.voxels[i - 1])[0] ||
            place(made.voxels[i])[1] != place(made.voxels[i - 1])[1])
            made.groups.push_back({i, 0, 0, 0});
        ++made.groups.back().count;
        made.voxel_group.push_back(static_cast<std::uint32_t>(made.groups.size() - 1));
    }
    for (auto& group : made.groups) {
        group.first_list = made.lists.size();
        for (std::size_t b = 0; b < blocks; ++b) {
            List list{b, coefficients, made.list_members.size(), 0};
            for (std::size_t i = 0; i < group.count; ++i)
                if (made.voxels[group.begin + i].blocks >> b & 1) {
                    made.list_members.push_back(static_cast<std::uint8_t>(i));
                    ++list.count;
                }
            if (list.count == 0)
                continue;
            coefficients += list.count * simd::width;
            made.lists.push_back(list);
            ++group.lists;
        }
    }
    // Groups are read eight voxels at a time, the last one beyond its end.
    made.xs.resize(made.xs.size() + simd::width, 0.0F);
    made.ys.resize(made.ys.size() + simd::width, 0.0F);
    voxels = {team, made.voxels};
    groups = {team, made.groups};
    lists = {team, made.lists};
    list_members = {team, made.list_members};
    voxel_group = {team, made.voxel_group};
    xs = {team, made.xs};
    ys = {team, made.ys};
}

DepthProjector::Impl::Impl(std::shared_ptr<const Layout> of, const ScanGeometry& geometry,
                           const ImageGrid& grid, const DepthLayers& depth_layers)
    : layout(std::move(of)), layers(depth_layers) {
    geometry.validate();
    if (layers.count < 1 || !(layers.spacing > 0))
        throw Error("depth projector: no layers");
    translations = geometry.translation.size();
    // One layer is kept as two, so that every voxel has a lower and an upper one.
    const std::size_t kept = std::max<std::size_t>(2, layers.count);
    layers.count = kept;
    row = (kept | 1) * simd::width;

    const double step = geometry.step(), width = std::abs(step);
    scale = static_cast<float>(grid.pixel * grid.pixel / width);
    const double centre = 0.5 * (static_cast<double>(grid.n) - 1);
    for (std::size_t i = 0; i < geometry.rotation.size(); ++i) {
        const double omega = geometry.omega(i), c = std::cos(omega), s = std::sin(omega);
        const FootprintEdge edge(grid.pixel * std::abs(c) / width, grid.pixel * std::abs(s) / width,
                                 geometry.beam_width / width);
        Rotation r;
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
        if (needed > max_taps)
            throw Error(fmt::format("depth projector: a pixel of {} mm covers more than {} steps",
                                    grid.pixel, max_taps));
        taps = std::max(taps, needed);
        rotations.push_back(r);
    }
}

DepthProjector::DepthProjector(const ScanGeometry& geometry, const ImageGrid& grid,
                               std::span<const VoxelBlocks> voxels, std::size_t blocks,
                               const DepthLayers& layers, const SharedMemoryTeam& team)
    : impl_(std::make_unique<Impl>(std::make_shared<const Impl::Layout>(team, grid, voxels, blocks),
                                   geometry, grid, layers)) {}

DepthProjector::DepthProjector(const DepthProjector& like, const ScanGeometry& geometry,
                               const ImageGrid& grid, const DepthLayers& layers)
    : impl_(std::make_unique<Impl>(like.impl_->layout, geometry, grid, layers)) {}

DepthProjector::~DepthProjector() = default;
DepthProjector::DepthProjector(DepthProjector&&) noexcept = default;
DepthProjector& DepthProjector::operator=(DepthProjector&&) noexcept = default;

std::span<const VoxelBlocks> DepthProjector::voxels() const {
    return impl_->layout->voxels;
}
std::size_t DepthProjector::offset(std::size_t i, std::size_t block) const {
    const Impl& m = *impl_;
    const auto& group = m.layout->groups[m.layout->voxel_group[i]];
    for (std::size_t l = group.first_list; l < group.first_list + group.lists; ++l) {
        const auto& list = m.layout->lists[l];
        if (list.block != block)
            continue;
        const auto* members = m.layout->list_members.data() + list.first_member;
        const auto* found = std::lower_bound(members, members + list.count, i - group.begin);
        if (found != members + list.count && *found == i - group.begin)
            return list.coefficient + simd::width * static_cast<std::size_t>(found - members);
    }
    throw Error("depth projector: a voxel does not carry the block");
}
std::size_t DepthProjector::coefficient_count() const {
    return impl_->layout->coefficients;
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
    return impl_->layout->blocks;
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
    return impl_->layout->blocks * impl_->plane();
}

void DepthProjector::forward(std::size_t i_rotation, std::span<const float> coefficients,
                             std::span<float> buffer) const {
    using namespace simd;
    const Impl& m = *impl_;
    m.require(i_rotation, coefficients.size(), buffer.size());
    std::fill(buffer.begin(), buffer.end(), 0.0F);
    const std::size_t plane_size = m.plane();
    m.with_taps([&]<std::size_t n>() {
        const std::size_t taps = n ? n : m.taps, row = m.row;
        m.for_lists(i_rotation, [&](const Impl::Places& places, const Impl::List& list) {
            const float* from = coefficients.data() + list.coefficient;
            float* to = buffer.data() + list.block * plane_size;
            const float* weights = places.weight.data();
            const std::uint8_t* members = m.layout->list_members.data() + list.first_member;
            for (std::size_t v = 0; v < list.count; ++v, from += simd::width) {
                const std::size_t i = members[v];
                const Float8 upper = load(from) * places.share[i], lower = load(from) - upper;
                float* p = to + places.place[i];
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    const float w = weights[t * group_size + i];
                    store(p, load(p) + lower * w);
                    store(p + simd::width, load(p + simd::width) + upper * w);
                }
            }
        });
    });
}

void DepthProjector::adjoint(std::size_t i_rotation, std::span<const float> buffer,
                             std::span<float> coefficients) const {
    using namespace simd;
    const Impl& m = *impl_;
    m.require(i_rotation, coefficients.size(), buffer.size());
    const std::size_t plane_size = m.plane();
    m.with_taps([&]<std::size_t n>() {
        const std::size_t taps = n ? n : m.taps, row = m.row;
        m.for_lists(i_rotation, [&](const Impl::Places& places, const Impl::List& list) {
            float* to = coefficients.data() + list.coefficient;
            const float* from = buffer.data() + list.block * plane_size;
            const float* weights = places.weight.data();
            const std::uint8_t* members = m.layout->list_members.data() + list.first_member;
            for (std::size_t v = 0; v < list.count; ++v, to += simd::width) {
                const std::size_t i = members[v];
                const float* p = from + places.place[i];
                Float8 lower = broadcast(0), upper = broadcast(0);
                XRDCT_UNROLL(4)
                for (std::size_t t = 0; t < taps; ++t, p += row) {
                    const float w = weights[t * group_size + i];
                    lower += load(p) * w;
                    upper += load(p + simd::width) * w;
                }
                store(to, load(to) + lower + (upper - lower) * places.share[i]);
            }
        });
    });
}

std::vector<float> DepthProjector::weighted_squares(std::span<const float> ray_weight) const {
    const Impl& m = *impl_;
    if (ray_weight.size() != m.rotations.size() * m.translations)
        throw Error("depth projector: wrong number of ray weights");
    std::vector<float> sums(m.layout->voxels.size(), 0.0F);
    Impl::Places places;
    for (std::size_t i = 0; i < m.rotations.size(); ++i) {
        const float* weight = ray_weight.data() + i * m.translations;
        for (const auto& group : m.layout->groups) {
            m.prepare(m.rotations[i], group, places);
            for (std::size_t v = 0; v < group.count; ++v) {
                const auto first = static_cast<std::size_t>(places.place[v]) / m.row;
                for (std::size_t t = 0; t < m.taps; ++t) {
                    const std::size_t ray = first + t;
                    if (ray < m.taps || ray >= m.taps + m.translations)
                        continue;
                    const float w = places.weight[t * group_size + v];
                    sums[group.begin + v] += w * w * weight[ray - m.taps];
                }
            }
        }
    }
    return sums;
}

} // namespace xrdct::tomography
