// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::mpi {
class Communicator;
}

/// Thin ownership of HDF5: every failure is an Error that names the file and the object, every
/// handle closes itself. HDF5's own header is not needed by those who include this one. Without a
/// communicator nothing here needs MPI to be initialised.
///
/// Objects hold the file's shared state: a File may go before its Groups and Datasets, but HDF5
/// closes it only when the last of them is gone. Not thread-safe (as HDF5 is not).
namespace xrdct::hdf5 {

namespace detail {
struct FileState;
struct Origins;

/// Move-only owner of one HDF5 identifier.
class Handle {
  public:
    Handle() = default;
    explicit Handle(std::int64_t id) : id_(id) {}
    Handle(Handle&& other) noexcept : id_(other.id_) { other.id_ = -1; }
    Handle& operator=(Handle&& other) noexcept;
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() { reset(); }
    /// Closes now; true on success.
    bool reset() noexcept;
    /// Gives the identifier up without closing it.
    void release() { id_ = -1; }
    std::int64_t get() const { return id_; }

  private:
    std::int64_t id_ = -1;
};
} // namespace detail

using Shape = std::vector<std::size_t>;

/// A hyperslab: `count` elements from `start` along each axis.
struct Selection {
    Shape start;
    Shape count;

    std::size_t size() const {
        std::size_t n = 1;
        for (const std::size_t c : count)
            n *= c;
        return n;
    }
};

enum class ElementType {
    float32,
    float64,
    int8,
    uint8,
    int16,
    uint16,
    int32,
    uint32,
    int64,
    uint64,
    boolean, ///< of h5py (an enumeration of FALSE and TRUE) and PyTables (a bit field): 0 or 1
    string,
    other, ///< another number format (half precision, …) or something that is no number
};

/// "float32", "int16", …
std::string name_of(ElementType type);

/// What the numeric reads and writes convert from and to.
template <class T>
concept Number =
    std::same_as<T, float> || std::same_as<T, double> || std::same_as<T, std::int32_t> ||
    std::same_as<T, std::int64_t> || std::same_as<T, std::uint8_t> ||
    std::same_as<T, std::uint64_t> || std::same_as<T, std::int16_t> ||
    std::same_as<T, std::uint16_t> || std::same_as<T, std::uint32_t>;

template <Number T>
constexpr ElementType element_type_of() {
    if constexpr (std::same_as<T, float>)
        return ElementType::float32;
    else if constexpr (std::same_as<T, double>)
        return ElementType::float64;
    else if constexpr (std::same_as<T, std::uint8_t>)
        return ElementType::uint8;
    else if constexpr (std::same_as<T, std::int16_t>)
        return ElementType::int16;
    else if constexpr (std::same_as<T, std::uint16_t>)
        return ElementType::uint16;
    else if constexpr (std::same_as<T, std::int32_t>)
        return ElementType::int32;
    else if constexpr (std::same_as<T, std::uint32_t>)
        return ElementType::uint32;
    else if constexpr (std::same_as<T, std::int64_t>)
        return ElementType::int64;
    else
        return ElementType::uint64;
}

/// How a dataset lies in its file.
struct Storage {
    Shape chunk;  ///< empty: contiguous
    int gzip = 0; ///< 1 … 9 compresses (needs chunks)
    bool shuffle =
        true; ///< with gzip: byte planes first, which makes measured floats compress better
};

struct StorageInfo {
    Shape chunk;                      ///< empty when not chunked
    std::vector<std::string> filters; ///< names in pipeline order, such as "shuffle", "deflate"
    std::size_t bytes_on_disk = 0;
    bool external_or_virtual = false; ///< data live in other files
};

/// A part of a dataset for which HDF5 would make values up (its fill value, 0 as a rule).
struct Gap {
    Selection box;
    std::string reason; ///< "was never written"

    /// "[3:6, 0:60] was never written", indices from the first to before the last.
    std::string describe() const;
};

/// How the ranks of a file opened on a communicator take part in one transfer. `collective`: all
/// ranks of the communicator call, each with its own selection (which may be empty), and all throw
/// when one fails. `independent`: any ranks call, and the caller agrees on the outcome
/// (Communicator::collectively). Compressed datasets can be written collectively only, and no chunk
/// of theirs should belong to two ranks. Without a communicator both are the same.
enum class Transfer { independent, collective };

class Group;

/// A group or dataset; its attributes. On a file opened for writing on a communicator all changes
/// of attributes are collective and must be the same on all ranks.
class Object {
  public:
    Object(Object&&) noexcept = default;
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    Object& operator=(Object&& other) noexcept;
    ~Object() = default;

    /// Absolute path inside the file.
    const std::string& path() const { return path_; }
    const std::filesystem::path& file_path() const;
    /// "scan.nxs:/entry/data", for messages.
    std::string describe() const;
    std::int64_t id() const { return handle_.get(); }

    bool has_attribute(const std::string& name) const;
    std::vector<std::string> attribute_names() const;

    void set_attribute(const std::string& name, const std::string& value);
    void set_attribute(const std::string& name, const char* value);
    void set_attribute(const std::string& name, const std::vector<std::string>& values);
    void set_attribute(const std::string& name, double value);
    void set_attribute(const std::string& name, std::int64_t value);
    void set_attribute(const std::string& name, int value);
    void set_attribute(const std::string& name, std::span<const double> values);
    void set_attribute(const std::string& name, std::span<const std::int64_t> values);

    /// The attribute's text (variable or fixed length, scalar or array of one); nothing when there
    /// is no such attribute. Error when it is no text.
    std::optional<std::string> string_attribute(const std::string& name) const;
    /// A scalar text gives one element.
    std::optional<std::vector<std::string>> strings_attribute(const std::string& name) const;
    std::optional<double> number_attribute(const std::string& name) const;
    std::optional<std::vector<double>> numbers_attribute(const std::string& name) const;

  protected:
    friend Group parent_of(const Object& object);
    Object(std::shared_ptr<detail::FileState> file, detail::Handle handle, std::string path);

    std::shared_ptr<detail::FileState> file_;
    detail::Handle handle_;
    std::string path_;
};

class Dataset : public Object {
  public:
    Dataset(Dataset&&) noexcept = default;
    Dataset(const Dataset&) = delete;
    Dataset& operator=(const Dataset&) = delete;
    Dataset& operator=(Dataset&& other) noexcept;
    /// A failure to write what HDF5 still held back is kept, and thrown by File::flush and
    /// File::close.
    ~Dataset();

    /// Empty for a scalar.
    const Shape& shape() const { return shape_; }
    std::size_t rank() const { return shape_.size(); }
    std::size_t size() const;
    ElementType element_type() const;
    bool is_numeric() const;
    /// On a file being written this flushes what HDF5 holds back.
    StorageInfo storage() const;

    /// The parts of a selection that were never written, or whose source (of a virtual dataset) is
    /// missing, ends before them or was never written itself. None where the fill value is NaN,
    /// which says so by itself, in the gaps that a virtual dataset leaves within an index of its
    /// first axis (between the modules of a detector), and in a file open for writing.
    std::vector<Gap> gaps(const Selection& selection) const;
    std::vector<Gap> gaps() const; ///< of all

    /// Reads the whole dataset or a selection in row-major order, converted to T. Error when
    /// out.size() is not the number of elements, the selection leaves the dataset or has gaps, the
    /// data are no numbers, or a filter is not installed.
    template <Number T>
    void read(std::span<T> out, Transfer transfer = Transfer::independent) const {
        read_numbers(nullptr, out.data(), out.size(), element_type_of<T>(), transfer);
    }
    template <Number T>
    void read(const Selection& selection, std::span<T> out,
              Transfer transfer = Transfer::independent) const {
        read_numbers(&selection, out.data(), out.size(), element_type_of<T>(), transfer);
    }
    /// The same with NaN in the gaps.
    void read_with_gaps(const Selection& selection, std::span<float> out) const;
    void read_with_gaps(const Selection& selection, std::span<double> out) const;
    template <Number T>
    std::vector<T> read_all() const {
        std::vector<T> values(size());
        read(std::span<T>(values));
        return values;
    }
    /// One number or text (scalar or array of one element).
    double read_scalar() const;
    std::string read_string() const;
    std::vector<std::string> read_strings() const;

    template <Number T>
    void write(std::span<const T> values, Transfer transfer = Transfer::independent) {
        write_numbers(nullptr, values.data(), values.size(), element_type_of<T>(), transfer);
    }
    template <Number T>
    void write(const std::vector<T>& values, Transfer transfer = Transfer::independent) {
        write(std::span<const T>(values), transfer);
    }
    template <Number T>
    void write(const Selection& selection, std::span<const T> values,
               Transfer transfer = Transfer::independent) {
        write_numbers(&selection, values.data(), values.size(), element_type_of<T>(), transfer);
    }

  private:
    friend class Group;
    Dataset(std::shared_ptr<detail::FileState> file, detail::Handle handle, std::string path);
    void read_numbers(const Selection* selection, void* out, std::size_t n, ElementType type,
                      Transfer transfer) const;
    std::vector<Gap> virtual_gaps(const Selection& box) const;
    template <Number T>
    void read_and_mark(const Selection& selection, std::span<T> out) const;
    void write_numbers(const Selection* selection, const void* values, std::size_t n,
                       ElementType type, Transfer transfer);
    void finish() noexcept;
    StorageInfo layout() const; ///< all but bytes_on_disk
    Selection checked_selection(const Selection* selection, std::size_t n, bool write) const;
    enum class Direction { read, read_with_gaps, write };
    void transfer_numbers(const Selection* selection, std::byte* data, std::size_t n,
                          ElementType type, Transfer transfer, Direction direction) const;

    Shape shape_;
    mutable std::shared_ptr<detail::Origins> origins_; ///< once they were asked for
};

enum class Kind { group, dataset, other };

struct Entry {
    std::string name;
    Kind kind;
};

class Group : public Object {
  public:
    /// Members sorted by name. A soft or external link that leads nowhere is not listed.
    std::vector<Entry> entries() const;
    /// Names of the soft and external links that lead nowhere.
    std::vector<std::string> dead_links() const;
    /// Whether `path` (relative to the group, may have several parts, or absolute) leads to an
    /// existing object.
    bool has(const std::string& path) const;
    bool has_dataset(const std::string& path) const;
    bool has_group(const std::string& path) const;

    /// Error naming the file, the path and the nearest names that do exist.
    Group open_group(const std::string& path) const;
    /// `chunk_cache_bytes` 0: room for the chunks that share their slowest index, 64 MiB at most.
    Dataset open_dataset(const std::string& path, std::size_t chunk_cache_bytes = 0) const;

    /// Missing groups on the way are made. Collective when the file was opened on a communicator.
    Group create_group(const std::string& path);
    /// Opens the group, or makes it.
    Group require_group(const std::string& path);
    /// Not filled, allocated at once in files on a communicator. Collective when the file was
    /// opened on a communicator.
    Dataset create_dataset(const std::string& path, ElementType type, const Shape& shape,
                           const Storage& storage = {});
    /// Scalar datasets. Collective when the file was opened on a communicator (rank 0's value is
    /// the one written).
    Dataset write_string(const std::string& path, const std::string& text);
    Dataset write_strings(const std::string& path, const std::vector<std::string>& texts);
    Dataset write_scalar(const std::string& path, double value);
    Dataset write_scalar(const std::string& path, std::int64_t value);
    /// Creates the dataset and writes it whole. Collective when the file was opened on a
    /// communicator, where every rank passes the same values and rank 0 writes them.
    template <Number T>
    Dataset write_array(const std::string& path, const Shape& shape, std::span<const T> values,
                        const Storage& storage = {}) {
        return write_numbers(path, shape, values.data(), values.size(), element_type_of<T>(),
                             storage);
    }
    /// A symbolic link `path` to the absolute or relative path `target` in the same file.
    void create_soft_link(const std::string& path, const std::string& target);

    /// Calls `visitor` for every object below the group (each once; path relative to it,
    /// "entry/data"), in name order.
    void visit(const std::function<void(const std::string& path, Kind kind)>& visitor) const;

  private:
    friend class File;
    friend Group parent_of(const Object& object);
    Group(std::shared_ptr<detail::FileState> file, detail::Handle handle, std::string path);
    Dataset write_numbers(const std::string& path, const Shape& shape, const void* values,
                          std::size_t n, ElementType type, const Storage& storage);
    std::string absolute(const std::string& path) const;
};

/// The group that holds the object (by its path).
Group parent_of(const Object& object);

/// Whether both are one object of one file, whatever the paths and links that led to it.
bool is_same_object(const Object& a, const Object& b);

enum class Access {
    read_only,
    read_write,
    create,     ///< an existing file is emptied
    create_new, ///< an existing file is an Error
};

class File {
  public:
    /// With a communicator the file is opened with MPI-IO, collectively, all ranks throw when one
    /// fails, and destroying the last handle is collective. Without one the file belongs to this
    /// rank. Errors: not there, a folder, not permitted, not HDF5, truncated. No file locks are
    /// used (network and read-only file systems). A file that is created holds 16 MiB of free space
    /// until it is closed, so that closing never meets a full disk; it is removed when a write to
    /// it failed.
    static File open(const std::filesystem::path& path, Access access,
                     const mpi::Communicator* communicator = nullptr);

    File(File&&) noexcept = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    File& operator=(File&&) noexcept = default;
    ~File();

    const std::filesystem::path& path() const;
    Group root() const;
    std::int64_t id() const;

    /// Hands everything to the operating system. Collective on a communicator, where all ranks
    /// throw when one fails.
    void flush();
    /// Closes now and reports what the destructor must swallow. All Groups and Datasets must be
    /// gone: Error otherwise. Collective on a communicator, where all ranks throw when one fails.
    void close();
    /// Closes a file whose content no longer matters (a failed write) and removes it. Collective on
    /// a communicator. Never throws. The space the file took is freed first, so that closing
    /// succeeds on a full disk too; Groups and Datasets still open become unusable.
    void discard() noexcept;

  private:
    explicit File(std::shared_ptr<detail::FileState> state) : state_(std::move(state)) {}
    std::shared_ptr<detail::FileState> state_;
};

} // namespace xrdct::hdf5
