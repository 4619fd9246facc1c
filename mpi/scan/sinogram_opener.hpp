#pragma once

// How a scan file is understood; the part of SinogramFile that deals with names, units and axis
// orders.
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

/// What a name of the field ("omega", "dty", "q", …) says about an axis.
std::optional<Role> role_by_name(const std::string& path);

/// @axes as an array of names, or in the old style as one text "a:b:c" or "[a,b,c]"; empty when
/// there is none.
std::vector<std::string> axes_attribute(const hdf5::Object& object);

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
