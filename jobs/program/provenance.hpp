// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/settings/job.hpp"
#include "mpi/comm/communicator.hpp"
#include "mpi/hdf5/hdf5.hpp"

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace xrdct::program {

/// Checksums of everything a job reads: path → SHA-256. Computed on rank 0, known on all.
/// Collective.
std::map<std::string, std::string> input_checksums(const settings::Job& job,
                                                   const mpi::Communicator& communicator);

/// Wall-clock seconds of the parts of a stage, in the order in which they were first entered.
class Timings {
  public:
    /// Adds the time since construction or the last call to the named part.
    void lap(const std::string& part);
    void add(const std::string& part, double seconds);
    const std::vector<std::pair<std::string, double>>& parts() const { return parts_; }
    double total() const;

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
    std::vector<std::pair<std::string, double>> parts_;
};

/// What a product says about how it was made.
struct Provenance {
    std::string stage;
    std::string job;      ///< the whole resolved job
    std::string settings; ///< the part that decides this product
    std::map<std::string, std::string> inputs;
    std::string date; ///< ISO 8601, UTC; the same on all ranks
    int ranks = 1;
};

/// Root attributes, /entry and /entry/<stage> (NXprocess) with program, version, date, job,
/// settings, inputs (JSON), ranks. Returns the stage's group. Collective on a file opened on a
/// communicator.
hdf5::Group write_provenance(hdf5::Group root, const Provenance& provenance,
                             const std::string& title);
/// /entry/<stage>/timings [s], the whole and its parts; slowest rank.
void write_timings(hdf5::Group& stage, const Timings& timings);

/// What is needed to decide whether a product can be reused. Throws Error when the file is no
/// product of the stage.
Provenance read_provenance(const std::filesystem::path& product, const std::string& stage);

} // namespace xrdct::program
