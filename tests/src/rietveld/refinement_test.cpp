// SPDX-License-Identifier: BSD-3-Clause
#include "rietveld/fit/refinement.hpp"

#include "base/error.hpp"
#include "support/structures.hpp"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <random>

namespace {

using namespace xrdct;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

rietveld::PatternModel start_model(const std::vector<crystal::Phase>& phases) {
    rietveld::PatternModel model;
    model.instrument.w.value = 0.02 * 0.02;
    for (const crystal::Phase& phase : phases) {
        model.phases.emplace_back(phase);
        model.phases.back().refine_cell();
    }
    model.set_background(3);
    return model;
}

struct Simulated {
    std::vector<double> exact, variance;
    std::vector<double> draw(unsigned seed) const {
        std::mt19937_64 random(seed);
        std::vector<double> y;
        for (const double mean : exact) {
            y.push_back(static_cast<double>(std::poisson_distribution<long>(mean)(random)));
        }
        return y;
    }
};

/// Cathode at a charged cell, iron, copper, on a slope of background; the highest channel holds
/// `counts`.
Simulated charged_cell(const rietveld::RadialAxis& axis, double counts) {
    Simulated s;
    s.exact = test::simple_pattern(axis, {{test::cathode(), 1, 2.8220, 14.5070, 0.02},
                                          {test::iron(), 1, 2.8600, 0, 0.02},
                                          {test::copper(), 0.02, 3.6190, 0, 0.02}});
    const double highest = *std::max_element(s.exact.begin(), s.exact.end());
    for (std::size_t k = 0; k < s.exact.size(); ++k) {
        s.exact[k] =
            counts * (s.exact[k] / highest +
                      0.02 * (1 + 0.4 * static_cast<double>(k) / static_cast<double>(axis.size())));
    }
    s.variance = s.exact;
    return s;
}

TEST(Refinement, RecoversAnIndependentPatternFromCellsFarOff) {
    const auto axis = test::cell_axis();
    const auto truth = charged_cell(axis, 1e5);
    auto model = start_model({test::cathode(), test::iron(), test::copper()});
    // a and c off by 2.5 % in opposite directions
    model.phases[0].cell[0].value = 2.8220 * 1.025;
    model.phases[0].cell[1].value = 14.5070 * 0.975;
    model.phases[1].cell[0].value = 2.8600 * 0.98;
    rietveld::RefinementOptions options;
    options.cell_search = 0.03;
    const auto result = refine(axis, truth.draw(1), truth.variance, model, options);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    EXPECT_NEAR(result.phases[0].cell[0], 2.8220, 5 * result.phases[0].cell_esd[0]);
    EXPECT_NEAR(result.phases[0].cell[1], 14.5070, 5 * result.phases[0].cell_esd[1]);
    EXPECT_NEAR(result.phases[1].cell[0], 2.8600, 5 * result.phases[1].cell_esd[0]);
    EXPECT_LT(result.phases[0].cell_esd[1], 1e-3);
    EXPECT_NEAR(result.agreement.gof, 1, 0.1);
    EXPECT_NEAR(result.agreement.rwp / result.agreement.rexp, result.agreement.gof, 1e-12);
    EXPECT_LT(result.phases[0].r_bragg, 0.02);
}

TEST(Refinement, WeightFractionsFollowHillAndHoward) {
    const auto axis = test::cell_axis();
    const auto truth = charged_cell(axis, 1e5);
    auto model = start_model({test::cathode(), test::iron(), test::copper()});
    model.phases[0].cell[0].value = 2.823;
    model.phases[0].cell[1].value = 14.51;
    rietveld::RefinementOptions options;
    options.cell_search = 0.01;
    const auto result = refine(axis, truth.draw(2), truth.variance, model, options);
    const double volume = std::sqrt(3.0) / 2 * 2.8220 * 2.8220 * 14.5070;
    const double nmc = test::cathode().cell_mass() * volume;
    const double fe = 1 * 2 * 55.845 * std::pow(2.86, 3);
    const double cu = 0.02 * 4 * 63.546 * std::pow(3.619, 3);
    const double expected[] = {nmc / (nmc + fe + cu), fe / (nmc + fe + cu), cu / (nmc + fe + cu)};
    double sum = 0;
    for (std::size_t p = 0; p < 3; ++p) {
        EXPECT_NEAR(result.phases[p].weight_fraction, expected[p],
                    5 * result.phases[p].weight_fraction_esd + 1e-4);
        EXPECT_GT(result.phases[p].weight_fraction_esd, 0);
        sum += result.phases[p].weight_fraction;
    }
    EXPECT_NEAR(sum, 1, 1e-12);
}

TEST(Refinement, EstimatedDeviationsAreHonest) {
    const auto axis = test::cell_axis(500);
    const auto truth = charged_cell(axis, 10000);
    auto model = start_model({test::cathode(), test::iron(), test::copper()});
    model.phases[0].cell[0].value = 2.8230;
    model.phases[0].cell[1].value = 14.5000;
    model.phases[1].cell[0].value = 2.8605;
    model.phases[2].cell[0].value = 3.6185;
    model.instrument.w = {3.6e-4, true, 1e-5, 1};
    const double masses[] = {
        test::cathode().cell_mass() * std::sqrt(3.0) / 2 * 2.822 * 2.822 * 14.507,
        1 * 2 * 55.845 * std::pow(2.86, 3), 0.02 * 4 * 63.546 * std::pow(3.619, 3)};
    const double weight = masses[1] / (masses[0] + masses[1] + masses[2]);
    std::vector<double> a, c, iron, scale, width;
    for (unsigned seed = 0; seed < 240; ++seed) {
        const auto r = refine(axis, truth.draw(100 + seed), truth.variance, model);
        ASSERT_EQ(r.status, rietveld::FitStatus::converged) << r.message;
        a.push_back((r.phases[0].cell[0] - 2.8220) / r.phases[0].cell_esd[0]);
        c.push_back((r.phases[0].cell[1] - 14.5070) / r.phases[0].cell_esd[1]);
        iron.push_back((r.phases[1].cell[0] - 2.8600) / r.phases[1].cell_esd[0]);
        width.push_back((r.model.instrument.w.value - 4e-4) / r.parameters[0].esd);
        scale.push_back((r.phases[1].weight_fraction - weight) / r.phases[1].weight_fraction_esd);
    }
    for (const auto* z : {&a, &c, &iron, &width, &scale}) {
        EXPECT_GT(test::robust_spread(*z), 0.85);
        EXPECT_LT(test::robust_spread(*z), 1.15);
        EXPECT_LT(std::abs(test::median(*z)), 0.3);
    }
}

TEST(Refinement, FindsInstrumentProfileOfAStandard) {
    // Gaussian widths from U V W by the independent generator: one pattern per line is not needed,
    // W alone is exact.
    std::vector<double> two_theta;
    for (int i = 0; i < 2000; ++i) {
        two_theta.push_back(1.5 + 0.005 * i);
    }
    const auto axis = rietveld::RadialAxis::from_two_theta(two_theta, 0.11979);
    auto y = test::simple_pattern(axis, {{test::iron(), 1, 2.8665, 0, 0.03}});
    auto model = start_model({test::iron()});
    model.phases[0].refine_cell(false);
    model.instrument =
        rietveld::InstrumentParameters(rietveld::InstrumentProfile{0, 0, 4e-4, 0, 0, 0});
    model.instrument.u.refine = model.instrument.v.refine = model.instrument.w.refine = true;
    model.zero.refine = true;
    std::vector<double> variance(y.size(), 1);
    const auto result = refine(axis, y, variance, model);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    for (const double angle : {3.4, 8.0}) {
        EXPECT_NEAR(peak_widths(result.model.instrument.profile(), angle, 0.11979).gauss, 0.03,
                    3e-4);
    }
    EXPECT_NEAR(result.model.zero.value, 0, 1e-5);
}

TEST(Refinement, NegativeDataAreKept) {
    const auto axis = test::cell_axis(400);
    auto y = test::simple_pattern(axis, {{test::cathode(), 1, 2.87, 14.25, 0.02}});
    const double factor = 1e4 / *std::max_element(y.begin(), y.end());
    for (double& value : y) {
        value = factor * value - 500;
    }
    auto model = start_model({test::cathode()});
    std::vector<double> variance(y.size(), 100);
    const auto result = refine(axis, y, variance, model);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged);
    EXPECT_NEAR(result.model.background[0].value, -500, 0.1);
    EXPECT_NEAR(result.phases[0].scale, factor, 1e-3 * factor);
}

TEST(Refinement, AnAbsentPhaseIsReportedAndTheOthersGoOn) {
    const auto axis = test::cell_axis();
    const auto truth = charged_cell(axis, 5000);
    auto model =
        start_model({test::cathode(), test::iron(), test::copper(), test::lithium_graphite()});
    model.phases[0].cell[0].value = 2.8230;
    model.phases[0].cell[1].value = 14.5000;
    model.phases[1].cell[0].value = 2.8605;
    const auto result = refine(axis, truth.draw(4), truth.variance, model);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    EXPECT_FALSE(result.phases[3].significant);
    EXPECT_TRUE(std::isnan(result.phases[3].cell_esd[0]));
    EXPECT_EQ(result.phases[3].cell[0], 4.305);
    EXPECT_THAT(result.message, HasSubstr("LiC6"));
    EXPECT_NEAR(result.phases[0].cell[1], 14.5070, 5 * result.phases[0].cell_esd[1]);
}

TEST(Refinement, StatusOfDataThatCannotBeFitted) {
    const auto axis = test::cell_axis(300);
    const auto model = start_model({test::cathode()});
    const std::vector<double> ones(axis.size(), 1), zeros(axis.size(), 0);
    const std::vector<double> nothing(axis.size(), std::nan(""));
    EXPECT_EQ(refine(axis, zeros, ones, model).status, rietveld::FitStatus::no_signal);
    EXPECT_EQ(refine(axis, zeros, {}, model).status, rietveld::FitStatus::no_signal);
    EXPECT_EQ(refine(axis, nothing, ones, model).status, rietveld::FitStatus::masked);
    EXPECT_EQ(refine(axis, ones, zeros, model).status, rietveld::FitStatus::masked);
    EXPECT_EQ(refine(axis, ones, std::vector<double>(axis.size(), -1), model).status,
              rietveld::FitStatus::masked);
}

TEST(Refinement, TwiceTheSameParameterIsSingular) {
    const auto axis = test::cell_axis(400);
    const auto y = test::simple_pattern(axis, {{test::cathode(), 1, 2.87, 14.25, 0.02}});
    auto model = start_model({test::cathode("one"), test::cathode("two")});
    model.phases[1].refine_cell(false);
    model.phases[0].refine_cell(false);
    const auto result = refine(axis, y, std::vector<double>(y.size(), 1), model);
    EXPECT_EQ(result.status, rietveld::FitStatus::singular);
    EXPECT_THAT(result.message, HasSubstr("two scale"));
    EXPECT_NEAR(result.phases[0].scale + result.phases[1].scale, 1, 1e-3);
}

TEST(Refinement, OneCifMayServeTwoPhases) {
    const auto axis = test::cell_axis();
    auto exact = test::simple_pattern(axis, {{test::cathode(), 1, 2.8220, 14.5070, 0.02},
                                             {test::cathode(), 0.2, 2.8700, 14.2500, 0.02}});
    std::vector<double> variance;
    for (double& value : exact) {
        value = 2e-2 * value + 20;
        variance.push_back(value);
    }
    const Simulated truth{exact, variance};
    auto model = start_model({test::cathode("primary"), test::cathode("secondary")});
    model.phases[0].cell[0].value = 2.8230;
    model.phases[0].cell[1].value = 14.5000;
    const auto result = refine(axis, truth.draw(5), variance, model);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    EXPECT_NEAR(result.phases[0].cell[1], 14.5070, 5 * result.phases[0].cell_esd[1]);
    EXPECT_NEAR(result.phases[1].cell[1], 14.2500, 5 * result.phases[1].cell_esd[1]);
}

TEST(Refinement, ZeroShiftAndCellAreFlaggedWhenDegenerate) {
    // One line alone cannot tell a zero shift from a cell.
    std::vector<double> two_theta;
    for (int i = 0; i < 200; ++i) {
        two_theta.push_back(3.0 + 0.004 * i);
    }
    const auto axis = rietveld::RadialAxis::from_two_theta(two_theta, 0.11979);
    const auto y = test::simple_pattern(axis, {{test::iron(), 1, 2.8665, 0, 0.03}});
    auto model = start_model({test::iron()});
    model.instrument.w.value = 9e-4;
    model.zero.refine = true;
    const auto result = refine(axis, y, std::vector<double>(y.size(), 1), model);
    EXPECT_TRUE(result.status == rietveld::FitStatus::singular ||
                result.message.find("degenerate") != std::string::npos)
        << result.message;
    model.zero.refine = false;
    EXPECT_EQ(refine(axis, y, std::vector<double>(y.size(), 1), model).status,
              rietveld::FitStatus::converged);
}

TEST(Refinement, WithoutIterationsOnlyTheLinearParameters) {
    const auto axis = test::cell_axis(400);
    const auto y = test::simple_pattern(axis, {{test::cathode(), 3, 2.87, 14.25, 0.02}});
    rietveld::RefinementOptions options;
    options.max_iterations = 0;
    options.cell_search = 0.02;
    const auto result =
        refine(axis, y, std::vector<double>(y.size(), 1), start_model({test::cathode()}), options);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged);
    EXPECT_EQ(result.phases[0].cell[0], 2.87);
    EXPECT_TRUE(std::isnan(result.phases[0].cell_esd[0]));
    EXPECT_NEAR(result.phases[0].scale, 3, 3e-3);
    EXPECT_EQ(result.parameters.size(), 4u);
}

TEST(Refinement, ExtractsIntensitiesOfATexturedStandard) {
    // Two half-samples whose lines have the wrong intensities for either: the widths must not
    // suffer.
    const auto axis = test::cell_axis(1100);
    rietveld::PatternModel truth;
    truth.instrument =
        rietveld::InstrumentParameters(rietveld::InstrumentProfile{0, 0, 4e-4, 2e-3, 0, 0});
    truth.phases.emplace_back(test::copper());
    truth.phases[0].cell[0].value = 3.6160;
    truth.phases[0].line_factors = {0.3, 2.5, 1.0, 0.2, 3.0, 0.5, 1.7};
    truth.set_background(2);
    truth.background[0].value = 1e6;
    std::vector<double> y(axis.size());
    rietveld::PatternCalculator(axis, truth).evaluate(truth, y);
    auto model = start_model({test::copper()});
    model.instrument.w = {9e-4, true, 0, 1};
    model.instrument.x = {0, true, 0, 1};
    rietveld::RefinementOptions options;
    options.extract_intensities = {"Cu"};
    const std::vector<double> variance(y.size(), 1e10);
    const auto result = refine(axis, y, variance, model, options);
    EXPECT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    EXPECT_NEAR(result.model.instrument.w.value, 4e-4, 4e-6);
    EXPECT_NEAR(result.model.instrument.x.value, 2e-3, 4e-5);
    EXPECT_NEAR(result.phases[0].cell[0], 3.6160, 1e-5);
    EXPECT_LT(result.agreement.rwp, 2e-3);
    const auto& factors = result.model.phases[0].line_factors;
    ASSERT_GE(factors.size(), 5u);
    for (std::size_t i = 1; i < 5; ++i) {
        EXPECT_NEAR(factors[i] / factors[0], truth.phases[0].line_factors[i] / 0.3,
                    0.03 * factors[i] / factors[0]);
    }
    options.extract_intensities = {"Si"};
    EXPECT_THAT([&] { refine(axis, y, variance, model, options); },
                ThrowsMessage<Error>(HasSubstr("'Si'")));
}

TEST(Refinement, Misuse) {
    const auto axis = test::cell_axis(300);
    auto model = start_model({test::cathode()});
    const std::vector<double> y(axis.size(), 1), shorter(axis.size() - 1, 1);
    EXPECT_THAT([&] { refine(axis, shorter, {}, model); }, ThrowsMessage<Error>(HasSubstr("299")));
    EXPECT_THAT([&] { refine(axis, y, shorter, model); },
                ThrowsMessage<Error>(HasSubstr("variance")));
    model.wavelength = {0.11979, true};
    EXPECT_THAT([&] { refine(axis, y, {}, model); }, ThrowsMessage<Error>(HasSubstr("wavelength")));
}

/// A can of iron, its walls 5 mm before and behind the axis, around copper and a cathode.
rietveld::PatternModel can_model() {
    auto model = start_model({test::cathode(), test::copper(), test::iron("Fe"),
                              test::iron("Fe_near"), test::iron("Fe_far")});
    model.distance = 900;
    for (std::size_t p = 1; p < 5; ++p) {
        model.phases[p].refine_cell(false);
    }
    model.phases[3].depth = {4, true};
    model.phases[4].depth = {-4, true};
    return model;
}

TEST(Refinement, FindsTheWallsOfACanAndTheRadialScaleWithOneStandard) {
    const auto axis = test::cell_axis();
    auto truth = can_model();
    truth.displacement.value = -0.4;
    truth.phases[0].scale.value = 2;
    truth.phases[3].scale.value = 0.3;
    truth.phases[4].scale.value = 0.2;
    truth.phases[3].depth.value = 5.1;
    truth.phases[4].depth.value = -4.9;
    truth.phases[0].cell[1].value = 14.31;
    Simulated simulated;
    simulated.exact.resize(axis.size());
    rietveld::PatternCalculator(axis, truth).evaluate(truth, simulated.exact);
    const double highest = *std::max_element(simulated.exact.begin(), simulated.exact.end());
    for (double& value : simulated.exact) {
        value = 1e5 * (value / highest + 0.01);
    }
    auto model = can_model();
    model.displacement.refine = true;
    rietveld::RefinementOptions options;
    options.cell_search = 0.01;
    const auto result = refine(axis, simulated.draw(5), simulated.exact, model, options);
    ASSERT_EQ(result.status, rietveld::FitStatus::converged) << result.message;
    EXPECT_LT(result.agreement.gof, 1.1);
    EXPECT_NEAR(result.model.displacement.value, -0.4, 0.02);
    EXPECT_NEAR(result.model.phases[3].depth.value, 5.1, 0.1);
    EXPECT_NEAR(result.model.phases[4].depth.value, -4.9, 0.1);
    EXPECT_NEAR(result.model.phases[0].cell[1].value, 14.31, 2e-3);
}

TEST(Refinement, RefusesDepthsThatTheCellOrTheRadialScaleCanReplace) {
    const auto axis = test::cell_axis();
    const std::vector<double> y(axis.size(), 1);
    auto model = can_model();
    const auto run = [&] { refine(axis, y, {}, model); };
    model.phases[3].refine_cell();
    EXPECT_THAT(
        run, ThrowsMessage<Error>(AllOf(HasSubstr("'Fe_near'"), HasSubstr("depth and its cell"))));
    model = can_model();
    model.displacement.refine = true;
    EXPECT_NO_THROW(run());
    model.phases[1].refine_cell();
    model.phases[2].depth.refine = true;
    EXPECT_THAT(run, ThrowsMessage<Error>(HasSubstr("the displacement cannot be refined")));
    model.displacement.refine = false;
    model.wavelength = {0.11979, true};
    EXPECT_THAT(run, ThrowsMessage<Error>(HasSubstr("the wavelength cannot be refined")));
}

TEST(Refinement, VarianceEstimateFindsTheGainOfCounts) {
    const auto axis = test::cell_axis(2000);
    const auto truth = charged_cell(axis, 3000);
    auto y = truth.draw(7);
    for (double& value : y) {
        value *= 0.037; // scaled counts: variance = 0.037 · y
    }
    const auto variance = estimate_variance(axis, y);
    std::vector<double> ratio;
    for (std::size_t k = 0; k < y.size(); ++k) {
        ratio.push_back(variance[k] / (0.037 * 0.037 * truth.exact[k]));
    }
    EXPECT_NEAR(test::median(ratio), 1, 0.15);
}

TEST(Agreement, KnownNumbers) {
    const std::vector<double> y{10, 20, 30, 40}, v{1, 4, 0, 1}, c{11, 18, 0, 40};
    const auto a = rietveld::agreement(y, v, c, 1);
    EXPECT_EQ(a.observations, 3u);
    EXPECT_NEAR(a.chi_squared, 1 + 1, 1e-12);
    EXPECT_NEAR(a.rp, 3.0 / 70, 1e-12);
    EXPECT_NEAR(a.rwp, std::sqrt(2 / (100 + 100 + 1600.0)), 1e-12);
    EXPECT_NEAR(a.gof, 1, 1e-12);
}

} // namespace
