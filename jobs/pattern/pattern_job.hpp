// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "mpi/patterns/pattern_file.hpp"
#include "rietveld/fit/refinement.hpp"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::pattern {

/// Where the variances of a pattern come from.
enum class PatternNoise { automatic, errors, counts, estimate, none };

/// The job of `xrdct rietveld`: one pattern and its model. Paths are absolute or relative to the
/// job file's folder.
struct PatternJob {
    std::string title;
    std::string source; ///< names the job in messages
    std::filesystem::path output;
    std::filesystem::path file;
    std::filesystem::path instrument_file; ///< of xrdct calibrate; empty: none
    /// Degrees 2θ between which the instrument file's widths are known.
    std::pair<double, double> calibrated_range{0, 180};
    patterns::PatternFileOptions reading;
    std::vector<std::pair<double, double>> excluded; ///< deg 2θ
    PatternNoise noise = PatternNoise::automatic;

    /// Instrument, geometry, corrections, background; no phases and peaks yet.
    rietveld::PatternModel model;
    std::vector<settings::PhaseSettings> phases;
    std::vector<settings::PeakSettings> peaks;
    rietveld::RefinementOptions options;

    std::vector<std::string> notes;
    std::string resolved; ///< the whole job with every default filled in, as TOML
};

/// Reads a pattern job from TOML text. Throws Error naming the job and key as parse_job does. Opens
/// no file but the one of `instrument.file`.
PatternJob parse_pattern_job(const std::string& text, const std::filesystem::path& source,
                             const std::vector<std::string>& overrides = {});

/// Every key of a pattern job with type, unit, default and meaning.
std::vector<settings::SettingDescription> pattern_job_reference();

} // namespace xrdct::pattern
