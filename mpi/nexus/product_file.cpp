// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/nexus/product_file.hpp"

#include "base/error.hpp"
#include "mpi/comm/communicator.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <utility>

namespace xrdct::nexus {

namespace fs = std::filesystem;

namespace {

/// Runs `work` on the root alone (or on this rank without a communicator) and agrees on the
/// outcome.
template <class F>
void on_root(const mpi::Communicator* communicator, F&& work) {
    if (communicator == nullptr)
        work();
    else
        communicator->collectively([&] {
            if (communicator->is_root())
                work();
        });
}

fs::path temporary_name(const fs::path& path) {
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    std::random_device random;
    return path.string() + ".tmp-" + host + "-" + std::to_string(getpid()) + "-" +
           std::to_string(random());
}

void check_free(const fs::path& path, ProductFile::Existing existing) {
    std::error_code code;
    const fs::file_status status = fs::status(path, code);
    if (fs::is_directory(status))
        throw Error(path.string() + ": is a folder, a result file cannot take its name");
    if (fs::exists(status) && existing == ProductFile::Existing::refuse)
        throw Error(path.string() +
                    ": exists already and is not overwritten unless that is asked for");
}

void sync(const fs::path& path, int flags) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
    if (descriptor < 0)
        throw Error(path.string() +
                    ": cannot be opened to be synced to disk: " + std::strerror(errno));
    const int status = ::fsync(descriptor);
    const int reason = errno;
    ::close(descriptor);
    // Some file systems cannot sync a folder; that is no failure of ours.
    if (status != 0 && reason != EINVAL && reason != ENOTSUP)
        throw Error(path.string() + ": syncing to disk failed: " + std::strerror(reason));
}

} // namespace

ProductFile::ProductFile(fs::path path, fs::path temporary, Existing existing, hdf5::File file,
                         const mpi::Communicator* communicator)
    : path_(std::move(path)), temporary_(std::move(temporary)), existing_(existing),
      file_(std::move(file)), communicator_(communicator) {}

ProductFile::ProductFile(ProductFile&& other) noexcept
    : path_(std::move(other.path_)), temporary_(std::move(other.temporary_)),
      existing_(other.existing_), file_(std::exchange(other.file_, std::nullopt)),
      communicator_(other.communicator_) {}

ProductFile ProductFile::create(const fs::path& path, Existing existing,
                                const mpi::Communicator* communicator) {
    std::string temporary;
    on_root(communicator, [&] {
        check_free(path, existing);
        const fs::path folder = path.parent_path().empty() ? fs::path(".") : path.parent_path();
        std::error_code code;
        if (!fs::is_directory(folder, code))
            throw Error(path.string() + ": cannot be created, there is no folder " +
                        folder.string());
        temporary = temporary_name(path).string();
    });
    if (communicator != nullptr)
        communicator->broadcast(temporary);
    return {path, temporary, existing,
            hdf5::File::open(temporary, hdf5::Access::create_new, communicator), communicator};
}

ProductFile::~ProductFile() {
    discard();
}

void ProductFile::discard() noexcept {
    if (file_)
        file_->discard();
    file_.reset();
}

void ProductFile::commit() {
    if (!file_)
        throw Error(path_.string() + ": was committed or given up before");
    try {
        file_->close();
        on_root(communicator_, [&] {
            sync(temporary_, O_RDONLY);
            // HDF5 may close a file on a full disk without a complaint; what cannot be opened again
            // is not delivered.
            (void)hdf5::File::open(temporary_, hdf5::Access::read_only);
            check_free(path_, existing_);
            std::error_code code;
            fs::rename(temporary_, path_, code);
            if (code)
                throw Error(path_.string() +
                            ": the finished file cannot take its name: " + code.message());
            sync(path_.parent_path().empty() ? fs::path(".") : path_.parent_path(),
                 O_RDONLY | O_DIRECTORY);
        });
    } catch (...) {
        discard();
        throw;
    }
    file_.reset();
}

} // namespace xrdct::nexus
