// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

namespace xrdct::pipeline {

/// Direct least-squares reconstruction: the maps refined on the scan itself, parallax included.
class DlsrStage final : public Stage {
  public:
    std::string name() const override { return "dlsr"; }
    std::string title() const override { return "DLSR"; }
    std::span<const QuantityLabel> quantities() const override;
    std::string improves() const override { return "rietveld"; }
    bool by_default() const override { return false; }
    std::vector<std::string> tables(const settings::Job& job) const override;
    std::vector<std::string> reserved_names() const override;
    bool corrects_absorption() const override { return true; }
    std::vector<NeededProduct> needs(const settings::Job& job) const override;
    void check_inputs(const RunSize& run) const override;
    StageEstimate estimate(const RunSize& run) const override;
    StageSummary run(StageContext& context) const override;
    void remove_leftovers(const settings::Job& job) const override;
};

/// What DlsrStage::run() does.
StageSummary run_dlsr_stage(StageContext& context);

} // namespace xrdct::pipeline
