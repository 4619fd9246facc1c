// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>
#include <vector>

namespace xrdct::settings {

struct Job;

/// What a job file must know of a stage: its name, the keys that decide its product, the names that
/// the product takes. The pipeline's stages implement it.
class StageRules {
  public:
    StageRules() = default;
    virtual ~StageRules() = default;
    StageRules(const StageRules&) = delete;
    StageRules& operator=(const StageRules&) = delete;

    /// As in the job's `stages`, the name of the product file and of its group in /entry.
    virtual std::string name() const = 0;
    /// Whether it runs in a job that does not say which stages do.
    virtual bool by_default() const { return true; }
    /// Top-level tables of the job file that decide the product, besides input, geometry and
    /// channels, which decide all of them. --resume keeps a product made with the same ones.
    virtual std::vector<std::string> tables(const Job& job) const = 0;
    /// Groups of the product beside those of the phases and peaks, which may not have these names.
    virtual std::vector<std::string> reserved_names() const { return {}; }
    /// Of a job that names the stage: throws Error naming the job file for what the stage cannot
    /// do. Opens no file.
    virtual void check(const Job& /*job*/) const {}
};

/// All stages, in the order in which they run: those of the pipeline's registry, which defines
/// this function.
const std::vector<const StageRules*>& stage_rules();

} // namespace xrdct::settings
