#include "mpi/hdf5.hpp"

#include "base/error.hpp"
#include "mpi/communicator.hpp"
#include "mpi/environment.hpp"

#include <hdf5.h>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <set>
#include <type_traits>

static_assert(std::is_same_v<hid_t, std::int64_t>, "HDF5 identifiers are expected to be 64-bit");

namespace xrdct::hdf5 {

using detail::Handle;

namespace {

/// HDF5 prints its error stack unless told not to; its text goes into our messages instead.
void initialize() {
    static const bool done = [] {
        H5open();
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
        return true;
    }();
    (void)done;
}

/// The innermost description on HDF5's error stack: what really went wrong.
std::string reason() {
    std::string text;
    H5Ewalk2(
        H5E_DEFAULT, H5E_WALK_UPWARD,
        [](unsigned, const H5E_error2_t* error, void* data) -> herr_t {
            auto& out = *static_cast<std::string*>(data);
            if (out.empty() && error->desc != nullptr)
                out = error->desc;
            return 0;
        },
        &text);
    return text.empty() ? "HDF5 gives no reason" : text;
}

template <class T>
T checked(T value, const std::string& where, const char* what) {
    if (value < 0)
        throw Error(where + ": " + what + " failed: " + reason());
    return value;
}

Handle own(hid_t id, const std::string& where, const char* what) {
    return Handle(checked(id, where, what));
}

hid_t memory_type(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return H5T_NATIVE_FLOAT;
    case ElementType::float64:
        return H5T_NATIVE_DOUBLE;
    case ElementType::int8:
        return H5T_NATIVE_INT8;
    case ElementType::uint8:
        return H5T_NATIVE_UINT8;
    case ElementType::int16:
        return H5T_NATIVE_INT16;
    case ElementType::uint16:
        return H5T_NATIVE_UINT16;
    case ElementType::int32:
        return H5T_NATIVE_INT32;
    case ElementType::uint32:
        return H5T_NATIVE_UINT32;
    case ElementType::int64:
        return H5T_NATIVE_INT64;
    case ElementType::uint64:
        return H5T_NATIVE_UINT64;
    default:
        throw Error("only numbers can be read into or written from memory");
    }
}

hid_t stored_type(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return H5T_IEEE_F32LE;
    case ElementType::float64:
        return H5T_IEEE_F64LE;
    case ElementType::int8:
        return H5T_STD_I8LE;
    case ElementType::uint8:
        return H5T_STD_U8LE;
    case ElementType::int16:
        return H5T_STD_I16LE;
    case ElementType::uint16:
        return H5T_STD_U16LE;
    case ElementType::int32:
        return H5T_STD_I32LE;
    case ElementType::uint32:
        return H5T_STD_U32LE;
    case ElementType::int64:
        return H5T_STD_I64LE;
    case ElementType::uint64:
        return H5T_STD_U64LE;
    default:
        throw Error("only datasets of numbers are created by element type");
    }
}

ElementType element_type_of_id(hid_t type) {
    const H5T_class_t type_class = H5Tget_class(type);
    const std::size_t size = H5Tget_size(type);
    if (type_class == H5T_STRING)
        return ElementType::string;
    if (type_class == H5T_FLOAT)
        return size == 4   ? ElementType::float32
               : size == 8 ? ElementType::float64
                           : ElementType::other;
    if (type_class == H5T_INTEGER) {
        const bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
        switch (size) {
        case 1:
            return is_signed ? ElementType::int8 : ElementType::uint8;
        case 2:
            return is_signed ? ElementType::int16 : ElementType::uint16;
        case 4:
            return is_signed ? ElementType::int32 : ElementType::uint32;
        case 8:
            return is_signed ? ElementType::int64 : ElementType::uint64;
        default:
            return ElementType::other;
        }
    }
    return ElementType::other;
}

bool is_number(hid_t type) {
    const H5T_class_t type_class = H5Tget_class(type);
    return type_class == H5T_FLOAT || type_class == H5T_INTEGER;
}

Shape shape_of_space(hid_t space) {
    const int rank = H5Sget_simple_extent_ndims(space);
    Shape shape(static_cast<std::size_t>(std::max(rank, 0)));
    std::vector<hsize_t> dims(shape.size());
    if (rank > 0)
        H5Sget_simple_extent_dims(space, dims.data(), nullptr);
    std::copy(dims.begin(), dims.end(), shape.begin());
    return shape;
}

std::size_t product(const Shape& shape) {
    std::size_t n = 1;
    for (const std::size_t extent : shape)
        n *= extent;
    return n;
}

std::string text_of(const Shape& shape) {
    std::string text = "[";
    for (const std::size_t extent : shape)
        text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
    return text + "]";
}

Handle simple_space(const Shape& shape, const std::string& where) {
    if (shape.empty())
        return own(H5Screate(H5S_SCALAR), where, "making a data space");
    const std::vector<hsize_t> dims(shape.begin(), shape.end());
    return own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), where,
               "making a data space");
}

/// Reads the n strings of an attribute or dataset through `read(memory type, buffer)`.
template <class Read>
std::vector<std::string> read_texts(hid_t file_type, hid_t space, std::size_t n,
                                    const std::string& where, Read&& read) {
    std::vector<std::string> texts(n);
    if (n == 0)
        return texts;
    const Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    H5Tset_cset(type.get(), H5Tget_cset(file_type));
    if (H5Tis_variable_str(file_type) > 0) {
        H5Tset_size(type.get(), H5T_VARIABLE);
        std::vector<char*> pointers(n, nullptr);
        checked(read(type.get(), pointers.data()), where, "reading text");
        for (std::size_t i = 0; i < n; ++i)
            texts[i] = pointers[i] != nullptr ? pointers[i] : "";
        H5Dvlen_reclaim(type.get(), space, H5P_DEFAULT, pointers.data());
        return texts;
    }
    const std::size_t length = H5Tget_size(file_type);
    H5Tset_size(type.get(), length);
    const H5T_str_t padding = H5Tget_strpad(file_type);
    H5Tset_strpad(type.get(), padding);
    std::vector<char> bytes(n * length);
    checked(read(type.get(), bytes.data()), where, "reading text");
    for (std::size_t i = 0; i < n; ++i) {
        const char* begin = bytes.data() + i * length;
        std::string text(begin, strnlen(begin, length));
        if (padding == H5T_STR_SPACEPAD)
            text.erase(text.find_last_not_of(' ') + 1);
        texts[i] = std::move(text);
    }
    return texts;
}

/// A fixed-length UTF-8 type that holds all the texts, and their bytes in it.
std::pair<Handle, std::vector<char>> fixed_texts(std::span<const std::string> texts,
                                                 const std::string& where) {
    std::size_t length = 1;
    for (const std::string& text : texts)
        length = std::max(length, text.size());
    Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    checked(H5Tset_size(type.get(), length), where, "making a string type");
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
    std::vector<char> bytes(std::max<std::size_t>(1, texts.size()) * length, '\0');
    for (std::size_t i = 0; i < texts.size(); ++i)
        std::copy(texts[i].begin(), texts[i].end(),
                  bytes.begin() + static_cast<std::ptrdiff_t>(i * length));
    return {std::move(type), std::move(bytes)};
}

std::vector<std::string> split_path(const std::string& path) {
    std::vector<std::string> parts;
    std::size_t begin = 0;
    while (begin < path.size()) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        if (end > begin && path.substr(begin, end - begin) != ".")
            parts.push_back(path.substr(begin, end - begin));
        begin = end + 1;
    }
    return parts;
}

bool exists(hid_t file, const std::string& path) {
    std::string partial;
    for (const std::string& part : split_path(path)) {
        partial += "/" + part;
        if (H5Lexists(file, partial.c_str(), H5P_DEFAULT) <= 0 ||
            H5Oexists_by_name(file, partial.c_str(), H5P_DEFAULT) <= 0)
            return false;
    }
    return true;
}

Kind kind_of(hid_t file, const std::string& path) {
    const Handle object(H5Oopen(file, path.empty() ? "/" : path.c_str(), H5P_DEFAULT));
    if (object.get() < 0)
        return Kind::other;
    switch (H5Iget_type(object.get())) {
    case H5I_GROUP:
        return Kind::group;
    case H5I_DATASET:
        return Kind::dataset;
    default:
        return Kind::other;
    }
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j)
        row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1,
                               diagonal + (a[i - 1] == b[j - 1] ? std::size_t{0} : 1)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

} // namespace

namespace detail {

/// Space for what HDF5 writes when a file is closed: object headers, indices of chunks. It is held
/// from the beginning, in a file without a name, and let go just before, because HDF5 recovers from
/// nothing there: after a failed flush closing fails, the end of the process crashes, and ranks
/// wait for each other for ever.
constexpr std::size_t reserve_bytes = std::size_t{16} << 20;

/// A file of `bytes` allocated bytes in the folder, without a name: it vanishes when closed. −1 and
/// nothing in `error` when the file system cannot do that.
int allocate_nameless(const std::filesystem::path& folder, std::size_t bytes,
                      std::optional<std::string>& error) {
    int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        std::string name = (folder / ".xrdct-space-XXXXXX").string();
        descriptor = mkostemp(name.data(), O_CLOEXEC);
        if (descriptor >= 0)
            ::unlink(name.c_str());
    }
    if (descriptor < 0)
        return -1;
    if (::fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)) != 0) {
        if (errno == ENOSPC || errno == EDQUOT)
            error = std::strerror(errno);
        ::close(descriptor);
        return -1;
    }
    return descriptor;
}

struct FileState {
    std::filesystem::path path;
    Handle id;
    bool writable = false;
    bool created = false;
    bool discarded = false;
    int reserve = -1;
    /// The first failure to write. On a shared file it is the same on all ranks.
    std::optional<std::string> failure;
    std::optional<mpi::Communicator> communicator;

    FileState() = default;
    FileState(const FileState&) = delete;
    FileState& operator=(const FileState&) = delete;
    ~FileState() {
        if (failure && created)
            discard();
        drop_reserve();
        // Before the communicator: closing a shared file is collective.
        id.reset();
    }
    bool shared() const { return communicator.has_value(); }
    bool is_root() const { return !communicator || communicator->is_root(); }
    void agree(const std::optional<std::string>& error) const {
        if (communicator)
            communicator->agree(error);
        else if (error)
            throw Error(*error);
    }

    std::filesystem::path folder() const {
        return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    }
    /// A message when the file system has less than `bytes` left.
    std::optional<std::string> missing_space(std::size_t bytes) const {
        const auto message = [&](const std::string& why) {
            return path.string() + ": writing needs " + std::to_string((bytes >> 20) + 1) +
                   " MiB more: " + why;
        };
        struct statvfs info {};
        if (::statvfs(folder().c_str(), &info) == 0 && info.f_blocks > 0) {
            const std::size_t free = info.f_bavail * info.f_frsize;
            if (free < bytes)
                return message("No space left on device (" + std::to_string(free >> 20) +
                               " MiB are free)");
        }
        // Quotas show only when space is really taken. In memory-backed file systems that would
        // cost as much as writing.
        struct statfs kind {};
        if (::statfs(folder().c_str(), &kind) == 0 && kind.f_type == TMPFS_MAGIC)
            return std::nullopt;
        std::optional<std::string> error;
        const int descriptor = allocate_nameless(folder(), bytes, error);
        if (descriptor >= 0)
            ::close(descriptor);
        return error ? std::optional(message(*error)) : std::nullopt;
    }
    void take_reserve() {
        if (!created || !is_root() || reserve >= 0)
            return;
        std::optional<std::string> error;
        reserve = allocate_nameless(folder(), reserve_bytes, error);
        if (error)
            throw Error(path.string() + ": writing needs at least " +
                        std::to_string(reserve_bytes >> 20) + " MiB of free space: " + *error);
    }
    void drop_reserve() noexcept {
        if (reserve >= 0)
            ::close(reserve);
        reserve = -1;
    }
    void discard() noexcept;
};

/// What this process still writes to the file goes to memory from now on: closing a file cannot
/// fail for the disk's sake then, whatever made an earlier write fail.
void detach_from_disk(const std::filesystem::path& path) noexcept {
    struct stat file {};
    if (::stat(path.c_str(), &file) != 0)
        return;
    const int memory = ::memfd_create("xrdct-discarded", MFD_CLOEXEC);
    if (memory < 0)
        return;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
        const int descriptor = std::atoi(entry.path().filename().c_str());
        struct stat open {};
        if (::fstat(descriptor, &open) == 0 && open.st_dev == file.st_dev &&
            open.st_ino == file.st_ino)
            ::dup3(memory, descriptor, O_CLOEXEC);
    }
    ::close(memory);
}

void FileState::discard() noexcept {
    if (discarded)
        return;
    discarded = true;
    std::error_code ignored;
    drop_reserve();
    if (writable)
        detach_from_disk(path);
    if (communicator)
        communicator->barrier();
    if (writable && is_root())
        std::filesystem::resize_file(path, 0, ignored);
    if (communicator)
        communicator->barrier();
    const hid_t file = id.get();
    if (file >= 0 && H5Iis_valid(file) > 0) {
        const unsigned kinds = H5F_OBJ_ALL & ~static_cast<unsigned>(H5F_OBJ_FILE);
        const ssize_t n = H5Fget_obj_count(file, kinds);
        std::vector<hid_t> open(static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
        if (n > 0)
            H5Fget_obj_ids(file, kinds, open.size(), open.data());
        for (const hid_t object : open)
            while (H5Iis_valid(object) > 0 && H5Idec_ref(object) > 0) {
            }
        id.reset();
    }
    if (communicator)
        communicator->barrier();
    if (is_root())
        std::filesystem::remove(path, ignored);
}

Handle& Handle::operator=(Handle&& other) noexcept {
    if (this != &other) {
        reset();
        id_ = other.id_;
        other.id_ = -1;
    }
    return *this;
}

bool Handle::reset() noexcept {
    const std::int64_t id = id_;
    id_ = -1;
    if (id < 0 || H5Iis_valid(id) <= 0)
        return true;
    return H5Iget_type(id) == H5I_FILE ? H5Fclose(id) >= 0 : H5Idec_ref(id) >= 0;
}

} // namespace detail

std::string name_of(ElementType type) {
    switch (type) {
    case ElementType::float32:
        return "float32";
    case ElementType::float64:
        return "float64";
    case ElementType::int8:
        return "int8";
    case ElementType::uint8:
        return "uint8";
    case ElementType::int16:
        return "int16";
    case ElementType::uint16:
        return "uint16";
    case ElementType::int32:
        return "int32";
    case ElementType::uint32:
        return "uint32";
    case ElementType::int64:
        return "int64";
    case ElementType::uint64:
        return "uint64";
    case ElementType::string:
        return "string";
    case ElementType::other:
        break;
    }
    return "other";
}

std::vector<std::string> nearest_names(const std::string& name,
                                       const std::vector<std::string>& candidates,
                                       std::size_t count) {
    std::vector<std::pair<std::size_t, std::string>> ranked;
    for (const std::string& candidate : candidates)
        ranked.emplace_back(edit_distance(name, candidate), candidate);
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<std::string> names;
    for (std::size_t i = 0; i < std::min(count, ranked.size()); ++i)
        names.push_back(ranked[i].second);
    return names;
}

// --- Object
// ------------------------------------------------------------------------------------------------------------

Object::Object(std::shared_ptr<detail::FileState> file, Handle handle, std::string path)
    : file_(std::move(file)), handle_(std::move(handle)), path_(std::move(path)) {}

Object& Object::operator=(Object&& other) noexcept {
    // The old object goes before its file.
    handle_ = std::move(other.handle_);
    file_ = std::move(other.file_);
    path_ = std::move(other.path_);
    return *this;
}

const std::filesystem::path& Object::file_path() const {
    return file_->path;
}

std::string Object::describe() const {
    return file_->path.string() + ":" + path_;
}

bool Object::has_attribute(const std::string& name) const {
    return H5Aexists(id(), name.c_str()) > 0;
}

std::vector<std::string> Object::attribute_names() const {
    std::vector<std::string> names;
    hsize_t position = 0;
    H5Aiterate2(
        id(), H5_INDEX_NAME, H5_ITER_INC, &position,
        [](hid_t, const char* name, const H5A_info_t*, void* data) -> herr_t {
            static_cast<std::vector<std::string>*>(data)->emplace_back(name);
            return 0;
        },
        &names);
    return names;
}

namespace {

void write_attribute(const Object& object, const std::string& name, hid_t stored, hid_t memory,
                     hid_t space, const void* data) {
    const std::string where = object.describe() + "/@" + name;
    if (H5Aexists(object.id(), name.c_str()) > 0)
        checked(H5Adelete(object.id(), name.c_str()), where, "replacing the attribute");
    const Handle attribute =
        own(H5Acreate2(object.id(), name.c_str(), stored, space, H5P_DEFAULT, H5P_DEFAULT), where,
            "creating the attribute");
    checked(H5Awrite(attribute.get(), memory, data), where, "writing the attribute");
}

void write_text_attribute(const Object& object, const std::string& name,
                          std::span<const std::string> texts, bool scalar, bool shared) {
    const std::string where = object.describe() + "/@" + name;
    const Handle space = simple_space(scalar ? Shape{} : Shape{texts.size()}, where);
    if (shared) {
        // Texts of variable length live in a heap that HDF5 does not promise to keep right in
        // parallel.
        const auto [type, bytes] = fixed_texts(texts, where);
        write_attribute(object, name, type.get(), type.get(), space.get(), bytes.data());
        return;
    }
    const Handle type = own(H5Tcopy(H5T_C_S1), where, "making a string type");
    H5Tset_size(type.get(), H5T_VARIABLE);
    H5Tset_cset(type.get(), H5T_CSET_UTF8);
    std::vector<const char*> pointers;
    for (const std::string& text : texts)
        pointers.push_back(text.c_str());
    pointers.push_back("");
    write_attribute(object, name, type.get(), type.get(), space.get(), pointers.data());
}

} // namespace

void Object::set_attribute(const std::string& name, const std::string& value) {
    write_text_attribute(*this, name, {&value, 1}, true, file_->shared());
}

void Object::set_attribute(const std::string& name, const char* value) {
    set_attribute(name, std::string(value));
}

void Object::set_attribute(const std::string& name, const std::vector<std::string>& values) {
    write_text_attribute(*this, name, values, false, file_->shared());
}

void Object::set_attribute(const std::string& name, double value) {
    const Handle space = simple_space({}, describe());
    write_attribute(*this, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, space.get(), &value);
}

void Object::set_attribute(const std::string& name, std::int64_t value) {
    const Handle space = simple_space({}, describe());
    write_attribute(*this, name, H5T_STD_I64LE, H5T_NATIVE_INT64, space.get(), &value);
}

void Object::set_attribute(const std::string& name, int value) {
    set_attribute(name, static_cast<std::int64_t>(value));
}

void Object::set_attribute(const std::string& name, std::span<const double> values) {
    const Handle space = simple_space({values.size()}, describe());
    write_attribute(*this, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, space.get(), values.data());
}

void Object::set_attribute(const std::string& name, std::span<const std::int64_t> values) {
    const Handle space = simple_space({values.size()}, describe());
    write_attribute(*this, name, H5T_STD_I64LE, H5T_NATIVE_INT64, space.get(), values.data());
}

std::optional<std::vector<std::string>> Object::strings_attribute(const std::string& name) const {
    if (!has_attribute(name))
        return std::nullopt;
    const std::string where = describe() + "/@" + name;
    const Handle attribute =
        own(H5Aopen(id(), name.c_str(), H5P_DEFAULT), where, "opening the attribute");
    const Handle type = own(H5Aget_type(attribute.get()), where, "reading the attribute's type");
    if (H5Tget_class(type.get()) != H5T_STRING)
        throw Error(where + ": expected text");
    const Handle space = own(H5Aget_space(attribute.get()), where, "reading the attribute's shape");
    const auto n =
        static_cast<std::size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.get())));
    return read_texts(type.get(), space.get(), n, where, [&](hid_t memory, void* buffer) {
        return H5Aread(attribute.get(), memory, buffer);
    });
}

std::optional<std::string> Object::string_attribute(const std::string& name) const {
    const auto texts = strings_attribute(name);
    if (!texts)
        return std::nullopt;
    if (texts->size() > 1)
        throw Error(describe() + "/@" + name + ": expected one text, found " +
                    std::to_string(texts->size()));
    return texts->empty() ? std::string() : texts->front();
}

std::optional<std::vector<double>> Object::numbers_attribute(const std::string& name) const {
    if (!has_attribute(name))
        return std::nullopt;
    const std::string where = describe() + "/@" + name;
    const Handle attribute =
        own(H5Aopen(id(), name.c_str(), H5P_DEFAULT), where, "opening the attribute");
    const Handle type = own(H5Aget_type(attribute.get()), where, "reading the attribute's type");
    if (!is_number(type.get()))
        throw Error(where + ": expected a number");
    const Handle space = own(H5Aget_space(attribute.get()), where, "reading the attribute's shape");
    const auto n =
        static_cast<std::size_t>(std::max<hssize_t>(0, H5Sget_simple_extent_npoints(space.get())));
    std::vector<double> values(n);
    if (n > 0)
        checked(H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, values.data()), where,
                "reading the attribute");
    return values;
}

std::optional<double> Object::number_attribute(const std::string& name) const {
    const auto values = numbers_attribute(name);
    if (!values)
        return std::nullopt;
    if (values->size() != 1)
        throw Error(describe() + "/@" + name + ": expected one number, found " +
                    std::to_string(values->size()));
    return values->front();
}

// --- Dataset
// -----------------------------------------------------------------------------------------------------------

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
    Object::operator=(std::move(other));
    shape_ = std::move(other.shape_);
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

StorageInfo Dataset::storage() const {
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
                        ", which is not installed here (HDF5_PLUGIN_PATH names the folder of "
                        "filter plugins)");
    }
}

} // namespace

void Dataset::transfer_pieces(const Selection* selection, std::byte* data, std::size_t n,
                              ElementType type, Transfer transfer, bool write) const {
    const std::string where = describe();
    const bool together = file_->shared() && transfer == Transfer::collective;
    std::optional<std::string> error;
    Selection box;
    if (selection != nullptr) {
        box = *selection;
    } else {
        box.start.assign(shape_.size(), 0);
        box.count = shape_;
    }
    const auto check = [&] {
        if (box.start.size() != shape_.size() || box.count.size() != shape_.size())
            throw Error(where + ": a selection of rank " + std::to_string(box.count.size()) +
                        " does not fit the shape " + text_of(shape_));
        for (std::size_t d = 0; d < shape_.size(); ++d)
            if (box.start[d] + box.count[d] > shape_[d])
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
    };
    if (together) {
        try {
            check();
        } catch (const Error& e) {
            error = e.what();
        }
        file_->agree(error);
    } else {
        check();
    }

    const std::size_t element =
        H5Tget_size(memory_type(type)); // bytes of one element in memory, before any conversion
    const Handle stored = own(H5Dget_type(id()), where, "reading the element type");

    // MPI-IO counts bytes in int, so transfers are cut along the slowest axis that can be cut; at
    // multiples of the chunk, so that no chunk is compressed twice.
    std::vector<Selection> pieces;
    constexpr std::size_t largest = std::size_t{512} << 20;
    if (n > 0) {
        const std::size_t bytes_per_element = std::max(element, H5Tget_size(stored.get()));
        std::size_t axis = 0;
        while (axis + 1 < box.count.size() && box.count[axis] == 1)
            ++axis;
        std::size_t step = std::max<std::size_t>(1, n);
        if (file_->shared() && !box.count.empty() && n * bytes_per_element > largest) {
            const std::size_t per_index = n / box.count[axis] * bytes_per_element;
            step = std::max<std::size_t>(1, largest / per_index);
            const Shape chunk = storage().chunk;
            if (!chunk.empty() && step > chunk[axis])
                step -= step % chunk[axis];
        }
        if (box.count.empty()) {
            pieces.push_back(box);
        } else {
            std::size_t at = box.start[axis];
            const std::size_t end = at + box.count[axis];
            while (at < end) {
                const std::size_t stop =
                    step >= box.count[axis] ? end : std::min(end, at - at % step + step);
                Selection piece = box;
                piece.start[axis] = at;
                piece.count[axis] = stop - at;
                pieces.push_back(std::move(piece));
                at = stop;
            }
        }
    }
    std::size_t rounds = pieces.size();
    if (together)
        rounds = static_cast<std::size_t>(
            file_->communicator->allreduce(static_cast<std::int64_t>(rounds), mpi::Reduction::max));

    if (write && file_->shared()) {
        // A full disk is found out before HDF5 meets it: its ranks part ways where a write of
        // compressed data fails on one.
        const std::size_t bytes = n * std::max(element, H5Tget_size(stored.get()));
        if (together) {
            const auto total = static_cast<std::size_t>(file_->communicator->allreduce(
                static_cast<std::int64_t>(bytes), mpi::Reduction::sum));
            if (file_->is_root())
                error = file_->missing_space(total);
            try {
                file_->agree(error);
            } catch (const Error& e) {
                file_->failure = e.what();
                throw;
            }
        } else if ((error = file_->missing_space(bytes))) {
            throw Error(*error);
        }
    }

    const Handle properties = own(H5Pcreate(H5P_DATASET_XFER), where, "preparing a transfer");
    if (file_->shared()) {
        checked(H5Pset_dxpl_mpio(properties.get(),
                                 together ? H5FD_MPIO_COLLECTIVE : H5FD_MPIO_INDEPENDENT),
                where, "preparing a transfer");
        // HDF5 works collectively, each rank does its own file access: the two-phase writes of
        // OpenMPI 4.1 (OMPIO) lose the error of a rank that writes for others, and report success.
        if (together)
            checked(H5Pset_dxpl_mpio_collective_opt(properties.get(), H5FD_MPIO_INDIVIDUAL_IO),
                    where, "preparing a transfer");
    }
    // A conversion inside HDF5 would turn a collective transfer into an independent one, which
    // compressed data refuse.
    const bool convert = together && write && H5Tequal(stored.get(), memory_type(type)) <= 0;
    std::vector<std::byte> converted;
    std::byte nothing{};
    for (std::size_t round = 0; round < rounds; ++round) {
        const bool empty = round >= pieces.size();
        const std::size_t points = empty ? 0 : pieces[round].size();
        const hsize_t extent = std::max<std::size_t>(points, 1);
        const Handle file_space = own(H5Dget_space(id()), where, "reading the shape");
        const Handle memory_space =
            own(H5Screate_simple(1, &extent, nullptr), where, "making a data space");
        if (empty) {
            H5Sselect_none(file_space.get());
            H5Sselect_none(memory_space.get());
        } else if (!shape_.empty()) {
            const std::vector<hsize_t> start(pieces[round].start.begin(),
                                             pieces[round].start.end());
            const std::vector<hsize_t> count(pieces[round].count.begin(),
                                             pieces[round].count.end());
            checked(H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr,
                                        count.data(), nullptr),
                    where, "selecting");
        }
        std::byte* buffer = data != nullptr ? data : &nothing;
        herr_t status = 0;
        if (write) {
            hid_t type_id = memory_type(type);
            if (convert && !empty) {
                converted.resize(points * std::max(element, H5Tget_size(stored.get())));
                std::copy_n(buffer, points * element, converted.begin());
                status = H5Tconvert(type_id, stored.get(), points, converted.data(), nullptr,
                                    H5P_DEFAULT);
                buffer = converted.data();
            }
            if (convert)
                type_id = stored.get();
            if (status >= 0)
                status = H5Dwrite(id(), type_id, memory_space.get(), file_space.get(),
                                  properties.get(), buffer);
        } else {
            status = H5Dread(id(), memory_type(type), memory_space.get(), file_space.get(),
                             properties.get(), buffer);
        }
        if (status < 0)
            error = where + (write ? ": writing" : ": reading") + " failed: " + reason();
        try {
            if (together)
                file_->agree(error);
            else if (error)
                throw Error(*error);
        } catch (const Error& e) {
            if (write && (together || !file_->shared()))
                file_->failure = e.what();
            throw;
        }
        if (data != nullptr)
            data += points * element;
    }
}

void Dataset::read_numbers(const Selection* selection, void* out, std::size_t n, ElementType type,
                           Transfer transfer) const {
    transfer_pieces(selection, static_cast<std::byte*>(out), n, type, transfer, false);
}

void Dataset::write_numbers(const Selection* selection, const void* values, std::size_t n,
                            ElementType type, Transfer transfer) {
    // One path for both directions; the bytes are not written to.
    transfer_pieces(selection, static_cast<std::byte*>(const_cast<void*>(values)), n, type,
                    transfer, true);
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

// --- Group
// -------------------------------------------------------------------------------------------------------------

Group::Group(std::shared_ptr<detail::FileState> file, Handle handle, std::string path)
    : Object(std::move(file), std::move(handle), std::move(path)) {}

std::string Group::absolute(const std::string& path) const {
    const auto parts = split_path(path);
    std::string result = !path.empty() && path.front() == '/' ? "" : (path_ == "/" ? "" : path_);
    for (const std::string& part : parts) {
        if (part == "..")
            result.erase(std::min(result.rfind('/'), result.size()));
        else
            result += "/" + part;
    }
    return result.empty() ? "/" : result;
}

std::vector<Entry> Group::entries() const {
    std::vector<Entry> found;
    H5G_info_t info{};
    checked(H5Gget_info(id(), &info), describe(), "listing the group");
    for (hsize_t i = 0; i < info.nlinks; ++i) {
        const ssize_t length =
            H5Lget_name_by_idx(id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
        checked(length, describe(), "listing the group");
        std::string name(static_cast<std::size_t>(length) + 1, '\0');
        H5Lget_name_by_idx(id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(),
                           H5P_DEFAULT);
        name.pop_back();
        if (H5Oexists_by_name(id(), name.c_str(), H5P_DEFAULT) > 0) {
            const Kind kind = kind_of(id(), name);
            found.push_back({std::move(name), kind});
        }
    }
    return found;
}

bool Group::has(const std::string& path) const {
    return exists(file_->id.get(), absolute(path));
}

bool Group::has_dataset(const std::string& path) const {
    return has(path) && kind_of(file_->id.get(), absolute(path)) == Kind::dataset;
}

bool Group::has_group(const std::string& path) const {
    return has(path) && kind_of(file_->id.get(), absolute(path)) == Kind::group;
}

namespace {

std::string not_there(const Group& root, const std::string& path, Kind kind, bool other_kind) {
    const char* word = kind == Kind::group ? "group" : "dataset";
    std::string message = root.file_path().string() + ": ";
    if (other_kind)
        return message + path + " is not a " + word;
    std::vector<std::string> candidates;
    root.visit([&](const std::string& found, Kind found_kind) {
        if (found_kind == kind)
            candidates.push_back("/" + found);
    });
    message += "no " + std::string(word) + " " + path;
    if (candidates.empty())
        return message + "; the file has no " + word + "s";
    message += "; nearest:";
    for (const std::string& name : nearest_names(path, candidates))
        message += " " + name;
    return message;
}

} // namespace

Group Group::open_group(const std::string& path) const {
    const std::string full = absolute(path);
    const hid_t file = file_->id.get();
    if (!exists(file, full) || kind_of(file, full) != Kind::group)
        throw Error(not_there(Group(file_, Handle(H5Gopen2(file, "/", H5P_DEFAULT)), "/"), full,
                              Kind::group, exists(file, full)));
    return {file_,
            own(H5Gopen2(file, full.c_str(), H5P_DEFAULT), file_->path.string() + ":" + full,
                "opening the group"),
            full};
}

Dataset Group::open_dataset(const std::string& path, std::size_t chunk_cache_bytes) const {
    const std::string full = absolute(path);
    const hid_t file = file_->id.get();
    if (!exists(file, full) || kind_of(file, full) != Kind::dataset)
        throw Error(not_there(Group(file_, Handle(H5Gopen2(file, "/", H5P_DEFAULT)), "/"), full,
                              Kind::dataset, exists(file, full)));
    const std::string where = file_->path.string() + ":" + full;
    const Handle properties =
        own(H5Pcreate(H5P_DATASET_ACCESS), where, "preparing to open the dataset");
    if (chunk_cache_bytes > 0)
        checked(H5Pset_chunk_cache(properties.get(), 12421, chunk_cache_bytes, 1.0), where,
                "setting the chunk cache");
    return {file_,
            own(H5Dopen2(file, full.c_str(), properties.get()), where, "opening the dataset"),
            full};
}

Group Group::create_group(const std::string& path) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const Handle properties = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a group");
    H5Pset_create_intermediate_group(properties.get(), 1);
    return {
        file_,
        own(H5Gcreate2(file_->id.get(), full.c_str(), properties.get(), H5P_DEFAULT, H5P_DEFAULT),
            where, "creating the group"),
        full};
}

Group Group::require_group(const std::string& path) {
    return has(path) ? open_group(path) : create_group(path);
}

Dataset Group::create_dataset(const std::string& path, ElementType type, const Shape& shape,
                              const Storage& storage) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a dataset");
    H5Pset_create_intermediate_group(links.get(), 1);
    const Handle properties = own(H5Pcreate(H5P_DATASET_CREATE), where, "preparing a dataset");
    H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
    if (!storage.chunk.empty()) {
        if (storage.chunk.size() != shape.size())
            throw Error(where + ": chunks of rank " + std::to_string(storage.chunk.size()) +
                        " for a shape of rank " + std::to_string(shape.size()));
        std::vector<hsize_t> chunk;
        for (std::size_t d = 0; d < shape.size(); ++d)
            chunk.push_back(
                std::clamp<std::size_t>(storage.chunk[d], 1, std::max<std::size_t>(shape[d], 1)));
        checked(H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data()), where,
                "setting the chunks");
        if (storage.gzip > 0) {
            if (storage.shuffle)
                checked(H5Pset_shuffle(properties.get()), where, "setting the shuffle filter");
            checked(H5Pset_deflate(properties.get(), static_cast<unsigned>(storage.gzip)), where,
                    "setting the compression");
        }
    } else if (storage.gzip > 0) {
        throw Error(where + ": compression needs chunks");
    }
    if (storage.gzip == 0)
        checked(H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY), where,
                "setting the allocation");
    const Handle space = simple_space(shape, where);
    return {file_,
            own(H5Dcreate2(file_->id.get(), full.c_str(), stored_type(type), space.get(),
                           links.get(), properties.get(), H5P_DEFAULT),
                where, "creating the dataset"),
            full};
}

Dataset Group::write_numbers(const std::string& path, const Shape& shape, const void* values,
                             std::size_t n, ElementType type, const Storage& storage) {
    if (product(shape) != n)
        throw Error(file_->path.string() + ":" + absolute(path) + ": " + std::to_string(n) +
                    " values given for the shape " + text_of(shape));
    Dataset dataset = create_dataset(path, type, shape, storage);
    if (n == 0)
        return dataset;
    if (file_->is_root()) {
        dataset.write_numbers(nullptr, values, n, type, Transfer::collective);
    } else {
        const Selection none{Shape(shape.size(), 0), Shape(shape.size(), 0)};
        if (shape.empty()) {
            // A scalar cannot be selected in part: all ranks write the same value.
            dataset.write_numbers(nullptr, values, n, type, Transfer::collective);
        } else {
            dataset.write_numbers(&none, nullptr, 0, type, Transfer::collective);
        }
    }
    return dataset;
}

namespace {

Handle create_text_dataset(hid_t file, const std::string& full, const std::string& where,
                           hid_t type, hid_t space) {
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a dataset");
    H5Pset_create_intermediate_group(links.get(), 1);
    return own(H5Dcreate2(file, full.c_str(), type, space, links.get(), H5P_DEFAULT, H5P_DEFAULT),
               where, "creating the dataset");
}

} // namespace

Dataset Group::write_strings(const std::string& path, const std::vector<std::string>& texts) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const auto [type, bytes] = fixed_texts(texts, where);
    const Handle space = simple_space({texts.size()}, where);
    Dataset dataset(
        file_, create_text_dataset(file_->id.get(), full, where, type.get(), space.get()), full);
    std::optional<std::string> error;
    if (!texts.empty() && file_->is_root() &&
        H5Dwrite(dataset.id(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
        error = where + ": writing failed: " + reason();
    file_->agree(error);
    return dataset;
}

Dataset Group::write_string(const std::string& path, const std::string& text) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    if (has(path))
        throw Error(where + ": exists already");
    const auto [type, bytes] = fixed_texts({&text, 1}, where);
    const Handle space = simple_space({}, where);
    Dataset dataset(
        file_, create_text_dataset(file_->id.get(), full, where, type.get(), space.get()), full);
    std::optional<std::string> error;
    if (file_->is_root() &&
        H5Dwrite(dataset.id(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0)
        error = where + ": writing failed: " + reason();
    file_->agree(error);
    return dataset;
}

Dataset Group::write_scalar(const std::string& path, double value) {
    return write_numbers(path, {}, &value, 1, ElementType::float64, {});
}

Dataset Group::write_scalar(const std::string& path, std::int64_t value) {
    return write_numbers(path, {}, &value, 1, ElementType::int64, {});
}

void Group::create_soft_link(const std::string& path, const std::string& target) {
    const std::string full = absolute(path);
    const std::string where = file_->path.string() + ":" + full;
    const Handle links = own(H5Pcreate(H5P_LINK_CREATE), where, "preparing a link");
    H5Pset_create_intermediate_group(links.get(), 1);
    checked(H5Lcreate_soft(target.c_str(), file_->id.get(), full.c_str(), links.get(), H5P_DEFAULT),
            where, "creating the link");
}

void Group::visit(const std::function<void(const std::string&, Kind)>& visitor) const {
    std::set<std::pair<unsigned long, haddr_t>> seen;
    const auto first_visit = [&](hid_t object) {
        H5O_info_t info{};
        return H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0 ||
               seen.emplace(info.fileno, info.addr).second;
    };
    const std::function<void(const Group&, const std::string&)> descend =
        [&](const Group& group, const std::string& prefix) {
            for (const Entry& entry : group.entries()) {
                const Handle object(H5Oopen(group.id(), entry.name.c_str(), H5P_DEFAULT));
                if (object.get() < 0 || !first_visit(object.get()))
                    continue;
                const std::string path = prefix + entry.name;
                visitor(path, entry.kind);
                if (entry.kind == Kind::group)
                    descend(group.open_group(entry.name), path + "/");
            }
        };
    first_visit(id());
    descend(*this, "");
}

Group parent_of(const Object& object) {
    const Group root(object.file_, Handle(H5Gopen2(object.file_->id.get(), "/", H5P_DEFAULT)), "/");
    const std::size_t slash = object.path().rfind('/');
    return root.open_group(slash == 0 ? "/" : object.path().substr(0, slash));
}

// --- File
// --------------------------------------------------------------------------------------------------------------

namespace {

Handle access_properties(const mpi::Communicator* communicator, const std::string& where) {
    Handle properties = own(H5Pcreate(H5P_FILE_ACCESS), where, "preparing to open");
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(properties.get(), false, true);
#endif
    if (communicator != nullptr) {
        checked(H5Pset_fapl_mpio(properties.get(), communicator->handle(), MPI_INFO_NULL), where,
                "preparing to open in parallel");
        // Metadata are written when the file is flushed or closed, not in between: see
        // reserve_bytes.
        H5AC_cache_config_t cache{};
        cache.version = H5AC__CURR_CACHE_CONFIG_VERSION;
        checked(H5Pget_mdc_config(properties.get(), &cache), where,
                "preparing to open in parallel");
        cache.dirty_bytes_threshold = detail::reserve_bytes;
        checked(H5Pset_mdc_config(properties.get(), &cache), where,
                "preparing to open in parallel");
    }
    return properties;
}

/// Throws Error unless the file can be opened for reading, or reading and writing, by this process
/// alone.
void check_readable(const std::filesystem::path& path, bool writable) {
    const std::string where = path.string();
    std::error_code code;
    if (!std::filesystem::exists(path, code))
        throw Error(where + ": no such file");
    if (std::filesystem::is_directory(path, code))
        throw Error(where + ": is a folder, expected an HDF5 file");
    const int descriptor = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (descriptor < 0)
        throw Error(where + ": cannot be opened for " + (writable ? "writing: " : "reading: ") +
                    std::strerror(errno));
    ::close(descriptor);
    if (std::filesystem::is_regular_file(path, code) && std::filesystem::file_size(path, code) == 0)
        throw Error(where + ": is empty, expected an HDF5 file");
    if (H5Fis_hdf5(path.c_str()) <= 0)
        throw Error(where + ": is not an HDF5 file");
    const Handle properties = access_properties(nullptr, where);
    const Handle file(
        H5Fopen(path.c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, properties.get()));
    if (file.get() < 0) {
        const std::string text = reason();
        throw Error(where +
                    (text.find("truncated") != std::string::npos
                         ? ": is truncated, the end of the file is missing ("
                         : ": is damaged, HDF5 cannot open it (") +
                    text + ")");
    }
}

void check_creatable(const std::filesystem::path& path, bool must_be_new) {
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | (must_be_new ? O_EXCL : O_TRUNC);
    const int descriptor = ::open(path.c_str(), flags, 0666);
    if (descriptor < 0)
        throw Error(path.string() + ": cannot be created: " + std::strerror(errno));
    ::close(descriptor);
}

} // namespace

File File::open(const std::filesystem::path& path, Access access,
                const mpi::Communicator* communicator) {
    initialize();
    auto state = std::make_shared<detail::FileState>();
    state->path = path;
    state->writable = access != Access::read_only;
    state->created = access == Access::create || access == Access::create_new;
    if (communicator != nullptr)
        state->communicator = communicator->duplicate();
    const std::string where = path.string();
    const bool create = state->created;

    // One process looks first, by plain means: ranks that then open the file together do not fail
    // one by one.
    std::optional<std::string> error;
    try {
        if (create) {
            if (state->is_root()) {
                check_creatable(path, access == Access::create_new);
                try {
                    state->take_reserve();
                } catch (const Error&) {
                    std::error_code ignored;
                    std::filesystem::remove(path, ignored);
                    throw;
                }
            }
        } else {
            if (state->is_root())
                check_readable(path, access == Access::read_write);
            else if (std::error_code code; !std::filesystem::exists(path, code))
                throw Error(where + ": no such file");
        }
    } catch (const Error& e) {
        error = e.what();
    }
    state->agree(error);

    const Handle properties =
        access_properties(state->shared() ? &*state->communicator : nullptr, where);
    const hid_t id =
        create ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, properties.get())
               : H5Fopen(path.c_str(), access == Access::read_write ? H5F_ACC_RDWR : H5F_ACC_RDONLY,
                         properties.get());
    if (id < 0)
        error = where + ": HDF5 cannot " + (create ? "create" : "open") + " it: " + reason();
    state->id = Handle(id);
    state->agree(error);
    return File(std::move(state));
}

File::~File() = default;

const std::filesystem::path& File::path() const {
    return state_->path;
}

std::int64_t File::id() const {
    return state_->id.get();
}

Group File::root() const {
    return {state_,
            own(H5Gopen2(id(), "/", H5P_DEFAULT), state_->path.string(), "opening the root group"),
            "/"};
}

void File::flush() {
    state_->agree(state_->failure);
    state_->drop_reserve();
    std::optional<std::string> error;
    if (H5Fflush(id(), H5F_SCOPE_LOCAL) < 0)
        error = state_->path.string() + ": writing failed: " + reason();
    try {
        state_->take_reserve();
    } catch (const Error& e) {
        if (!error)
            error = e.what();
    }
    try {
        state_->agree(error);
    } catch (const Error& e) {
        state_->failure = e.what();
        throw;
    }
}

void File::close() {
    std::optional<std::string> error = state_->failure;
    if (!error && state_.use_count() > 1)
        error = state_->path.string() + ": groups or datasets are still open";
    state_->agree(error);
    state_->drop_reserve();
    if (state_->writable) {
        if (H5Fflush(id(), H5F_SCOPE_LOCAL) < 0)
            error = state_->path.string() + ": writing failed: " + reason();
        try {
            state_->agree(error);
        } catch (const Error& e) {
            state_->failure = e.what();
            throw;
        }
    }
    if (!state_->id.reset())
        error = state_->path.string() + ": closing failed: " + reason();
    state_->agree(error);
}

void File::discard() noexcept {
    state_->discard();
}

} // namespace xrdct::hdf5
