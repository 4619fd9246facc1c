// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/scan/sinogram_file.hpp"

#include "base/error.hpp"
#include "mpi/comm/redistribution.hpp"
#include "mpi/scan/sinogram_opener.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

namespace xrdct::scan {

using namespace detail;
using hdf5::Dataset;

namespace {

constexpr std::size_t read_bytes = std::size_t{64} << 20;

bool is_infinite(float value) {
    return (std::bit_cast<std::uint32_t>(value) & 0x7fffffffU) == 0x7f800000U;
}

} // namespace

SinogramFile::SinogramFile(hdf5::File file, OpenedSinogram opened)
    : path_(file.path()), file_(std::move(file)), intensity_(std::move(opened.intensity)),
      errors_(std::move(opened.errors)), transmission_(std::move(opened.transmission)),
      monitor_(std::move(opened.monitor)), pixels_(std::move(opened.pixels)),
      metadata_(std::move(opened.metadata)), axis_{opened.axis[rotation], opened.axis[translation],
                                                   opened.axis[channel]},
      stack_axis_(opened.axis[stack]), stack_index_(opened.stack_index),
      named_by_caller_(opened.named_by_caller) {}

SinogramFile SinogramFile::open(const std::filesystem::path& path, const SinogramSource& source,
                                const mpi::Communicator* communicator) {
    hdf5::File file = hdf5::File::open(path, hdf5::Access::read_only, communicator);
    if (communicator == nullptr) {
        OpenedSinogram opened = open_sinogram(file, source);
        return {std::move(file), std::move(opened)};
    }
    OpenedSinogram opened = communicator->collectively([&] { return open_sinogram(file, source); });
    return {std::move(file), std::move(opened)};
}

const Dataset& SinogramFile::dataset(SinogramArray array) const {
    if (array == SinogramArray::intensity)
        return intensity_;
    if (!errors_)
        throw Error(path_.string() + ": the scan has no intensity errors");
    return *errors_;
}

std::vector<std::string> SinogramFile::stored_order() const {
    std::vector<std::pair<int, std::string>> found;
    for (const Role role : {rotation, translation, channel})
        if (axis_[role] >= 0)
            found.emplace_back(axis_[role], role_names[role]);
    std::sort(found.begin(), found.end());
    std::vector<std::string> names;
    for (auto& [at, name] : found)
        names.push_back(std::move(name));
    return names;
}

std::array<std::size_t, 3> SinogramFile::chunk() const {
    const hdf5::Shape chunk = intensity_.storage().chunk;
    if (chunk.empty())
        return {0, 0, 0};
    std::array<std::size_t, 3> result{};
    for (std::size_t i = 0; i < 3; ++i)
        result[i] = axis_[i] >= 0 ? chunk[static_cast<std::size_t>(axis_[i])] : 1;
    return result;
}

namespace {

/// Where a piece of three stored axes goes.
struct PieceTarget {
    std::array<std::size_t, 3> count{1, 1, 1}; ///< indices along the stored axes
    std::array<std::size_t, 3> to{0, 0, 0};    ///< their strides in the memory
};

/// Copies piece[a][b][c] to base[a·to₀ + b·to₁ + c·to₂].
void copy_piece(const float* piece, const PieceTarget& target_of, float* base) {
    const auto& [count, to] = target_of;
    // The axis that is fastest in the memory, and tiles of it with the fastest stored one: both
    // sides stay in cache.
    const std::size_t fast = to[0] == 1 ? 0 : to[1] == 1 ? 1 : 2;
    if (fast == 2) {
        for (std::size_t a = 0; a < count[0]; ++a)
            for (std::size_t b = 0; b < count[1]; ++b)
                std::copy_n(piece + (a * count[1] + b) * count[2], count[2],
                            base + a * to[0] + b * to[1]);
        return;
    }
    const std::size_t other = 1 - fast;
    const std::array<std::size_t, 3> from = {count[1] * count[2], count[2], 1};
    constexpr std::size_t tile = 32;
    for (std::size_t o = 0; o < count[other]; ++o)
        for (std::size_t c0 = 0; c0 < count[2]; c0 += tile)
            for (std::size_t f0 = 0; f0 < count[fast]; f0 += tile) {
                const std::size_t c1 = std::min(c0 + tile, count[2]);
                const std::size_t f1 = std::min(f0 + tile, count[fast]);
                for (std::size_t c = c0; c < c1; ++c) {
                    const float* in = piece + o * from[other] + c;
                    float* target = base + o * to[other] + c * to[2];
                    for (std::size_t f = f0; f < f1; ++f)
                        target[f] = in[f * from[fast]];
                }
            }
}

/// A part of a scan, [rotation][translation][channel] in any order.
struct Box {
    const std::array<mpi::BlockRange, 3>& range; ///< of rotations, translations, channels
    std::array<std::size_t, 3> stride{};         ///< of each in the memory
    std::vector<std::size_t> stored;             ///< the stored axes among them, slowest first
};

/// Reads a selection whose axes lie in another order than the memory's: in pieces along the slowest
/// stored axis, which is `slow_axis` of the dataset, cut where chunks end.
void read_in_pieces(const Dataset& dataset, hdf5::Selection selection, const Box& box,
                    std::size_t slow_axis, std::span<float> out) {
    const std::size_t slow = box.stored.front();
    const mpi::BlockRange range = box.range[slow];
    const std::size_t per_index = out.size() / range.size() * sizeof(float);
    std::size_t rows = std::max<std::size_t>(1, read_bytes / per_index);
    const hdf5::Shape chunk = dataset.storage().chunk;
    if (!chunk.empty())
        rows = std::max(rows - rows % chunk[slow_axis], chunk[slow_axis]);
    std::vector<float> piece;
    for (std::size_t at = range.begin; at < range.end;) {
        const std::size_t end = std::min(range.end, at - at % rows + rows);
        selection.start[slow_axis] = at;
        selection.count[slow_axis] = end - at;
        piece.resize(selection.size());
        dataset.read_with_gaps(selection, std::span<float>(piece));
        // stored = [a][b][c] (a leading axis of one index where there are two).
        PieceTarget target;
        const std::size_t lead = 3 - box.stored.size();
        for (std::size_t k = 0; k < box.stored.size(); ++k) {
            const std::size_t axis = box.stored[k];
            target.count[lead + k] = axis == slow ? end - at : box.range[axis].size();
            target.to[lead + k] = box.stride[axis];
        }
        copy_piece(piece.data(), target, out.data() + (at - range.begin) * box.stride[slow]);
        at = end;
    }
}

void refuse_infinite(const Dataset& dataset, const Box& box, std::span<const float> out) {
    std::size_t infinite = 0;
    for (const float value : out)
        infinite += is_infinite(value) ? 1 : 0;
    if (infinite == 0)
        return;
    const auto at =
        static_cast<std::size_t>(std::find_if(out.begin(), out.end(), is_infinite) - out.begin());
    std::array<std::size_t, 3> index{};
    for (std::size_t i = 0; i < 3; ++i)
        index[i] = box.range[i].begin + at / box.stride[i] % box.range[i].size();
    throw Error(fmt::format("{}: infinite value at rotation {}, translation {}, channel {}; "
                            "missing points are marked with NaN",
                            dataset.describe(), index[0], index[1], index[2]));
}

} // namespace

void SinogramFile::read_box(const Dataset& dataset, const std::array<mpi::BlockRange, 3>& box,
                            const std::array<int, 3>& order, std::span<float> out) const {
    const std::array<std::size_t, 3> extent = {metadata_.n_rotation(), metadata_.n_translation(),
                                               metadata_.n_channel()};
    std::size_t n = 1;
    for (std::size_t i = 0; i < 3; ++i) {
        if (box[i].begin > box[i].end || box[i].end > extent[i])
            throw Error(fmt::format("{}: {}s {} to {} were asked for, there are {}",
                                    dataset.describe(), i == 2 ? "channel" : role_names[i],
                                    box[i].begin, box[i].end, extent[i]));
        n *= box[i].size();
    }
    if (out.size() != n)
        throw Error(fmt::format("{}: {} values were asked for, the memory holds {}",
                                dataset.describe(), n, out.size()));
    if (n == 0)
        return;

    Box part{box, {}, {}};
    std::size_t step = 1;
    for (std::size_t i = 3; i-- > 0;) {
        part.stride[static_cast<std::size_t>(order[i])] = step;
        step *= box[static_cast<std::size_t>(order[i])].size();
    }

    for (std::size_t d = 0; d < dataset.rank(); ++d)
        for (std::size_t i = 0; i < 3; ++i)
            if (axis_[i] == static_cast<int>(d))
                part.stored.push_back(i);

    hdf5::Selection selection;
    selection.start.resize(dataset.rank());
    selection.count.resize(dataset.rank());
    if (stack_axis_ >= 0) {
        selection.start[static_cast<std::size_t>(stack_axis_)] = stack_index_;
        selection.count[static_cast<std::size_t>(stack_axis_)] = 1;
    }
    for (const std::size_t i : part.stored) {
        selection.start[static_cast<std::size_t>(axis_[i])] = box[i].begin;
        selection.count[static_cast<std::size_t>(axis_[i])] = box[i].size();
    }

    const bool in_order =
        std::is_sorted(part.stored.begin(), part.stored.end(), [&](std::size_t a, std::size_t b) {
            return part.stride[a] > part.stride[b];
        });
    if (in_order) {
        dataset.read_with_gaps(selection, out);
    } else {
        read_in_pieces(dataset, selection, part,
                       static_cast<std::size_t>(axis_[part.stored.front()]), out);
    }
    refuse_infinite(dataset, part, out);
}

void SinogramFile::read_rows(mpi::BlockRange rotations, mpi::BlockRange channels,
                             std::span<float> out, SinogramArray array) const {
    read_box(dataset(array), {rotations, {0, metadata_.n_translation()}, channels}, {0, 1, 2}, out);
}

mpi::BlockRange SinogramFile::own_channels(mpi::BlockRange block,
                                           const mpi::Communicator& communicator) {
    mpi::BlockRange own =
        mpi::block_range(block.size(), static_cast<std::size_t>(communicator.size()),
                         static_cast<std::size_t>(communicator.rank()));
    own.begin += block.begin;
    own.end += block.begin;
    return own;
}

void SinogramFile::read_channel_shard(const mpi::Communicator& communicator, mpi::BlockRange block,
                                      std::span<float> out, SinogramArray array) const {
    const std::size_t n_rotation = metadata_.n_rotation();
    const std::size_t n_translation = metadata_.n_translation();
    const mpi::BlockRange own = own_channels(block, communicator);
    const bool channel_slowest =
        axis_[channel] >= 0 && axis_[channel] < std::min(axis_[rotation], axis_[translation]);
    communicator.collectively([&] {
        if (block.begin > block.end || block.end > metadata_.n_channel())
            throw Error(fmt::format("{}: channels {} to {} were asked for, there are {}",
                                    path_.string(), block.begin, block.end, metadata_.n_channel()));
        if (out.size() != n_rotation * n_translation * own.size())
            throw Error(fmt::format("{}: {} values were asked for, the memory holds {}",
                                    path_.string(), n_rotation * n_translation * own.size(),
                                    out.size()));
        if (channel_slowest || communicator.size() == 1)
            read_rows({0, n_rotation}, own, out, array);
    });
    if (channel_slowest || communicator.size() == 1)
        return;

    const bool by_rotation = axis_[rotation] < axis_[translation];
    const std::size_t n_row = by_rotation ? n_rotation : n_translation;
    const std::size_t n_column = by_rotation ? n_translation : n_rotation;
    const auto ranks = static_cast<std::size_t>(communicator.size());
    // Whole chunks to each rank where there are enough of them: a shared chunk is read and unpacked
    // twice.
    const std::size_t row_chunk = std::max<std::size_t>(1, chunk()[by_rotation ? 0 : 1]);
    const std::size_t n_chunk = (n_row + row_chunk - 1) / row_chunk;
    std::vector<mpi::BlockRange> rows =
        mpi::block_ranges(n_chunk >= ranks ? n_chunk : n_row, ranks);
    if (n_chunk >= ranks)
        for (mpi::BlockRange& range : rows)
            range = {std::min(range.begin * row_chunk, n_row),
                     std::min(range.end * row_chunk, n_row)};

    const mpi::Redistribution redistribution(
        communicator, {n_row, n_column, block.size()}, rows, mpi::block_ranges(block.size(), ranks),
        by_rotation ? mpi::ShardOrder::row_column : mpi::ShardOrder::column_row);
    std::vector<float> slab;
    communicator.collectively([&] {
        slab.resize(redistribution.slab_size());
        const mpi::BlockRange own_rows = redistribution.own_rows();
        if (by_rotation)
            read_box(dataset(array), {own_rows, {0, n_translation}, block}, {0, 1, 2}, slab);
        else
            read_box(dataset(array), {mpi::BlockRange{0, n_rotation}, own_rows, block}, {1, 0, 2},
                     slab);
    });
    redistribution.to_shards(slab, out);
}

std::vector<double> SinogramFile::read_plane(const Dataset& dataset) const {
    const std::size_t n_rotation = metadata_.n_rotation();
    const std::size_t n_translation = metadata_.n_translation();
    const hdf5::Shape& shape = dataset.shape();
    const bool as_intensity = axis_[rotation] < axis_[translation];
    bool rotation_first = as_intensity;
    hdf5::Selection selection{hdf5::Shape(shape.size(), 0), shape};
    if (shape.size() == 3) {
        // A stack of planes, in the order of the intensities.
        const std::size_t lead = static_cast<std::size_t>(stack_axis_) -
                                 (axis_[channel] >= 0 && axis_[channel] < stack_axis_ ? 1 : 0);
        selection.start[lead] = stack_index_;
        selection.count[lead] = 1;
        hdf5::Shape plane = shape;
        plane.erase(plane.begin() + static_cast<std::ptrdiff_t>(lead));
        const hdf5::Shape wanted = as_intensity ? hdf5::Shape{n_rotation, n_translation}
                                                : hdf5::Shape{n_translation, n_rotation};
        if (plane != wanted)
            throw Error(
                fmt::format("{}: the axes of shape [{}] are not in the order of the intensities",
                            dataset.describe(), fmt::join(shape, ", ")));
    } else {
        const auto axes = axes_attribute(dataset);
        if (axes.size() == 2 && role_by_name(axes[0]) == rotation &&
            role_by_name(axes[1]) == translation)
            rotation_first = true;
        else if (axes.size() == 2 && role_by_name(axes[0]) == translation &&
                 role_by_name(axes[1]) == rotation)
            rotation_first = false;
        else if (n_rotation != n_translation)
            rotation_first = shape[0] == n_rotation;
        else
            rotation_first = named_by_caller_ ? as_intensity : true;
    }
    std::vector<double> stored(n_rotation * n_translation);
    dataset.read_with_gaps(selection, std::span<double>(stored));
    for (std::size_t i = 0; i < stored.size(); ++i)
        if (std::isinf(stored[i]))
            throw Error(
                fmt::format("{}: infinite value at index {}; missing points are marked with NaN",
                            dataset.describe(), i));
    if (rotation_first)
        return stored;
    std::vector<double> turned(stored.size());
    for (std::size_t t = 0; t < n_translation; ++t)
        for (std::size_t r = 0; r < n_rotation; ++r)
            turned[r * n_translation + t] = stored[t * n_rotation + r];
    return turned;
}

std::vector<double> SinogramFile::read_transmission() const {
    if (!transmission_)
        throw Error(path_.string() + ": the scan has no transmission");
    return read_plane(*transmission_);
}

std::vector<double> SinogramFile::read_monitor() const {
    if (!monitor_)
        throw Error(path_.string() + ": the scan has no monitor");
    return read_plane(*monitor_);
}

std::vector<double> SinogramFile::read_pixels() const {
    if (!pixels_)
        throw Error(path_.string() + ": the scan has no numbers of pixels");
    auto values = pixels_->read_all<double>();
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!(values[i] >= 0) || !std::isfinite(values[i]))
            throw Error(fmt::format("{}: the number of pixels of channel {} is {}",
                                    pixels_->describe(), i, values[i]));
    return values;
}

} // namespace xrdct::scan
