// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "mpi/comm/communicator.hpp"
#include "solvers/dlsr/state.hpp"
#include "solvers/dlsr/system.hpp"

#include <filesystem>
#include <optional>
#include <string>

namespace xrdct::pipeline {

/// What a DLSR is of: it goes on from the checkpoints of the same origin only.
struct DlsrOrigin {
    std::string settings; ///< of the stage, as resolved
    std::string inputs;   ///< checksums of the inputs, JSON
    bool operator==(const DlsrOrigin&) const = default;
};

/// The file that a DLSR goes on from after it was stopped.
struct DlsrCheckpoint {
    DlsrOrigin origin;
    dlsr::State state; ///< vectors are those of all ranks
};

/// Written under a temporary name first; replaces the last one. Serial.
void write_dlsr_checkpoint(const std::filesystem::path& path, const DlsrOrigin& origin,
                           const dlsr::State& state);
/// Nothing when there is no file. Throws Error naming the file when it cannot be read whole.
std::optional<DlsrCheckpoint> read_dlsr_checkpoint(const std::filesystem::path& path);

/// Where an earlier run of this origin stopped; nothing when there is no file. With
/// `force` a file that cannot be taken up counts as none, else throws Error naming it. Serial.
std::optional<dlsr::State> earlier_dlsr_state(const std::filesystem::path& path,
                                              const DlsrOrigin& origin, const dlsr::System& system,
                                              bool force);

} // namespace xrdct::pipeline
