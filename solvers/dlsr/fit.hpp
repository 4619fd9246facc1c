// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "solvers/dlsr/state.hpp"
#include "solvers/dlsr/system.hpp"
#include "solvers/petsc/bounded_gauss_newton.hpp"
#include "solvers/petsc/session.hpp"

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::dlsr {

/// Of the steps of a DLSR.
petsc::BoundedGaussNewtonOptions solver_options(double convergence, int steps);

/// Whether a state that was kept can be taken up by a system: it has as many unknowns. Not
/// collective.
bool fits(const System& system, const State& state);

/// A system and where its fit stands: takes steps, and hands its state to the observer where that
/// is whole. It alone owns the state; each algorithm has its part of it to write, and what is done
/// when is the caller's. Members are collective unless said otherwise.
class Fit {
  public:
    /// Builds the system, and goes on from `earlier` if there is one (of all ranks, the same on
    /// each; it must fit the system). Session and system must outlive it.
    Fit(const petsc::Session& session, System& system, std::optional<State> earlier);
    ~Fit() = default;
    Fit(const Fit&) = delete;
    Fit& operator=(const Fit&) = delete;

    // Not collective.
    const petsc::Session& session() const { return session_; }
    System& system() const { return system_; }
    const State& state() const { return state_; }
    /// Ends the present phase.
    void enter(Phase phase) {
        state_.phase = phase;
        apply_state();
    }
    // Parts of the state for those that write them; vectors are own shares.
    GeometryState& geometry() { return state_.geometry; }
    ValidationState& validation() { return state_.validation; }
    EsdState& esd() { return state_.esd; }

    bool resumed() const { return resumed_; }
    const std::string& stop_reason() const { return stop_reason_; }
    bool converged() const { return converged_; }
    bool step_was_cut() const { return step_was_cut_; } ///< the last one: trials were rejected
    double checkpoint_seconds() const { return checkpoint_seconds_; } ///< waiting included
    /// Where the fit stands: this rank's share of the unknowns, and the global ones.
    const std::vector<double>& x() const { return state_.fit.x; }
    const std::vector<double>& globals() const { return globals_; }
    /// Changes a global unknown.
    void set_global(std::size_t global, double value);

    /// Stands at x (own share) from now on.
    void stand_at(std::vector<double> x);
    /// Where the fit stands, in the operator's order; a copy in the memory of the system's team.
    SharedArray<double> values() const;
    /// Holds the geometry where the fit has it. Not collective.
    void hold_geometry() const { system_.hold_geometry(globals_); }
    /// Regularisation weight of the smoothness of voxel cells. Not collective.
    void set_smoothness(double weight);
    /// Corrects the radial axis of the setup by a factor of tan 2θ and builds the system again, to
    /// stand where it stood with all lengths following.
    void scale_radial_axis(double factor);
    /// Smoothness of amounts from now on. Not collective.
    void set_amount_smoothness(AmountSmoothness amounts);
    /// Amounts of phases that started absent are tied to their neighbours, from now on, as if what
    /// they are now were much. Whether a tie changed by more than a tenth. Collective.
    bool tie_late_amounts();
    /// The factors of their smoothness, per field. Not collective.
    void set_ties(std::vector<double> ties);
    /// Steps from x; `keep`: the steps are those of the history and are saved, and
    /// ranges of global shapes follow them.
    void solve(const std::string& what, double convergence, int steps, bool keep);
    /// Steps and replacements of the data in turn, until neither changes anything.
    void solve_and_replace(const std::string& what, double convergence, int steps);
    /// Hands the state to the observer; then ends the run if that was asked for.
    void save();

  private:
    /// Gives the problem what the state has of smoothness and ties; holds the late globals where
    /// the fit has them in the rough steps, frees them after. Not collective.
    void apply_state();
    void go_on_from(State earlier);
    std::vector<double> own_share(const std::vector<double>& whole) const;
    /// The setup has changed: the system is built again, and stands at `values` (in the operator's
    /// order; not those that the problem lends).
    void rebuild_at(std::span<const double> values);
    std::optional<GlobalRanges> take_steps(const std::string& what, double convergence, int steps,
                                           bool keep);
    void restore(petsc::BoundedGaussNewton& solver) const;
    void take_over(const petsc::BoundedGaussNewton::State& state);
    void report(const std::string& what, const petsc::StepReport& step, bool keep);
    void end_steps(petsc::StopReason reason);
    void move_to(const GlobalRanges& ranges);
    /// Where the fit stands; as System::replace_data.
    double replace_data();

    const petsc::Session& session_;
    System& system_;
    const mpi::Communicator& communicator_;
    State state_; ///< vectors are own shares
    std::vector<double> globals_;
    bool resumed_ = false;
    std::string stop_reason_;
    bool converged_ = false;
    bool step_was_cut_ = false;
    double checkpoint_seconds_ = 0;
};

} // namespace xrdct::dlsr
