// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/frames/image.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace xrdct::frames::detail {

/// Paths of the datasets with a file's frames, in order. `wanted` as in
/// FrameSeries::Options::dataset; empty: Eiger's data_000001, … of one group, else the only stack
/// of images in the file. Throws Error naming the file `name` when there is none, there are
/// several, or a series has gaps or links that lead nowhere.
std::vector<std::string> find_frame_datasets(const hdf5::Group& root, const std::string& name,
                                             const std::string& wanted);

/// Throws Error when the file says that an Eiger was told to take another number of frames.
void check_eiger_count(const hdf5::Group& root, const std::string& name, std::size_t count);

/// The kind of number that pixels of a dataset are read as.
PixelType pixel_type_of(const hdf5::Dataset& dataset);

} // namespace xrdct::frames::detail
