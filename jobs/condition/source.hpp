// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// What the ways in which recorded data lie on disk share. Not for others.
#include "base/unit_names.hpp"
#include "jobs/condition/input.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::condition::detail {

inline constexpr float missing = std::numeric_limits<float>::quiet_NaN();

/// Throws Error for an infinite value; `where` begins the message.
void check_finite(std::span<const float> values, const std::string& where);

/// Evenly spaced values of a range of the job.
std::vector<double> stated_axis(const std::vector<double>& range, bool closed, std::size_t n);

/// A dataset by the path the job gives (below the group, or below the root) or by a usual name in
/// the group.
std::optional<hdf5::Dataset> find_dataset(const hdf5::Group& root, const hdf5::Group& group,
                                          const std::string& given,
                                          std::initializer_list<const char*> usual);

/// All n values of a dataset, one for each `what`. Throws Error naming it.
std::vector<double> vector_of(const hdf5::Dataset& dataset, std::size_t n, const char* what);

/// Values in the unit that the job gives, else in the dataset's own, in the canonical one.
std::vector<double> in_unit(std::vector<double> values, units::Quantity quantity,
                            const std::string& given, const hdf5::Dataset& dataset);

/// What the integration has corrected for.
void read_corrections(ConditionInput& input, const hdf5::Group& group,
                      const hdf5::Dataset& intensity);

/// Wavelength, distance, radial axis, pixels and texts of a file with patterns or lines.
void read_description(ConditionInput& input, const ConditionJob& job, const hdf5::Group& root,
                      const hdf5::Group& group, const hdf5::Dataset& intensity);

/// The dataset that the job names, else the file's default plot.
hdf5::Dataset open_intensity(const hdf5::Group& root, const std::string& given);

std::unique_ptr<ConditionInput> open_patterns(const ConditionJob& job);
std::unique_ptr<ConditionInput> open_lines(const ConditionJob& job);

} // namespace xrdct::condition::detail
