// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// How a scan file is understood; the part of SinogramFile that deals with names, units and axis
// orders.
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/scan/sinogram_axes.hpp"
#include "mpi/scan/sinogram_file.hpp"

#include <array>
#include <optional>
#include <string>

namespace xrdct::scan::detail {

inline constexpr std::size_t chunk_cache_bytes = std::size_t{32} << 20;

/// What was found in a file, before any intensity is read.
struct OpenedSinogram {
    hdf5::Dataset intensity;
    std::optional<hdf5::Dataset> errors, transmission, monitor, pixels;
    SinogramMetadata metadata;
    /// Position of rotation, translation, channel and stack among the stored axes; −1: the file has
    /// no such axis.
    std::array<int, 4> axis{-1, -1, -1, -1};
    std::size_t stack_index = 0;
    bool named_by_caller = false; ///< the intensities, that is
};

/// Not collective. Throws Error naming file and dataset.
OpenedSinogram open_sinogram(const hdf5::File& file, const SinogramSource& source);

} // namespace xrdct::scan::detail
