// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/dlsr_checkpoint.hpp"
#include "jobs/program/progress.hpp"
#include "jobs/program/provenance.hpp"
#include "mpi/comm/communicator.hpp"
#include "solvers/dlsr/observer.hpp"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>

namespace xrdct::pipeline {

/// Shows the progress of a DLSR on stderr and in the run's record, takes its times, writes its
/// checkpoints, and ends it in order where that was asked for.
class DlsrObserver final : public dlsr::Observer {
  public:
    /// `path` is that of the checkpoint. Communicator and timings must outlive the observer. Not
    /// collective.
    DlsrObserver(const mpi::Communicator& communicator, program::Timings& timings,
                 std::filesystem::path path, DlsrOrigin origin);

    const std::filesystem::path& checkpoint_path() const { return path_; }
    const DlsrOrigin& origin() const { return origin_; }
    /// The product has taken its place. Not collective.
    void remove_checkpoint() const;

    void begin(std::string_view title, std::size_t total) override;
    void progress(std::size_t done) override;
    void end(std::string_view remark) override;
    void step(long iteration, double residual) override;
    void log(std::string_view line) override;
    void lap(std::string_view part) override;
    void keep(const dlsr::State& state) override;
    void stop_point() override;

  private:
    const mpi::Communicator& communicator_;
    program::Timings& timings_;
    std::filesystem::path path_;
    DlsrOrigin origin_;
    std::optional<program::Progress> progress_;
};

} // namespace xrdct::pipeline
