// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/program/child_process.hpp"

#include <optional>
#include <string>
#include <vector>

namespace xrdct::cluster {

using Outcome = program::ChildOutcome;

/// Runs a program found in PATH and waits, at most `timeout` seconds.
Outcome run_tool(const std::vector<std::string>& words, double timeout = 90);

/// One job or member of an array as SLURM knows it.
struct SlurmJob {
    long id = 0;       ///< of the job; of the array for a member
    long task = -1;    ///< of a member; −1: none
    std::string tasks; ///< members of an array that still wait together: "3-7,9%4"
    std::string state; ///< PENDING, RUNNING, COMPLETED, FAILED, TIMEOUT, …
    std::string reason;
    double start = 0; ///< seconds since 1970, expected for one that waits; 0: unknown
};

/// Whether a state of SLURM is one that ends.
bool has_ended(const std::string& state);
/// Whether the entry is of the job `id`, member `task` (−1: a job of its own).
bool is_member(const SlurmJob& job, long id, long task);

/// The jobs in the output of `squeue --json` and of `sacct --json`, in the forms of SLURM 21.08 to
/// 24: states as words or lists, numbers as such or as {set, infinite, number}. Throws Error naming
/// the program when the text is something else or states an error.
std::vector<SlurmJob> parse_squeue(const std::string& text);
std::vector<SlurmJob> parse_sacct(const std::string& text);

/// What SLURM knows of jobs.
struct SlurmView {
    std::vector<SlurmJob> jobs;
    std::string trouble; ///< why the queue cannot be asked; empty: it was
};
/// Asks squeue, and sacct for jobs of `ids` that have left the queue (nothing is missed where there
/// is no accounting: the caller has the progress files).
SlurmView ask_slurm(const std::vector<long>& ids);

/// Submits a script; returns the number. Throws Error that says what SLURM refused, naming the
/// profile `source` where the reason lies there.
long submit_script(const std::string& path, const std::string& source);
/// Cancels a job, or members of an array "12_3". Throws Error.
void cancel_jobs(const std::vector<std::string>& ids);

/// What a failed call of a SLURM program means, in words, with its own last words.
std::string explain(const std::string& program, const Outcome& outcome, const std::string& source);

} // namespace xrdct::cluster
