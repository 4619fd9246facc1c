// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/compare/comparison.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::compare {

/// How the comparison was asked for, for the files' records.
struct Settings {
    std::string command; ///< the whole command line
    std::string json;    ///< every setting, resolved
    std::string date;    ///< ISO 8601, UTC
};

/// Alignments, statistics, whole-cell weight fractions, differences and histograms; no maps.
/// Numbers that do not exist are null.
std::string comparison_json(const Comparison& comparison, const Settings& settings);

/// One row per cell, phase and quantity (and difference), with a heading.
std::string comparison_csv(const Comparison& comparison);

/// The aligned maps, their differences, transforms and provenance as `path` (see file-formats.md).
/// Written under a temporary name and renamed. @throws Error as ProductFile does.
void write_comparison(const Comparison& comparison, const Settings& settings,
                      const std::filesystem::path& path, bool force);

/// Pictures (`pictures/<stem>.png`, `.svg`) of all quantities and the page `comparison.html`, made
/// in the existing folder. Returns what was made, relative to the folder, the page last.
/// @throws Error as the drawing functions do.
std::vector<std::filesystem::path> make_page(const Comparison& comparison, const Settings& settings,
                                             const std::filesystem::path& folder);

} // namespace xrdct::compare
