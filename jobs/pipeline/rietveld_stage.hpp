// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

namespace xrdct::pipeline {

/// A Rietveld refinement of the pattern of every voxel of the fbp stage's volume.
class RietveldStage final : public Stage {
  public:
    std::string name() const override { return "rietveld"; }
    std::string title() const override { return "Voxelwise Rietveld refinement"; }
    std::span<const QuantityLabel> quantities() const override;
    std::vector<std::string> tables(const settings::Job& job) const override;
    std::vector<std::string> reserved_names() const override;
    bool fits_patterns() const override { return true; }
    bool uses_scan() const override { return false; }
    std::vector<NeededProduct> needs(const settings::Job& job) const override;
    void check(const settings::Job& job) const override;
    void check_inputs(const RunSize& run) const override;
    StageEstimate estimate(const RunSize& run) const override;
    StageSummary run(StageContext& context) const override;
};

} // namespace xrdct::pipeline
