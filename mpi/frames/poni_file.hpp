// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "integration/detector_geometry.hpp"

#include <cstddef>
#include <filesystem>
#include <string>

namespace xrdct::frames {

/// A pyFAI calibration.
struct PoniFile {
    integration::DetectorGeometry geometry; ///< rows and columns: those the file states, else 0
    int version = 1;
    int blocks = 1;       ///< calibrations in the file; the last is taken
    std::string detector; ///< as the file names it; may be empty
};

/// Reads a .poni file of version 1 or 2. A file that was saved several times holds several blocks;
/// the last one counts, and must be whole (the pixel size and the wavelength may come from an
/// earlier one). The pixel size is that of the file, else of the named detector. Throws Error
/// naming the file and the key.
PoniFile read_poni_file(const std::filesystem::path& path);

/// Version 2 text of a geometry.
std::string poni_text(const integration::DetectorGeometry& geometry, const std::string& comment);

} // namespace xrdct::frames
