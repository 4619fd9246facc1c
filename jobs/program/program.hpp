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

// The commands, each in the namespace of its room. They take the arguments after their name, return
// an exit code and throw Error.
namespace xrdct::commands {
int command_run(const std::vector<std::string>& arguments);
int command_validate(const std::vector<std::string>& arguments);
int command_info(const std::vector<std::string>& arguments);
int command_integrate(const std::vector<std::string>& arguments);
int command_simulate(const std::vector<std::string>& arguments);
int command_calibrate(const std::vector<std::string>& arguments);
int command_report(const std::vector<std::string>& arguments);
int command_compare(const std::vector<std::string>& arguments);
int command_reference(const std::vector<std::string>& arguments);
} // namespace xrdct::commands
namespace xrdct::pattern {
int command_rietveld(const std::vector<std::string>& arguments);
} // namespace xrdct::pattern
namespace xrdct::condition {
int command_condition(const std::vector<std::string>& arguments);
} // namespace xrdct::condition
namespace xrdct::cluster {
int command_submit(const std::vector<std::string>& arguments);
int command_jobs(const std::vector<std::string>& arguments);
int command_status(const std::vector<std::string>& arguments);
int command_watch(const std::vector<std::string>& arguments);
int command_cancel(const std::vector<std::string>& arguments);
int command_logs(const std::vector<std::string>& arguments);
} // namespace xrdct::cluster
namespace xrdct::bench {
int command_bench(const std::vector<std::string>& arguments);
} // namespace xrdct::bench
namespace xrdct::manual {
/// Not listed: what an installation needs (man pages, completion).
int command_describe(const std::vector<std::string>& arguments);
} // namespace xrdct::manual
