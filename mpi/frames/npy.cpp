// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "mpi/frames/image.hpp"

#include <cstring>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace xrdct::frames {

using detail::PixelType;

namespace {

/// Type of the numbers by NumPy's name of it, quotes included ("'<u2'").
PixelType type_of(const std::string& type_text, const std::string& where) {
    static const std::pair<const char*, PixelType> types[] = {
        {"b1", PixelType::u8},  {"u1", PixelType::u8},  {"i1", PixelType::i8},
        {"u2", PixelType::u16}, {"i2", PixelType::i16}, {"u4", PixelType::u32},
        {"i4", PixelType::i32}, {"u8", PixelType::u64}, {"i8", PixelType::i64},
        {"f4", PixelType::f32}, {"f8", PixelType::f64}};
    const PixelType* type = nullptr;
    for (const auto& [name, sample] : types)
        if (type_text.size() > 4 && type_text[0] == '\'' && type_text.compare(2, 2, name) == 0 &&
            type_text[4] == '\'')
            type = &sample;
    if (type == nullptr)
        throw Error(fmt::format("{}: the type {} is no plain number", where,
                                type_text.substr(0, type_text.find(','))));
    return *type;
}

/// [column][row] as Fortran stores it to [row][column].
template <typename T>
void transpose(std::vector<T>& values, std::size_t rows, std::size_t columns) {
    std::vector<T> turned(values.size());
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t j = 0; j < columns; ++j)
            turned[i * columns + j] = values[j * rows + i];
    values = std::move(turned);
}

} // namespace

Image read_npy(const std::filesystem::path& path) {
    const auto bytes = detail::read_bytes(path);
    const std::string where = path.string();
    if (bytes.size() < 12 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0)
        throw Error(fmt::format("{}: is no NumPy array", where));
    const bool old = bytes[6] == 1;
    std::size_t length = bytes[8] | static_cast<std::size_t>(bytes[9]) << 8;
    if (!old)
        length |= static_cast<std::size_t>(bytes[10]) << 16 | static_cast<std::size_t>(bytes[11])
                                                                  << 24;
    const std::size_t begin = old ? 10 : 12;
    if (bytes.size() < begin + length)
        throw Error(fmt::format("{}: is cut off in the header", where));
    const std::string header(reinterpret_cast<const char*>(bytes.data()) + begin, length);
    const auto after = [&](const std::string& key) {
        const auto at = header.find("'" + key + "'");
        const auto colon = at == std::string::npos ? at : header.find(':', at);
        if (colon == std::string::npos)
            throw Error(fmt::format("{}: the header lacks '{}'", where, key));
        return header.substr(header.find_first_not_of(' ', colon + 1));
    };
    const std::string type_text = after("descr");
    const PixelType type = type_of(type_text, where);
    Image image;
    unsigned long rows = 0, columns = 0;
    if (std::sscanf(after("shape").c_str(), "(%lu, %lu)", &rows, &columns) != 2 || rows == 0 ||
        columns == 0)
        throw Error(fmt::format("{}: the shape is not two-dimensional", where));
    image.rows = rows;
    image.columns = columns;
    const std::size_t size = image.pixels() * detail::sample_size(type);
    if (bytes.size() - begin - length < size)
        throw Error(fmt::format("{}: is cut off: {} of {} bytes", where,
                                bytes.size() - begin - length, size));
    const bool fortran = after("fortran_order").compare(0, 4, "True") == 0;
    if (fortran)
        std::swap(image.rows, image.columns);
    detail::set_samples(image, bytes.data() + begin + length, type, type_text[1] == '>');
    if (fortran) {
        if (image.integer)
            transpose(image.counts, rows, columns);
        else
            transpose(image.values, rows, columns);
        std::swap(image.rows, image.columns);
    }
    return image;
}

} // namespace xrdct::frames
