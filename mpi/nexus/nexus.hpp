// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/hdf5/hdf5.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// NeXus conventions on HDF5: classes, default plots, units. On files opened on a communicator
/// every function that writes is collective with the same arguments on all ranks; rank 0 writes the
/// data.
namespace xrdct::nexus {

inline constexpr const char* file_type = "xrdct";
inline constexpr int format_version = 1;

/// @NX_class = NXroot, @file_type, @format_version, @program_version, @program_revision (of the
/// program's source), @creation_time, @default. On a file shared by ranks `creation_time` must be
/// the same on all of them (broadcast rank 0's now_utc()).
void write_root(hdf5::Group& root, const std::string& program_version,
                const std::string& program_revision, const std::string& creation_time,
                const std::string& default_entry = "entry");

/// @format_version of a file of this program. Error naming the file when it is none of ours, or
/// newer than this program.
int read_format_version(const hdf5::Group& root);

/// A group with @NX_class, made or opened.
hdf5::Group require_class(hdf5::Group& parent, const std::string& name,
                          const std::string& nx_class);

/// @default of every group above `group` points towards it, so that viewers open its plot.
void set_default(const hdf5::Group& group);

/// Current time, ISO 8601 with Z.
std::string now_utc();

struct Labels {
    std::string units;     ///< empty: none written
    std::string long_name; ///< empty: none written
};

/// A numeric scalar with units.
void write_value(hdf5::Group& group, const std::string& name, double value,
                 const Labels& labels = {});
void write_value(hdf5::Group& group, const std::string& name, std::int64_t value,
                 const Labels& labels = {});
/// A scalar dataset as it is stored; nothing when there is no such dataset, Error when it is no
/// scalar.
std::optional<double> read_value(const hdf5::Group& group, const std::string& name);
std::optional<std::string> read_text(const hdf5::Group& group, const std::string& name);

/// An axis [n] with @units and @long_name.
void write_axis(hdf5::Group& group, const std::string& name, std::span<const double> values,
                const Labels& labels);

/// An NXdata group: @signal, @axes (one name per axis of the signal, "." for none),
/// @<axis>_indices.
hdf5::Group require_data(hdf5::Group& parent, const std::string& name, const std::string& signal,
                         const std::vector<std::string>& axes);

/// A map [ny, nx] of float64 (row-major), values.size() = ny · nx.
void write_map(hdf5::Group& group, const std::string& name, std::span<const double> values,
               std::size_t ny, std::size_t nx, const Labels& labels = {});
/// The same with its standard deviations as <name>_errors beside it.
void write_map(hdf5::Group& group, const std::string& name, std::span<const double> values,
               std::span<const double> errors, std::size_t ny, std::size_t nx,
               const Labels& labels = {});
/// A map of integers (statuses, counts).
void write_map(hdf5::Group& group, const std::string& name, std::span<const std::int32_t> values,
               std::size_t ny, std::size_t nx, const Labels& labels = {});

struct Map {
    std::vector<double> values; ///< [y, x], row-major
    std::size_t ny = 0;
    std::size_t nx = 0;
    std::string units;
};
/// Error when the dataset is missing or not two-dimensional.
Map read_map(const hdf5::Group& group, const std::string& name);

/// The group of the file's default plot: @default is followed from the root; where it is missing,
/// the only (or first) NXentry, then the only (or first) NXdata below. Nothing when there is none.
std::optional<hdf5::Group> default_data(const hdf5::Group& root);
/// Name of the plotted dataset of an NXdata group: @signal, or the dataset with @signal = 1 (old
/// style).
std::optional<std::string> signal_of(const hdf5::Group& data);
/// Groups at most `depth` levels below whose @NX_class is the one given, by path.
std::vector<std::string> groups_of_class(const hdf5::Group& group, const std::string& nx_class,
                                         int depth = 4);

} // namespace xrdct::nexus
