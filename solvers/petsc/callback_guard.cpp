// SPDX-License-Identifier: BSD-3-Clause
#include "solvers/petsc/callback_guard.hpp"

#include "mpi/comm/environment.hpp"

#include <chrono>
#include <thread>

namespace xrdct::petsc {

namespace {

constexpr unsigned failed_bit = 1U << 31;

std::string describe(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& exception) {
        return exception.what();
    } catch (...) {
        return "an exception of unknown type";
    }
}

} // namespace

void CallbackGuard::rethrow() {
    if (error_)
        std::rethrow_exception(std::exchange(error_, nullptr));
}

std::optional<unsigned> CallbackGuard::agree(unsigned flags) {
    const unsigned own = error_ ? failed_bit : flags;
    unsigned all = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Iallreduce(&own, &all, 1, MPI_UNSIGNED, MPI_BOR, communicator_.handle(), &request);
    if (!error_) {
        MPI_Wait(&request, MPI_STATUS_IGNORE);
    } else {
        using Clock = std::chrono::steady_clock;
        const auto start = Clock::now();
        int done = 0;
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        while (done == 0) {
            if (std::chrono::duration<double>(Clock::now() - start).count() > grace_seconds_)
                mpi::abort_all(1, describe(error_));
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        }
    }
    if ((all & failed_bit) == 0)
        return all;
    try {
        communicator_.agree(error_ ? std::optional(describe(error_)) : std::nullopt);
    } catch (...) {
        if (!error_)
            error_ = std::current_exception();
    }
    return std::nullopt;
}

} // namespace xrdct::petsc
