// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/report/analysis.hpp"
#include "jobs/report/picture.hpp"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::report {

/// A picture of an analysis.
struct PlannedPicture {
    enum class Kind { profile, lithium_map, lithium_errors, lithium_distribution };
    Kind kind = Kind::profile;
    std::string name;    ///< for the file: "profile_c", "lithium_cathode"
    std::string caption; ///< says weights and what was left out
    std::function<void(const std::filesystem::path& stem, const PictureOptions& options)> draw;
};

/// Radial profiles of every quantity (a panel per phase), lithium maps, distributions and profiles.
/// The functions refer to `stage`, which must outlive them; they do not read files.
std::vector<PlannedPicture> analysis_pictures(const StageResult& stage);

} // namespace xrdct::report
