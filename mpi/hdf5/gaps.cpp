// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/hdf5/internal.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

namespace xrdct::hdf5 {

using namespace detail;

namespace detail {

/// One piece of a virtual dataset.
struct Mapping {
    Handle space;       ///< the elements it gives, of the virtual dataset
    Selection box;      ///< what bounds them
    bool is_box = true; ///< they fill the box
    std::string file, dataset;
    std::optional<Selection> source; ///< bounds in the source dataset; nothing: all of it
};

/// Where the values of a dataset come from, worked out once.
struct Origins {
    std::optional<std::vector<bool>> missing; ///< see missing_chunks()
    std::optional<std::vector<Mapping>> mappings;
    /// Why a source (file, dataset) cannot be had; empty: it is there.
    std::map<std::pair<std::string, std::string>, std::string> lost;
    /// The source looked at last stays open.
    std::pair<std::string, std::string> name;
    std::optional<Dataset> opened;
};

} // namespace detail

namespace {

/// The elements that both boxes have; nothing when there are none.
std::optional<Selection> common_part(const Selection& a, const Selection& b) {
    Selection common = a;
    for (std::size_t d = 0; d < a.start.size(); ++d) {
        const std::size_t begin = std::max(a.start[d], b.start[d]);
        const std::size_t end = std::min(a.start[d] + a.count[d], b.start[d] + b.count[d]);
        if (begin >= end)
            return std::nullopt;
        common.start[d] = begin;
        common.count[d] = end - begin;
    }
    return common;
}

/// Makes one box of two that touch along one axis and agree in all others.
bool join(Selection& first, const Selection& second) {
    std::optional<std::size_t> along;
    for (std::size_t d = 0; d < first.start.size(); ++d) {
        if (first.start[d] == second.start[d] && first.count[d] == second.count[d])
            continue;
        if (along || first.start[d] + first.count[d] != second.start[d])
            return false;
        along = d;
    }
    if (along)
        first.count[*along] += second.count[*along];
    return true;
}

void add_gap(std::vector<Gap>& gaps, Selection box, const std::string& reason) {
    gaps.push_back({std::move(box), reason});
    while (gaps.size() > 1) {
        Gap& before = gaps[gaps.size() - 2];
        if (before.reason != gaps.back().reason || !join(before.box, gaps.back().box))
            break;
        gaps.pop_back();
    }
}

/// Goes to the next index of a box, the last axis fastest; false at its end.
bool advance(std::vector<hsize_t>& index, const Shape& start, const Shape& end, const Shape& step) {
    for (std::size_t d = index.size(); d-- > 0;) {
        index[d] += step[d];
        if (index[d] < end[d])
            return true;
        index[d] = start[d];
    }
    return false;
}

/// Chunks along each axis.
Shape chunk_grid(const Shape& shape, const Shape& chunk) {
    Shape grid = shape;
    for (std::size_t d = 0; d < shape.size(); ++d)
        grid[d] = (shape[d] + chunk[d] - 1) / chunk[d];
    return grid;
}

/// Chunks by their number in the grid, true: never written; empty: all were written. A chunk that
/// HDF5 made up for a read stays in its cache and looks as if it were there: to be asked before any
/// read, and counted.
std::vector<bool> missing_chunks(hid_t dataset, const Shape& shape, const Shape& chunk) {
    const std::size_t total = product(chunk_grid(shape, chunk));
    const Handle space(H5Dget_space(dataset));
    hsize_t written = 0;
    if (total == 0 || H5Dget_num_chunks(dataset, space.get(), &written) < 0 || written >= total)
        return {};
    std::vector<bool> missing(total, false);
    std::vector<hsize_t> at(shape.size(), 0);
    const Shape origin(shape.size(), 0);
    std::size_t found = 0, number = 0;
    do {
        hsize_t bytes = 0;
        // Version 1.10 calls it a failure, later ones give no bytes.
        missing[number] = H5Dget_chunk_storage_size(dataset, at.data(), &bytes) < 0 || bytes == 0;
        found += missing[number++] ? 0 : 1;
    } while (advance(at, origin, shape, chunk));
    if (found == written)
        return missing;
    missing.assign(total, true);
    const Shape grid = chunk_grid(shape, chunk);
    for (hsize_t i = 0; i < written; ++i) {
        unsigned filters = 0;
        haddr_t address = 0;
        hsize_t bytes = 0;
        if (H5Dget_chunk_info(dataset, space.get(), i, at.data(), &filters, &address, &bytes) < 0)
            return {};
        number = 0;
        for (std::size_t d = 0; d < shape.size(); ++d)
            number = number * grid[d] + at[d] / chunk[d];
        missing[number] = false;
    }
    return missing;
}

std::vector<Gap> gaps_of_chunks(const std::vector<bool>& missing, const Shape& shape,
                                const Shape& chunk, const Selection& box) {
    std::vector<Gap> gaps;
    if (missing.empty())
        return gaps;
    const Shape grid = chunk_grid(shape, chunk);
    Shape start(shape.size()), end(shape.size());
    for (std::size_t d = 0; d < shape.size(); ++d) {
        start[d] = box.start[d] - box.start[d] % chunk[d];
        end[d] = box.start[d] + box.count[d];
    }
    std::vector<hsize_t> at(start.begin(), start.end());
    do {
        std::size_t number = 0;
        for (std::size_t d = 0; d < shape.size(); ++d)
            number = number * grid[d] + at[d] / chunk[d];
        if (missing[number])
            if (auto part = common_part(box, {{at.begin(), at.end()}, chunk}))
                add_gap(gaps, std::move(*part), "was never written");
    } while (advance(at, start, end, chunk));
    return gaps;
}

/// Start, stride, count and block of a selection along each axis, and whether it has them.
struct Hyperslab {
    std::vector<hsize_t> start, stride, count, block;
    bool known = false;

    explicit Hyperslab(hid_t space) {
        const auto rank = static_cast<std::size_t>(std::max(H5Sget_simple_extent_ndims(space), 0));
        for (auto* values : {&start, &stride, &count, &block})
            values->resize(rank);
        known = H5Sget_select_type(space) == H5S_SEL_HYPERSLABS &&
                H5Sis_regular_hyperslab(space) > 0 &&
                H5Sget_regular_hyperslab(space, start.data(), stride.data(), count.data(),
                                         block.data()) >= 0;
    }
    /// The axis along which it has no end.
    std::optional<std::size_t> open_end() const {
        for (std::size_t d = 0; known && d < start.size(); ++d)
            if (count[d] == H5S_UNLIMITED || block[d] == H5S_UNLIMITED)
                return d;
        return std::nullopt;
    }
};

/// What bounds a selection with an end; nothing for one that takes all or has no elements.
std::optional<Selection> bounds_of(hid_t space) {
    if (H5Sget_select_type(space) == H5S_SEL_ALL)
        return std::nullopt;
    const auto rank = static_cast<std::size_t>(std::max(H5Sget_simple_extent_ndims(space), 0));
    std::vector<hsize_t> first(rank), last(rank);
    if (rank == 0 || H5Sget_select_bounds(space, first.data(), last.data()) < 0)
        return std::nullopt;
    Selection box{{first.begin(), first.end()}, Shape(rank)};
    for (std::size_t d = 0; d < rank; ++d)
        box.count[d] = last[d] - first[d] + 1;
    return box;
}

std::string text_of_mapping(hid_t properties, std::size_t i,
                            ssize_t (*get)(hid_t, std::size_t, char*, std::size_t)) {
    const ssize_t length = get(properties, i, nullptr, 0);
    std::string text(static_cast<std::size_t>(std::max<ssize_t>(length, 0)) + 1, '\0');
    get(properties, i, text.data(), text.size());
    text.pop_back();
    return text;
}

/// The name of the source of block `b`: %b is its number, %% a percent sign.
std::string name_of_block(const std::string& name, std::size_t b) {
    std::string text;
    for (std::size_t i = 0; i < name.size(); ++i)
        if (name[i] == '%' && i + 1 < name.size() && (name[i + 1] == 'b' || name[i + 1] == '%'))
            text += name[++i] == 'b' ? std::to_string(b) : "%";
        else
            text += name[i];
    return text;
}

/// Mapping i of a virtual dataset: one piece, or one per block where it has no end and its sources
/// are numbered.
void add_mapping(hid_t properties, std::size_t i, const Shape& shape,
                 std::vector<Mapping>& mappings) {
    Handle space(H5Pget_virtual_vspace(properties, i));
    const Handle source(H5Pget_virtual_srcspace(properties, i));
    const auto file = text_of_mapping(properties, i, H5Pget_virtual_filename);
    const auto dataset = text_of_mapping(properties, i, H5Pget_virtual_dsetname);
    const Hyperslab slab(space.get());
    const auto open = slab.open_end();
    if (!open) {
        const Selection whole{Shape(shape.size(), 0), shape};
        const auto box = bounds_of(space.get()).value_or(whole);
        const auto points = H5Sget_select_npoints(space.get());
        const bool is_box = points < 0 || static_cast<std::size_t>(points) == box.size();
        mappings.push_back({std::move(space), box, is_box, name_of_block(file, 0),
                            name_of_block(dataset, 0), bounds_of(source.get())});
        return;
    }
    const std::size_t d = *open;
    Selection box{{slab.start.begin(), slab.start.end()}, Shape(shape.size())};
    for (std::size_t e = 0; e < shape.size(); ++e)
        box.count[e] = e == d ? 0 : (slab.count[e] - 1) * slab.stride[e] + slab.block[e];
    if (slab.block[d] == H5S_UNLIMITED || slab.stride[d] == 0 ||
        (file + dataset).find("%b") == std::string::npos) {
        // How far it reaches, the source says.
        box.count[d] = shape[d] - std::min<std::size_t>(shape[d], slab.start[d]);
        mappings.push_back({std::move(space), box, true, file, dataset, std::nullopt});
        return;
    }
    box.count[d] = slab.block[d];
    for (std::size_t b = 0; box.start[d] < shape[d]; ++b, box.start[d] += slab.stride[d])
        mappings.push_back({Handle(), box, true, name_of_block(file, b), name_of_block(dataset, b),
                            bounds_of(source.get())});
}

/// The places where HDF5 looks for a source file of a virtual dataset.
std::vector<std::filesystem::path> places_of(const std::string& name,
                                             const std::filesystem::path& master) {
    if (name == ".")
        return {master};
    const std::filesystem::path path = name, folder = master.parent_path();
    std::vector<std::filesystem::path> places;
    // An absolute name that leads nowhere is looked for beside the file, too.
    const auto relative = path.is_absolute() ? path.filename() : path;
    if (path.is_absolute())
        places.push_back(path);
    if (const char* prefix = std::getenv("HDF5_VDS_PREFIX"); prefix != nullptr)
        places.push_back(std::filesystem::path(prefix) / relative);
    places.push_back(folder / relative);
    places.push_back(relative);
    std::error_code code;
    const auto real = std::filesystem::canonical(master, code);
    if (!code)
        places.push_back(real.parent_path() / relative);
    return places;
}

/// Why the source of a mapping cannot be had; empty: it is open in `sources`.
std::string open_source(Origins& sources, const Mapping& mapping,
                        const std::filesystem::path& master) {
    const std::pair name{mapping.file, mapping.dataset};
    if (const auto known = sources.lost.find(name);
        known != sources.lost.end() && !known->second.empty())
        return known->second;
    if (sources.opened && sources.name == name)
        return "";
    std::string& why = sources.lost[name];
    why = "comes from the file " + mapping.file + ", which is missing";
    for (const auto& place : places_of(mapping.file, master)) {
        std::error_code code;
        if (!std::filesystem::exists(place, code))
            continue;
        try {
            const auto file = File::open(place, Access::read_only);
            if (file.root().has_dataset(mapping.dataset)) {
                sources.opened.emplace(file.root().open_dataset(mapping.dataset));
                sources.name = name;
                why.clear();
            } else {
                why = "comes from the dataset " + mapping.dataset + " of the file " + mapping.file +
                      ", which is missing";
            }
        } catch (const Error& error) {
            why = std::string("comes from another file: ") + error.what();
        }
        break;
    }
    return why;
}

/// Axes along which a box has more than one index.
std::vector<std::size_t> long_axes(const Selection& box) {
    std::vector<std::size_t> axes;
    for (std::size_t d = 0; d < box.count.size(); ++d)
        if (box.count[d] > 1)
            axes.push_back(d);
    return axes;
}

/// `part` of the box `from` in the box `to` of the same extents, whatever the axes of length one.
std::optional<Selection> translated(const Selection& part, const Selection& from,
                                    const Selection& to) {
    const auto a = long_axes(from), b = long_axes(to);
    if (a.size() != b.size())
        return std::nullopt;
    Selection there = to;
    for (std::size_t k = 0; k < a.size(); ++k) {
        if (from.count[a[k]] != to.count[b[k]])
            return std::nullopt;
        there.start[b[k]] = to.start[b[k]] + part.start[a[k]] - from.start[a[k]];
        there.count[b[k]] = part.count[a[k]];
    }
    return there;
}

/// Gaps of the part that a mapping gives.
void add_gaps_of_source(const Mapping& mapping, const Selection& part, const Dataset& source,
                        std::vector<Gap>& gaps) {
    const Selection whole{Shape(source.rank(), 0), source.shape()};
    const Selection bounds = mapping.source.value_or(whole);
    const auto reason = "comes from " + source.describe() + ", of which this part ";
    if (bounds.start.size() != source.rank())
        return;
    const auto there = mapping.is_box ? translated(part, mapping.box, bounds) : std::nullopt;
    const Selection wanted = there.value_or(bounds);
    const auto held = common_part(wanted, whole);
    if (!held || held->size() < wanted.size()) {
        // What lies beyond the end of the source; all, where the boxes differ.
        for (std::size_t d = 0; there && held && d < wanted.count.size(); ++d)
            if (held->count[d] < wanted.count[d]) {
                Selection beyond = wanted;
                beyond.start[d] += held->count[d];
                beyond.count[d] -= held->count[d];
                add_gap(gaps, translated(beyond, bounds, mapping.box).value_or(part),
                        reason + "is not there");
            }
        if (!there || !held)
            add_gap(gaps, part, reason + "is not there");
    }
    if (!held)
        return;
    for (const auto& gap : source.gaps(*held))
        add_gap(gaps, there ? translated(gap.box, bounds, mapping.box).value_or(part) : part,
                reason + gap.reason);
}

/// The parts of `part` that a mapping really has elements in: all, or slice by slice.
std::vector<Selection> parts_of(const Mapping& mapping, const Selection& part) {
    if (mapping.is_box)
        return {part};
    std::vector<Selection> parts;
    for (std::size_t i = 0; i < part.count[0]; ++i) {
        Selection slice = part;
        slice.start[0] += i;
        slice.count[0] = 1;
        std::vector<hsize_t> first(slice.start.begin(), slice.start.end()), last(first);
        for (std::size_t d = 0; d < last.size(); ++d)
            last[d] += slice.count[d] - 1;
        if (H5Sselect_intersect_block(mapping.space.get(), first.data(), last.data()) > 0)
            parts.push_back(std::move(slice));
    }
    return parts;
}

/// Between the modules of a detector nothing is mapped; an index of the first axis without any
/// source has no data.
void add_uncovered(const Selection& box, const std::vector<bool>& covered, std::vector<Gap>& gaps) {
    for (std::size_t i = 0; i < covered.size(); ++i)
        if (!covered[i]) {
            Selection slice = box;
            slice.start[0] += i;
            slice.count[0] = 1;
            add_gap(gaps, std::move(slice), "comes from no source of the virtual dataset");
        }
}

/// Whether what HDF5 makes up is marked as missing: NaN.
bool fills_with_nan(hid_t properties) {
    H5D_fill_value_t status = H5D_FILL_VALUE_UNDEFINED;
    double value = 0;
    return H5Pfill_value_defined(properties, &status) >= 0 &&
           status == H5D_FILL_VALUE_USER_DEFINED &&
           H5Pget_fill_value(properties, H5T_NATIVE_DOUBLE, &value) >= 0 && std::isnan(value);
}

} // namespace

std::vector<Gap> Dataset::virtual_gaps(const Selection& box) const {
    if (!origins_->mappings) {
        const Handle properties =
            own(H5Dget_create_plist(id()), describe(), "reading the storage layout");
        origins_->mappings.emplace();
        std::size_t count = 0;
        H5Pget_virtual_count(properties.get(), &count);
        for (std::size_t i = 0; i < count; ++i)
            add_mapping(properties.get(), i, shape_, *origins_->mappings);
    }
    std::vector<Gap> gaps;
    std::vector<bool> covered(box.count.front(), false);
    for (const auto& mapping : *origins_->mappings) {
        const auto common = common_part(box, mapping.box);
        if (!common)
            continue;
        for (const auto& part : parts_of(mapping, *common)) {
            for (std::size_t i = 0; i < part.count[0]; ++i)
                covered[part.start[0] - box.start[0] + i] = true;
            const auto why = open_source(*origins_, mapping, file_path());
            if (!why.empty())
                add_gap(gaps, part, why);
            else
                add_gaps_of_source(mapping, part, *origins_->opened, gaps);
        }
    }
    add_uncovered(box, covered, gaps);
    return gaps;
}

std::vector<Gap> Dataset::gaps(const Selection& box) const {
    if (file_->writable || box.size() == 0)
        return {};
    const Handle properties =
        own(H5Dget_create_plist(id()), describe(), "reading the storage layout");
    if (is_numeric() && fills_with_nan(properties.get()))
        return {};
    if (!origins_)
        origins_ = std::make_shared<Origins>();
    switch (H5Pget_layout(properties.get())) {
    case H5D_CHUNKED: {
        std::vector<hsize_t> chunk(shape_.size());
        H5Pget_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
        const Shape extents(chunk.begin(), chunk.end());
        if (!origins_->missing)
            origins_->missing = missing_chunks(id(), shape_, extents);
        return gaps_of_chunks(*origins_->missing, shape_, extents, box);
    }
    case H5D_VIRTUAL:
        return shape_.empty() ? std::vector<Gap>{} : virtual_gaps(box);
    case H5D_CONTIGUOUS: {
        H5D_space_status_t status = H5D_SPACE_STATUS_ALLOCATED;
        if (H5Pget_external_count(properties.get()) > 0 || H5Dget_space_status(id(), &status) < 0 ||
            status != H5D_SPACE_STATUS_NOT_ALLOCATED)
            return {};
        return {{box, "was never written"}};
    }
    default:
        return {};
    }
}

std::vector<Gap> Dataset::gaps() const {
    return gaps({Shape(shape_.size(), 0), shape_});
}

std::string Gap::describe() const {
    std::string text;
    for (std::size_t d = 0; d < box.start.size(); ++d)
        text += (d > 0 ? ", " : "") + std::to_string(box.start[d]) +
                (box.count[d] > 1 ? ":" + std::to_string(box.start[d] + box.count[d]) : "");
    return (text.empty() ? "it" : "[" + text + "]") + " " + reason;
}

} // namespace xrdct::hdf5
