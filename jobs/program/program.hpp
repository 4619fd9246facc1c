// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

namespace xrdct::mpi {
class Communicator;
}

namespace xrdct::program {

/// Exit code of every failure, on every rank.
inline constexpr int failure_exit_code = 1;
/// Exit code of a run that made its products, which cannot be trusted by their own numbers.
inline constexpr int untrusted_exit_code = 3;

/// The command line of `xrdct`: dispatches to a command, prints an Error once (rank 0 only, under
/// MPI) and returns the exit code. Commands that need ranks (run, simulate) initialise MPI; the
/// others never do.
int run_program(int argc, char** argv);

/// One command of `xrdct`: `function` takes the arguments after its name.
struct Command {
    const char* name;
    const char* summary; ///< one line
    int (*function)(const std::vector<std::string>&);
};

/// The commands that `xrdct --help` lists, in its order.
std::span<const Command> program_commands();

/// Initialises MPI and runs `work` on all ranks. An Error, which the ranks have agreed on, is
/// printed once and ends all of them in an orderly way with failure_exit_code; any other exception
/// aborts all ranks with the same code.
int run_on_ranks(const std::function<void(const mpi::Communicator&)>& work);

} // namespace xrdct::program
