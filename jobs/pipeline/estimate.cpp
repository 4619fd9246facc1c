// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/estimate.hpp"

#include "jobs/pipeline/registry.hpp"

namespace xrdct::pipeline {

std::vector<StageEstimate> estimate(const settings::Job& job, const Scan& scan, int ranks,
                                    std::uint64_t memory) {
    std::vector<StageEstimate> list;
    for (const auto* stage : stages_of(job))
        list.push_back(stage->estimate({job, scan, ranks, memory}));
    return list;
}

} // namespace xrdct::pipeline
