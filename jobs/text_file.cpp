#include "jobs/text_file.hpp"

#include "base/error.hpp"

#include <fstream>

#include <unistd.h>

#include <fmt/format.h>

namespace xrdct {

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

} // namespace xrdct
