// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/frames/image.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <type_traits>

#include <fmt/format.h>

namespace xrdct::frames {

std::vector<float> Image::as_float() const {
    return integer ? std::vector<float>(counts.begin(), counts.end()) : values;
}

namespace detail {

std::size_t sample_size(PixelType type) {
    switch (type) {
    case PixelType::u8:
    case PixelType::i8:
        return 1;
    case PixelType::u16:
    case PixelType::i16:
        return 2;
    case PixelType::u32:
    case PixelType::i32:
    case PixelType::f32:
        return 4;
    case PixelType::u64:
    case PixelType::i64:
    case PixelType::f64:
        break;
    }
    return 8;
}

void set_type(Image& image, PixelType type) {
    image.integer = type != PixelType::f32 && type != PixelType::f64;
    // The largest number of a type is a mark or a pixel that is saturated.
    switch (type) {
    case PixelType::u8:
        image.saturation = 254;
        break;
    case PixelType::i16:
        image.saturation = 32766;
        break;
    case PixelType::u16:
        image.saturation = 65534;
        break;
    default:
        image.saturation = 0x7ffffffe;
    }
}

namespace {

template <typename T, typename Out>
void convert(const unsigned char* data, bool swap, std::vector<Out>& out) {
    for (auto& target : out) {
        unsigned char bytes[sizeof(T)];
        std::memcpy(bytes, data, sizeof(T));
        data += sizeof(T);
        if (swap)
            std::reverse(bytes, bytes + sizeof(T));
        T value;
        std::memcpy(&value, bytes, sizeof(T));
        if constexpr (std::is_integral_v<T> && sizeof(T) > 4)
            target = static_cast<Out>(
                std::is_signed_v<T>
                    ? std::clamp<std::int64_t>(static_cast<std::int64_t>(value),
                                               std::numeric_limits<std::int32_t>::min(),
                                               std::numeric_limits<std::int32_t>::max())
                    : static_cast<std::int64_t>(
                          std::min<std::uint64_t>(static_cast<std::uint64_t>(value), 0x7fffffffU)));
        else if constexpr (std::is_same_v<T, std::uint32_t>)
            target = static_cast<Out>(std::min<std::uint32_t>(value, 0x7fffffffU));
        else
            target = static_cast<Out>(value);
    }
}

} // namespace

void set_samples(Image& image, const unsigned char* data, PixelType type, bool swap) {
    set_type(image, type);
    if (image.integer)
        image.counts.resize(image.pixels());
    else
        image.values.resize(image.pixels());
    switch (type) {
    case PixelType::u8:
        return convert<std::uint8_t>(data, swap, image.counts);
    case PixelType::i8:
        return convert<std::int8_t>(data, swap, image.counts);
    case PixelType::u16:
        return convert<std::uint16_t>(data, swap, image.counts);
    case PixelType::i16:
        return convert<std::int16_t>(data, swap, image.counts);
    case PixelType::u32:
        return convert<std::uint32_t>(data, swap, image.counts);
    case PixelType::i32:
        return convert<std::int32_t>(data, swap, image.counts);
    case PixelType::u64:
        return convert<std::uint64_t>(data, swap, image.counts);
    case PixelType::i64:
        return convert<std::int64_t>(data, swap, image.counts);
    case PixelType::f32:
        return convert<float>(data, swap, image.values);
    case PixelType::f64:
        return convert<double>(data, swap, image.values);
    }
}

std::vector<unsigned char> read_bytes(const std::filesystem::path& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                               &std::fclose);
    if (!file)
        throw Error(fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
    std::error_code code;
    const auto size = std::filesystem::file_size(path, code);
    if (code)
        throw Error(fmt::format("{}: {}", path.string(), code.message()));
    std::vector<unsigned char> bytes(size);
    if (std::fread(bytes.data(), 1, size, file.get()) != size)
        throw Error(fmt::format("{}: reading failed", path.string()));
    return bytes;
}

void mark_dummies(Image& image, double value, double tolerance) {
    // The header's decimal number is not the sample's binary one.
    const double reach = std::max(tolerance, 1e-6 * std::abs(value));
    for (auto& count : image.counts)
        if (std::abs(count - value) <= reach)
            count = -1;
    for (auto& number : image.values)
        if (std::abs(number - value) <= reach)
            number = std::numeric_limits<float>::quiet_NaN();
}

NegativeValues negative_values(const std::vector<float>& values) {
    std::vector<float> sizes;
    for (const float value : values)
        if (value < 0 && std::isfinite(value))
            sizes.push_back(-value);
    NegativeValues found;
    found.number = sizes.size();
    if (sizes.empty())
        return found;
    std::sort(sizes.begin(), sizes.end());
    found.lowest = -sizes.back();
    const float median = sizes[sizes.size() / 2];
    const auto near = std::lower_bound(sizes.begin(), sizes.end(), 0.2F * median) - sizes.begin();
    std::vector<float> distinct;
    std::unique_copy(sizes.begin(), sizes.end(), std::back_inserter(distinct));
    found.noise = distinct.size() > 3 && 20 * static_cast<std::size_t>(near) >= found.number;
    if (found.noise)
        found.floor = -100 * median;
    return found;
}

} // namespace detail

namespace {

Image read_hdf5_image(const std::string& file_name, std::string dataset_name) {
    const auto file = hdf5::File::open(file_name, hdf5::Access::read_only);
    const auto root = file.root();
    const auto is_image = [](const hdf5::Shape& shape) {
        return shape.size() == 2 || (shape.size() == 3 && shape[0] == 1);
    };
    if (dataset_name.empty()) {
        std::vector<std::string> found;
        root.visit([&](const std::string& path, hdf5::Kind kind) {
            if (kind == hdf5::Kind::dataset) {
                const auto dataset = root.open_dataset(path);
                if (dataset.is_numeric() && is_image(dataset.shape()))
                    found.push_back(dataset.path());
            }
        });
        if (found.size() != 1)
            throw Error(fmt::format("{}: holds {} images; name the dataset as {}::/path", file_name,
                                    found.size(), file_name));
        dataset_name = found.front();
    }
    const auto dataset = root.open_dataset(dataset_name);
    const auto& shape = dataset.shape();
    if (!dataset.is_numeric() || !is_image(shape))
        throw Error(dataset.describe() + ": expected an image [row, column] of numbers");
    Image image;
    image.rows = shape[shape.size() - 2];
    image.columns = shape[shape.size() - 1];
    const auto type = dataset.element_type();
    image.integer = type != hdf5::ElementType::float32 && type != hdf5::ElementType::float64;
    if (image.integer)
        image.counts = dataset.read_all<std::int32_t>();
    else
        image.values = dataset.read_all<float>();
    return image;
}

} // namespace

Image read_detector_image(const std::string& name, std::size_t rows, std::size_t columns,
                          const std::string& what) {
    const auto separator = name.find("::");
    const std::string file = name.substr(0, separator);
    const std::string extension = lower_case(std::filesystem::path(file).extension().string());
    if (!std::filesystem::exists(file))
        throw Error(fmt::format("{} {}: no such file", what, file));
    Image image = [&] {
        if (separator != std::string::npos)
            return read_hdf5_image(file, name.substr(separator + 2));
        if (extension == ".edf" || extension == ".msk")
            return read_edf(file);
        if (extension == ".cbf")
            return read_cbf(file);
        if (extension == ".npy")
            return read_npy(file);
        if (extension == ".h5" || extension == ".hdf5" || extension == ".nxs" ||
            extension == ".hdf")
            return read_hdf5_image(file, "");
        throw Error(fmt::format("{} {}: the format is not known by its name; expected .edf, .cbf, "
                                ".npy, .h5, .hdf5 or .nxs",
                                what, file));
    }();
    if (image.rows != rows || image.columns != columns)
        throw Error(fmt::format("{} {}: has {} x {} pixels (rows x columns), the frames have {} x "
                                "{}",
                                what, file, image.rows, image.columns, rows, columns));
    return image;
}

} // namespace xrdct::frames
