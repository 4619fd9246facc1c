// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/condition/conditioner.hpp"
#include "jobs/condition/job.hpp"

#include <filesystem>
#include <vector>

namespace xrdct::condition {

/// What `write_condition_report` will write, for the question whether it is there already.
std::vector<std::filesystem::path> condition_report_targets(const std::filesystem::path& folder);

/// condition.html and pictures/condition-*.png and .svg: what every step found and did, with maps
/// before and after. Returns the files written. Throws Error naming the picture or file.
std::vector<std::filesystem::path> write_condition_report(const ConditionJob& job,
                                                          const ConditionInput& input,
                                                          const Conditioner& conditioner,
                                                          const std::filesystem::path& folder);

} // namespace xrdct::condition
