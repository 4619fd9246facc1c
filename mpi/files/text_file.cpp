// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/files/text_file.hpp"

#include "base/error.hpp"

#include <fstream>
#include <sstream>

#include <unistd.h>

#include <fmt/format.h>

namespace xrdct::files {

std::string read_text_file(const std::filesystem::path& path) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code))
        throw Error(fmt::format("{} is a folder, not a file", path.string()));
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw Error(fmt::format("{}: no such file, or it cannot be read", path.string()));
    std::ostringstream text;
    text << file.rdbuf();
    if (file.bad())
        throw Error(fmt::format("{}: reading failed", path.string()));
    return text.str();
}

void write_text_file(const std::filesystem::path& path, const std::string& text) {
    const auto temporary = fmt::format("{}.{}.tmp", path.string(), ::getpid());
    std::error_code code;
    {
        std::ofstream file(temporary, std::ios::binary);
        file << text;
        file.flush();
        if (!file) {
            std::filesystem::remove(temporary, code);
            throw Error(fmt::format("{}: cannot be written", path.string()));
        }
    }
    std::filesystem::rename(temporary, path, code);
    if (code) {
        const auto reason = code.message();
        std::filesystem::remove(temporary, code);
        throw Error(fmt::format("{}: {}", path.string(), reason));
    }
}

} // namespace xrdct::files
