// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/hdf5/internal.hpp"

#include <algorithm>

namespace xrdct::hdf5 {

using namespace detail;

Dataset::Dataset(std::shared_ptr<detail::FileState> file, Handle handle, std::string path)
    : Object(std::move(file), std::move(handle), std::move(path)) {
    const Handle space = own(H5Dget_space(id()), describe(), "reading the shape");
    if (H5Sget_simple_extent_type(space.get()) == H5S_NULL)
        shape_ = {0};
    else
        shape_ = shape_of_space(space.get());
}

Dataset& Dataset::operator=(Dataset&& other) noexcept {
    finish();
    shape_ = std::move(other.shape_);
    origins_ = std::move(other.origins_);
    Object::operator=(std::move(other));
    return *this;
}

Dataset::~Dataset() {
    finish();
}

void Dataset::finish() noexcept {
    if (!file_ || !file_->writable || file_->discarded || id() < 0)
        return;
    // Chunks in HDF5's cache are written when the dataset is closed. Where that fails HDF5 is left
    // with a broken object, so it is tried before. Files shared by ranks have no such cache, and
    // flushing would be collective.
    if (file_->failure || (!file_->shared() && H5Dflush(id()) < 0)) {
        if (!file_->failure)
            file_->failure = describe() + ": writing failed: " + reason();
        // It stays open until the file is given up, which frees space first.
        handle_.release();
        return;
    }
    handle_.reset();
}

std::size_t Dataset::size() const {
    return product(shape_);
}

ElementType Dataset::element_type() const {
    const Handle type = own(H5Dget_type(id()), describe(), "reading the element type");
    return element_type_of_id(type.get());
}

bool Dataset::is_numeric() const {
    const Handle type = own(H5Dget_type(id()), describe(), "reading the element type");
    return is_number(type.get());
}

StorageInfo Dataset::layout() const {
    StorageInfo info;
    const Handle properties =
        own(H5Dget_create_plist(id()), describe(), "reading the storage layout");
    const H5D_layout_t layout = H5Pget_layout(properties.get());
    if (layout == H5D_CHUNKED) {
        std::vector<hsize_t> chunk(shape_.size());
        H5Pget_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
        info.chunk.assign(chunk.begin(), chunk.end());
    }
    info.external_or_virtual = layout == H5D_VIRTUAL || H5Pget_external_count(properties.get()) > 0;
    const int n = H5Pget_nfilters(properties.get());
    for (int i = 0; i < n; ++i) {
        unsigned flags = 0;
        std::size_t values = 0;
        char name[64] = "";
        const H5Z_filter_t filter =
            H5Pget_filter2(properties.get(), static_cast<unsigned>(i), &flags, &values, nullptr,
                           sizeof name, name, nullptr);
        name[sizeof name - 1] = '\0';
        info.filters.emplace_back(name[0] != '\0' ? std::string(name)
                                                  : "filter " + std::to_string(filter));
    }
    return info;
}

StorageInfo Dataset::storage() const {
    StorageInfo info = layout();
    // This makes HDF5 write the chunks in its cache: not to be asked for in every transfer.
    info.bytes_on_disk = H5Dget_storage_size(id());
    return info;
}

namespace {

/// A dataset compressed with a filter that is not installed is found out before the run, by name.
void check_filters(const Dataset& dataset) {
    const Handle properties(H5Dget_create_plist(dataset.id()));
    const int n = H5Pget_nfilters(properties.get());
    for (int i = 0; i < n; ++i) {
        unsigned flags = 0;
        std::size_t values = 0;
        char name[64] = "";
        const H5Z_filter_t filter =
            H5Pget_filter2(properties.get(), static_cast<unsigned>(i), &flags, &values, nullptr,
                           sizeof name, name, nullptr);
        name[sizeof name - 1] = '\0';
        if (H5Zfilter_avail(filter) <= 0)
            throw Error(dataset.describe() + ": compressed with the HDF5 filter " +
                        std::to_string(filter) + (name[0] != '\0' ? " (" : "") + name +
                        (name[0] != '\0' ? ")" : "") +
                        ", which is not installed here (packages bitshuffle and "
                        "hdf5-filter-plugin bring those of detectors; HDF5_PLUGIN_PATH names the "
                        "folder of others)");
    }
}

} // namespace

namespace {

/// The selection cut into pieces that lie one after the other in memory, of at most `largest` bytes
/// where possible (MPI-IO counts bytes in int), at multiples of the chunk along the axis that is
/// cut, so that no chunk is compressed twice.
std::vector<Selection> cut(const Selection& box, std::size_t element, const Shape& chunk,
                           std::size_t largest) {
    const std::size_t n = box.size();
    if (n == 0)
        return {};
    if (n * element <= largest)
        return {box};
    std::size_t axis = 0;
    while (axis + 1 < box.count.size() && box.count[axis] == 1)
        ++axis;
    std::size_t step = std::max<std::size_t>(1, largest / (n / box.count[axis] * element));
    if (!chunk.empty() && step > chunk[axis])
        step -= step % chunk[axis];
    std::vector<Selection> pieces;
    const std::size_t end = box.start[axis] + box.count[axis];
    for (std::size_t at = box.start[axis]; at < end;) {
        Selection piece = box;
        piece.start[axis] = at;
        piece.count[axis] = std::min(end, at - at % step + step) - at;
        at += piece.count[axis];
        pieces.push_back(std::move(piece));
    }
    return pieces;
}

/// The parts of the selection in each chunk it touches.
std::vector<Selection> parts_by_chunk(const Selection& box, const Shape& chunk) {
    std::vector<Selection> parts = {{{}, {}}};
    for (std::size_t d = 0; d < chunk.size(); ++d) {
        std::vector<Selection> finer;
        const std::size_t end = box.start[d] + box.count[d];
        for (const Selection& part : parts)
            for (std::size_t at = box.start[d]; at < end;) {
                const std::size_t stop = std::min(end, at - at % chunk[d] + chunk[d]);
                Selection piece = part;
                piece.start.push_back(at);
                piece.count.push_back(stop - at);
                finer.push_back(std::move(piece));
                at = stop;
            }
        parts = std::move(finer);
    }
    return parts;
}

/// Copies the elements of `part` between the memory of the whole selection `box` and a buffer of
/// their own.
void copy_part(const Selection& box, const Selection& part, std::size_t element, std::byte* whole,
               std::byte* own, bool to_own) {
    const std::size_t rank = box.count.size();
    const std::size_t run = part.count[rank - 1] * element;
    const std::size_t runs = part.size() / part.count[rank - 1];
    Shape index(rank, 0);
    for (std::size_t r = 0; r < runs; ++r) {
        std::size_t at = 0;
        for (std::size_t d = 0; d < rank; ++d)
            at = at * box.count[d] + part.start[d] - box.start[d] + index[d];
        std::byte* here = whole + at * element;
        if (to_own)
            std::copy_n(here, run, own + r * run);
        else
            std::copy_n(own + r * run, run, here);
        for (std::size_t d = rank - 1; d-- > 0;) {
            if (++index[d] < part.count[d])
                break;
            index[d] = 0;
        }
    }
}

/// Sets the elements of `part` to NaN in the memory of the whole selection `box`.
template <class T>
void fill_part(const Selection& box, const Selection& part, std::span<T> whole) {
    std::vector<T> missing(part.size(), std::numeric_limits<T>::quiet_NaN());
    if (box.count.empty())
        std::copy(missing.begin(), missing.end(), whole.begin());
    else
        copy_part(box, part, sizeof(T), std::as_writable_bytes(whole).data(),
                  std::as_writable_bytes(std::span(missing)).data(), false);
}

/// One call of HDF5 for a selection that is contiguous in memory; none without a selection. Returns
/// the reason of a failure.
std::optional<std::string> transfer_once(hid_t dataset, const Selection* selection, hid_t type,
                                         hid_t properties, std::byte* data, bool write) {
    // Memory has the shape of the selection: HDF5 goes element by element where the ranks differ.
    std::vector<hsize_t> extent = {1};
    if (selection != nullptr && !selection->count.empty())
        extent.assign(selection->count.begin(), selection->count.end());
    const Handle file_space(H5Dget_space(dataset));
    const Handle memory_space(
        H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr));
    if (file_space.get() < 0 || memory_space.get() < 0)
        return reason();
    std::byte nothing{};
    if (selection == nullptr) {
        H5Sselect_none(file_space.get());
        H5Sselect_none(memory_space.get());
        data = &nothing;
    } else if (!selection->count.empty()) {
        const std::vector<hsize_t> start(selection->start.begin(), selection->start.end());
        const std::vector<hsize_t> count(selection->count.begin(), selection->count.end());
        if (H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr,
                                count.data(), nullptr) < 0)
            return reason();
    }
    const herr_t status =
        write ? H5Dwrite(dataset, type, memory_space.get(), file_space.get(), properties, data)
              : H5Dread(dataset, type, memory_space.get(), file_space.get(), properties, data);
    // Before the data spaces go: any call of HDF5 forgets the reason.
    return status < 0 ? std::optional(reason()) : std::nullopt;
}

} // namespace

Selection Dataset::checked_selection(const Selection* selection, std::size_t n, bool write) const {
    const std::string where = describe();
    Selection box = selection != nullptr ? *selection : Selection{Shape(shape_.size(), 0), shape_};
    if (box.start.size() != shape_.size() || box.count.size() != shape_.size())
        throw Error(where + ": a selection of rank " + std::to_string(box.count.size()) +
                    " does not fit the shape " + text_of(shape_));
    for (std::size_t d = 0; d < shape_.size(); ++d)
        if (box.start[d] > shape_[d] || box.count[d] > shape_[d] - box.start[d])
            throw Error(where + ": the selection " + text_of(box.count) + " at " +
                        text_of(box.start) + " leaves the shape " + text_of(shape_));
    if (box.size() != n)
        throw Error(where + ": " + std::to_string(n) + " values given for a selection of " +
                    std::to_string(box.size()));
    if (!is_numeric())
        throw Error(where + ": expected numbers, found " + name_of(element_type()));
    if (write && !file_->writable)
        throw Error(where + ": the file is open for reading only");
    if (!write)
        check_filters(*this);
    return box;
}

namespace {

/// One transfer of numbers between memory and a dataset. What fails is kept in `error` until the
/// ranks agree on it.
struct NumberTransfer {
    detail::FileState& file;
    hid_t dataset;
    std::string where;
    Selection box;
    std::byte* data;
    std::size_t n;
    hid_t memory; ///< type of the numbers in memory
    hid_t stored; ///< and in the file
    StorageInfo layout;
    bool write;
    bool together; ///< all ranks of the file take part
    std::optional<std::string> error;

    /// Bytes of a number in memory, and of the larger of both.
    std::size_t element() const { return H5Tget_size(memory); }
    std::size_t larger() const { return std::max(element(), H5Tget_size(stored)); }

    void note(const std::optional<std::string>& why) {
        if (why)
            error = where + (write ? ": writing" : ": reading") + " failed: " + *why;
    }

    void check_room();
    Handle properties(bool collective) const;
    void by_chunk(hid_t properties);
    void by_piece(hid_t properties, bool collective);
    /// Transfers `piece` (nullptr: nothing, but the other ranks are in the same call).
    void one_piece(const Selection* piece, hid_t properties, bool convert,
                   std::vector<std::byte>& converted);
};

/// Throws Error (agreed on, where all take part) when the disk or the limit of file sizes leaves no
/// room for what is to be written.
void NumberTransfer::check_room() {
    // What is not compressed was allocated when the dataset was made.
    const bool grows = write && !layout.filters.empty();
    if (write && file.shared()) {
        // A full disk is found out before HDF5 meets it: its ranks part ways where a write of
        // compressed data fails on one.
        std::size_t bytes = n * larger();
        if (together)
            bytes = static_cast<std::size_t>(file.communicator->allreduce(
                static_cast<std::int64_t>(bytes), mpi::Reduction::sum));
        if (!together || file.is_root())
            error = file.missing_space(bytes);
        if (!error && grows && (!together || file.is_root()))
            error = file.beyond_size_limit(bytes);
        if (together)
            file.agree_on_writing(error);
        else if (error)
            throw Error(*error);
    } else if (grows) {
        if (const auto limit = file.beyond_size_limit(n * larger()))
            throw Error(*limit);
    }
}

Handle NumberTransfer::properties(bool collective) const {
    Handle list = own(H5Pcreate(H5P_DATASET_XFER), where, "preparing a transfer");
    if (file.shared()) {
        checked(
            H5Pset_dxpl_mpio(list.get(), collective ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT),
            where, "preparing a transfer");
        // Each rank does its own file access: the two-phase writes of OpenMPI 4.1 (OMPIO) lose the
        // error of a rank that writes for others, and report success.
        if (collective)
            checked(H5Pset_dxpl_mpio_collective_opt(list.get(), H5FD_MPIO_INDIVIDUAL_IO), where,
                    "preparing a transfer");
    }
    return list;
}

/// Files shared for writing have no chunk cache: rows of a chunk would be written one by one.
void NumberTransfer::by_chunk(hid_t properties) {
    std::vector<std::byte> buffer;
    for (const Selection& part :
         n > 0 ? parts_by_chunk(box, layout.chunk) : std::vector<Selection>{}) {
        buffer.resize(part.size() * element());
        if (write)
            copy_part(box, part, element(), data, buffer.data(), true);
        note(transfer_once(dataset, &part, memory, properties, buffer.data(), write));
        if (error)
            break;
        if (!write)
            copy_part(box, part, element(), data, buffer.data(), false);
    }
}

void NumberTransfer::one_piece(const Selection* piece, hid_t properties, bool convert,
                               std::vector<std::byte>& converted) {
    const std::size_t points = piece != nullptr ? piece->size() : 0;
    std::byte* buffer = data;
    if (convert && points > 0) {
        converted.resize(points * larger());
        std::copy_n(data, points * element(), converted.begin());
        if (H5Tconvert(memory, stored, points, converted.data(), nullptr, H5P_DEFAULT) < 0)
            note(reason());
        buffer = converted.data();
    }
    if (const auto why =
            transfer_once(dataset, piece, convert ? stored : memory, properties, buffer, write))
        note(why);
    data += points * element();
}

void NumberTransfer::by_piece(hid_t properties, bool collective) {
    constexpr std::size_t largest = std::size_t{512} << 20;
    const auto pieces =
        file.shared() || n == 0 ? cut(box, larger(), layout.chunk, largest) : std::vector{box};
    std::size_t rounds = pieces.size();
    if (collective)
        rounds = static_cast<std::size_t>(
            file.communicator->allreduce(static_cast<std::int64_t>(rounds), mpi::Reduction::max));
    // A conversion inside HDF5 would turn a collective transfer into an independent one, which
    // compressed data refuse.
    const bool convert = collective && write && H5Tequal(stored, memory) <= 0;
    std::vector<std::byte> converted;
    for (std::size_t round = 0; round < rounds && !error; ++round) {
        // Also with nothing to write any more: the other ranks are in the same call.
        one_piece(round < pieces.size() ? &pieces[round] : nullptr, properties, convert, converted);
        if (collective && write)
            file.agree_on_writing(error);
        else if (collective)
            file.agree(error);
    }
}

} // namespace

void Dataset::transfer_numbers(const Selection* selection, std::byte* data, std::size_t n,
                               ElementType type, Transfer transfer, Direction direction) const {
    const std::string where = describe();
    const bool write = direction == Direction::write;
    const bool together = file_->shared() && transfer == Transfer::collective;
    Selection box;
    std::optional<std::string> error;
    try {
        box = checked_selection(selection, n, write);
        if (direction == Direction::read)
            if (const auto missing = gaps(box); !missing.empty())
                throw Error(where + ": " + missing.front().describe());
    } catch (const Error& e) {
        if (!together)
            throw;
        error = e.what();
    }
    if (together)
        file_->agree(error);

    const Handle stored = own(H5Dget_type(id()), where, "reading the element type");
    // HDF5 converts bit fields to no number.
    const bool bits = !write && H5Tget_class(stored.get()) == H5T_BITFIELD;
    std::vector<std::byte> bytes(bits ? n : 0);
    NumberTransfer one{*file_,
                       id(),
                       where,
                       box,
                       bits ? bytes.data() : data,
                       n,
                       bits ? H5T_NATIVE_B8 : memory_type(type),
                       stored.get(),
                       layout(),
                       write,
                       together,
                       error};
    one.check_room();
    const bool by_chunk = file_->shared() && file_->writable && !one.layout.chunk.empty() &&
                          one.layout.filters.empty();
    // HDF5 need not work collectively where every rank can reach its part alone, which is faster
    // and tells errors surely.
    const bool collective = together && !by_chunk;
    const Handle properties = one.properties(collective);
    if (by_chunk)
        one.by_chunk(properties.get());
    else
        one.by_piece(properties.get(), collective);
    if (write && together)
        file_->agree_on_writing(one.error);
    else if (together)
        file_->agree(one.error);
    else if (one.error) {
        if (write && !file_->shared())
            file_->failure = one.error;
        throw Error(*one.error);
    }
    if (bits) {
        std::copy(bytes.begin(), bytes.end(), data);
        checked(H5Tconvert(H5T_NATIVE_UINT8, memory_type(type), n, data, nullptr, H5P_DEFAULT),
                where, "converting bits");
    }
}

void Dataset::read_numbers(const Selection* selection, void* out, std::size_t n, ElementType type,
                           Transfer transfer) const {
    transfer_numbers(selection, static_cast<std::byte*>(out), n, type, transfer, Direction::read);
}

template <Number T>
void Dataset::read_and_mark(const Selection& selection, std::span<T> out) const {
    checked_selection(&selection, out.size(), false);
    const auto missing = gaps(selection);
    transfer_numbers(&selection, reinterpret_cast<std::byte*>(out.data()), out.size(),
                     element_type_of<T>(), Transfer::independent, Direction::read_with_gaps);
    for (const auto& gap : missing)
        fill_part(selection, gap.box, out);
}

void Dataset::read_with_gaps(const Selection& selection, std::span<float> out) const {
    read_and_mark(selection, out);
}

void Dataset::read_with_gaps(const Selection& selection, std::span<double> out) const {
    read_and_mark(selection, out);
}

void Dataset::write_numbers(const Selection* selection, const void* values, std::size_t n,
                            ElementType type, Transfer transfer) {
    // One path for both directions; the bytes are not written to.
    transfer_numbers(selection, static_cast<std::byte*>(const_cast<void*>(values)), n, type,
                     transfer, Direction::write);
}

double Dataset::read_scalar() const {
    if (size() != 1)
        throw Error(describe() + ": expected one number, found shape " + text_of(shape_));
    return read_all<double>().front();
}

std::vector<std::string> Dataset::read_strings() const {
    const std::string where = describe();
    const Handle type = own(H5Dget_type(id()), where, "reading the element type");
    if (H5Tget_class(type.get()) != H5T_STRING)
        throw Error(where + ": expected text, found " + name_of(element_type()));
    const Handle space = own(H5Dget_space(id()), where, "reading the shape");
    return read_texts(type.get(), space.get(), size(), where, [&](hid_t memory, void* buffer) {
        return H5Dread(id(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer);
    });
}

std::string Dataset::read_string() const {
    const auto texts = read_strings();
    if (texts.size() != 1)
        throw Error(describe() + ": expected one text, found shape " + text_of(shape_));
    return texts.front();
}

} // namespace xrdct::hdf5
