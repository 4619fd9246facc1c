// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "rietveld/model/pattern_model.hpp"

#include <span>
#include <string>
#include <vector>

namespace xrdct::settings {

/// Which job a table belongs to. The tables of both have the same keys as far as they mean the
/// same; a job for one pattern knows `refined` (of which `global` and `voxel` are other names, so
/// that a table can be copied from a map's job) and bounds.
enum class JobKind { map, pattern };

/// Throws Error naming the key when the condition does not hold.
void require(bool condition, const Settings& settings, const std::string& key,
             const std::string& expected);

/// A path as the job file means it: relative to its own folder.
std::filesystem::path beside(const std::filesystem::path& job_file,
                             const std::filesystem::path& path);

/// A number that is NaN (not given) or positive.
double positive(Settings& settings, const std::string& key, double fallback,
                const std::string& unit, const std::string& description);

/// The tables phase[index] and peak[index].
PhaseSettings read_phase(Settings& settings, std::size_t index, const std::filesystem::path& source,
                         JobKind kind);
PeakSettings read_peak(Settings& settings, std::size_t index, JobKind kind);

/// Adds the phases to a model: structures from their CIFs, start values, bounds, and `refine` for
/// what is not fixed. `notes` takes the warnings of the structures. Throws Error, naming `source`,
/// phase and key, for a CIF that cannot be used, a parameter that the symmetry does not leave free
/// but is to be refined or to start elsewhere, and bounds that exclude the start.
void add_phases(rietveld::PatternModel& model, std::span<const PhaseSettings> phases,
                const std::string& source, std::vector<std::string>& notes);
void add_peaks(rietveld::PatternModel& model, std::span<const PeakSettings> peaks);

} // namespace xrdct::settings
