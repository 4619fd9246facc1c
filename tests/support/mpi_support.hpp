// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "support/temporary_directory.hpp"

#include <filesystem>
#include <memory>
#include <string>

namespace xrdct::test {

/// One temporary folder for all ranks of the communicator. Construction and destruction are
/// collective: the folder goes when every rank is done with it.
class SharedTemporaryDirectory {
  public:
    explicit SharedTemporaryDirectory(const mpi::Communicator& communicator)
        : communicator_(communicator) {
        std::string name;
        if (communicator.rank() == 0) {
            folder_ = std::make_unique<TemporaryDirectory>();
            name = folder_->path().string();
        }
        communicator.broadcast(name);
        path_ = name;
    }
    ~SharedTemporaryDirectory() { communicator_.barrier(); }
    SharedTemporaryDirectory(const SharedTemporaryDirectory&) = delete;
    SharedTemporaryDirectory& operator=(const SharedTemporaryDirectory&) = delete;

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  private:
    const mpi::Communicator& communicator_;
    std::unique_ptr<TemporaryDirectory> folder_;
    std::filesystem::path path_;
};

} // namespace xrdct::test
