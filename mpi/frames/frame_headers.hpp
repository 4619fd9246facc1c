// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/unit_names.hpp"
#include "mpi/frames/frame_series.hpp"

#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace xrdct::frames::detail {

/// A kind of number that frames may have, one each.
struct FrameKind {
    const char* name; ///< as in by_name()
    units::Quantity quantity;
    bool has_unit; ///< false: a pure number, `quantity` is of no account
};

/// In the order of by_name().
extern const std::array<FrameKind, 6> frame_kinds;

/// Reads what the headers of CBF and EDF files say of each of the `size` frames in `parts` into
/// `vectors`, by the keys of FrameSeries::Options::headers; a frame whose header lacks one has NaN.
/// Says in `notes` what was read. Throws Error for frames of HDF5 files and for a key that no
/// header has.
void read_header_numbers(const std::map<std::string, std::string>& given,
                         const std::vector<FramePart>& parts, std::size_t size,
                         FrameVectors& vectors, std::vector<std::string>& notes);

} // namespace xrdct::frames::detail
