// SPDX-License-Identifier: BSD-3-Clause
// A packed capillary whose transmission is found from its phases: by its mass per length, by its
// container, by the scan itself. The transmission in the file is read here alone.

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

using namespace xrdct::test;

namespace {

constexpr const char* job_name = "strangers/body_a.toml";
constexpr double mass_per_length = 9.04; ///< mg/mm, of the truth's densities

/// The absorption stage alone, from the phases, with more of [absorption].
ProcessResult run_body(const std::filesystem::path& output, const std::vector<std::string>& more,
                       int ranks = 1) {
    std::vector<std::string> arguments{"run",      measured_data(job_name)->string(),
                                       "--stages", "absorption",
                                       "--set",    "absorption.method=phases",
                                       "--set",    "output=\"" + output.string() + "\""};
    for (const auto& one : more) {
        arguments.emplace_back("--set");
        arguments.push_back("absorption." + one);
    }
    return run_xrdct(arguments, ranks, 400);
}

const std::vector<std::string> glass{"container=glass", "container_outer_diameter=4.4",
                                     "container_inner_diameter=4.18"};

std::vector<std::string> with(std::vector<std::string> some, const std::string& more) {
    some.push_back(more);
    return some;
}

/// Share of the rays whose transmission is off by more than 5 %.
double far_off(const std::filesystem::path& output) {
    const auto found = map_of(output / "absorption.nxs", "entry/absorption/rays/transmission");
    const auto truth =
        map_of(measured_data("strangers/body_a.nxs").value(), "entry/data/transmission");
    std::size_t count = 0;
    for (std::size_t i = 0; i < truth.size(); ++i)
        count += !(std::abs(found[i] / truth[i] - 1) <= 0.05);
    return static_cast<double>(count) / static_cast<double>(truth.size());
}

/// The worst whole weight fraction.
double weights_off(const std::filesystem::path& output) {
    const auto truth = measured_data("strangers/body_a_truth.h5").value();
    std::vector<double> found, expected;
    double all_found = 0, all_expected = 0;
    for (const std::string phase : {"CeO2", "Cu", "graphite"}) {
        const auto sum = [](const std::vector<double>& map) {
            double total = 0;
            for (const double value : map)
                total += std::isfinite(value) ? value : 0;
            return total;
        };
        found.push_back(
            sum(map_of(output / "absorption.nxs", "entry/absorption/" + phase + "/density")));
        expected.push_back(sum(map_of(truth, phase + "/density")));
        all_found += found.back();
        all_expected += expected.back();
    }
    double worst = 0;
    for (std::size_t p = 0; p < found.size(); ++p)
        worst = std::max(worst, std::abs(found[p] / all_found - expected[p] / all_expected));
    return worst;
}

class BodyAbsorption : public testing::Test {
  protected:
    void SetUp() override {
        if (!measured_data(job_name))
            GTEST_SKIP() << measured_data_reason(job_name);
    }
    TemporaryDirectory folder_;
};

TEST_F(BodyAbsorption, OfACapillaryByItsMassPerLength) {
    const auto output = folder_ / "results";
    const auto run = run_body(output, {"mass_per_length=" + std::to_string(mass_per_length)});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_LE(far_off(output), 0.05);
    EXPECT_LE(weights_off(output), 0.02);
}

TEST_F(BodyAbsorption, OfACapillaryByTheScanAndItsGlass) {
    const auto output = folder_ / "results";
    const auto run = run_body(output, glass);
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_THAT(run.errors, testing::HasSubstr("the scan tells it to"));
    EXPECT_THAT(run.errors, testing::HasSubstr("seen in the scattering that no phase explains"));
    EXPECT_LE(far_off(output), 0.05);
    EXPECT_LE(weights_off(output), 0.02);
    // By the scan alone, without the glass.
    const auto alone = folder_ / "alone";
    ASSERT_EQ(run_body(alone, {}).exit_code, 0);
    EXPECT_LE(far_off(alone), 0.065);
    EXPECT_LE(weights_off(alone), 0.02);
}

TEST_F(BodyAbsorption, WhatContradictsTheScanIsAnError) {
    const auto refused = [&](const std::vector<std::string>& more, const std::string& why) {
        const auto run = run_body(folder_ / "refused", more);
        EXPECT_EQ(run.exit_code, 1) << run.errors;
        EXPECT_THAT(run.errors, testing::HasSubstr(why));
        EXPECT_FALSE(std::filesystem::exists(folder_ / "refused" / "absorption.nxs"));
    };
    refused({"mass_per_length=4.5"}, "does not fit the scan");
    refused({"mass_per_length=20"}, "more than the scan's intensities can come from");
    refused(
        with({"container=glass", "container_outer_diameter=3.5"}, "container_inner_diameter=3.3"),
        "does not fit into an inner diameter");
    refused(
        with({"container=glass", "container_outer_diameter=5.2"}, "container_inner_diameter=4.9"),
        "its wall is seen at a diameter of about 4.");
}

TEST_F(BodyAbsorption, SameOnOneToThreeRanks) {
    std::vector<double> first;
    for (const int ranks : {1, 2, 3}) {
        const auto output = folder_ / std::to_string(ranks);
        const auto run = run_body(output, with(glass, "mass_per_length=9.04"), ranks);
        ASSERT_EQ(run.exit_code, 0) << run.errors;
        const auto found = map_of(output / "absorption.nxs", "entry/absorption/rays/transmission");
        if (first.empty())
            first = found;
        double largest = 0;
        for (std::size_t i = 0; i < found.size(); ++i)
            largest = std::max(largest, std::abs(found[i] - first[i]));
        EXPECT_LE(largest, 1e-3) << ranks;
    }
}

} // namespace
