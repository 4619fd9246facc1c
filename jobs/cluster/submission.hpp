// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/cluster/slurm.hpp"
#include "jobs/program/run_record.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::cluster {

/// A member of a submission: the one run of a job, or a scan of a campaign.
struct SubmittedMember {
    std::string name; ///< "" for a single job
    std::filesystem::path input, output;
    std::string checksum; ///< of the resolved settings
    long job = 0;         ///< SLURM's number of the latest submission it is in
};

/// What was submitted: submission.json in the output folder.
struct Submission {
    std::string title;
    std::filesystem::path job_file, output;
    bool array = false;
    long job = 0; ///< the latest
    std::string date;
    std::vector<long> earlier;
    std::vector<SubmittedMember> members;
    std::vector<std::pair<std::string, double>> estimates; ///< stage → s
    double time_limit = 0;                                 ///< s

    /// The log of a member; %j and %A_%a filled in.
    std::filesystem::path log(std::size_t member) const;
};

std::filesystem::path submission_path(const std::filesystem::path& output);
/// Nothing when there is none; throws Error naming a file that is none.
std::optional<Submission> read_submission(const std::filesystem::path& output);
/// Throws Error when it cannot be written.
void write_submission(const Submission& submission);

/// Output folders of the submissions of this user, latest last, from a list in $XDG_STATE_HOME (or
/// ~/.local/state)/xrdct; folders whose record is gone are left out.
std::vector<std::filesystem::path> known_submissions();
/// Adds a folder to the list. Returns what went wrong, "" if nothing.
std::string remember_submission(const std::filesystem::path& output);

/// The state of a member, from SLURM and from its own progress file.
struct MemberState {
    std::string state;  ///< waiting, running, continued (back in the queue), finished, failed,
                        ///< cancelled, stopped, lost, unknown
    std::string detail; ///< why it waits or failed
    std::optional<program::RunState> run; ///< of this submission
    double left = -1;                     ///< s to the end, −1: unknown
    bool ended() const;
};

/// `view` is what SLURM says. SLURM's word holds for a job in its queue, the progress file's for
/// one that is not: it says how a run ended where there is no accounting.
MemberState member_state(const Submission& submission, std::size_t member, const SlurmView& view);

/// Time to the end [s] from the part's pace and the estimates of the stages to come; −1: unknown.
double time_left(const program::RunState& run,
                 const std::vector<std::pair<std::string, double>>& estimates);

} // namespace xrdct::cluster
