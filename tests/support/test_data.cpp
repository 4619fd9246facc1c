// SPDX-License-Identifier: BSD-3-Clause
#include "support/test_data.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace xrdct::test {

std::optional<std::filesystem::path> measured_data(const std::string& name) {
    const char* folder = std::getenv("XRDCT_DATA");
    if (folder == nullptr || *folder == '\0')
        return std::nullopt;
    auto path = std::filesystem::path(folder) / name;
    if (!std::filesystem::exists(path))
        return std::nullopt;
    return path;
}

std::string measured_data_reason(const std::string& name) {
    const char* folder = std::getenv("XRDCT_DATA");
    if (folder == nullptr || *folder == '\0')
        return "measured data are not here: set XRDCT_DATA to the folder that holds " + name;
    return "measured data are not here: " + std::string(folder) + " has no " + name;
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    if (!stream)
        throw std::runtime_error("cannot read " + path.string());
    std::ostringstream text;
    text << stream.rdbuf();
    return text.str();
}

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream stream(path, std::ios::binary);
    stream << text;
    if (!stream.flush())
        throw std::runtime_error("cannot write " + path.string());
}

} // namespace xrdct::test
