// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"
#include "jobs/program/progress.hpp"
#include "solvers/observer.hpp"

#include <optional>
#include <string>

namespace xrdct::pipeline {

/// Shows a solver's progress as a stage's, and keeps its notes with those of the run: every part
/// is "stage: title", or "stage" without a title, a note "stage: text".
class StageObserver final : public solvers::Observer {
  public:
    /// `context` must outlive the object.
    StageObserver(StageContext& context, std::string stage)
        : context_(context), stage_(std::move(stage)) {}

    void begin(std::string_view title, std::size_t total) override {
        progress_.reset();
        progress_.emplace(title.empty() ? stage_ : stage_ + ": " + std::string(title), total,
                          context_.communicator.is_root());
    }
    void progress(std::size_t done) override {
        if (progress_)
            progress_->update(done);
    }
    void end(std::string_view remark) override {
        if (progress_)
            progress_->finish(std::string(remark));
        progress_.reset();
    }
    void note(std::string_view text) override {
        context_.notes.push_back(stage_ + ": " + std::string(text));
    }

  private:
    StageContext& context_;
    std::string stage_;
    std::optional<program::Progress> progress_;
};

} // namespace xrdct::pipeline
