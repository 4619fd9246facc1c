// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace xrdct::test {

/// A tiny simulated cell, made once, copied for every test that wants to spoil it.
class CellTest : public ::testing::Test {
  protected:
    void SetUp() override;

    const std::filesystem::path& folder() const { return folder_->path(); }
    std::filesystem::path job() const { return folder() / "job.toml"; }
    std::filesystem::path scan() const { return folder() / "scan.nxs"; }
    std::filesystem::path results() const { return folder() / "results"; }

    /// Replaces text in the job file; fails the test if it is not there.
    void edit_job(const std::string& from, const std::string& to);
    void append_job(const std::string& text);

    /// Runs the job on 1 and 3 ranks and expects the common failure: exit code 1, one message with
    /// all the words, no product, no temporary file left.
    void expect_failure(const std::vector<std::string>& words,
                        const std::vector<std::string>& more_arguments = {});

  private:
    std::unique_ptr<TemporaryDirectory> folder_;
};

/// How often a text occurs in another.
std::size_t occurrences(const std::string& text, const std::string& word);

} // namespace xrdct::test
