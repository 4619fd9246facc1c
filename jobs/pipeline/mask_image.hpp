// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

namespace xrdct::pipeline {

/// Writes a mask [y][x] as a binary PGM image, 255 inside, 0 outside, y upwards as in the maps'
/// pictures (the first line of the image is the last row of the mask). Written to a temporary name
/// and renamed. Throws Error naming the file.
void write_mask_image(const std::filesystem::path& path, std::span<const unsigned char> mask,
                      std::size_t ny, std::size_t nx);

/// Reads such an image, binary (P5) or plain (P2), of any depth: values above half of the maximum
/// are inside. Throws Error naming the file when it is missing, no PGM, cut off, or not nx × ny.
std::vector<unsigned char> read_mask_image(const std::filesystem::path& path, std::size_t ny,
                                           std::size_t nx);

} // namespace xrdct::pipeline
