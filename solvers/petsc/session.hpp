// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace xrdct::petsc {

/// Whether an Error from PETSc carries the chain of PETSc functions it went through.
enum class ErrorTrace { no, yes };

/// Move-only owner of one set of PETSc options; the first one of a process starts PETSc.
///
/// `options` is a command line such as "-tao_monitor -ksp_rtol 1e-3": names begin with a hyphen and
/// a letter, a value is one word without blanks, a later mention overrides an earlier one. The
/// options hold for the objects made with this Session only: another Session in the same process,
/// also at the same time, has its own. Neither ~/.petscrc nor the variable PETSC_OPTIONS reaches
/// them. Options that PETSc reads while it starts (-log_view, -malloc_debug) work in the first
/// Session of the process; in a later one they stay unused, an error like any unused option.
///
/// PETSc cannot be started twice in a process (its registry of optimisers is lost), so it ends with
/// MPI: just before MPI_Finalize does its work. No signal handler is installed. PETSc prints no
/// errors, its return codes become Error; what options ask it to print goes to standard error.
///
/// Construction is collective over the communicator, whose ranks must be those of the first
/// Session; solvers made with it may run on part of them. Throws Error on all ranks for malformed
/// options, different ranks, or when PETSc cannot start.
class Session {
  public:
    explicit Session(const mpi::Communicator& communicator, std::string_view options = {},
                     ErrorTrace trace = ErrorTrace::no);
    Session(Session&&) noexcept;
    Session& operator=(Session&&) noexcept;
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
    ~Session();

    /// Names of options (with hyphen) that nothing has asked for so far. Not collective; the same
    /// on all ranks.
    std::vector<std::string> unused_options() const;

    /// Throws Error that names every unused option and a known name near it. Solvers call this
    /// when they have read their options; options that PETSc reads only during a solve (names that
    /// have to do with views, reasons and logs) are let pass until `after_solve`. Not collective;
    /// the same outcome on all ranks.
    void require_used_options(bool after_solve) const;

    /// For the parts of this layer.
    class Impl;
    const std::shared_ptr<Impl>& impl() const { return impl_; }

  private:
    std::shared_ptr<Impl> impl_;
};

} // namespace xrdct::petsc
