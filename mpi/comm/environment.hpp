// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string_view>

namespace xrdct::mpi {

/// Owns MPI for the lifetime of the process: MPI_Init_thread (FUNNELED: only the main thread calls
/// MPI) and MPI_Finalize. Make one in main() before anything else of this layer that takes a
/// Communicator. Collective. Throws Error when MPI is already initialised or was finalised.
///
/// A destructor that runs because an exception leaves main() ends all ranks with MPI_Abort: the
/// other ranks may be waiting in a collective call that this rank will never make, and MPI_Finalize
/// would wait with them. Errors that all ranks agreed upon (see Communicator::agree) are caught
/// below the Environment and end in an orderly way.
class Environment {
  public:
    Environment();
    Environment(int& argc, char**& argv);
    ~Environment();
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

    /// True between MPI_Init and MPI_Finalize. Serial parts (HDF5 without communicator) work
    /// without.
    static bool initialized();

  private:
    int exceptions_at_start_;
};

/// Prints the message on standard error and ends every rank of the job with the exit code; for
/// errors that the ranks cannot agree upon. Also right without MPI (plain exit). Does not return;
/// destructors do not run. Not collective.
[[noreturn]] void abort_all(int exit_code, std::string_view message);

} // namespace xrdct::mpi
