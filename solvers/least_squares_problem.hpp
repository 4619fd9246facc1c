// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <cstddef>
#include <span>

namespace xrdct::solvers {

/// Minimise f(x) = ½ ‖r(x)‖² (or another sum of squares, penalties included) within bounds
/// l ≤ x ≤ u. The unknowns x are spread over the ranks of a communicator: every rank holds a share
/// of local_size() entries, the shares one after another in rank order make the whole vector.
///
/// All spans have local_size() entries, are this rank's share and do not overlap. Members marked
/// collective are called by all ranks in the same order. An error in them is agreed on by the
/// problem (Communicator::collectively) before any rank throws; the exception reaches the caller
/// of the solver as it is.
///
/// Unknowns are best scaled so that a change of one matters alike everywhere: the solver's
/// tolerance of the active set is a plain number in units of x.
class LeastSquaresProblem {
  public:
    LeastSquaresProblem() = default;
    virtual ~LeastSquaresProblem() = default;
    LeastSquaresProblem(const LeastSquaresProblem&) = delete;
    LeastSquaresProblem& operator=(const LeastSquaresProblem&) = delete;

    /// Entries of x on this rank (may be 0); constant. Not collective.
    virtual std::size_t local_size() const = 0;

    /// Bounds of this rank's share, ±infinity where there is none; lower ≤ upper, and an unknown
    /// with lower == upper is held. Read once by a solver. Not collective.
    virtual void bounds(std::span<double> lower, std::span<double> upper) const = 0;

    /// f(x), the same value on all ranks. NaN or infinity means that the model cannot be evaluated
    /// there: a solver then tries a shorter step. Collective. Leaves the point of linearise() as it
    /// is.
    virtual double objective(std::span<const double> x) = 0;

    /// f(x) and its gradient ∂f/∂x. Collective. Leaves the point of linearise() as it is. When it
    /// follows objective() at the same x, a problem may reuse what it kept.
    virtual double objective_and_gradient(std::span<const double> x,
                                          std::span<double> gradient) = 0;

    /// Where the step from `base`, the point of linearise(), to `trial` (within the bounds) leads
    /// to: `trial` is replaced by another point within the bounds that differs in second order of
    /// the step only. A problem that knows more of its curvature than H does makes steps longer
    /// here that would have to be cut otherwise. Collective. By default the trial stays.
    virtual void retract([[maybe_unused]] std::span<const double> base,
                         [[maybe_unused]] std::span<double> trial) {}

    /// Fixes the point x of the two products below, until the next call. Collective. x is a point
    /// whose objective and gradient were asked for before, usually the last one.
    virtual void linearise(std::span<const double> x) = 0;

    /// out = H v with the Gauss–Newton matrix H = Jᵀ J (+ second derivatives of penalties) at the
    /// point of linearise(): symmetric, positive semidefinite, not restricted to free unknowns.
    /// Collective.
    virtual void gauss_newton_product(std::span<const double> v, std::span<double> out) = 0;

    /// out = M⁻¹ v with a symmetric positive definite M that resembles H at the point of
    /// linearise(). The trust region is measured in M's norm √(vᵀ M v). Collective.
    virtual void precondition(std::span<const double> v, std::span<double> out) = 0;
};

} // namespace xrdct::solvers
