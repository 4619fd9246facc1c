// SPDX-License-Identifier: BSD-3-Clause
#pragma once

// Private to solvers/petsc.
#include "mpi/comm/communicator.hpp"

#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace xrdct::petsc {

/// Carries exceptions of callbacks through PETSc, which is C: a callback's work runs under the
/// guard, all ranks agree on its outcome, all return an error code to PETSc together, and the
/// caller of PETSc rethrows: the rank that threw its own exception, unchanged, the others an Error
/// with the text of the lowest rank that did.
///
/// A rank that threw alone while the others wait inside the callback's own collective calls cannot
/// reach agreement: after `grace_seconds` it ends all ranks (mpi::abort_all) with its message.
class CallbackGuard {
  public:
    CallbackGuard(const mpi::Communicator& communicator, double grace_seconds)
        : communicator_(communicator), grace_seconds_(grace_seconds) {}

    /// Runs `work`, which returns flags, on this rank; the flags of all ranks or-ed, nothing when
    /// any rank threw. Collective.
    template <class F>
    std::optional<unsigned> run(F&& work) {
        unsigned flags = 0;
        try {
            flags = std::forward<F>(work)();
        } catch (...) {
            error_ = std::current_exception();
        }
        return agree(flags);
    }

    /// The flags of all ranks or-ed. Collective.
    unsigned combine(unsigned flags) { return agree(flags).value_or(flags); }

    bool failed() const { return error_ != nullptr; }
    /// Throws what run() kept and forgets it; nothing when there is nothing.
    void rethrow();

  private:
    std::optional<unsigned> agree(unsigned flags);

    const mpi::Communicator& communicator_;
    double grace_seconds_;
    std::exception_ptr error_;
};

} // namespace xrdct::petsc
