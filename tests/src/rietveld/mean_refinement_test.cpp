// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/mean_refinement.hpp"

#include "support/structures.hpp"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace {

using namespace xrdct;

constexpr double fwhm = 0.02; ///< degrees

/// Poisson counts of a mean pattern whose highest channel holds `counts`, on a background.
struct MeanPattern {
    std::vector<double> intensity, variance;
    MeanPattern(std::vector<double> exact, double counts, unsigned seed) : variance(exact) {
        const double highest = *std::max_element(exact.begin(), exact.end());
        std::mt19937_64 random(seed);
        for (double& value : variance) {
            value = counts * (value / highest + 0.02);
            intensity.push_back(
                static_cast<double>(std::poisson_distribution<long>(value)(random)));
        }
    }
};

rietveld::PatternModel model_of(const std::vector<crystal::Phase>& phases) {
    rietveld::PatternModel model;
    model.instrument.w.value = fwhm * fwhm;
    for (const auto& phase : phases) {
        model.phases.emplace_back(phase);
        model.phases.back().refine_cell();
    }
    model.set_background(3);
    return model;
}

rietveld::MeanRefinementOptions options_of(std::vector<int> leader) {
    rietveld::MeanRefinementOptions options;
    options.refinement.cell_search = 0.03;
    options.refinement.scale_errors = true;
    options.leader = std::move(leader);
    return options;
}

// Two phases of one structure from one CIF start as the same: nothing tells their scales apart.
TEST(MeanRefinement, ASecondPhaseOfOneStructureLeavesTheFirstItsLines) {
    const auto axis = test::cell_axis();
    // The first one's cell varies: seven cells.
    std::vector<test::SimpleSample> samples{{test::iron(), 1, 2.8665, 0, fwhm},
                                            {test::cathode(), 0.1, 2.872, 14.25, fwhm}};
    for (int i = -3; i <= 3; ++i)
        samples.push_back({test::cathode(), 1.0 / 7, 2.8550 + 0.001 * i, 14.350 - 0.01 * i, fwhm});
    const MeanPattern data(test::simple_pattern(axis, samples), 1e5, 1);
    auto model = model_of({test::iron(), test::cathode("first"), test::cathode("second")});
    for (const std::size_t p : {1, 2}) {
        model.phases[p].cell[0].value = 2.870;
        model.phases[p].cell[1].value = 14.243;
    }
    auto options = options_of({-1, -1, 1});
    options.varying = {{}, {true, true}, {}};
    const auto found = refine_mean(axis, data.intensity, data.variance, model, options);
    EXPECT_EQ(found.fit.status, rietveld::FitStatus::converged) << found.fit.message;
    EXPECT_NEAR(found.fit.phases[1].cell[0], 2.8550, 1e-3);
    EXPECT_NEAR(found.fit.phases[1].cell[1], 14.350, 1e-2);
    EXPECT_EQ(found.fit.phases[2].cell[0], 2.870);
    EXPECT_EQ(found.fit.phases[2].cell[1], 14.243);
    EXPECT_NEAR(found.fit.phases[2].scale / found.fit.phases[1].scale, 0.1, 0.05);
    EXPECT_TRUE(found.untold.empty());
}

TEST(MeanRefinement, ACellThatThePatternDoesNotTellStays) {
    const auto axis = test::cell_axis();
    const MeanPattern data(
        test::simple_pattern(axis, {{test::iron(), 1, 2.8665, 0, fwhm},
                                    {test::cathode(), 1, 2.8550, 14.350, fwhm},
                                    {test::lithium_graphite(), 0.0003, 4.305, 3.706, fwhm}}),
        3e3, 2);
    auto model = model_of({test::iron(), test::cathode(), test::lithium_graphite()});
    model.phases[0].cell[0].value = 2.860;
    model.phases[2].cell[0].value = 4.305;
    model.phases[2].cell[1].value = 3.706;
    auto options = options_of({});
    options.refinement.significance = 0;
    const auto found = refine_mean(axis, data.intensity, data.variance, model, options);
    EXPECT_NEAR(found.fit.phases[0].cell[0], 2.8665, 5e-4);
    ASSERT_FALSE(found.untold.empty());
    for (const auto& place : found.untold) {
        EXPECT_EQ(place.phase, 2U);
        EXPECT_EQ(found.fit.phases[2].cell[place.parameter],
                  model.phases[2].cell[place.parameter].value);
    }
}

TEST(MeanRefinement, WithoutFollowersAndDoubtsItIsTheRefinement) {
    const auto axis = test::cell_axis();
    const MeanPattern data(test::simple_pattern(axis, {{test::iron(), 1, 2.8665, 0, fwhm},
                                                       {test::copper(), 0.1, 3.6149, 0, fwhm}}),
                           1e5, 3);
    auto model = model_of({test::iron(), test::copper()});
    model.phases[0].cell[0].value = 2.84;
    model.phases[1].cell[0].value = 3.60;
    const auto options = options_of({});
    const auto found = refine_mean(axis, data.intensity, data.variance, model, options);
    const auto plain = refine(axis, data.intensity, data.variance, model, options.refinement);
    EXPECT_TRUE(found.untold.empty());
    for (std::size_t p = 0; p < 2; ++p)
        EXPECT_EQ(found.fit.phases[p].cell[0], plain.phases[p].cell[0]);
    EXPECT_EQ(found.fit.agreement.chi_squared, plain.agreement.chi_squared);
}

TEST(MeanRefinement, PhasesWithTheSameLinesAreNamed) {
    const auto axis = test::cell_axis();
    auto model = model_of({test::iron(), test::cathode("first"), test::cathode("second")});
    for (const std::size_t p : {1, 2}) {
        model.phases[p].cell[0].value = 2.870;
        model.phases[p].cell[1].value = 14.243;
    }
    const auto pairs = alike_phases(axis, model);
    ASSERT_EQ(pairs.size(), 1U);
    EXPECT_EQ(pairs[0].one, 1U);
    EXPECT_EQ(pairs[0].other, 2U);
    EXPECT_NEAR(pairs[0].likeness, 1, 1e-12);
    // A quarter of a per cent apart lines of 0.02 degrees are two.
    model.phases[2].cell[0].value *= 1.0025;
    model.phases[2].cell[1].value *= 1.0025;
    EXPECT_TRUE(alike_phases(axis, model).empty());
}

// Lines of an object at depths of ± 5 mm, one Gaussian standard deviation, 1 m from the detector.
TEST(MeanRefinement, ParallaxIsTheStrainThatWidensLinesAlike) {
    const double tangent = std::tan(0.5 * 3.0 * M_PI / 180);
    const double strain = rietveld::parallax_microstrain(5, 1000);
    const double fwhm_of_strain = 4 * strain * tangent,
                 fwhm_of_shift = std::sqrt(8 * std::log(2.0)) * 2 * tangent * 5 / 1000;
    EXPECT_NEAR(fwhm_of_strain / fwhm_of_shift, 1, 1e-12);
}

// Two phases of one structure, one of them weak or not there: the strong lines are those of the
// phase that starts nearer to them, whichever comes first in the model.
TEST(MeanRefinement, TheStrongLinesAreThoseOfThePhaseThatStartsNearer) {
    const auto axis = test::cell_axis();
    const double width = 3 * fwhm;
    for (const double amount : {0.0, 0.1})
        for (const std::size_t strong : {1, 2}) {
            const MeanPattern data(
                test::simple_pattern(axis, {{test::iron(), 0.3, 2.8665, 0, width},
                                            {test::cathode(), 1, 2.855, 14.10, width},
                                            {test::cathode(), amount, 2.87, 14.39, width}}),
                1e4, 4);
            const std::size_t weak = 3 - strong;
            auto model = model_of({test::iron(), test::cathode("one"), test::cathode("other")});
            model.instrument.w.value = width * width;
            model.phases[0].cell[0].value = 2.8665;
            model.phases[strong].cell[0].value = model.phases[weak].cell[0].value = 2.86;
            model.phases[strong].cell[1].value = 14.00;
            model.phases[weak].cell[1].value = 14.31;
            const auto found =
                refine_mean(axis, data.intensity, data.variance, model, options_of({-1, -1, -1}));
            EXPECT_NEAR(found.fit.phases[strong].cell[1], 14.10, 0.02)
                << "the strong one is " << strong << " with " << amount;
            EXPECT_NEAR(found.fit.phases[weak].scale / found.fit.phases[strong].scale, amount,
                        0.05);
        }
}

// Place and width of a peak without intensity mean nothing; with intensity they are found.
TEST(MeanRefinement, APeakWithoutIntensityStays) {
    const auto axis = test::cell_axis();
    for (const bool there : {false, true}) {
        auto exact = test::simple_pattern(
            axis, {{test::iron(), 1, 2.8665, 0, fwhm}, {test::cathode(), 1, 2.8550, 14.350, fwhm}});
        const double highest = *std::max_element(exact.begin(), exact.end());
        for (std::size_t i = 0; there && i < exact.size(); ++i)
            exact[i] +=
                0.1 * highest *
                std::exp(-4 * std::log(2.0) * std::pow((axis.two_theta()[i] - 1.66) / 0.12, 2));
        const MeanPattern data(exact, 3e3, 3);
        auto model = model_of({test::iron(), test::cathode()});
        model.phases[0].cell[0].value = 2.8665;
        model.phases[1].cell[0].value = 2.855;
        model.phases[1].cell[1].value = 14.35;
        model.peaks.emplace_back();
        auto& peak = model.peaks.back();
        peak.name = "separator";
        peak.position = {1.69, true, 1.59, 1.79};
        peak.fwhm = {0.1, true, 0.02, 0.5};
        const auto found = refine_mean(axis, data.intensity, data.variance, model, options_of({}));
        EXPECT_EQ(found.fit.status, rietveld::FitStatus::converged) << found.fit.message;
        const auto& fitted = found.fit.model.peaks[0];
        if (there) {
            EXPECT_TRUE(found.untold_peaks.empty());
            EXPECT_NEAR(fitted.position.value, 1.66, 3e-3);
            EXPECT_NEAR(fitted.fwhm.value, 0.12, 0.02);
        } else {
            EXPECT_EQ(found.untold_peaks, std::vector<std::size_t>{0});
            EXPECT_EQ(fitted.position.value, 1.69);
            EXPECT_EQ(fitted.fwhm.value, 0.1);
        }
    }
}

} // namespace
