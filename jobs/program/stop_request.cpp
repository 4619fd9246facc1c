// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/program/stop_request.hpp"

#include "mpi/comm/communicator.hpp"

#include <csignal>
#include <cstdint>

namespace xrdct::program {

namespace {

volatile std::sig_atomic_t asked = 0;

extern "C" void remember_stop(int /*signal*/) {
    asked = 1;
}

} // namespace

void listen_for_stop() {
    struct sigaction action {};
    action.sa_handler = remember_stop;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, nullptr);
    sigaction(SIGUSR2, &action, nullptr);
}

void stop_if_asked(const mpi::Communicator& communicator) {
    if (communicator.allreduce(static_cast<std::int64_t>(asked), mpi::Reduction::max) != 0)
        throw Stopped("stopped as asked; what was finished is saved, --resume continues");
}

} // namespace xrdct::program
