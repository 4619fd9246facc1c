// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include "jobs/pipeline/stage.hpp"

#include <filesystem>
#include <string_view>
#include <vector>

namespace xrdct::pipeline {

/// All stages, in the order in which they run.
const std::vector<const Stage*>& stages();

/// The stage of that name; nullptr: there is none.
const Stage* find_stage(std::string_view name);

/// The stages that a job runs: those that it names and that have something to do, in its order.
std::vector<const Stage*> stages_of(const settings::Job& job);

/// Whether any stage that the job names fits patterns of the scan.
bool fits_patterns(const settings::Job& job);

/// Products of the job's stages that are on disk.
std::vector<std::filesystem::path> existing_products(const settings::Job& job);

/// Throws Error naming the first product that a run would find in its way.
void refuse_existing_products(const settings::Job& job, bool force, bool resume);

/// Throws Error naming the file where a needed product is missing or was made with other settings.
void check_product(const settings::Job& job, const NeededProduct& needed);

/// What can be known before a job runs: inputs of its stages and products that none of them makes.
/// Throws Error. Serial; every rank may call it.
void check_run(const RunSize& run);

} // namespace xrdct::pipeline
