// SPDX-License-Identifier: BSD-3-Clause
#include "jobs/pipeline/registry.hpp"

#include "base/error.hpp"
#include "jobs/pipeline/absorption_stage.hpp"
#include "jobs/pipeline/dlsr_stage.hpp"
#include "jobs/pipeline/fbp_stage.hpp"
#include "jobs/pipeline/rietveld_stage.hpp"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

namespace xrdct::pipeline {

namespace {

std::vector<std::unique_ptr<const Stage>> make_stages() {
    std::vector<std::unique_ptr<const Stage>> list;
    list.push_back(std::make_unique<AbsorptionStage>());
    list.push_back(std::make_unique<FbpStage>());
    list.push_back(std::make_unique<RietveldStage>());
    list.push_back(std::make_unique<DlsrStage>());
    return list;
}

} // namespace

const std::vector<const Stage*>& stages() {
    static const auto owned = make_stages();
    static const auto list = [] {
        std::vector<const Stage*> all;
        for (const auto& stage : owned)
            all.push_back(stage.get());
        return all;
    }();
    return list;
}

const Stage* find_stage(std::string_view name) {
    for (const auto* stage : stages())
        if (stage->name() == name)
            return stage;
    return nullptr;
}

std::vector<const Stage*> stages_of(const settings::Job& job) {
    std::vector<const Stage*> list;
    for (const auto& name : job.stages) {
        const auto* stage = find_stage(name);
        if (!stage)
            throw Error(fmt::format("there is no stage '{}'", name));
        if (stage->is_active(job))
            list.push_back(stage);
    }
    return list;
}

bool fits_patterns(const settings::Job& job) {
    return std::any_of(stages().begin(), stages().end(), [&](const Stage* stage) {
        return stage->fits_patterns() && job.names_stage(stage->name());
    });
}

std::filesystem::path product_path(const settings::Job& job, const std::string& stage) {
    return job.output / (stage + ".nxs");
}

std::vector<std::filesystem::path> existing_products(const settings::Job& job) {
    std::vector<std::filesystem::path> list;
    for (const auto* stage : stages_of(job))
        if (auto path = product_path(job, stage->name()); std::filesystem::exists(path))
            list.push_back(std::move(path));
    return list;
}

void refuse_existing_products(const settings::Job& job, bool force, bool resume) {
    if (force || resume)
        return;
    for (const auto& path : existing_products(job))
        throw Error(fmt::format("{} exists; --force replaces it, --resume keeps it if it was made "
                                "with the same settings",
                                path.string()));
}

void check_product(const settings::Job& job, const NeededProduct& needed) {
    const auto path = product_path(job, needed.stage);
    if (!std::filesystem::exists(path))
        throw Error(fmt::format("{} is missing; {}", path.string(), needed.reason));
    const auto earlier = program::read_provenance(path, needed.stage);
    if (earlier.settings != job.resolved_for(needed.stage))
        throw Error(fmt::format(
            "{} was made with other settings for {} than the job's; run the {} stage again",
            path.string(), needed.settings, needed.stage));
}

void check_run(const RunSize& run) {
    const auto list = stages_of(run.job);
    for (auto stage = list.begin(); stage != list.end(); ++stage) {
        (*stage)->check_inputs(run);
        for (const auto& needed : (*stage)->needs(run.job))
            if (std::none_of(list.begin(), stage,
                             [&](const Stage* earlier) { return earlier->name() == needed.stage; }))
                check_product(run.job, needed);
    }
}

} // namespace xrdct::pipeline

const std::vector<const xrdct::settings::StageRules*>& xrdct::settings::stage_rules() {
    static const std::vector<const StageRules*> list(pipeline::stages().begin(),
                                                     pipeline::stages().end());
    return list;
}
