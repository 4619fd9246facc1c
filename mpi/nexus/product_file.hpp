// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"

#include <filesystem>
#include <optional>

namespace xrdct::nexus {

/// A result file that appears under its name only when it is complete. It is written as
/// `<name>.tmp-<host>-<pid>-<random>` in the same folder; commit() flushes, closes, syncs and
/// renames it; without commit() the destructor removes it. What a killed run left behind has
/// another temporary name and is never touched or read.
///
/// With a communicator all members are collective, and so is the destructor: an error met while the
/// file is open must be agreed on (Communicator::collectively) before the ProductFile goes out of
/// scope. All Groups and Datasets taken from the file must be gone before commit().
class ProductFile {
  public:
    enum class Existing {
        refuse,  ///< Error when the final name exists
        replace, ///< the old file stays until commit() puts the new one in its place
    };

    /// Errors (agreed): the final name exists and may not be replaced, the folder is missing or not
    /// writable.
    static ProductFile create(const std::filesystem::path& path, Existing existing,
                              const mpi::Communicator* communicator = nullptr);

    ProductFile(ProductFile&& other) noexcept;
    ProductFile& operator=(ProductFile&&) = delete;
    ProductFile(const ProductFile&) = delete;
    ProductFile& operator=(const ProductFile&) = delete;
    ~ProductFile();

    hdf5::File& file() { return *file_; }
    hdf5::Group root() const { return file_->root(); }
    const std::filesystem::path& path() const { return path_; }
    const std::filesystem::path& temporary_path() const { return temporary_; }

    /// Error (agreed on all ranks) when anything could not be written, with nothing left under
    /// either name (an older file under the final name stays as it was).
    void commit();
    /// Gives the file up and removes it. Never throws.
    void discard() noexcept;

  private:
    ProductFile(std::filesystem::path path, std::filesystem::path temporary, Existing existing,
                hdf5::File file, const mpi::Communicator* communicator);

    std::filesystem::path path_;
    std::filesystem::path temporary_;
    Existing existing_;
    std::optional<hdf5::File> file_;
    const mpi::Communicator* communicator_;
};

} // namespace xrdct::nexus
