// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/frames/image.hpp"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace xrdct::frames {

namespace {

using detail::PixelType;

struct EdfBlock {
    Image image;
    PixelType type = PixelType::u16;
    bool swap = false;
    std::uint64_t data = 0, size = 0;
    FrameHeader values;
};

std::optional<PixelType> sample_of(const std::string& name) {
    static const std::pair<const char*, PixelType> names[] = {{"UnsignedByte", PixelType::u8},
                                                              {"SignedByte", PixelType::i8},
                                                              {"UnsignedShort", PixelType::u16},
                                                              {"SignedShort", PixelType::i16},
                                                              {"UnsignedInteger", PixelType::u32},
                                                              {"SignedInteger", PixelType::i32},
                                                              {"UnsignedLong", PixelType::u32},
                                                              {"SignedLong", PixelType::i32},
                                                              {"Unsigned64", PixelType::u64},
                                                              {"Signed64", PixelType::i64},
                                                              {"FloatValue", PixelType::f32},
                                                              {"Float", PixelType::f32},
                                                              {"Real", PixelType::f32},
                                                              {"DoubleValue", PixelType::f64},
                                                              {"Double", PixelType::f64}};
    for (const auto& [known, type] : names)
        if (name == known)
            return type;
    return std::nullopt;
}

/// The header's text that begins at `offset`, with `brace` the place of its closing one; nothing
/// for what is left of the last block's padding.
std::optional<std::string> read_header(std::ifstream& file, std::uint64_t offset,
                                       const std::string& path, std::size_t& brace) {
    // A header is a multiple of 512 bytes; its closing brace ends the last.
    std::string text;
    brace = std::string::npos;
    file.clear();
    file.seekg(static_cast<std::streamoff>(offset));
    while (brace == std::string::npos) {
        char piece[512];
        file.read(piece, sizeof piece);
        text.append(piece, static_cast<std::size_t>(file.gcount()));
        if (offset == 0 &&
            (text.empty() || text[text.find_first_not_of(" \r\n") == std::string::npos
                                      ? 0
                                      : text.find_first_not_of(" \r\n")] != '{'))
            throw Error(fmt::format("{}: is no EDF file (it does not begin with a brace)", path));
        brace = text.find("}\n");
        if (brace == std::string::npos && (!file || text.size() > (std::size_t{1} << 20))) {
            if (offset > 0 && trimmed(text).find('{') == std::string::npos)
                return std::nullopt; // what is left of the last block's padding
            throw Error(fmt::format("{}: the EDF header has no end", path));
        }
    }
    return text;
}

/// What the header says of the image.
void describe_image(EdfBlock& block, const std::string& path) {
    const auto value = [&](const char* key) {
        const auto found = block.values.find(key);
        return found == block.values.end() ? std::string() : found->second;
    };
    const auto size = [&](const char* key) -> std::size_t {
        const auto number = value(key);
        if (number.empty() || number.size() > 9 ||
            number.find_first_not_of("0123456789") != std::string::npos)
            throw Error(fmt::format("{}: {} in the EDF header is '{}', a count is expected", path,
                                    key, number));
        return std::stoul(number);
    };
    const auto type = sample_of(value("DataType"));
    if (!type)
        throw Error(
            fmt::format("{}: the EDF data type '{}' is not known", path, value("DataType")));
    if (!value("Compression").empty() && value("Compression") != "None")
        throw Error(
            fmt::format("{}: the EDF compression '{}' is not read", path, value("Compression")));
    block.type = *type;
    block.image.columns = size("Dim_1");
    block.image.rows = size("Dim_2");
    if (block.image.pixels() == 0 || (!value("Dim_3").empty() && value("Dim_3") != "1"))
        throw Error(fmt::format("{}: the EDF data are no image", path));
    block.swap = value("ByteOrder") == "HighByteFirst";
    block.size = block.image.pixels() * detail::sample_size(*type);
    detail::set_type(block.image, *type);
}

/// The block that begins at `offset`; nothing at the end of the file.
std::optional<EdfBlock> read_block(std::ifstream& file, std::uint64_t offset,
                                   std::uint64_t file_size, const std::string& path) {
    if (offset >= file_size)
        return std::nullopt;
    std::size_t brace = 0;
    const auto header = read_header(file, offset, path, brace);
    if (!header)
        return std::nullopt;
    const std::string& text = *header;
    EdfBlock block;
    block.data = offset + brace + 2;
    const auto open = text.find('{');
    for (std::size_t begin = open + 1; begin < brace;) {
        const auto end = std::min(text.find(';', begin), brace);
        const std::string item = text.substr(begin, end - begin);
        begin = end + 1;
        const auto equals = item.find('=');
        if (equals != std::string::npos)
            block.values[trimmed(item.substr(0, equals))] = trimmed(item.substr(equals + 1));
    }
    describe_image(block, path);
    return block;
}

} // namespace

std::size_t count_edf_images(const std::filesystem::path& path, Image& first) {
    std::ifstream file(path, std::ios::binary);
    std::error_code code;
    const auto file_size = std::filesystem::file_size(path, code);
    if (!file || code)
        throw Error(fmt::format("{}: cannot be read", path.string()));
    std::size_t n = 0;
    std::uint64_t offset = 0;
    while (auto block = read_block(file, offset, file_size, path.string())) {
        if (n++ == 0)
            first = std::move(block->image);
        offset = block->data + block->size;
    }
    if (n == 0)
        throw Error(fmt::format("{}: is empty", path.string()));
    return n;
}

std::vector<FrameHeader> read_edf_headers(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::error_code code;
    const auto file_size = std::filesystem::file_size(path, code);
    if (!file || code)
        throw Error(fmt::format("{}: cannot be read", path.string()));
    std::vector<FrameHeader> headers;
    std::uint64_t offset = 0;
    while (auto block = read_block(file, offset, file_size, path.string())) {
        offset = block->data + block->size;
        auto& header = headers.emplace_back(std::move(block->values));
        for (const std::string kind : {"motor", "counter"}) {
            std::istringstream names(header[kind + "_mne"]), values(header[kind + "_pos"]);
            for (std::string name, value; names >> name && values >> value;)
                header.emplace(name, value);
        }
    }
    return headers;
}

Image read_edf(const std::filesystem::path& path, std::size_t index, FrameHeader* header) {
    std::ifstream file(path, std::ios::binary);
    std::error_code code;
    const auto file_size = std::filesystem::file_size(path, code);
    if (!file || code)
        throw Error(fmt::format("{}: cannot be read", path.string()));
    std::uint64_t offset = 0;
    for (std::size_t i = 0;; ++i) {
        auto block = read_block(file, offset, file_size, path.string());
        if (!block)
            throw Error(fmt::format("{}: has {} images, number {} is asked for", path.string(), i,
                                    index + 1));
        offset = block->data + block->size;
        if (i < index)
            continue;
        std::vector<unsigned char> bytes(block->size);
        file.clear();
        file.seekg(static_cast<std::streamoff>(block->data));
        file.read(reinterpret_cast<char*>(bytes.data()),
                  static_cast<std::streamsize>(bytes.size()));
        if (static_cast<std::uint64_t>(file.gcount()) != block->size)
            throw Error(fmt::format("{}: is cut off: {} of {} bytes of image {}", path.string(),
                                    file.gcount(), block->size, index + 1));
        detail::set_samples(block->image, bytes.data(), block->type, block->swap);
        if (header != nullptr)
            *header = std::move(block->values);
        return std::move(block->image);
    }
}

} // namespace xrdct::frames
