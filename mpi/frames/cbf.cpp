// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/files/checksum.hpp"
#include "mpi/frames/image.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

namespace xrdct::frames {

namespace {

constexpr const char* header_blanks = " \t\r\";";

/// What stands before the binary section, and where that begins.
struct CbfHeader {
    Image image;
    std::size_t data = 0;   ///< first byte
    std::size_t length = 0; ///< bytes
    std::string md5;        ///< base 64; empty: none stated
    FrameHeader values;
};

std::size_t header_number(const FrameHeader& values, const std::string& key,
                          const std::string& path) {
    const auto found = values.find(key);
    if (found == values.end())
        throw Error(fmt::format("{}: the CBF header lacks {}", path, key));
    const auto& text = found->second;
    if (text.empty() || text.size() > 12 ||
        text.find_first_not_of("0123456789") != std::string::npos)
        throw Error(
            fmt::format("{}: {} in the CBF header is '{}', a count is expected", path, key, text));
    return std::stoul(text);
}

CbfHeader parse(const unsigned char* bytes, std::size_t size, const std::string& path) {
    const std::string_view text(reinterpret_cast<const char*>(bytes), size);
    if (text.substr(0, 7) != "###CBF:")
        throw Error(fmt::format("{}: is no CBF file (it does not begin with ###CBF:)", path));
    const auto section = text.find("--CIF-BINARY-FORMAT-SECTION--");
    const auto start = section == std::string_view::npos
                           ? section
                           : text.find(std::string_view("\x0c\x1a\x04\xd5", 4), section);
    if (start == std::string_view::npos)
        throw Error(fmt::format("{}: has no binary section; the file may be cut off", path));
    CbfHeader header;
    header.data = start + 4;
    for (std::size_t begin = 0; begin < start;) {
        const auto end = std::min(text.find('\n', begin), start);
        std::string_view line = text.substr(begin, end - begin);
        begin = end + 1;
        if (line.substr(0, 2) == "# ") {
            // "# Exposure_time 0.5 s", "# Detector: PILATUS 2M"
            line.remove_prefix(2);
            const auto gap = line.find_first_of(" :=");
            if (gap != std::string_view::npos)
                header.values.emplace(
                    trimmed(line.substr(0, gap), header_blanks),
                    trimmed(line.substr(std::min(line.find_first_not_of(" :=", gap), line.size())),
                            header_blanks));
            continue;
        }
        const auto colon = line.find(':');
        if (colon != std::string_view::npos && section < begin)
            header.values[trimmed(line.substr(0, colon), header_blanks)] =
                trimmed(line.substr(colon + 1), header_blanks);
        else if (const auto found = line.find("conversions="); found != std::string_view::npos)
            header.values["conversions"] = trimmed(line.substr(found + 12), header_blanks);
    }
    const auto value = [&](const char* key) {
        const auto found = header.values.find(key);
        return found == header.values.end() ? std::string() : found->second;
    };
    if (value("conversions") != "x-CBF_BYTE_OFFSET")
        throw Error(fmt::format("{}: compressed as '{}'; only x-CBF_BYTE_OFFSET is read", path,
                                value("conversions")));
    if (value("X-Binary-Element-Type") != "signed 32-bit integer")
        throw Error(fmt::format("{}: elements are '{}'; only signed 32-bit integers are read", path,
                                value("X-Binary-Element-Type")));
    header.length = header_number(header.values, "X-Binary-Size", path);
    header.image.columns = header_number(header.values, "X-Binary-Size-Fastest-Dimension", path);
    header.image.rows = header_number(header.values, "X-Binary-Size-Second-Dimension", path);
    if (header.image.pixels() == 0 || header.image.pixels() > (std::size_t{1} << 30))
        throw Error(fmt::format("{}: {} x {} pixels are no image", path, header.image.rows,
                                header.image.columns));
    header.md5 = value("Content-MD5");
    return header;
}

/// Differences of neighbours in one byte; 0x80 announces two, 0x8000 four, 0x80000000 eight.
bool unpack(const unsigned char* data, std::size_t size, std::vector<std::int32_t>& out) {
    const unsigned char* const end = data + size;
    std::uint32_t value = 0;
    for (auto& target : out) {
        if (end - data < 1)
            return false;
        if (*data != 0x80) {
            value += static_cast<std::uint32_t>(static_cast<std::int8_t>(*data++));
        } else if (end - data >= 3 && !(data[1] == 0x00 && data[2] == 0x80)) {
            std::int16_t step;
            std::memcpy(&step, data + 1, 2);
            value += static_cast<std::uint32_t>(static_cast<std::int32_t>(step));
            data += 3;
        } else if (end - data >= 7) {
            std::uint32_t step;
            std::memcpy(&step, data + 3, 4);
            data += 7;
            if (step == 0x80000000U) {
                if (end - data < 8)
                    return false;
                std::memcpy(&step, data, 4); // the high half only overflows
                data += 8;
            }
            value += step;
        } else {
            return false;
        }
        target = static_cast<std::int32_t>(value);
    }
    return true;
}

} // namespace

Image read_cbf_header(const std::filesystem::path& path, FrameHeader* header_values) {
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throw Error(fmt::format("{}: cannot be read", path.string()));
    std::vector<unsigned char> bytes(std::size_t{1} << 16);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    auto header = parse(bytes.data(), static_cast<std::size_t>(file.gcount()), path.string());
    if (header_values != nullptr)
        *header_values = std::move(header.values);
    return std::move(header.image);
}

Image read_cbf(const std::filesystem::path& path, FrameHeader* header_values) {
    const auto bytes = detail::read_bytes(path);
    auto header = parse(bytes.data(), bytes.size(), path.string());
    if (bytes.size() - header.data < header.length)
        throw Error(fmt::format("{}: is cut off: {} of {} bytes of data", path.string(),
                                bytes.size() - header.data, header.length));
    const unsigned char* data = bytes.data() + header.data;
    if (!header.md5.empty() &&
        files::md5_base64({reinterpret_cast<const char*>(data), header.length}) != header.md5)
        throw Error(fmt::format("{}: the data are damaged (their MD5 is not the one stated)",
                                path.string()));
    header.image.counts.resize(header.image.pixels());
    if (!unpack(data, header.length, header.image.counts))
        throw Error(fmt::format("{}: the data end before all {} pixels are there", path.string(),
                                header.image.pixels()));
    if (header_values != nullptr)
        *header_values = std::move(header.values);
    return std::move(header.image);
}

} // namespace xrdct::frames
