// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/bench/model.hpp"
#include "mpi/comm/communicator.hpp"

#include <cstdint>
#include <filesystem>

namespace xrdct::bench {

/// Seconds since some moment.
double now();

/// Limits of this machine with all ranks of the communicator at work at once: multiply-adds in
/// registers, the triad a = b + s c on arrays beyond the caches (24 bytes an element), a file
/// written, synced and read back by every rank (which the system may have in memory). Slowest rank;
/// network and latency stay 0. Collective. Throws Error when `folder` cannot be written.
Machine measure_machine(const mpi::Communicator& communicator, const std::filesystem::path& folder,
                        bool files = true);

/// Largest resident memory of the process since the last reset, bytes (/proc/self); where the
/// system does not let it be reset, since the start. 0 where there is no such file.
std::uint64_t peak_memory();
void reset_peak_memory();

/// Bytes that the process has handed to and taken from files (read and write calls) so far.
std::uint64_t file_traffic();

/// Number of this process.
int process_number();

} // namespace xrdct::bench
