// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace xrdct::test {

/// A fresh folder below the system's temporary folder, removed with everything in it by the
/// destructor. Under MPI make it on one rank and share the path (`SharedTemporaryDirectory` in
/// support/mpi_support.hpp).
class TemporaryDirectory {
  public:
    TemporaryDirectory();
    ~TemporaryDirectory();
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

/// The names in a folder, sorted; for checks that nothing was left behind.
std::string list_folder(const std::filesystem::path& folder);

/// A tiny file system of the given size, for tests of a full disk; needs the right to mount.
class TinyFileSystem {
  public:
    explicit TinyFileSystem(std::size_t bytes);
    ~TinyFileSystem();
    TinyFileSystem(const TinyFileSystem&) = delete;
    TinyFileSystem& operator=(const TinyFileSystem&) = delete;

    /// False when mounting is not permitted here; `reason` says why.
    bool available() const { return mounted_; }
    const std::string& reason() const { return reason_; }
    const std::filesystem::path& path() const { return folder_.path(); }
    void make_read_only();

  private:
    TemporaryDirectory folder_;
    std::size_t bytes_;
    bool mounted_ = false;
    std::string reason_;
};

} // namespace xrdct::test
