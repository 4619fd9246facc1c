// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/settings.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace xrdct::cluster {

/// How jobs are run at a site: the content of a profile file (TOML).
struct Profile {
    std::filesystem::path source; ///< empty: the defaults

    std::string partition, account, qos, constraint;
    std::vector<std::string> options; ///< more options of sbatch

    std::vector<std::string> modules;   ///< loaded before the run
    std::vector<std::string> setup;     ///< shell lines before the run
    std::vector<std::string> container; ///< words in front of the program
    std::string program;                ///< empty: this program
    std::string launcher = "srun";      ///< or mpirun
    std::vector<std::string> launcher_options;

    long cores_per_node = 8;
    std::uint64_t memory_per_node = 0; ///< bytes; 0: the request is not cut to it
    long max_nodes = 1;
    double target = 1800; ///< s; as many cores are taken as finish within this
    double max_time = 86400;
    double factor = 3; ///< time asked for over time estimated
    double memory_factor = 1.3;
    double notice = 180; ///< s between the signal and the time limit
    long requeues = 10;  ///< most continuations
};

/// Throws Error naming the file and key: syntax, unknown keys (with the nearest), types, ranges.
Profile parse_profile(const std::string& text, const std::filesystem::path& source);

/// The given file; without one $XRDCT_PROFILE, then profile.toml in the user's folder
/// ($XDG_CONFIG_HOME or ~/.config)/xrdct; defaults if there is none.
Profile find_profile(const std::filesystem::path& given);

/// Every key with type, default, unit and meaning.
std::vector<settings::SettingDescription> profile_reference();

} // namespace xrdct::cluster
