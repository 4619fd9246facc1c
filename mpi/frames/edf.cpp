// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/frames/image.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include <fmt/format.h>

namespace xrdct::frames {

namespace {

using detail::PixelType;

struct EdfBlock {
    Image image;
    bool is_image = true; ///< else the general block with defaults for the others, or errors
    PixelType type = PixelType::u16;
    bool swap = false;
    std::uint64_t data = 0, size = 0;
    std::uint64_t padded = 0; ///< bytes from `data` to the next block
    FrameHeader values;
};

/// Names of the numbers, lower case; as ESRF programs and others write them.
std::optional<PixelType> sample_of(const std::string& name) {
    static const std::map<std::string, PixelType> names = {{"unsignedbyte", PixelType::u8},
                                                           {"unsigned8", PixelType::u8},
                                                           {"signedbyte", PixelType::i8},
                                                           {"signed8", PixelType::i8},
                                                           {"unsignedshort", PixelType::u16},
                                                           {"unsigned16", PixelType::u16},
                                                           {"unsignedshortinteger", PixelType::u16},
                                                           {"signedshort", PixelType::i16},
                                                           {"signed16", PixelType::i16},
                                                           {"unsignedinteger", PixelType::u32},
                                                           {"unsigned32", PixelType::u32},
                                                           {"unsignedlong", PixelType::u32},
                                                           {"signedinteger", PixelType::i32},
                                                           {"signed32", PixelType::i32},
                                                           {"signedlong", PixelType::i32},
                                                           {"unsigned64", PixelType::u64},
                                                           {"signed64", PixelType::i64},
                                                           {"floatvalue", PixelType::f32},
                                                           {"float", PixelType::f32},
                                                           {"real", PixelType::f32},
                                                           {"float32", PixelType::f32},
                                                           {"floatieee32", PixelType::f32},
                                                           {"doublevalue", PixelType::f64},
                                                           {"double", PixelType::f64},
                                                           {"doubleieee64", PixelType::f64},
                                                           {"floatieee64", PixelType::f64}};
    const auto found = names.find(lower_case(name));
    return found == names.end() ? std::nullopt : std::optional(found->second);
}

/// The closing brace of a header: the one at the end of a line.
std::size_t end_of_header(const std::string& text) {
    for (auto at = text.find('}'); at != std::string::npos; at = text.find('}', at + 1))
        if (text.compare(at, 2, "}\n") == 0 || text.compare(at, 3, "}\r\n") == 0)
            return at;
    return std::string::npos;
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
        brace = end_of_header(text);
        if (brace == std::string::npos && (!file || text.size() > (std::size_t{1} << 20))) {
            if (offset > 0 && trimmed(text).find('{') == std::string::npos)
                return std::nullopt; // what is left of the last block's padding
            throw Error(fmt::format("{}: the EDF header has no end", path));
        }
    }
    return text;
}

/// The value of a key, whatever its case; nothing when the header has none.
std::string value_of(const FrameHeader& header, const std::string& key) {
    const auto found = header.find(key);
    if (found != header.end())
        return found->second;
    for (const auto& [name, value] : header)
        if (lower_case(name) == lower_case(key))
            return value;
    return "";
}

std::size_t count_of(const FrameHeader& header, const char* key, const std::string& path) {
    const auto number = value_of(header, key);
    if (number.empty() || number.size() > 9 ||
        number.find_first_not_of("0123456789") != std::string::npos)
        throw Error(fmt::format("{}: {} in the EDF header is '{}', a count is expected", path, key,
                                number));
    return std::stoul(number);
}

/// What the header says of the image.
void describe_image(EdfBlock& block, const std::string& path) {
    const auto value = [&](const char* key) { return value_of(block.values, key); };
    const auto type = sample_of(value("DataType"));
    if (!type)
        throw Error(
            fmt::format("{}: the EDF data type '{}' is not known", path, value("DataType")));
    if (!value("Compression").empty() && lower_case(value("Compression")) != "none" &&
        lower_case(value("Compression")) != "nocompression")
        throw Error(
            fmt::format("{}: the EDF compression '{}' is not read", path, value("Compression")));
    block.type = *type;
    block.image.columns = count_of(block.values, "Dim_1", path);
    block.image.rows = count_of(block.values, "Dim_2", path);
    if (block.image.pixels() == 0 || (!value("Dim_3").empty() && value("Dim_3") != "1"))
        throw Error(fmt::format("{}: the EDF data are no image", path));
    block.swap = lower_case(value("ByteOrder")) == "highbytefirst";
    block.size = block.image.pixels() * detail::sample_size(*type);
    detail::set_type(block.image, *type);
}

/// Numbers of a header that say which pixels of its image have no value (SAXS convention of the
/// ESRF: those within DDummy, 0.1 where it is not given, of Dummy; a Dummy of 0 marks none).
void mark_dummies(Image& image, const FrameHeader& header) {
    const auto dummy = finite_number(value_of(header, "Dummy"));
    if (dummy && *dummy != 0)
        detail::mark_dummies(image, *dummy,
                             std::abs(finite_number(value_of(header, "DDummy")).value_or(0.1)));
}

/// Begin and size of a block's data, which its header may state. `brace` is the header's last
/// character, from the block's `offset`.
void place_data(EdfBlock& block, std::uint64_t offset, const std::string& text, std::size_t brace,
                const std::string& path) {
    block.data = offset + text.find('\n', brace) + 1;
    const auto stated = [&](const char* key) -> std::uint64_t {
        return value_of(block.values, key).empty() ? 0 : count_of(block.values, key, path);
    };
    if (const auto size = stated("EDF_HeaderSize"); size > brace)
        block.data = offset + size;
    block.padded = std::max(block.size, stated("EDF_BinarySize"));
}

/// The block that begins at `offset`; nothing at the end of the file. `defaults` are those of the
/// general block, which is the first if there is one.
std::optional<EdfBlock> read_block(std::ifstream& file, std::uint64_t offset,
                                   std::uint64_t file_size, const std::string& path,
                                   FrameHeader& defaults) {
    if (offset >= file_size)
        return std::nullopt;
    std::size_t brace = 0;
    const auto header = read_header(file, offset, path, brace);
    if (!header)
        return std::nullopt;
    const std::string& text = *header;
    EdfBlock block;
    const auto open = text.find('{');
    for (std::size_t begin = open + 1; begin < brace;) {
        const auto end = std::min(text.find(';', begin), brace);
        const std::string item = text.substr(begin, end - begin);
        begin = end + 1;
        const auto equals = item.find('=');
        if (equals != std::string::npos)
            block.values[trimmed(item.substr(0, equals))] = trimmed(item.substr(equals + 1));
    }
    const auto has = [&](const char* key) { return !value_of(block.values, key).empty(); };
    if (has("EDF_DataFormatVersion") && !has("Dim_1")) {
        block.is_image = false;
        defaults = block.values;
        place_data(block, offset, text, brace, path);
        return block;
    }
    for (const auto& [key, value] : defaults)
        if (!has(key.c_str()) && !key.starts_with("EDF_"))
            block.values[key] = value;
    describe_image(block, path);
    // "1.Image.Psd" is an image, "1.Image.Error" its standard deviations.
    block.is_image = !lower_case(value_of(block.values, "EDF_DataBlockID")).ends_with(".error");
    place_data(block, offset, text, brace, path);
    return block;
}

/// An EDF file gone through block by block.
class EdfBlocks {
  public:
    explicit EdfBlocks(const std::filesystem::path& path)
        : path_(path.string()), file_(path, std::ios::binary) {
        std::error_code code;
        size_ = std::filesystem::file_size(path, code);
        if (!file_ || code)
            throw Error(fmt::format("{}: cannot be read", path_));
    }

    /// The next image; nothing at the end of the file.
    std::optional<EdfBlock> next() {
        for (;;) {
            auto block = read_block(file_, offset_, size_, path_, defaults_);
            if (!block)
                return std::nullopt;
            offset_ = block->data + block->padded;
            if (block->is_image)
                return block;
        }
    }

    /// Up to `size` bytes from the begin of the block's data.
    std::vector<unsigned char> data(const EdfBlock& block) {
        std::vector<unsigned char> bytes(block.size);
        file_.clear();
        file_.seekg(static_cast<std::streamoff>(block.data));
        file_.read(reinterpret_cast<char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
        bytes.resize(static_cast<std::size_t>(file_.gcount()));
        return bytes;
    }

  private:
    std::string path_;
    std::ifstream file_;
    std::uint64_t size_ = 0, offset_ = 0;
    FrameHeader defaults_;
};

} // namespace

std::size_t count_edf_images(const std::filesystem::path& path, Image& first) {
    EdfBlocks blocks(path);
    std::size_t n = 0;
    while (auto block = blocks.next())
        if (n++ == 0)
            first = std::move(block->image);
    if (n == 0)
        throw Error(fmt::format("{}: is empty", path.string()));
    return n;
}

std::vector<FrameHeader> read_edf_headers(const std::filesystem::path& path) {
    EdfBlocks blocks(path);
    std::vector<FrameHeader> headers;
    while (auto block = blocks.next()) {
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
    EdfBlocks blocks(path);
    for (std::size_t i = 0;; ++i) {
        auto block = blocks.next();
        if (!block)
            throw Error(fmt::format("{}: has {} images, number {} is asked for", path.string(), i,
                                    index + 1));
        if (i < index)
            continue;
        const auto bytes = blocks.data(*block);
        if (bytes.size() != block->size)
            throw Error(fmt::format("{}: is cut off: {} of {} bytes of image {}", path.string(),
                                    bytes.size(), block->size, index + 1));
        detail::set_samples(block->image, bytes.data(), block->type, block->swap);
        mark_dummies(block->image, block->values);
        if (header != nullptr)
            *header = std::move(block->values);
        return std::move(block->image);
    }
}

} // namespace xrdct::frames
