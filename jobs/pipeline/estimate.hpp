// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

#include <cstdint>
#include <vector>

namespace xrdct::pipeline {

/// What the stages of a job will need; `memory` [bytes over all ranks], 0: no limit. Throws Error
/// when it does not do.
std::vector<StageEstimate> estimate(const settings::Job& job, const Scan& scan, int ranks,
                                    std::uint64_t memory);

} // namespace xrdct::pipeline
