// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/hdf5/internal.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace xrdct::hdf5 {

namespace detail {

namespace {

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

} // namespace

FileState::~FileState() {
    if (failure && created)
        discard();
    drop_reserve();
    // Before the communicator: closing a shared file is collective.
    id.reset();
}

void FileState::agree(const std::optional<std::string>& error) const {
    if (communicator)
        communicator->agree(error);
    else if (error)
        throw Error(*error);
}

void FileState::agree_on_writing(const std::optional<std::string>& error) {
    try {
        agree(error);
    } catch (const Error& e) {
        if (!failure)
            failure = e.what();
        throw;
    }
}

std::filesystem::path FileState::folder() const {
    return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::optional<std::string> FileState::beyond_size_limit(std::size_t bytes) const {
    // With what is allocated and not written yet: closing extends the file to it.
    hsize_t size = 0;
    if (id.get() >= 0)
        H5Fget_filesize(id.get(), &size);
    if (size + bytes + reserve_bytes <= size_limit)
        return std::nullopt;
    return path.string() + ": writing needs a file of up to " +
           std::to_string(((size + bytes + reserve_bytes) >> 20) + 1) + " MiB, the limit is " +
           std::to_string(size_limit >> 20) + " MiB (ulimit -f)";
}

std::optional<std::string> FileState::missing_space(std::size_t bytes) const {
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

void FileState::take_reserve() {
    if (!created || !is_root() || reserve >= 0)
        return;
    std::optional<std::string> error = beyond_size_limit(0);
    if (error)
        throw Error(*error);
    reserve = allocate_nameless(folder(), reserve_bytes, error);
    if (error)
        throw Error(path.string() + ": writing needs at least " +
                    std::to_string(reserve_bytes >> 20) + " MiB of free space: " + *error);
}

void FileState::drop_reserve() noexcept {
    if (reserve >= 0)
        ::close(reserve);
    reserve = -1;
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

using namespace detail;

namespace {

/// Where Debian's packages put filters (bitshuffle, LZ4): the folder of the library in use, then
/// that of the serial one, whose filters decode for either. HDF5_PLUGIN_PATH comes first.
void add_filter_folders() {
    for (const char* folder : {"/usr/lib/x86_64-linux-gnu/hdf5/openmpi/plugins",
                               "/usr/lib/x86_64-linux-gnu/hdf5/serial/plugins"}) {
        std::error_code ignored;
        if (std::filesystem::is_directory(folder, ignored))
            H5PLappend(folder);
    }
}

/// HDF5 prints its error stack unless told not to; its text goes into our messages instead.
void initialize() {
    static const bool done = [] {
        // HDF5 opens the sources of virtual datasets by itself, with locks, and takes those that it
        // cannot open (again, without) for missing: zeros. What the user says holds.
        ::setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
        H5open();
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
        add_filter_folders();
        return true;
    }();
    (void)done;
}

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
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        state->size_limit = limit.rlim_cur;
    if (communicator != nullptr)
        state->communicator = communicator->duplicate();
    const std::string where = path.string();
    const bool create = state->created;

    // One process looks first, by plain means: ranks that then open the file together do not
    // fail one by one.
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
    state_->agree_on_writing(error);
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
        state_->agree_on_writing(error);
    }
    if (!state_->id.reset())
        error = state_->path.string() + ": closing failed: " + reason();
    state_->agree(error);
}

void File::discard() noexcept {
    state_->discard();
}

} // namespace xrdct::hdf5
