// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace xrdct::frames {

/// One detector image, [row][column]: whole numbers stay whole (those beyond 32 bits become the
/// nearest), everything else is float.
struct Image {
    std::size_t rows = 0;
    std::size_t columns = 0;
    bool integer = true;
    std::vector<std::int32_t> counts; ///< when integer
    std::vector<float> values;        ///< else
    /// Largest whole number that is a measured one: the largest of a detector's unsigned type marks
    /// pixels without a value.
    std::int32_t saturation = 0x7ffffffe;

    std::size_t pixels() const { return rows * columns; }
    std::vector<float> as_float() const;
};

/// Headers of CBF and EDF frames: key → value as text.
using FrameHeader = std::map<std::string, std::string>;

/// CBF with byte-offset compression, as Pilatus detectors write it; the MD5 of the data is checked
/// when the file states one. Throws Error naming the file.
Image read_cbf(const std::filesystem::path& path, FrameHeader* header = nullptr);
/// Size of the image and type from the header alone.
Image read_cbf_header(const std::filesystem::path& path, FrameHeader* header = nullptr);

/// Image `index` of an EDF file. Throws Error naming the file.
Image read_edf(const std::filesystem::path& path, std::size_t index = 0,
               FrameHeader* header = nullptr);
/// Number of images in an EDF file; size and type of the first in `first`.
std::size_t count_edf_images(const std::filesystem::path& path, Image& first);

/// Headers of all images in an EDF file. Motors and counters as the ESRF writes them (motor_mne,
/// motor_pos; counter_mne, counter_pos) are entries of their own, too.
std::vector<FrameHeader> read_edf_headers(const std::filesystem::path& path);

/// A two-dimensional NumPy array.
Image read_npy(const std::filesystem::path& path);

/// A mask, dark or flat: EDF, CBF, NumPy or HDF5 ("file.h5" with one two-dimensional dataset, or
/// "file.h5::/path/to/dataset"; of a stack [1, row, column] the only image). `what` begins the
/// message when the shape is not rows × columns. Throws Error naming the file.
Image read_detector_image(const std::string& name, std::size_t rows, std::size_t columns,
                          const std::string& what);

namespace detail {
/// Numbers of one type in a file, `swap`: of the other byte order, into an image.
enum class PixelType { u8, i8, u16, i16, u32, i32, u64, i64, f32, f64 };
std::size_t sample_size(PixelType type);
void set_samples(Image& image, const unsigned char* data, PixelType type, bool swap);
/// Marks the type in an image without data.
void set_type(Image& image, PixelType type);
std::vector<unsigned char> read_bytes(const std::filesystem::path& path);
/// Pixels of `value`, give or take `tolerance`, become pixels without a value: -1 in whole numbers,
/// else NaN.
void mark_dummies(Image& image, double value, double tolerance);

/// The negative ones among the numbers of a frame.
struct NegativeValues {
    std::size_t number = 0;
    float lowest = 0;
    bool noise = false; ///< they scatter about zero; else they are marks
    float floor = 0;    ///< what lies below is a mark all the same
};
/// Marks are a few numbers again and again (-1, -2, -10), or lie apart from zero (-1 divided by a
/// flat). Noise has many values, of which at least one in twenty is nearer to zero than a fifth of
/// their median (one in ten of a normal distribution); marks in it lie far below, beyond 100
/// medians.
NegativeValues negative_values(const std::vector<float>& values);
} // namespace detail

} // namespace xrdct::frames
