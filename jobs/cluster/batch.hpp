// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/cluster/profile.hpp"
#include "jobs/pipeline/estimate.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace xrdct::cluster {

/// What a job asks SLURM for.
struct Resources {
    int nodes = 1, ranks = 1;
    std::uint64_t memory = 0; ///< bytes per node
    double seconds = 0;       ///< time limit
    double estimated = 0;     ///< of the run, without the margin [s]
    std::vector<pipeline::StageEstimate> stages;
    std::vector<std::string> notes;
};

/// What the user fixed; 0: find it.
struct Wishes {
    int nodes = 0, ranks = 0;
    double seconds = 0;
    std::uint64_t memory = 0; ///< bytes over all ranks, as xrdct run --memory; 0: no limit
};

/// Ranks: the fewest (1, 2, 4, …) that finish within the profile's target, or that gain at least a
/// fifth over half as many, up to what its nodes hold; `needs` estimates the stages for a number of
/// ranks. One allocation holds all stages: they want the same ranks and memory per rank within a
/// factor of two, and a chain of jobs would wait in the queue once per stage. Throws Error when not
/// even one rank fits a node.
Resources plan(const Profile& profile, const Wishes& wishes,
               const std::function<std::vector<pipeline::StageEstimate>(int ranks)>& needs);

/// One run of the script: a job, or a member of an array.
struct Member {
    std::string name; ///< "" for a single job
    std::filesystem::path input, output;
    std::string checksum; ///< SHA-256 of the resolved job
};

/// What makes the job file that of a member: assignments for --set. Empty for a single job.
std::vector<std::string> member_settings(const Member& member);

struct BatchJob {
    std::string name;
    std::filesystem::path job_file, output; ///< absolute
    std::filesystem::path program;          ///< of this process
    std::vector<Member> members;            ///< one without a name, or those of the array
    std::vector<std::size_t> indices;       ///< members to run; used with an array only
    bool array = false;
    bool force = false, resume = false, force_data = false;
    std::uint64_t memory_limit = 0; ///< of xrdct run; 0: none
};

/// The text of the batch script. SLURM asks it to stop before the time limit; it hands that on,
/// and puts the job back into the queue when the run ended in order or saved something new, so
/// that a run that gains nothing in a whole time limit fails instead of going round for ever.
std::string batch_script(const Profile& profile, const Resources& resources, const BatchJob& job);

/// A word as bash reads it back.
std::string shell_quoted(const std::string& word);
/// "1-02:30:00", "00:10:00".
std::string slurm_time(double seconds);
/// Seconds of "90", "90min", "2h", "1h30min", "01:30:00", "1-12:00:00" (a bare number: minutes, as
/// for sbatch). Throws Error naming `option`.
double parse_time(const std::string& text, const std::string& option);

} // namespace xrdct::cluster
