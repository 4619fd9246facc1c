// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/environment.hpp"

#include "base/error.hpp"

#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace xrdct::mpi {

namespace {

void initialize(int* argc, char*** argv) {
    int flag = 0;
    MPI_Initialized(&flag);
    if (flag != 0)
        throw Error("MPI can be initialised only once in a process");
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    if (provided < MPI_THREAD_FUNNELED)
        abort_all(1, "this MPI does not support MPI_THREAD_FUNNELED");
}

} // namespace

Environment::Environment() : exceptions_at_start_(std::uncaught_exceptions()) {
    initialize(nullptr, nullptr);
}

Environment::Environment(int& argc, char**& argv)
    : exceptions_at_start_(std::uncaught_exceptions()) {
    initialize(&argc, &argv);
}

Environment::~Environment() {
    if (std::uncaught_exceptions() > exceptions_at_start_)
        abort_all(1, "an error on this rank ended the run");
    MPI_Finalize();
}

bool Environment::initialized() {
    int started = 0;
    int finished = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&finished);
    return started != 0 && finished == 0;
}

void abort_all(int exit_code, std::string_view message) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
    std::fflush(stderr);
    if (Environment::initialized())
        MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
}

} // namespace xrdct::mpi
