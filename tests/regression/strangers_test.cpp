// SPDX-License-Identifier: BSD-3-Clause
// Scans of cells that another program made, with the jobs of users who know the sample and the
// instrument but no result. The truth is read here alone.

#include "support/cell_maps.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/test_data.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

using namespace xrdct::test;

namespace {

const std::vector<std::string> phases{"Fe",   "Cu",   "Al", "NMC532", "NMC532_secondary",
                                      "LiC6", "LiC12"};

/// Share of a phase in the mass of all [phase], of the density maps below `group`.
std::vector<double> whole_fractions(const std::filesystem::path& file, const std::string& group) {
    std::vector<double> masses;
    double all = 0;
    for (const auto& phase : phases) {
        double mass = 0;
        for (const double density : map_of(file, group + phase + "/density"))
            mass += std::isfinite(density) ? density : 0;
        masses.push_back(mass);
        all += mass;
    }
    for (double& mass : masses)
        mass /= all;
    return masses;
}

struct Found {
    double c_coverage = 0, c_bias = 0, c_median = 0, fractions = 0; ///< the worst phase's
};

Found compare(const std::filesystem::path& product, const std::string& stage,
              const std::filesystem::path& truth) {
    const std::string group = "entry/" + stage + "/";
    const auto c = map_of(product, group + "NMC532/c"), true_c = map_of(truth, "NMC532/c"),
               amount = map_of(truth, "NMC532/volume_fraction");
    std::vector<double> errors, sizes;
    std::size_t core = 0;
    for (std::size_t i = 0; i < c.size(); ++i) {
        if (!(amount[i] > 0.31) || !std::isfinite(true_c[i]))
            continue;
        ++core;
        if (std::isfinite(c[i])) {
            errors.push_back(c[i] - true_c[i]);
            sizes.push_back(std::abs(errors.back()));
        }
    }
    const auto median = [](std::vector<double> values) {
        const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
        std::nth_element(values.begin(), middle, values.end());
        return *middle;
    };
    Found found;
    found.c_coverage = static_cast<double>(errors.size()) / static_cast<double>(core);
    for (const double error : errors)
        found.c_bias += error / static_cast<double>(errors.size());
    found.c_median = median(sizes);
    const auto share = whole_fractions(product, group), true_share = whole_fractions(truth, "");
    for (std::size_t p = 0; p < share.size(); ++p)
        found.fractions = std::max(found.fractions, std::abs(share[p] - true_share[p]));
    ::testing::Test::RecordProperty("c_bias", std::to_string(found.c_bias));
    ::testing::Test::RecordProperty("c_median", std::to_string(found.c_median));
    ::testing::Test::RecordProperty("fractions", std::to_string(found.fractions));
    return found;
}

/// Runs the job of a stranger's scan with more words; its output goes to `output`.
ProcessResult run_job(const std::filesystem::path& job, const std::filesystem::path& output,
                      const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", job.string(), "--set",
                                       "output=\"" + output.string() + "\""};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_xrdct(arguments, 2, 800);
}

TEST(Strangers, CellWithoutParallaxByConventionalMaps) {
    const auto job = measured_data("strangers/cell_b.toml");
    if (!job)
        GTEST_SKIP() << measured_data_reason("strangers/cell_b.toml");
    const TemporaryDirectory folder;
    const auto run = run_job(*job, folder / "results", {});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    EXPECT_THAT(run.errors, testing::HasSubstr("voxels converged"));
    const auto found = compare(folder / "results" / "rietveld.nxs", "rietveld",
                               job->parent_path() / "cell_b_truth.h5");
    EXPECT_GE(found.c_coverage, 0.98);
    EXPECT_LE(found.c_median, 2.5e-3);
    EXPECT_LE(found.fractions, 0.01);
}

/// How a map of CeO2 agrees with the truth where there is more than half of the most CeO2.
struct BodyAgreement {
    std::size_t core = 0, found = 0; ///< voxels there, and those with a value
    double median =
        0; ///< of |found / true − 1| or |found − true|; infinite where there is no value
};

BodyAgreement agreement_of(const std::filesystem::path& product, const std::string& stage,
                           const std::filesystem::path& truth, const std::string& quantity,
                           bool relative) {
    const auto amount = map_of(truth, "CeO2/volume_fraction"),
               expected = map_of(truth, "CeO2/" + quantity),
               found = map_of(product, "entry/" + stage + "/CeO2/" + quantity);
    const double most = *std::max_element(amount.begin(), amount.end());
    std::vector<double> errors;
    BodyAgreement result;
    for (std::size_t i = 0; i < amount.size(); ++i) {
        if (!(amount[i] > 0.5 * most))
            continue;
        const bool known = std::isfinite(found[i]);
        result.found += known ? 1 : 0;
        errors.push_back(known ? std::abs(found[i] - expected[i]) / (relative ? expected[i] : 1)
                               : std::numeric_limits<double>::infinity());
    }
    result.core = errors.size();
    const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
    std::nth_element(errors.begin(), middle, errors.end());
    result.median = *middle;
    ::testing::Test::RecordProperty(quantity + "_median", std::to_string(*middle));
    return result;
}

// A packed capillary with parallax: CeO2 of 97 to 172 Å beside Cu and graphite.
TEST(Strangers, SizesOfABodyByConventionalMaps) {
    const auto job = measured_data("strangers/body_a.toml");
    if (!job)
        GTEST_SKIP() << measured_data_reason("strangers/body_a.toml");
    const TemporaryDirectory folder;
    const auto run =
        run_job(*job, folder / "results",
                {"--stages", "absorption,fbp,rietveld", "--set", "phase.CeO2.refine_size=\"voxel\"",
                 "--set", "phase.CeO2.size=500.0"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto size = agreement_of(folder / "results" / "rietveld.nxs", "rietveld",
                                   job->parent_path() / "body_a_truth.h5", "size", true);
    ASSERT_GT(size.core, 200U);
    EXPECT_GE(size.found, size.core * 98 / 100);
    EXPECT_LE(size.median, 0.05);
}

/// Root of the mean squared error of the density [g/cm³] of a phase.
double density_error(const std::filesystem::path& product, const std::string& stage,
                     const std::filesystem::path& truth, const std::string& phase) {
    const auto found = map_of(product, "entry/" + stage + "/" + phase + "/density"),
               expected = map_of(truth, phase + "/density");
    double squares = 0;
    for (std::size_t i = 0; i < expected.size(); ++i)
        squares += std::pow((std::isfinite(found[i]) ? found[i] : 0) - expected[i], 2);
    return std::sqrt(squares / static_cast<double>(expected.size()));
}

/// Amounts of the DLSR have at most so much of the error of the conventional ones.
void expect_sharper(const std::filesystem::path& results, const std::filesystem::path& truth,
                    const std::vector<std::string>& phases, double part) {
    for (const auto& phase : phases) {
        const double dlsr = density_error(results / "dlsr.nxs", "dlsr", truth, phase),
                     conventional =
                         density_error(results / "rietveld.nxs", "rietveld", truth, phase);
        EXPECT_LE(dlsr, part * conventional) << phase;
        ::testing::Test::RecordProperty(phase + "_density", std::to_string(dlsr / conventional));
    }
}

TEST(Strangers, CellsAndSizesOfABodyByDlsr) {
    const auto job = measured_data("strangers/body_a.toml");
    if (!job)
        GTEST_SKIP() << measured_data_reason("strangers/body_a.toml");
    const TemporaryDirectory folder;
    const auto run = run_job(*job, folder / "results",
                             {"--stages", "absorption,fbp,rietveld,dlsr", "--set",
                              "phase.CeO2.refine_size=\"voxel\"", "--set", "dlsr.error_samples=0"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    // One metal in a sample is no standard.
    EXPECT_THAT(run.errors, testing::Not(testing::HasSubstr("RADIAL SCALE")));
    const auto truth = job->parent_path() / "body_a_truth.h5",
               product = folder / "results" / "dlsr.nxs";
    EXPECT_LE(agreement_of(product, "dlsr", truth, "a", false).median, 5e-4);
    EXPECT_LE(agreement_of(product, "dlsr", truth, "size", true).median, 0.10);
    double mass = 0, expected = 0;
    for (const std::string phase : {"CeO2", "Cu", "graphite"}) {
        for (const double value : map_of(product, "entry/dlsr/" + phase + "/density"))
            mass += std::isfinite(value) ? value : 0;
        for (const double value : map_of(truth, phase + "/density"))
            expected += value;
    }
    EXPECT_NEAR(mass / expected, 1, 0.04);
    expect_sharper(folder / "results", truth, {"CeO2", "Cu", "graphite"}, 0.85);
}

// Parallax moves lines by 0.5 %, the cells of the two cathode phases differ by 0.4 %.
TEST(Strangers, CellWithParallaxByDlsr) {
    const auto job = measured_data("strangers/cell_a.toml");
    if (!job)
        GTEST_SKIP() << measured_data_reason("strangers/cell_a.toml");
    const TemporaryDirectory folder;
    const auto run =
        run_job(*job, folder / "results", {"--stages", "absorption,fbp,rietveld,dlsr"});
    ASSERT_EQ(run.exit_code, 0) << run.errors;
    const auto found =
        compare(folder / "results" / "dlsr.nxs", "dlsr", job->parent_path() / "cell_a_truth.h5");
    EXPECT_GE(found.c_coverage, 0.98);
    EXPECT_LE(std::abs(found.c_bias), 8e-4);
    EXPECT_LE(found.c_median, 2e-3);
    EXPECT_LE(found.fractions, 0.01);
    expect_sharper(folder / "results", job->parent_path() / "cell_a_truth.h5",
                   {"Fe", "Cu", "Al", "NMC532", "LiC6", "LiC12"}, 1);
}

} // namespace
