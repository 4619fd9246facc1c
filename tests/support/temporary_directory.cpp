// SPDX-License-Identifier: BSD-3-Clause
#include "support/temporary_directory.hpp"

#include <sys/mount.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace xrdct::test {

TemporaryDirectory::TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "xrdct-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
        throw std::runtime_error("cannot make a temporary folder: " + pattern);
    path_ = pattern;
}

TemporaryDirectory::~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

std::string list_folder(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    std::string joined;
    for (const auto& name : names)
        joined += (joined.empty() ? "" : " ") + name;
    return joined;
}

TinyFileSystem::TinyFileSystem(std::size_t bytes) : bytes_(bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    mounted_ = mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
    if (!mounted_)
        reason_ =
            std::string("a small file system cannot be mounted here: ") + std::strerror(errno);
}

TinyFileSystem::~TinyFileSystem() {
    if (mounted_)
        umount2(folder_.path().c_str(), MNT_DETACH);
}

void TinyFileSystem::make_read_only() {
    const std::string size = "size=" + std::to_string(bytes_);
    if (mount("tmpfs", folder_.path().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, size.c_str()) != 0)
        throw std::runtime_error(std::string("cannot remount read-only: ") + std::strerror(errno));
}

} // namespace xrdct::test
