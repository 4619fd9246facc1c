// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::program {

/// How far one stage of a run is.
struct StageState {
    std::string name;
    std::string state;  ///< waiting, running, kept, finished, failed, stopped
    double seconds = 0; ///< used so far
};

/// How far a run is: the content of progress.json in the output folder.
struct RunState {
    std::string state;   ///< running, finished, failed, or stopped (ended early and in order, to be
                         ///< continued with --resume)
    std::string message; ///< of a failure or a stop
    std::vector<StageState> stages; ///< in the order of the job
    std::string part;               ///< of the running stage: "rietveld: phases"
    std::size_t done = 0, total = 0;
    double part_seconds = 0;         ///< that the part has taken so far
    long iteration = -1;             ///< of an iterative stage; −1: none
    double residual = -1;            ///< of the iteration: Rwp (fraction), or a change; −1: none
    double started = 0, updated = 0; ///< seconds since 1970
    long process = 0;
    std::string host;
    std::string batch_job; ///< SLURM's number of the job, "" without
    int ranks = 1;
    int restarts = 0; ///< how often SLURM has started the job again

    /// The running, failed or stopped stage; nullptr: none.
    const StageState* current() const;
};

std::string to_json(const RunState& state);
/// Throws Error naming `source` when the text is not the state of a run.
RunState run_state_from_json(const std::string& text, const std::string& source);
/// The state of the run in an output folder; nothing when there is none. Throws Error as above.
std::optional<RunState> read_run_state(const std::filesystem::path& output);
/// output/progress.json
std::filesystem::path run_state_path(const std::filesystem::path& output);

/// Keeps progress.json of the run in this process: at most once a second, and at every change of
/// stage. One rank of a run holds one; the stages' progress bars find it by current(). What
/// cannot be written is left out: a run does not end for it. Serial.
class RunRecord {
  public:
    RunRecord();
    ~RunRecord();
    RunRecord(const RunRecord&) = delete;
    RunRecord& operator=(const RunRecord&) = delete;
    RunRecord(RunRecord&&) = delete;
    RunRecord& operator=(RunRecord&&) = delete;

    /// The record of this process; nullptr: none.
    static RunRecord* current();

    /// Starts the file. Before this nothing is written: a run that is refused leaves the record of
    /// the last one alone.
    void begin(const std::filesystem::path& output, const std::vector<std::string>& stages,
               int ranks);
    void enter_stage(const std::string& name);
    /// `state`: finished or kept.
    void leave_stage(const std::string& state);
    void part(const std::string& title, std::size_t done, std::size_t total, double seconds);
    void iterate(long iteration, double residual);
    /// Ends the record; `state` is finished, untrusted, failed or stopped.
    void end(const std::string& state, const std::string& message = {});

  private:
    StageState* running();
    void write(bool now);

    std::filesystem::path path_; ///< empty: not begun
    RunState state_;
    std::chrono::steady_clock::time_point stage_start_, last_write_;
};

} // namespace xrdct::program
