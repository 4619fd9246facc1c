// SPDX-License-Identifier: BSD-3-Clause
#include "base/error.hpp"
#include "jobs/pipeline/registry.hpp"
#include "jobs/settings/job.hpp"

#include <algorithm>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace xrdct;
using ::testing::AllOf;
using ::testing::HasSubstr;

namespace {

std::string job_text(const std::string& phase = "NMC") {
    return "[input]\nfile = 'scan.nxs'\n[[phase]]\nname = '" + phase + "'\ncif = 'a.cif'\n";
}

settings::Job job_of(const std::vector<std::string>& overrides = {}) {
    return settings::parse_job(job_text(), "/nowhere/job.toml", overrides);
}

template <typename Work>
std::string message_of(Work&& work) {
    try {
        work();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST(Registry, NamesTitlesAndLabelsAreDistinct) {
    std::set<std::string> names, titles, labels;
    for (const auto* stage : pipeline::stages()) {
        EXPECT_TRUE(names.insert(stage->name()).second) << stage->name();
        EXPECT_TRUE(titles.insert(stage->title()).second) << stage->title();
        EXPECT_EQ(pipeline::find_stage(stage->name()), stage);
        for (const auto& label : stage->quantities()) {
            EXPECT_TRUE(labels.insert(std::string(label.name)).second) << label.name;
            EXPECT_FALSE(label.text.empty()) << label.name;
        }
    }
    EXPECT_EQ(pipeline::find_stage("fpb"), nullptr);
    EXPECT_THAT(settings::stage_names(),
                ::testing::ElementsAre("absorption", "fbp", "rietveld", "dlsr"));
}

TEST(Registry, TablesThatDecideAProductExist) {
    std::set<std::string> tables;
    for (const auto& key : settings::job_reference())
        tables.insert(key.path.substr(0, key.path.find_first_of(".[")));
    for (const auto* method : {"none", "transmission", "phases"}) {
        auto job =
            job_of({std::string("absorption.method=") + method, "absorption.reference_phase=NMC"});
        for (const auto* stage : pipeline::stages())
            for (const auto& table : stage->tables(job))
                EXPECT_TRUE(tables.contains(table)) << stage->name() << " " << table;
    }
}

TEST(Registry, ReservedNamesAreRefused) {
    for (const auto* stage : pipeline::stages())
        for (const auto& name : stage->reserved_names())
            EXPECT_THAT(message_of([&] { settings::parse_job(job_text(name), "folder/job.toml"); }),
                        AllOf(HasSubstr("folder/job.toml"), HasSubstr("'" + name + "'")));
}

TEST(Registry, StagesWithNothingToDoAreLeftOut) {
    const auto names_of = [](const settings::Job& job) {
        std::vector<std::string> names;
        for (const auto* stage : pipeline::stages_of(job))
            names.push_back(stage->name());
        return names;
    };
    EXPECT_THAT(names_of(job_of()), ::testing::ElementsAre("fbp", "rietveld"));
    EXPECT_THAT(names_of(job_of({"absorption.method=phases", "absorption.reference_phase=NMC"})),
                ::testing::ElementsAre("absorption", "fbp", "rietveld"));
    EXPECT_THAT(names_of(job_of({"stages=['dlsr']"})), ::testing::ElementsAre("dlsr"));
}

TEST(Registry, NeededProductsAreStagesBeforeTheirReader) {
    const auto job = job_of({"absorption.method=phases", "absorption.reference_phase=NMC"});
    std::set<std::string> before;
    for (const auto* stage : pipeline::stages()) {
        for (const auto& needed : stage->needs(job)) {
            EXPECT_TRUE(before.contains(needed.stage)) << stage->name() << " " << needed.stage;
            EXPECT_THAT(
                message_of([&] { pipeline::check_product(job, needed); }),
                AllOf(HasSubstr(needed.stage + ".nxs is missing"), HasSubstr(needed.reason)));
        }
        if (!stage->improves().empty()) {
            EXPECT_TRUE(before.contains(stage->improves()));
        }
        before.insert(stage->name());
    }
}

TEST(Registry, DefaultsOfTheStructsAreThoseOfTheJobFile) {
    const auto job = job_of();
    EXPECT_EQ(job.mask.threshold, settings::MaskSettings{}.threshold);
    EXPECT_FALSE(job.mask.threshold.has_value());
    EXPECT_EQ(job.dlsr.gap, settings::DlsrSettings{}.gap);
    EXPECT_EQ(job.dlsr.gap, 0.3);
    EXPECT_EQ(job.instrument.w, settings::InstrumentSettings{}.w);
    EXPECT_EQ(job.absorption.method, settings::AbsorptionMethod::none);
    EXPECT_EQ(job.fbp.window, tomography::FilterWindow::hann);
}

} // namespace
