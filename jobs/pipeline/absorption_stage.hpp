// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

namespace xrdct::pipeline {

/// Transmission of every ray, measured or found from the phases, and what follows from it.
class AbsorptionStage final : public Stage {
  public:
    std::string name() const override { return "absorption"; }
    std::string title() const override { return "Absorption"; }
    std::span<const QuantityLabel> quantities() const override;
    bool is_auxiliary() const override { return true; }
    std::vector<std::string> tables(const settings::Job& job) const override;
    std::vector<std::string> reserved_names() const override;
    bool is_active(const settings::Job& job) const override;
    StageEstimate estimate(const RunSize& run) const override;
    StageSummary run(StageContext& context) const override;
};

} // namespace xrdct::pipeline
