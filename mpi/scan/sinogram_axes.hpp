// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Which stored axis of a scan is what: by the caller's word, by names, units and lengths.
#include "mpi/hdf5/hdf5.hpp"
#include "mpi/scan/sinogram_file.hpp"

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::scan::detail {

enum Role { rotation = 0, translation = 1, channel = 2, stack = 3 };
inline constexpr std::array<const char*, 4> role_names = {"rotation", "translation", "radial",
                                                          "height"};

/// What a radial axis measures.
enum class Radial { two_theta, q, radius };

/// What a name of the field ("omega", "dty", "q", …) says about an axis.
std::optional<Role> role_by_name(const std::string& path);
/// The radial quantity that a name stands for ("tth", "q"), if it stands for one.
std::optional<Radial> radial_by_name(const std::string& path);

/// @axes as an array of names, or in the old style as one text "a:b:c" or "[a,b,c]"; empty when
/// there is none.
std::vector<std::string> axes_attribute(const hdf5::Object& object);

/// @units; "" without.
std::string units_attribute(const hdf5::Dataset& dataset);

/// "/entry/data/q" → "q".
std::string last_part(const std::string& path);

/// Where a scan's datasets are looked for.
struct ScanGroups {
    hdf5::Group root;  ///< of the file
    hdf5::Group data;  ///< of the intensities
    hdf5::Group entry; ///< the NXentry around it, else the only one, else the root

    /// A path the caller gave: below the intensities' group, or below the root.
    hdf5::Dataset open_given(const std::string& path) const;
};

/// The dataset that the caller named for an axis; "": none.
const std::string& given_path(const SinogramSource& source, Role role);

/// The axes of the intensities.
struct StoredAxes {
    /// Position of rotation, translation, channel and stack among the stored axes; −1: the file has
    /// no such axis.
    std::array<int, 4> position{-1, -1, -1, -1};
    std::vector<std::string> names; ///< from @axes, one per stored axis, or ""
};

/// Throws Error naming the dataset when rotation, translation or channels are missing, there twice,
/// empty or cannot be told apart.
StoredAxes find_axes(const hdf5::Dataset& intensity, const ScanGroups& groups,
                     const SinogramSource& source);

} // namespace xrdct::scan::detail
