// SPDX-License-Identifier: BSD-3-Clause
#include "mpi/comm/traffic.hpp"

namespace xrdct::mpi {

namespace {
// One thread of a process calls MPI (MPI_THREAD_FUNNELED).
Traffic total;
} // namespace

const Traffic& traffic() {
    return total;
}

void detail::count_call(int ranks, std::uint64_t sent, std::uint64_t received) {
    ++total.calls;
    if (ranks > 1) {
        total.sent += sent;
        total.received += received;
    }
}

void detail::count_one_sided() {
    ++total.one_sided;
}

} // namespace xrdct::mpi
