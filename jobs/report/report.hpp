// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::report {

/// How a report is made.
struct ReportOptions {
    /// Overwrite report.html and pictures that exist.
    bool force = false;
    /// Colour range of a quantity shared by all phases of a stage (to compare phases) instead of
    /// one per map.
    bool shared_ranges = false;
    /// Put the maps of the standard deviations into the page too; as files they are always written.
    bool errors_in_page = false;
    /// The stage whose numbers and pictures are the summary's; empty: the last one with maps of
    /// phases.
    std::string stage;
    /// A TOML file with [[lithium]] tables, used instead of those of the products' job; empty:
    /// none.
    std::filesystem::path lithium;
    /// gnuplot processes at a time; 0: one per hardware thread.
    int processes = 0;
    /// The plotting program: a name sought in PATH or a path.
    std::string gnuplot = "gnuplot";
};

/// What a report consists of.
struct ReportResult {
    std::filesystem::path page; ///< the HTML page
    std::vector<std::filesystem::path>
        files; ///< every file written: pictures, report.json and .csv, the page
    std::vector<std::string> notes; ///< what was left out, and why
};

/// Pictures and one self-contained page of the stage products (`*.nxs`) in `folder`.
///
/// Every NXdata below an NXprocess group is found by its attributes: maps (two axes) and patterns
/// (one axis) become
/// `<folder>/pictures/<stage>_<group>_<quantity>.png` and `.svg`; `<folder>/report.html` holds the
/// pictures, the resolved job, per-phase statistics, radial profiles, lithium contents, fit
/// statuses, timings, versions and input checksums; `report.json` and `report.csv` hold the
/// statistics as numbers. Serial: never touches MPI.
///
/// Everything is made in a temporary folder and renamed at the end, the page last, so that nothing
/// half-made carries a final name.
/// @throws Error when the folder or its products are missing, unreadable, when a file to be written
/// exists and
///         `force` is not set, or when gnuplot is missing or fails (naming the picture).
ReportResult make_report(const std::filesystem::path& folder, const ReportOptions& options = {});

} // namespace xrdct::report
