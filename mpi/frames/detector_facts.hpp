// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::frames::detail {

/// What a file says of the detector that took its frames.
struct DetectorFacts {
    std::vector<std::int32_t> mask;    ///< [row][column], not 0: bad; empty: none
    std::optional<std::int32_t> limit; ///< largest value that is a measured one
    std::optional<double> fill;     ///< value of pixels without one, as the frames' attribute says
    std::vector<std::string> notes; ///< what was taken from where, and what was not
};

/// Looks in the NXdetector that `images` lie in or are linked from, else in the only one that says
/// anything: pixel_mask [row, column] (leading axes of one; also in detectorSpecific, as DECTRIS
/// writes it), saturation_value (the value of a saturated pixel), else bit_depth_image, else
/// bit_depth_readout (the largest number of so many bits is no measured one). `fill` is of the
/// attributes _FillValue or missing_value of `images`.
DetectorFacts detector_facts(const hdf5::Group& root, const hdf5::Dataset& images);

} // namespace xrdct::frames::detail
