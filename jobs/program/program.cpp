// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/program.hpp"

#include "base/error.hpp"
#include "jobs/bench/bench_command.hpp"
#include "jobs/cluster/commands.hpp"
#include "jobs/commands/commands.hpp"
#include "jobs/condition/condition_command.hpp"
#include "jobs/manual/describe_command.hpp"
#include "jobs/pattern/rietveld_command.hpp"
#include "jobs/program/version.hpp"
#include "jobs/settings/settings.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/comm/environment.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include <chrono>
#include <thread>

#include <fmt/format.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace xrdct::program {

namespace {

const Command commands[] = {
    {"run", "run a job: scan to maps; alone or under mpirun", commands::command_run},
    {"validate", "check a job and print it with the memory and time it needs",
     commands::command_validate},
    {"info", "say what is in a scan or a product file", commands::command_info},
    {"rietveld", "refine one powder pattern", pattern::command_rietveld},
    {"integrate", "integrate detector frames to powder patterns", commands::command_integrate},
    {"simulate", "simulate the scan of a jelly-roll cell with known truth",
     commands::command_simulate},
    {"calibrate", "find an instrument's profile and wavelength from a powder standard",
     commands::command_calibrate},
    {"condition", "integrated patterns or a raw sinogram to a corrected, centred sinogram",
     condition::command_condition},
    {"report", "make pictures and an HTML page from the products of a job",
     commands::command_report},
    {"compare", "align the maps of several cells and show them side by side",
     commands::command_compare},
    {"submit", "run a job, or one of many scans, on a cluster with SLURM", cluster::command_submit},
    {"jobs", "list the submitted jobs and how far they are", cluster::command_jobs},
    {"status", "say how far a job is: stage, iteration, residual, time left",
     cluster::command_status},
    {"watch", "repeat the status until the job has ended", cluster::command_watch},
    {"cancel", "cancel a submitted job", cluster::command_cancel},
    {"logs", "print what a submitted job wrote", cluster::command_logs},
    {"bench", "measure the stages on 1, 2, 4 ... ranks, or predict them on many",
     bench::command_bench},
    {"reference", "print every key of the job file", commands::command_reference},
};

/// Before MPI is initialised only the launcher's environment tells which rank this is; one rank
/// speaks.
bool speaks() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"})
        if (const char* rank = std::getenv(name))
            return std::string(rank) == "0";
    return true;
}

std::string program_help() {
    std::string text =
        "xrdct: maps of crystalline phases from X-ray diffraction computed tomography\n\n"
        "usage: xrdct COMMAND [arguments]\n\ncommands:\n";
    for (const auto& command : commands)
        text += fmt::format("  {:<10} {}\n", command.name, command.summary);
    text += "\n  --version  print the version\n  --help     print this help; xrdct COMMAND --help "
            "that of a command\n\n"
            "example:\n  mpirun -n 4 xrdct run job.toml\n";
    return text;
}

} // namespace

std::span<const Command> program_commands() {
    return commands;
}

int run_on_ranks(const std::function<void(const mpi::Communicator&)>& work) {
    mpi::Environment environment;
    const auto world = mpi::Communicator::world();
    try {
        work(world);
        return 0;
    } catch (const Error& error) {
        if (world.is_root())
            fmt::print(stderr, "xrdct: error: {}\n", error.what());
        return failure_exit_code;
    } catch (const std::exception& error) {
        mpi::abort_all(failure_exit_code, fmt::format("xrdct: internal error on rank {}: {}",
                                                      world.rank(), error.what()));
    }
}

int run_program(int argc, char** argv) {
    std::vector<std::string> arguments(argv + 1, argv + argc);
#ifdef __GLIBC__
    // Large arrays go back to the system at once: glibc's threshold would grow with the first ones
    // that are freed, and what comes between them would keep the rest, on every rank.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 23);
#endif
    // A limit on the size of files is then an error of writing, which names the file.
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
            arguments[0] == "help") {
            fmt::print("{}", program_help());
            return arguments.empty() ? failure_exit_code : 0;
        }
        if (arguments[0] == "--version") {
            fmt::print("xrdct {} (revision {})\n", program_version, revision());
            return 0;
        }
        const std::string name = arguments[0];
        arguments.erase(arguments.begin());
        for (const auto& command : commands)
            if (name == command.name)
                return command.function(arguments);
        if (name == "describe")
            return manual::command_describe(arguments);
        std::vector<std::string> names;
        for (const auto& command : commands)
            names.emplace_back(command.name);
        throw Error(fmt::format("there is no command '{}'{}; see xrdct --help", name,
                                nearest_hint(name, names)));
    } catch (const Error& error) {
        if (speaks())
            fmt::print(stderr, "xrdct: error: {}\n", error.what());
        else // A launcher ends all ranks with the first one that fails: let the one that speaks be
             // it.
            std::this_thread::sleep_for(std::chrono::seconds(2));
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "xrdct: error: out of memory; --memory limits what a run takes\n");
    } catch (const std::exception& error) {
        fmt::print(stderr, "xrdct: internal error: {}\n", error.what());
    }
    return failure_exit_code;
}

} // namespace xrdct::program
