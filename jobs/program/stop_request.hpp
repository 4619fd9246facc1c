// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "base/error.hpp"

namespace xrdct::mpi {
class Communicator;
}

namespace xrdct::program {

/// Exit code of a run that was asked to stop and can be continued with --resume (EX_TEMPFAIL).
inline constexpr int stopped_exit_code = 75;

/// A run ends early because it was asked to; everything that was finished is saved.
class Stopped : public Error {
  public:
    using Error::Error;
};

/// From now on SIGUSR1 and SIGUSR2 ask this process to stop (SLURM sends one before the time limit;
/// mpirun hands on SIGUSR2 only, srun both).
void listen_for_stop();

/// Throws Stopped on all ranks when any of them was asked to stop; called where all has been saved.
/// Collective.
void stop_if_asked(const mpi::Communicator& communicator);

} // namespace xrdct::program
