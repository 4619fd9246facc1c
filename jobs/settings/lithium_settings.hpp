// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/settings.hpp"

#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::settings {

inline constexpr double not_given = std::numeric_limits<double>::quiet_NaN();

/// How the lithium content of a phase is known: by a calibration table of a lattice parameter, or
/// fixed.
struct LithiumSettings {
    std::string electrode;       ///< cathode or anode
    std::string phase;           ///< as named in [[phase]]
    std::string parameter = "c"; ///< a, b, c [Å], c/a, or volume [Å³]
    /// (lattice value, lithium per host unit), strictly monotonic in the lattice value; empty: the
    /// content is fixed.
    std::vector<std::pair<double, double>> table;
    bool clamp = false;           ///< values beyond the table get that of its end; else none (NaN)
    double content = not_given;   ///< of a phase of fixed composition, per host unit
    double host_mass = not_given; ///< mass of the phase (of its CIF) per host unit [g/mol]
    double gamma = 120;           ///< between the axes of a phase with a and c only [deg]
};

/// Reads all [[lithium]] tables. Throws Error naming the key for a table and a content that are
/// given together or both missing, tables that are too short, not sorted, with a value twice or
/// in another unit, a phase named twice, a host_mass that is missing where an electrode has several
/// phases.
std::vector<LithiumSettings> read_lithium(Settings& settings);

/// Throws Error naming `source`, and the nearest known phase, for a phase that is not in `phases`.
void check_lithium_phases(const std::vector<LithiumSettings>& lithium,
                          const std::vector<std::string>& phases, const std::string& source);

/// The [[lithium]] tables of a TOML file: of their own, or a whole job of which the rest is not
/// looked at. Throws Error naming file and key, also when it has none.
std::vector<LithiumSettings> read_lithium_file(const std::filesystem::path& path);

/// The [[lithium]] tables of the text of a resolved job; `source` names it in messages.
std::vector<LithiumSettings> lithium_of_job(const std::string& text, const std::string& source);

} // namespace xrdct::settings
