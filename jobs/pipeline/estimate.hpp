#pragma once

#include "jobs/pipeline/scan.hpp"
#include "jobs/settings/job.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace xrdct::pipeline {

/// What a stage will need, from the size of the scan and rates measured on one core of a
/// present-day machine.
struct StageEstimate {
    std::string stage;
    double seconds = 0;       ///< wall clock with the given ranks, each on a core of its own
    std::uint64_t memory = 0; ///< bytes per rank
    std::uint64_t disk = 0;   ///< bytes of the product
};

std::vector<StageEstimate> estimate(const settings::Job& job, const Scan& scan, int ranks,
                                    std::uint64_t memory);

} // namespace xrdct::pipeline
