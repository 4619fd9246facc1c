// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

namespace xrdct::pipeline {

/// Filtered back-projection of every channel: the volume [y][x][channel] and its variances.
class FbpStage final : public Stage {
  public:
    std::string name() const override { return "fbp"; }
    std::string title() const override { return "Filtered back-projection"; }
    std::span<const QuantityLabel> quantities() const override;
    std::vector<std::string> tables(const settings::Job& job) const override;
    bool corrects_absorption() const override { return true; }
    std::vector<NeededProduct> needs(const settings::Job& job) const override;
    void check_inputs(const RunSize& run) const override;
    StageEstimate estimate(const RunSize& run) const override;
    StageSummary run(StageContext& context) const override;
};

} // namespace xrdct::pipeline
