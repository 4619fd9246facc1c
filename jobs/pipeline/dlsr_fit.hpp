#pragma once

#include "jobs/pipeline/dlsr_checkpoint.hpp"
#include "jobs/pipeline/dlsr_system.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// Of the steps of a DLSR.
petsc::BoundedGaussNewtonOptions dlsr_solver_options(double convergence, int steps);

/// A system and where its fit stands: takes steps, and keeps the state in a checkpoint. What is
/// done when is the caller's. Members are collective unless said otherwise.
class DlsrFit {
  public:
    /// Builds the system, and goes on where an earlier run of the same job stopped when the
    /// context's options say so. Session and system must outlive it. Throws Error on all ranks for
    /// a checkpoint of another job.
    DlsrFit(const petsc::Session& session, DlsrSystem& system);
    DlsrFit(const DlsrFit&) = delete;
    DlsrFit& operator=(const DlsrFit&) = delete;

    // Not collective.
    const petsc::Session& session() const { return session_; }
    DlsrSystem& system() const { return system_; }
    /// Of the checkpoint, but for x, data_x, tried and error_squares.
    DlsrCheckpoint& state() { return state_; }
    bool resumed() const { return resumed_; }
    const std::string& stop_reason() const { return stop_reason_; }
    bool converged() const { return converged_; }
    bool step_was_cut() const { return step_was_cut_; } ///< the last one: trials were rejected
    double checkpoint_seconds() const { return checkpoint_seconds_; } ///< waiting included
    /// Where the fit stands: this rank's share of the unknowns, and the global ones.
    const std::vector<double>& x() const { return x_; }
    const std::vector<double>& globals() const { return globals_; }
    /// Changes a global unknown.
    void set_global(std::size_t global, double value);
    /// Where the fit stood for each of state().held_out, own shares.
    std::vector<std::vector<double>>& tried() { return tried_; }
    /// Sums over the samples of noise, own share; empty: none yet.
    std::vector<double>& error_squares() { return error_squares_; }

    /// Stands at x (own share) from now on.
    void stand_at(std::vector<double> x);
    /// Where the fit stands, in the operator's order; a copy in the memory of the system's team.
    SharedArray<double> values() const;
    /// Holds the geometry where the fit has it. Not collective.
    void hold_geometry() const { system_.hold_geometry(globals_); }
    void set_smoothness(double strength);
    /// The setup has changed: the system is built again, and stands at `values` (in the operator's
    /// order; not those that the problem lends).
    void rebuild_at(std::span<const double> values);
    /// Steps from x; `keep`: the steps are those of the history and are saved, and
    /// ranges of global shapes follow them.
    void solve(const std::string& what, double convergence, int steps, bool keep);
    /// Steps and replacements of the data in turn, until neither changes anything.
    void solve_and_replace(const std::string& what, double convergence, int steps);
    /// Writes the checkpoint; then ends the run if that was asked for.
    void save();
    void remove_checkpoint() const;

  private:
    std::optional<DlsrCheckpoint> earlier_state() const;
    void go_on_from(DlsrCheckpoint earlier);
    std::vector<double> own_share(const std::vector<double>& whole) const;
    std::optional<GlobalRanges> take_steps(const std::string& what, double convergence, int steps,
                                           bool keep);
    void move_to(const GlobalRanges& ranges);
    /// Where the fit stands; as DlsrSystem::replace_data.
    double replace_data();

    const petsc::Session& session_;
    DlsrSystem& system_;
    const mpi::Communicator& communicator_;
    std::filesystem::path checkpoint_path_;
    DlsrCheckpoint state_;
    std::vector<double> x_, globals_, error_squares_;
    std::vector<double> data_x_; ///< where the data were replaced last; empty: they were not
    std::vector<std::vector<double>> tried_;
    bool resumed_ = false;
    std::string stop_reason_;
    bool converged_ = false;
    bool step_was_cut_ = false;
    double checkpoint_seconds_ = 0;
};

} // namespace xrdct::pipeline
